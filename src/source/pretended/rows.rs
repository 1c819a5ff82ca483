//! The rows of a pretended table: in any order, filtered by any column.

use std::{cmp::Ordering, sync::Arc};

use super::{Pretended, Tables};
use crate::{
    chunk::related_key_hash,
    cursor::Cursor,
    error::Result,
    row::{Column, Field, Fields, RowBatch, RowSink, Shape, Value},
    source::{
        BoxFuture, Comparison, Filter, Operand, Operator, Query, Run, Source, Spec, TouchRules,
        touch::{
            FilterRule, KeyKind, KeyRule, OrderRule, PointedRule, PointingRule, RelatedRule, RelatedTable, Texts,
            ToldRule,
        },
    },
};

/// The columns of `item`. The last two hold texts that compare without regard to case.
const ITEM: [&str; 7] = ["id", "rank", "grp", "author_id", "version", "name", "kin"];
/// A column of the related author: whether its version is odd.
const PARITY: &str = "author.parity";
const ITEM_TAG: [&str; 2] = ["item_id", "tag_id"];

/// A table whose rows can be read.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Table {
    Item,
    ItemTag,
}

#[derive(Clone, Debug)]
enum Cell {
    Integer(i64),
    Text(String),
}

impl Cell {
    fn value(&self) -> Value<'_> {
        match self {
            Cell::Integer(number) => Value::Integer(*number),
            Cell::Text(text) => Value::Text(text.as_bytes()),
        }
    }

    /// How it compares with a value of a cursor or of a condition.
    fn compare(&self, value: Value<'_>) -> Ordering {
        match (self, value) {
            (Cell::Integer(one), Value::Integer(other)) => one.cmp(&other),
            (Cell::Text(one), Value::Text(other)) => {
                one.as_bytes().to_ascii_lowercase().cmp(&other.to_ascii_lowercase())
            }
            (cell, value) => panic!("{cell:?} is compared with {value:?}"),
        }
    }

    fn compare_text(&self, text: &str) -> Ordering {
        match self {
            Cell::Integer(_) => self.compare(Value::Integer(text.trim().parse().expect("a whole number"))),
            Cell::Text(_) => self.compare(Value::Text(text.as_bytes())),
        }
    }

    fn meets(&self, condition: &Comparison) -> bool {
        let against = |text: &String| self.compare_text(text);
        let single = || against(&condition.values[0]);
        match condition.operator {
            Operator::Eq => single().is_eq(),
            Operator::Neq => single().is_ne(),
            Operator::Gt => single().is_gt(),
            Operator::Gte => single().is_ge(),
            Operator::Lt => single().is_lt(),
            Operator::Lte => single().is_le(),
            Operator::In => condition.values.iter().any(|text| against(text).is_eq()),
            Operator::NotIn => !condition.values.iter().any(|text| against(text).is_eq()),
            other => panic!("no list of the model has {other:?}"),
        }
    }
}

impl Table {
    pub(super) fn named(name: &str) -> Option<Table> {
        match name {
            "item" => Some(Table::Item),
            "item_tag" => Some(Table::ItemTag),
            _ => None,
        }
    }

    fn name(self) -> &'static str {
        if self == Table::Item { "item" } else { "item_tag" }
    }

    fn columns(self) -> &'static [&'static str] {
        if self == Table::Item { &ITEM } else { &ITEM_TAG }
    }

    fn key(self) -> &'static [&'static str] {
        if self == Table::Item { &["id"] } else { &ITEM_TAG }
    }

    fn operand(self, column: &str) -> Operand {
        if ["name", "kin"].contains(&column) { Operand::Text } else { Operand::Integer }
    }

    /// All rows, each by the values of the columns.
    fn rows(self, tables: &Tables) -> Vec<Vec<Cell>> {
        match self {
            Table::Item => {
                let row = |(id, item): (&i64, &super::Item)| {
                    let numbers = [*id, item.rank, item.group, item.author, item.version].map(Cell::Integer);
                    let texts = [name(item.rank, item.version), format!("kin {}", item.group)].map(Cell::Text);
                    numbers.into_iter().chain(texts).collect()
                };
                tables.items.iter().map(row).collect()
            }
            Table::ItemTag => {
                tables.tags.iter().map(|(item, tag)| vec![Cell::Integer(*item), Cell::Integer(*tag)]).collect()
            }
        }
    }
}

/// The name of an item: in the order of ranks, and in upper or lower case.
fn name(rank: i64, version: i64) -> String {
    if version % 2 == 0 { format!("Rank {rank:03}") } else { format!("rANK {rank:03}") }
}

/// The place of an item in a list that begins with the highest rank.
pub(crate) fn place(id: i64, rank: i64) -> (i64, i64) {
    (-rank, id)
}

/// The rows of a table in an order.
pub(super) struct Rows {
    database: Pretended,
    table: Table,
    /// The columns of the order, by their indices, and whether each descends.
    order: Vec<(usize, bool)>,
    order_names: Vec<String>,
    columns: Vec<Column>,
    filters: Vec<Filter>,
    scope: Vec<Filter>,
    rules: TouchRules,
    /// Whether it is a list and no look-up: it shows related rows.
    is_list: bool,
}

impl Rows {
    /// The source of a specification, and its fields.
    pub(super) fn made(database: Pretended, table: Table, spec: &Spec) -> (Arc<dyn Source>, Fields) {
        let index = |name: &str| table.columns().iter().position(|column| *column == name).expect("a column");
        let mut order: Vec<(usize, bool)> = spec.order.iter().map(|by| (index(&by.column), by.descending)).collect();
        for key in table.key() {
            if !order.iter().any(|(column, _)| *column == index(key)) {
                order.push((index(key), false));
            }
        }
        let order_name = |(column, descending): &(usize, bool)| {
            format!("{}{}", if *descending { "-" } else { "" }, table.columns()[*column])
        };
        let order_names = order.iter().map(order_name).collect();

        let is_list = spec.fields.is_none();
        let columns = if is_list {
            let author = Shape::Object(vec!["id".into(), "version".into()]);
            let scalars = ["id", "rank", "grp", "version"].map(Column::scalar);
            let related =
                [Column { name: "author".into(), shape: author }, Column { name: "tags".into(), shape: Shape::List }];
            scalars.into_iter().chain(related).collect()
        } else {
            vec![Column::scalar(table.key()[0])]
        };
        let fields =
            columns.iter().enumerate().map(|(at, column): (usize, &Column)| (column.name.clone(), Field::Column(at)));
        let fields = fields.collect();

        let filter = |name: &String| Filter::new(name.clone(), table.operand(name));
        let filters: Vec<Filter> = spec.filters.iter().flatten().map(filter).collect();
        let scope: Vec<Filter> = spec.scope.iter().map(filter).collect();
        let rules = rules(&database, table, &order, filters.iter().chain(&scope));
        let rows = Rows { database, table, order, order_names, columns, filters, scope, rules, is_list };
        (Arc::new(rows), fields)
    }

    /// The rows that a query asks for, at most `limit`, and whether the list ends with them.
    fn found(&self, tables: &Tables, query: &Query, limit: usize) -> (Vec<Vec<Cell>>, bool) {
        let column = |name: &str| self.table.columns().iter().position(|column| *column == name).expect("a column");
        let meets = |row: &Vec<Cell>, comparison: &Comparison| {
            if comparison.column != PARITY {
                return row[column(&comparison.column)].meets(comparison);
            }
            // An author that is not there has NULL.
            let Value::Integer(author) = row[3].value() else { unreachable!("it points by a number") };
            let version = tables.authors.get(&author);
            version.is_some_and(|version| Cell::Integer(version % 2).meets(comparison))
        };
        let after: Vec<Value<'_>> = query.after.values().collect();

        let mut rows = self.table.rows(tables);
        rows.retain(|row| query.conditions.iter().all(|condition| condition.is_met(|one| meets(row, one))));
        rows.retain(|row| query.after.is_start() || self.compare(row, &after).is_gt());
        rows.sort_by(|one, other| {
            let other: Vec<Value<'_>> = self.order.iter().map(|(column, _)| other[*column].value()).collect();
            self.compare(one, &other)
        });

        let ended = rows.len() <= limit;
        rows.truncate(limit);
        (rows, ended)
    }

    /// How a row compares with the values of a place.
    fn compare(&self, row: &[Cell], place: &[Value<'_>]) -> Ordering {
        let each = self.order.iter().zip(place).map(|((column, descending), value)| {
            let ascending = row[*column].compare(*value);
            if *descending { ascending.reverse() } else { ascending }
        });
        each.fold(Ordering::Equal, Ordering::then)
    }

    fn batch(&self, tables: &Tables, rows: &[Vec<Cell>]) -> Result<RowBatch> {
        let mut batch = RowBatch::new(self.order.len(), self.columns.len());
        let mut keys: Vec<(u32, u32)> = vec![];
        for (at, row) in rows.iter().enumerate() {
            let key: Vec<Value<'_>> = self.order.iter().map(|(column, _)| row[*column].value()).collect();
            if !self.is_list {
                batch.push(&key, &[row[0].value()])?;
                continue;
            }

            let Value::Integer(id) = row[0].value() else { unreachable!("the key is a number") };
            let Value::Integer(author) = row[3].value() else { unreachable!("it points by a number") };
            let version = tables.authors.get(&author).copied().unwrap_or(-1);
            let author_values = [Value::Integer(author), Value::Integer(version)];
            let tags: Vec<Value<'_>> = tables.tags_of(id).into_iter().map(Value::Integer).collect();
            for (relation, key) in
                [(0, &author_values[..1])].into_iter().chain(tags.iter().map(|tag| (1, std::slice::from_ref(tag))))
            {
                keys.push((at as u32, related_key_hash(relation, Cursor::after(key)?.canonical())));
            }

            let own = [0, 1, 2, 4].map(|column: usize| row[column].value());
            let related = [Value::List(&author_values), Value::List(&tags)];
            batch.push(&key, &own.into_iter().chain(related).collect::<Vec<_>>())?;
        }
        Ok(batch.with_keys(Some(keys)))
    }
}

fn rules<'f>(
    database: &Pretended,
    table: Table,
    order: &[(usize, bool)],
    filters: impl Iterator<Item = &'f Filter>,
) -> TouchRules {
    let related = |name: &str, key: &[&str]| RelatedTable {
        names: vec![name.into()],
        name: name.into(),
        key: key.iter().map(|column| ((*column).into(), KeyKind::Integer)).collect(),
    };
    let key = table.key().iter().map(|column| KeyRule {
        column: (*column).into(),
        at: order.iter().position(|(at, _)| table.columns()[*at] == *column).expect("the order holds the key"),
        kind: KeyKind::Integer,
    });
    let order = order.iter().map(|(column, descending)| OrderRule {
        column: table.columns()[*column].into(),
        texts: Texts::Unknown,
        descending: *descending,
        null_is_greatest: false,
    });
    let (related_filters, filters): (Vec<&Filter>, Vec<&Filter>) = filters.partition(|filter| filter.column == PARITY);
    let filter_rule = |filter: &Filter| FilterRule {
        column: filter.column.clone(),
        operand: filter.operand,
        texts: Texts::Unknown,
        has_exact_texts: false,
    };
    let pointed = related_filters.into_iter().map(|filter| {
        let name = "parity".to_owned();
        let told = ToldRule { name, key: "id".into(), kind: KeyKind::Integer, filter: filter_rule(filter) };
        PointedRule { column: filter.column.clone(), names: vec!["author".into()], told: Some(told) }
    });
    let filters = filters.into_iter().map(filter_rule);
    let tags =
        PointingRule { join: Some(related("item_tag", &ITEM_TAG)), column: "item_id".into(), kind: KeyKind::Integer };
    TouchRules {
        database: Arc::from(&b"pretended"[..]),
        settle: database.lag,
        table: vec![table.name().into()],
        key: key.collect(),
        order: order.collect(),
        filters: filters.collect(),
        pointed: pointed.collect(),
        related: vec![
            RelatedRule { table: related("author", &["id"]), pointing: None },
            RelatedRule { table: related("tag", &["id"]), pointing: Some(tags) },
        ],
        others: vec![],
        reads_any: false,
        asks_later: database.asks_later,
    }
}

impl Source for Rows {
    fn columns(&self) -> &[Column] {
        &self.columns
    }

    fn order(&self) -> &[String] {
        &self.order_names
    }

    fn filters(&self) -> &[Filter] {
        &self.filters
    }

    fn scope(&self) -> &[Filter] {
        &self.scope
    }

    fn fingerprint(&self) -> Vec<u8> {
        let columns = self.columns.iter().map(|column| &*column.name).collect::<Vec<_>>();
        format!("{} {:?} {columns:?}", self.table.name(), self.order_names).into_bytes()
    }

    fn places(&self) -> Vec<u8> {
        format!("{} {:?}", self.table.name(), self.order_names).into_bytes()
    }

    fn touch_rules(&self) -> Option<&TouchRules> {
        Some(&self.rules)
    }

    fn rows<'a>(&'a self, query: Query, sink: &'a mut dyn RowSink) -> BoxFuture<'a, Result<Run>> {
        Box::pin(async move {
            if self.is_list {
                self.database.count_read();
            }
            let pause = || (self.database.pause)();
            pause().await?;
            let tables = self.database.snapshot();

            let longest = if self.database.stops_early { fastrand::usize(1..40) } else { usize::MAX };
            let limit = longest.min(query.limit as usize);
            let (rows, ended) = self.found(&tables, &query, limit);
            let (first, rest) = rows.split_at(fastrand::usize(0..=rows.len()));
            for part in [first, rest] {
                pause().await?;
                sink.take(self.batch(&tables, part)?)?;
            }
            pause().await?;
            Ok(Run::new(ended))
        })
    }
}
