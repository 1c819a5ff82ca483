//! Related rows of a resource: the tables and columns to join, from the foreign keys or the
//! configuration.

use super::{
    catalogue::{ForeignKey, Table},
    described::described,
    dialect::Dialect,
    keyset::KeyColumn,
    plan::{JOIN, Join, One, Output, RELATED, Relation, Select},
    planner::Planner,
    rewrite::Rewrite,
};
use crate::{
    described::{Described, JsonType},
    row::{Field, Shape},
    source::{ColumnSpec, Complaint, Related, RowBounds},
};

/// The one related row that a column points to.
pub(super) struct Pointed<'a> {
    pub(super) target: &'a Table,
    /// The related table's column that is pointed to.
    pub(super) to: String,
    /// The column that points there.
    pub(super) via: String,
    /// `FROM` and `WHERE` of a query for it.
    pub(super) from: String,
    /// Ends that query, if there may be several rows.
    pub(super) first: String,
}

impl Pointed<'_> {
    /// A query for one of its values, over the related table's alias.
    pub(super) fn select(&self, sql: &str) -> String {
        format!("(SELECT {sql} {}{})", self.from, self.first)
    }
}

impl<'a> Planner<'a> {
    /// Resolves the related row that a column points to.
    pub(super) fn pointed(&self, via: &str, table: Option<&str>, at: &str) -> Result<Pointed<'a>, Complaint> {
        let via = self.table.column(via, at)?.name.clone();
        let foreign = self.table.foreign_keys.iter().find(|key| key.column == via);
        let target = match (table, foreign) {
            (Some(table), _) => self.catalogue.related(table, self.table, at)?,
            (None, Some(key)) => self.catalogue.table(&key.table, at)?,
            (None, None) => {
                return Err(Complaint::new(
                    at,
                    format!("column `{via}` is no foreign key"),
                    "name the related table with `table = \"…\"`",
                ));
            }
        };

        let to = match foreign.filter(|key| key.table == target.name) {
            Some(key) => key.to.clone(),
            None => target.single_key(at)?.to_owned(),
        };

        let own = self.own(&via);
        let dialect = self.plan.dialect;
        let alias = dialect.quote(RELATED);
        let collate = self.collate(target, &to, self.table, &via);
        let matched = format!("{} = {own}{collate}", dialect.column(&alias, &to));
        let from = format!("FROM {} AS {alias} WHERE {matched}", target.sql);
        let is_one = is_one(target, &to, self.table, &via);
        let first = if is_one { String::new() } else { first_of(dialect, target, &alias) };
        Ok(Pointed { target, to, via, from, first })
    }

    /// The one related row that a column points to. It is read by scalar subqueries, so that the
    /// operator's condition sees one table only.
    pub(super) fn via(&mut self, name: &str, via: &str, related: &Related, at: &str) -> Result<Field, Complaint> {
        let pointed = self.pointed(via, related.table.as_deref(), at)?;
        let Pointed { target, to, via, .. } = &pointed;
        let dialect = self.plan.dialect;
        let alias = dialect.quote(RELATED);
        let select = |sql: &str| pointed.select(sql);
        let columns = related_columns(dialect, target, related, at)?;
        let rewrites = self.related_rewrites(target, related, at)?;
        let pointing = self.select_key(via, at)?;
        self.plan.ones.push(One {
            table: target.sql.clone(),
            to: to.clone(),
            via: via.clone(),
            select: pointing,
            output: self.plan.outputs.len(),
        });
        // The related row may be missing.
        let described = related_described(target, related, &rewrites, at)?.or(JsonType::Null);
        if !related.object {
            let select = self.select(columns[0].within(select));
            let output = match rewrites.into_iter().next() {
                Some((_, rewrite)) => Output::Rewritten(self.add_rewrites(vec![(select, rewrite)])),
                None => Output::Select(select),
            };
            return Ok(Field::Column(self.output(name, output, Shape::Scalar, described)));
        }

        // An object's values lie side by side, after the key that says whether there is an object.
        let key = target.column(to, at)?;
        let key = Select::new(&key.read, dialect.column(&alias, &key.name), false).measured(key.length).within(select);
        self.plan.selects.push(key);
        let first = self.plan.selects.len();
        self.plan.selects.extend(columns.iter().map(|one| one.within(select)));
        let len = columns.len();
        let output = if rewrites.is_empty() {
            Output::Object { first, len }
        } else {
            let rewrites = rewrites.into_iter().map(|(column, rewrite)| (first + column, rewrite)).collect();
            Output::RewrittenObject { key: first - 1, first: self.add_rewrites(rewrites), len }
        };

        Ok(Field::Column(self.output(name, output, Shape::Object(names(target, related, at)?), described)))
    }

    pub(super) fn through(
        &mut self,
        name: &str,
        (through, on, to): (&str, &Option<String>, &Option<String>),
        related: &Related,
        at: &str,
    ) -> Result<Field, Complaint> {
        let join = self.catalogue.related(through, self.table, at)?;
        let towards =
            |key: &&ForeignKey| key.table == self.table.name && to.as_ref().is_none_or(|to| *to != key.column);
        let on = self.towards_own(join, on.as_deref(), towards, at)?;
        let target = match &related.table {
            Some(table) => self.catalogue.related(table, self.table, at)?,
            None => {
                let others: Vec<_> = join.foreign_keys.iter().filter(|key| key.column != on.column).collect();
                match &others[..] {
                    [key] => self.catalogue.table(&key.table, at)?,
                    _ => {
                        return Err(Complaint::new(
                            at,
                            format!("join table `{through}` does not say what is related"),
                            "name the related table with `table = \"…\"`",
                        ));
                    }
                }
            }
        };

        let towards = |key: &&ForeignKey| key.table == target.name && key.column != on.column;
        let to = reference(join, target, target.single_key(at), to.as_deref(), towards, "to", at)?;
        let mut columns = related_columns(self.plan.dialect, target, related, at)?;
        let key = related_key(self.plan.dialect, target, at)?;
        let hidden = key.len();
        columns.extend(key);
        let (order, own_order) = related_order(self.plan.dialect, target, Some(join), related, at)?;
        let parent = self.select_key(&on.to, at)?;
        let whole = self.table.is_whole(&on.to)
            && join.is_whole(&on.column)
            && join.is_whole(&to.column)
            && target.is_whole(&to.to);
        let parent_column = self.table.column(&on.to, at)?.clone();
        let collate = self.collate(target, &to.to, join, &to.column);
        let pointing_column = join.column(&on.column, at)?.clone();
        let join = Join { table: join.sql.clone(), on: on.column, to: to.column, collate };
        let column = to.to;
        let relation = Relation {
            parent,
            parent_column,
            pointing_column,
            whole,
            join: Some(join),
            table: target.sql.clone(),
            column,
            columns,
            names: names(target, related, at)?,
            hidden,
            order,
            small: target.is_small,
            own_order,
            most: RowBounds::default().unmeasured as usize,
            is_sum: false,
        };

        let rewrites = self.related_rewrites(target, related, at)?;
        let row = related_described(target, related, &rewrites, at)?;
        Ok(self.relation(name, relation, (rewrites, row), related))
    }

    pub(super) fn from(
        &mut self,
        name: &str,
        on: &Option<String>,
        related: &Related,
        at: &str,
    ) -> Result<Field, Complaint> {
        let named = related.table.as_deref().unwrap_or_default();
        let target = self.catalogue.related(named, self.table, at)?;
        let on = self.towards_own(target, on.as_deref(), |key| key.table == self.table.name, at)?;
        let mut columns = related_columns(self.plan.dialect, target, related, at)?;
        let key = related_key(self.plan.dialect, target, at)?;
        let hidden = key.len();
        columns.extend(key);
        let (order, own_order) = related_order(self.plan.dialect, target, None, related, at)?;
        let parent = self.select_key(&on.to, at)?;
        let whole = self.table.is_whole(&on.to) && target.is_whole(&on.column);
        let parent_column = self.table.column(&on.to, at)?.clone();
        let relation = Relation {
            parent,
            parent_column,
            pointing_column: target.column(&on.column, at)?.clone(),
            whole,
            join: None,
            table: target.sql.clone(),
            column: on.column,
            columns,
            names: names(target, related, at)?,
            hidden,
            order,
            small: target.is_small,
            own_order,
            most: RowBounds::default().unmeasured as usize,
            is_sum: false,
        };

        let rewrites = self.related_rewrites(target, related, at)?;
        let row = related_described(target, related, &rewrites, at)?;
        Ok(self.relation(name, relation, (rewrites, row), related))
    }

    /// The rewrites of related rows' columns, by their indexes: for all of them if one is
    /// rewritten.
    fn related_rewrites(
        &mut self,
        target: &Table,
        related: &Related,
        at: &str,
    ) -> Result<Vec<(usize, Rewrite)>, Complaint> {
        let mut rewrites = vec![];
        for (place, column) in related.columns.iter().enumerate() {
            // Each of several columns has an index in the configuration.
            let at = if related.object { format!("{at}.columns.{place}") } else { at.to_owned() };
            rewrites.push(self.rewrite(target, column, &at)?);
        }

        if rewrites.iter().all(Option::is_none) {
            return Ok(vec![]);
        }

        // The key that is not shown is not rewritten.
        Ok(rewrites.into_iter().map(|rewrite| rewrite.unwrap_or(Rewrite::SAME)).enumerate().collect())
    }

    /// The reference from `holder` to the resource's own table, to the key that the resource names.
    fn towards_own(
        &self,
        holder: &Table,
        named: Option<&str>,
        fits: impl Fn(&&ForeignKey) -> bool,
        at: &str,
    ) -> Result<ForeignKey, Complaint> {
        let key = match &self.spec.key[..] {
            [column] => self.table.column(column, at).map(|column| &*column.name),
            _ => self.table.single_key(at),
        };
        reference(holder, self.table, key, named, fits, "on", at)
    }

    /// Follows a comparison of a column with the one that it points to: the latter's collation, if
    /// the two differ and the database would choose neither.
    fn collate(&self, target: &Table, to: &str, holder: &Table, column: &str) -> String {
        let collation = |table: &Table, name: &str| table.column(name, "").ok()?.collation.clone();

        match (collation(target, to), collation(holder, column)) {
            (Some(of_target), Some(of_holder)) if of_target != of_holder && self.plan.dialect.collations_must_agree => {
                format!(" COLLATE {of_target}")
            }
            _ => String::new(),
        }
    }

    fn relation(
        &mut self,
        name: &str,
        relation: Relation,
        (rewrites, row): (Vec<(usize, Rewrite)>, Described),
        related: &Related,
    ) -> Field {
        let described = Described { items: Some(Box::new(row)), ..Described::of(&[JsonType::Array]) };
        let shape = if related.object { Shape::Objects(relation.names.clone()) } else { Shape::List };
        self.plan.relations.push(relation);
        self.plan.related_rewrites.push(rewrites);
        let output = Output::Relation(self.plan.relations.len() - 1);
        Field::Column(self.output(name, output, shape, described))
    }
}

/// Whether a value of `column` equals at most one value of `to`: a key of the same type and
/// collation.
fn is_one(target: &Table, to: &str, holder: &Table, column: &str) -> bool {
    let (Ok(to), Ok(column)) = (target.column(to, ""), holder.column(column, "")) else { return false };
    let is_key = target.declared_key() == [&*to.name] && !target.key_can_be_null && to.as_in_key.is_none();
    is_key && to.kind == column.kind && to.collation == column.collation
}

/// Ends a query so that it returns only the first matching row.
fn first_of(dialect: &Dialect, table: &Table, alias: &str) -> String {
    let key: Vec<String> = table.key.iter().map(|name| dialect.column(alias, name)).collect();
    let order = if key.is_empty() { String::new() } else { format!(" ORDER BY {}", key.join(", ")) };
    format!("{order} LIMIT 1")
}

/// The JSON type of a related row: one value, or an object.
fn related_described(
    target: &Table,
    related: &Related,
    rewrites: &[(usize, Rewrite)],
    at: &str,
) -> Result<Described, Complaint> {
    let mut members = vec![];
    for (place, spec) in related.columns.iter().enumerate() {
        let column = target.column(&spec.name, at)?;
        let rewrite = rewrites.get(place).map(|(_, rewrite)| rewrite);
        members.push((column.name.clone(), described(column, rewrite)));
    }

    if related.object {
        return Ok(Described::object(members));
    }
    Ok(members.into_iter().next().map_or_else(Described::default, |(_, only)| only))
}

/// The names of the columns to take from related rows.
fn names(table: &Table, related: &Related, at: &str) -> Result<Vec<String>, Complaint> {
    related.columns.iter().map(|column| Ok(table.column(&column.name, at)?.name.clone())).collect()
}

/// The columns to take from related rows.
fn related_columns(dialect: &Dialect, table: &Table, related: &Related, at: &str) -> Result<Vec<Select>, Complaint> {
    if related.columns.is_empty() {
        return Err(Complaint::new(
            at,
            "the relation takes no column",
            "name one with `column = \"…\"`, or several with `columns = […]`",
        ));
    }
    let alias = dialect.quote(RELATED);
    let select = |spec: &ColumnSpec| {
        let column = table.column(&spec.name, at)?;
        Ok(Select::new(&column.read, dialect.column(&alias, &column.name), column.json).measured(column.length))
    };
    related.columns.iter().map(select).collect()
}

/// What to read of a related row's key, in the form of a key.
fn related_key(dialect: &Dialect, table: &Table, at: &str) -> Result<Vec<Select>, Complaint> {
    let alias = dialect.quote(RELATED);
    let select = |name: &String| {
        let column = table.column(name, at)?;
        let length = column.key_length(dialect);
        Ok(Select::new(&column.read_key, dialect.column(&alias, &column.name), false).measured(length))
    };
    table.key.iter().map(select).collect()
}

/// The foreign key from `holder` to `target`, or the column that the configuration names for it.
fn reference(
    holder: &Table,
    target: &Table,
    target_key: Result<&str, Complaint>,
    named: Option<&str>,
    fits: impl Fn(&&ForeignKey) -> bool,
    option: &str,
    at: &str,
) -> Result<ForeignKey, Complaint> {
    if let Some(name) = named {
        let column = holder.column(name, at)?.name.clone();
        let known = holder.foreign_keys.iter().find(|key| key.column == column && key.table == target.name);
        return match known {
            Some(key) => Ok(key.clone()),
            None => Ok(ForeignKey { column, table: target.name.clone(), to: target_key?.to_owned() }),
        };
    }

    let fitting: Vec<&ForeignKey> = holder.foreign_keys.iter().filter(fits).collect();
    match &fitting[..] {
        [key] => Ok((*key).clone()),
        [] => Err(Complaint::new(
            at,
            format!("table `{}` has no foreign key of one column to `{}`", holder.name, target.name),
            format!("name the column that points there with `{option} = \"…\"`"),
        )),
        keys => Err(Complaint::new(
            at,
            format!("table `{}` points to `{}` more than once", holder.name, target.name),
            format!(
                "choose one with `{option} = \"…\"`: {}",
                keys.iter().map(|key| &*key.column).collect::<Vec<_>>().join(", ")
            ),
        )),
    }
}

/// The order of related rows, and whether it uses only the related table's columns. It always ends
/// in a key, so that the same rows are always in the same order.
fn related_order(
    dialect: &Dialect,
    table: &Table,
    join: Option<&Table>,
    related: &Related,
    at: &str,
) -> Result<(Vec<KeyColumn>, bool), Complaint> {
    let mut order: Vec<KeyColumn> = vec![];
    let mut own = true;
    let mut push = |alias: &str, name: &str, descending: bool, nullable: bool| {
        let sql = dialect.column(&dialect.quote(alias), name);
        if !order.iter().any(|column| column.sql == sql) {
            order.push(KeyColumn { sql, bind: "?".into(), operator: None, descending, nullable });
        }
    };

    for by in &related.order {
        match (by.column.strip_prefix("through."), join) {
            (Some(name), Some(join)) => {
                let column = join.column(name, at)?;
                push(JOIN, &column.name, by.descending, column.nullable);
                own = false;
            }
            (Some(_), None) => {
                return Err(Complaint::new(
                    at,
                    "there is no join table here to order by",
                    "order by columns of the related table",
                ));
            }
            (None, _) => {
                let column = table.column(&by.column, at)?;
                push(RELATED, &column.name, by.descending, column.nullable);
            }
        }
    }

    for name in &table.key {
        push(RELATED, name, false, false);
    }

    if let Some(join) = join.filter(|_| !own) {
        join.key.iter().for_each(|name| push(JOIN, name, false, false));
    }

    if order.is_empty() {
        let message = format!("`{}` has no key to order related rows by", table.name);
        return Err(Complaint::new(at, message, "name columns with `order = [\"…\"]`"));
    }

    Ok((order, own))
}
