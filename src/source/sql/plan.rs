//! From what a resource asks for to what to select: names resolved, joins found, complaints collected.

use super::{
    catalogue::{Catalogue, ForeignKey, Table, TableColumn, fill},
    dialect::Dialect,
    keyset::KeyColumn,
};
use crate::{
    row::{Column, Field, Fields, Part, Shape},
    source::{Complaint, FieldSpec, Filter, OrderBy, Related, Spec},
};

/// The alias of a related table inside a query; no table of a user is called so.
pub(in crate::source) const RELATED: &str = "chunkflow_related";
/// The alias of a join table inside a query.
pub(in crate::source) const JOIN: &str = "chunkflow_join";

/// What a source selects.
#[derive(Clone, Debug)]
pub(in crate::source) struct Plan {
    pub(in crate::source) dialect: &'static Dialect,
    /// The table as SQL.
    pub(in crate::source) table: String,
    /// The operator's own condition.
    pub(in crate::source) condition: Option<String>,
    /// What the main query selects.
    pub(in crate::source) selects: Vec<Select>,
    /// The order, ending in the key.
    pub(in crate::source) order: Vec<KeyColumn>,
    /// The selects that hold the order columns.
    pub(in crate::source) key: Vec<usize>,
    /// The order as a user would write it.
    pub(in crate::source) order_names: Vec<String>,
    /// Related lists, each read by a query of its own for a whole run of rows.
    pub(in crate::source) relations: Vec<Relation>,
    /// How the source's columns are made of selects and relations.
    pub(in crate::source) outputs: Vec<Output>,
    /// The source's columns, one for each output.
    pub(in crate::source) columns: Vec<Column>,
    /// The columns that requests may filter by.
    pub(in crate::source) filters: Vec<Filter>,
    /// Each of them as SQL, and how a value is bound that is compared with it.
    pub(in crate::source) filter_columns: Vec<(String, String)>,
    /// Whether only the configuration says that the key tells rows apart, so that it must be checked.
    pub(in crate::source) unproven: bool,
    /// Whether the table is a view, which has no indexes and no NOT NULL of its own.
    pub(in crate::source) is_view: bool,
    /// What changes when the keys of rows may have changed though the rows did not.
    pub(in crate::source) unstable_key: Option<i64>,
}

/// An expression of the main query.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Select {
    pub(in crate::source) sql: String,
    pub(in crate::source) json: bool,
}

/// How a column of the source is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Output {
    /// The value of a select.
    Select(usize),
    /// An object of `len` selects from `first` on, or NULL where the select before them, the related row's key, is NULL.
    Object { first: usize, len: usize },
    /// A related list.
    Relation(usize),
}

/// A related list: which rows belong to a row, and what to take from them.
#[derive(Clone, Debug)]
pub(in crate::source) struct Relation {
    /// The select whose value the related rows point to, and its column: values are compared by its type and collation.
    pub(in crate::source) parent: usize,
    pub(in crate::source) parent_column: TableColumn,
    /// Whether all columns that are compared are declared as whole numbers, so that values can be compared outside SQL.
    pub(in crate::source) whole: bool,
    /// The join table between, if there is one.
    pub(in crate::source) join: Option<Join>,
    /// The related table, as SQL.
    pub(in crate::source) table: String,
    /// The related table's column: what the join table points to, or what points to the parent.
    pub(in crate::source) column: String,
    /// What to take, over the related table's alias, and under which names.
    pub(in crate::source) columns: Vec<Select>,
    pub(in crate::source) names: Vec<String>,
    /// The order, as SQL over the aliases.
    pub(in crate::source) order: Vec<KeyColumn>,
    /// Whether the related table may be read whole.
    pub(in crate::source) small: bool,
    /// Whether the order is over the related table's columns alone.
    pub(in crate::source) own_order: bool,
}

/// A join table.
#[derive(Clone, Debug)]
pub(in crate::source) struct Join {
    /// As SQL.
    pub(in crate::source) table: String,
    /// Its column that points to the parent.
    pub(in crate::source) on: String,
    /// Its column that points to the related table.
    pub(in crate::source) to: String,
}

/// Resolves a specification, or says everything that is wrong with it.
pub(in crate::source) fn plan(spec: &Spec, catalogue: &Catalogue) -> Result<(Plan, Fields), Vec<Complaint>> {
    let table = catalogue.table(&spec.table, "table").map_err(|complaint| vec![complaint])?;
    let mut planner = Planner::new(spec, table, catalogue);
    planner.order();
    let fields = planner.fields();
    planner.filters();
    match planner.complaints.is_empty() {
        true => Ok((planner.plan, fields)),
        false => Err(planner.complaints),
    }
}

struct Planner<'a> {
    spec: &'a Spec,
    table: &'a Table,
    catalogue: &'a Catalogue,
    plan: Plan,
    complaints: Vec<Complaint>,
}

impl<'a> Planner<'a> {
    fn new(spec: &'a Spec, table: &'a Table, catalogue: &'a Catalogue) -> Planner<'a> {
        let plan = Plan {
            dialect: catalogue.dialect,
            table: table.sql.clone(),
            condition: spec.condition.clone(),
            selects: vec![],
            order: vec![],
            key: vec![],
            order_names: vec![],
            relations: vec![],
            outputs: vec![],
            columns: vec![],
            filters: vec![],
            filter_columns: vec![],
            unproven: table.key.is_empty() || table.key_can_be_null,
            is_view: table.is_view,
            unstable_key: table.unstable_key,
        };
        Planner { spec, table, catalogue, plan, complaints: vec![] }
    }

    /// Keeps a complaint; `None` where there was one.
    fn kept<T>(&mut self, result: Result<T, Complaint>) -> Option<T> {
        result.map_err(|complaint| self.complaints.push(complaint)).ok()
    }

    /// A column of the main table as SQL.
    fn own(&self, column: &str) -> String {
        self.plan.dialect.column(&self.plan.table, column)
    }

    /// The index of a select, added if it is new.
    fn select(&mut self, select: Select) -> usize {
        match self.plan.selects.iter().position(|one| *one == select) {
            Some(index) => index,
            None => {
                self.plan.selects.push(select);
                self.plan.selects.len() - 1
            }
        }
    }

    /// The index of the select of a column of the main table.
    fn select_own(&mut self, name: &str, at: &str) -> Result<usize, Complaint> {
        let column = self.table.column(name, at)?;
        let select = Select { sql: fill(&column.read, &self.own(&column.name)), json: column.json };
        Ok(self.select(select))
    }

    /// The same, such that its value can be bound again.
    fn select_key(&mut self, name: &str, at: &str) -> Result<usize, Complaint> {
        let column = self.table.column(name, at)?;
        let select = Select { sql: fill(&column.read_key, &self.own(&column.name)), json: false };
        Ok(self.select(select))
    }

    fn order(&mut self) {
        let mut order = self.spec.order.clone();
        let declared = !self.spec.key.is_empty();
        // The table's own key stands behind a declared one, which may not be as unique as is thought.
        let key: Vec<&String> = self.spec.key.iter().chain(&self.table.key).collect();
        if key.is_empty() {
            self.complaints.push(Complaint::new(
                "table",
                format!("`{}` has no key that tells its rows apart", self.table.name),
                "name the columns that do with `key = [\"…\"]`, or give the table a primary key",
            ));
        }
        for column in key {
            if !order.iter().any(|by| by.column.eq_ignore_ascii_case(column)) {
                order.push(OrderBy { column: column.to_string(), descending: false });
            }
        }
        for by in order {
            let at = if declared && self.spec.key.contains(&by.column) { "key" } else { "order" };
            let resolved = self.table.column(&by.column, at);
            let Some(column) = self.kept(resolved) else { continue };
            let (own, name) = (self.own(&column.name), column.name.clone());
            if self.plan.order_names.iter().any(|known| known.trim_start_matches('-') == name) {
                self.complaints.push(Complaint::new(
                    at,
                    format!("column `{name}` stands twice in the order"),
                    "name it once",
                ));
                continue;
            }
            if let Some(why) = column.unordered {
                let message = format!("column `{name}` cannot be part of an order: {why}");
                self.complaints.push(Complaint::new(at, message, "order by another column, or make a view of it"));
                continue;
            }
            // What the key tells apart must differ in the order too, whatever the column's own collation.
            let is_key = |keys: &[String]| keys.iter().any(|key| key.eq_ignore_ascii_case(&name));
            let usual = column.bind_key.as_ref().unwrap_or(&column.bind);
            let (made, bind) = match (&column.exact, &column.as_in_key) {
                // What was read as it lies there is compared as it is.
                (Some(exact), _) if self.plan.unproven && is_key(&self.spec.key) => {
                    (exact.as_str(), column.bind_key.as_ref().map_or(&*column.bind, |_| "?"))
                }
                (_, Some(as_in_key)) if is_key(&self.table.key) => (as_in_key.as_str(), usual.as_str()),
                _ => ("?", usual.as_str()),
            };
            let (sql, nullable, bind) = (fill(made, &own), column.nullable, bind.to_owned());
            let select = Select { sql: fill(&column.read_key, &own), json: false };
            let select = self.select(select);
            self.plan.key.push(select);
            self.plan.order.push(KeyColumn { sql, bind, descending: by.descending, nullable });
            self.plan.order_names.push(OrderBy { column: name, descending: by.descending }.text());
        }
    }

    fn fields(&mut self) -> Fields {
        let every = || {
            self.table.declared().map(|column| (column.name.clone(), FieldSpec::Column(column.name.clone()))).collect()
        };
        let specs: Vec<(String, FieldSpec)> = self.spec.fields.clone().unwrap_or_else(every);
        if specs.is_empty() {
            self.complaints.push(Complaint::new(
                "fields",
                "a resource without fields has nothing to say",
                "name at least one field, or leave `fields` out for all columns",
            ));
        }
        let mut fields = vec![];
        for (name, spec) in &specs {
            let at = format!("fields.{name}");
            let field = match spec {
                FieldSpec::Column(column) => self.column(name, column, &at),
                FieldSpec::Link(template) => self.link(template, &at),
                FieldSpec::Via { via, related } => self.via(name, via, related, &at),
                FieldSpec::Through { through, on, to, related } => self.through(name, (through, on, to), related, &at),
                FieldSpec::From { on, related } => self.from(name, on, related, &at),
            };
            fields.extend(self.kept(field).map(|field| (name.clone(), field)));
        }
        fields
    }

    /// Adds a column of the source and gives the field that shows it.
    fn output(&mut self, name: &str, output: Output, shape: Shape) -> usize {
        self.plan.outputs.push(output);
        self.plan.columns.push(Column { name: name.to_owned(), shape });
        self.plan.outputs.len() - 1
    }

    fn column(&mut self, name: &str, column: &str, at: &str) -> Result<Field, Complaint> {
        let select = self.select_own(column, at)?;
        Ok(Field::Column(self.output(name, Output::Select(select), Shape::Scalar)))
    }

    fn link(&mut self, template: &str, at: &str) -> Result<Field, Complaint> {
        let broken =
            |why: &str| Complaint::new(at, format!("the link {why}"), "write a path such as \"/tricks/{slug}/\"");
        if !template.starts_with('/') || template.starts_with("//") {
            return Err(broken("does not start with one `/`"));
        }
        let mut parts = vec![];
        let mut rest = template;
        while let Some(open) = rest.find(['{', '}']) {
            let inner = rest[open..].strip_prefix('{').ok_or_else(|| broken("has a `}` without a `{`"))?;
            let close = inner.find('}').ok_or_else(|| broken("has a `{` without a `}`"))?;
            parts.push(Part::Literal(literal(&rest[..open])));
            let select = self.select_own(&inner[..close], at)?;
            parts.push(Part::Column(self.output(&inner[..close], Output::Select(select), Shape::Scalar)));
            rest = &inner[close + 1..];
        }
        parts.push(Part::Literal(literal(rest)));
        parts.retain(|part| *part != Part::Literal(String::new()));
        Ok(Field::Link(parts))
    }

    /// The one related row that a column points to: scalar subqueries, so that the operator's condition sees one table only.
    fn via(&mut self, name: &str, via: &str, related: &Related, at: &str) -> Result<Field, Complaint> {
        let via = self.table.column(via, at)?.name.clone();
        let foreign = self.table.foreign_keys.iter().find(|key| key.column == via);
        let target = match (&related.table, foreign) {
            (Some(table), _) => self.catalogue.table(table, at)?,
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
        let (own, dialect) = (self.own(&via), self.plan.dialect);
        let alias = dialect.quote(RELATED);
        let select = |sql: &str| {
            let to = dialect.column(&alias, &to);
            format!("(SELECT {sql} FROM {} AS {alias} WHERE {to} = {own})", target.sql)
        };
        let columns = related_columns(dialect, target, related, at)?;
        if !related.object {
            let select = self.select(Select { sql: select(&columns[0].sql), json: columns[0].json });
            return Ok(Field::Column(self.output(name, Output::Select(select), Shape::Scalar)));
        }
        // An object's values lie side by side, behind the key that says whether there is one.
        let key = target.column(&to, at)?;
        let key = Select { sql: select(&fill(&key.read, &dialect.column(&alias, &key.name))), json: false };
        self.plan.selects.push(key);
        let first = self.plan.selects.len();
        self.plan.selects.extend(columns.iter().map(|one| Select { sql: select(&one.sql), json: one.json }));
        let output = Output::Object { first, len: columns.len() };
        Ok(Field::Column(self.output(name, output, Shape::Object(names(target, related, at)?))))
    }

    fn through(
        &mut self,
        name: &str,
        (through, on, to): (&str, &Option<String>, &Option<String>),
        related: &Related,
        at: &str,
    ) -> Result<Field, Complaint> {
        let join = self.catalogue.table(through, at)?;
        let towards =
            |key: &&ForeignKey| key.table == self.table.name && to.as_ref().is_none_or(|to| *to != key.column);
        let on = reference(join, self.table, on.as_deref(), towards, "on", at)?;
        let target = match &related.table {
            Some(table) => self.catalogue.table(table, at)?,
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
        let to = reference(join, target, to.as_deref(), towards, "to", at)?;
        let columns = related_columns(self.plan.dialect, target, related, at)?;
        let (order, own_order) = related_order(self.plan.dialect, target, Some(join), related, at)?;
        let parent = self.select_key(&on.to, at)?;
        let whole = self.table.is_whole(&on.to)
            && join.is_whole(&on.column)
            && join.is_whole(&to.column)
            && target.is_whole(&to.to);
        let parent_column = self.table.column(&on.to, at)?.clone();
        let (column, join) = (to.to, Join { table: join.sql.clone(), on: on.column, to: to.column });
        let relation = Relation {
            parent,
            parent_column,
            whole,
            join: Some(join),
            table: target.sql.clone(),
            column,
            columns,
            names: names(target, related, at)?,
            order,
            small: target.is_small,
            own_order,
        };
        Ok(self.relation(name, relation, related))
    }

    fn from(&mut self, name: &str, on: &Option<String>, related: &Related, at: &str) -> Result<Field, Complaint> {
        let named = related.table.as_deref().unwrap_or_default();
        let target = self.catalogue.table(named, at)?;
        let on = reference(target, self.table, on.as_deref(), |key| key.table == self.table.name, "on", at)?;
        let columns = related_columns(self.plan.dialect, target, related, at)?;
        let (order, own_order) = related_order(self.plan.dialect, target, None, related, at)?;
        let parent = self.select_key(&on.to, at)?;
        let whole = self.table.is_whole(&on.to) && target.is_whole(&on.column);
        let parent_column = self.table.column(&on.to, at)?.clone();
        let relation = Relation {
            parent,
            parent_column,
            whole,
            join: None,
            table: target.sql.clone(),
            column: on.column,
            columns,
            names: names(target, related, at)?,
            order,
            small: target.is_small,
            own_order,
        };
        Ok(self.relation(name, relation, related))
    }

    fn relation(&mut self, name: &str, relation: Relation, related: &Related) -> Field {
        let shape = if related.object { Shape::Objects(relation.names.clone()) } else { Shape::List };
        self.plan.relations.push(relation);
        Field::Column(self.output(name, Output::Relation(self.plan.relations.len() - 1), shape))
    }

    fn filters(&mut self) {
        let named = self.spec.filters.clone();
        let usual =
            || self.table.key.iter().chain(&self.table.indexed).chain(&self.spec.key).cloned().collect::<Vec<_>>();
        for name in named.unwrap_or_else(usual) {
            let column = self.table.column(&name, "filters");
            let Some(column) = self.kept(column) else { continue };
            let why = match column.operand {
                _ if ["limit", "after"].contains(&&*column.name) => "is a parameter of every list",
                None => "has no declared type to compare by",
                Some(_) => "",
            };
            let (true, Some(operand)) = (why.is_empty(), column.operand) else {
                if self.spec.filters.is_some() {
                    let message = format!("column `{}` {why}", column.name);
                    self.complaints.push(Complaint::new("filters", message, "leave it out of the filters"));
                }
                continue;
            };
            let filter = Filter { column: column.name.clone(), operand };
            if !self.plan.filters.contains(&filter) {
                self.plan.filter_columns.push((self.own(&column.name), column.bind.clone()));
                self.plan.filters.push(filter);
            }
        }
    }
}

/// Literal text of a link, with what a path cannot hold percent-encoded.
fn literal(text: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`');
    utf8_percent_encode(text, UNSAFE).to_string()
}

/// The names of the columns to take from related rows.
fn names(table: &Table, related: &Related, at: &str) -> Result<Vec<String>, Complaint> {
    related.columns.iter().map(|name| Ok(table.column(name, at)?.name.clone())).collect()
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
    let select = |name: &String| {
        let column = table.column(name, at)?;
        Ok(Select { sql: fill(&column.read, &dialect.column(&alias, &column.name)), json: column.json })
    };
    related.columns.iter().map(select).collect()
}

/// The foreign key of `holder` that points to `target`, or the column that the user named for it.
fn reference(
    holder: &Table,
    target: &Table,
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
            None => Ok(ForeignKey { column, table: target.name.clone(), to: target.single_key(at)?.to_owned() }),
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

/// The order of related rows, and whether it needs the related table's columns alone. It always ends in a key, so that
/// the same rows always stand in the same order.
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
            order.push(KeyColumn { sql, bind: "?".into(), descending, nullable });
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
