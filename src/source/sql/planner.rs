//! Turns a resource's specification into a plan: resolves names, collects complaints. `relations`
//! does the related rows.

use super::{
    catalogue::{Catalogue, Table, fill},
    described::described,
    keyset::KeyColumn,
    places::KeyType,
    plan::{Output, Plan, Select},
    rewrite::{Rewrite, choose},
};
use crate::{
    described::Described,
    row::{Column, Field, Fields, Part, Shape},
    source::{ColumnSpec, Complaint, FieldSpec, OrderBy, RowBounds, Spec},
};

/// Resolves a specification, or returns everything that is wrong with it.
pub(in crate::source) fn plan(spec: &Spec, catalogue: &Catalogue) -> Result<(Plan, Fields), Vec<Complaint>> {
    let table = catalogue.table(&spec.table, "table").map_err(|complaint| vec![complaint])?;
    let mut planner = Planner::new(spec, table, catalogue);
    planner.order();
    let fields = planner.fields();
    planner.filters();
    planner.plan.rules = (0..planner.plan.ones.len() + planner.plan.relations.len()).collect();
    if planner.complaints.is_empty() { Ok((planner.plan, fields)) } else { Err(planner.complaints) }
}

/// A plan that is being made, and the complaints so far.
pub(super) struct Planner<'a> {
    pub(super) spec: &'a Spec,
    pub(super) table: &'a Table,
    pub(super) catalogue: &'a Catalogue,
    pub(super) plan: Plan,
    pub(super) complaints: Vec<Complaint>,
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
            own_key: None,
            order_names: vec![],
            order_types: vec![],
            order_named: 0,
            rewrites: vec![],
            guesses: vec![],
            relations: vec![],
            ones: vec![],
            rules: vec![],
            related_rewrites: vec![],
            outputs: vec![],
            columns: vec![],
            described: vec![],
            filters: vec![],
            open: 0,
            scoped: vec![],
            filter_columns: vec![],
            unproven: table.key.is_empty() || table.key_can_be_null,
            is_view: table.is_view,
            unstable_key: table.unstable_key,
            bounds: RowBounds::default(),
            fails_when_too_large: spec.fails_when_too_large,
        };

        Planner { spec, table, catalogue, plan, complaints: vec![] }
    }

    /// Keeps a complaint. `None` if there was one.
    fn kept<T>(&mut self, result: Result<T, Complaint>) -> Option<T> {
        result.map_err(|complaint| self.complaints.push(complaint)).ok()
    }

    /// A column of the main table as SQL.
    pub(super) fn own(&self, column: &str) -> String {
        self.plan.dialect.column(&self.plan.table, column)
    }

    /// The index of a select, added if it is new.
    pub(super) fn select(&mut self, select: Select) -> usize {
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
        let select = Select::new(&column.read, self.own(&column.name), column.json).measured(column.length);
        Ok(self.select(select))
    }

    /// The same, in a form that can be bound again.
    pub(super) fn select_key(&mut self, name: &str, at: &str) -> Result<usize, Complaint> {
        let column = self.table.column(name, at)?;
        let length = column.key_length(self.plan.dialect);
        let select = Select::new(&column.read_key, self.own(&column.name), false).measured(length);
        Ok(self.select(select))
    }

    fn order(&mut self) {
        let mut order = self.spec.order.clone();
        let declared = !self.spec.key.is_empty();
        // The table's own key comes after a declared one, which may be less unique than its author
        // thinks.
        let key: Vec<&String> = self.spec.key.iter().chain(&self.table.key).collect();
        if key.is_empty() {
            self.complaints.push(Complaint::new(
                "table",
                format!("`{}` has no key that tells its rows apart", self.table.name),
                "name the columns that do with `key = [\"…\"]`, or give the table a primary key",
            ));
        }

        // Names may be written in another case, and two columns may differ in case only. So columns
        // are compared, not names.
        let table = self.table;
        let spelled =
            |name: &str| table.column(name, "").map_or_else(|_| name.to_owned(), |column| column.name.clone());
        for (index, column) in key.into_iter().enumerate() {
            if index == self.spec.key.len() {
                self.plan.order_named = order.len();
            }
            let name = spelled(column);
            if !order.iter().any(|by| spelled(&by.column) == name) {
                order.push(OrderBy { column: name, descending: false });
            }
        }

        if self.table.key.is_empty() {
            self.plan.order_named = order.len();
        }

        let mut names: Vec<String> = vec![];
        for by in order {
            let at = if declared && self.spec.key.contains(&by.column) { "key" } else { "order" };
            let resolved = self.table.column(&by.column, at);
            let Some(column) = self.kept(resolved) else { continue };
            let own = self.own(&column.name);
            let name = column.name.clone();
            if names.contains(&name) {
                self.complaints.push(Complaint::new(
                    at,
                    format!("column `{name}` stands twice in the order"),
                    "name it once",
                ));
                continue;
            }
            names.push(name.clone());
            if let Some(why) = column.unordered {
                let message = format!("column `{name}` cannot be part of an order: {why}");
                self.complaints.push(Complaint::new(at, message, "order by another column, or make a view of it"));
                continue;
            }
            // Rows with different keys must differ in the order too, even if the column's own
            // collation equates them.
            let is_key = |keys: &[String]| keys.iter().any(|key| spelled(key) == name);
            let usual = column.bind_key.as_ref().unwrap_or(&column.bind);
            let (made, bind) = match (&column.exact, &column.as_in_key) {
                // A value that was read unchanged is compared unchanged.
                (Some(exact), _) if self.plan.unproven && is_key(&self.spec.key) => {
                    (exact.as_str(), column.bind_key.as_ref().map_or(&*column.bind, |_| "?"))
                }
                (_, Some(as_in_key)) if is_key(&self.table.key) => (as_in_key.as_str(), usual.as_str()),
                _ => ("?", usual.as_str()),
            };
            let sql = fill(made, &own);
            let bind = bind.to_owned();
            let nullable = column.nullable;
            // If it is compared as another text, the type's own operator does not apply.
            let operator = column.operator.clone().filter(|_| made == "?");
            let length = column.key_length(self.plan.dialect);
            let select = Select::new(&column.read_key, own, false).measured(length);
            let select = self.select(select);
            self.plan.key.push(select);
            let named = if self.table.key.is_empty() { &self.spec.key } else { &self.table.key };
            if let [key] = &named[..]
                && spelled(key) == name
            {
                self.plan.own_key = Some(select);
            }
            self.plan.order_types.push(KeyType::of(column));
            self.plan.order.push(KeyColumn { sql, bind, operator, descending: by.descending, nullable });
            self.plan.order_names.push(OrderBy { column: name, descending: by.descending }.text());
        }
    }

    fn fields(&mut self) -> Fields {
        let every = || {
            let field = |name: &String| (name.clone(), FieldSpec::Column(name.clone().into()));
            self.table.declared().map(|column| field(&column.name)).collect()
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
                FieldSpec::Cursor => Ok(Field::Cursor),
                FieldSpec::Via { via, related } => self.via(name, via, related, &at),
                FieldSpec::Through { through, on, to, related } => self.through(name, (through, on, to), related, &at),
                FieldSpec::From { on, related } => self.from(name, on, related, &at),
            };
            fields.extend(self.kept(field).map(|field| (name.clone(), field)));
        }

        fields
    }

    /// Adds a column of the source. Returns its index.
    pub(super) fn output(&mut self, name: &str, output: Output, shape: Shape, described: Described) -> usize {
        self.plan.outputs.push(output);
        self.plan.described.push(described);
        self.plan.columns.push(Column { name: name.to_owned(), shape });
        self.plan.outputs.len() - 1
    }

    fn column(&mut self, name: &str, column: &ColumnSpec, at: &str) -> Result<Field, Complaint> {
        let select = self.select_own(&column.name, &format!("{at}.column"))?;
        let rewrite = self.rewrite(self.table, column, at)?;
        let described = described(self.table.column(&column.name, at)?, rewrite.as_ref());
        let output = match rewrite {
            Some(rewrite) => Output::Rewritten(self.add_rewrites(vec![(select, rewrite)])),
            None => Output::Select(select),
        };
        Ok(Field::Column(self.output(name, output, Shape::Scalar, described)))
    }

    /// The rewrite of a column's values, if they are not shown as they are.
    pub(super) fn rewrite(&mut self, table: &Table, spec: &ColumnSpec, at: &str) -> Result<Option<Rewrite>, Complaint> {
        let column = table.column(&spec.name, at)?;
        let refers = table.key.contains(&column.name) || table.foreign_keys.iter().any(|key| key.column == column.name);
        let choice = choose(&spec.style, self.spec.values, column, refers, at)?;
        self.plan.guesses.extend(choice.guess);
        Ok(choice.rewrite)
    }

    /// Adds rewrites of selects. Returns the index of the first.
    pub(super) fn add_rewrites(&mut self, rewrites: Vec<(usize, Rewrite)>) -> usize {
        let first = self.plan.rewrites.len();
        self.plan.rewrites.extend(rewrites);
        first
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
            let described = described(self.table.column(&inner[..close], at)?, None);
            let part = self.output(&inner[..close], Output::Select(select), Shape::Scalar, described);
            parts.push(Part::Column(part));
            rest = &inner[close + 1..];
        }

        parts.push(Part::Literal(literal(rest)));
        parts.retain(|part| *part != Part::Literal(String::new()));
        Ok(Field::Link(parts))
    }
}

/// Literal text of a link, with characters that a path cannot hold percent-encoded.
fn literal(text: &str) -> String {
    use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
    const UNSAFE: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'\\').add(b'^').add(b'`');
    utf8_percent_encode(text, UNSAFE).to_string()
}
