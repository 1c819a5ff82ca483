//! The columns that conditions may be on: of the table, and of the one row that a column points to.

use super::{
    catalogue::TableColumn,
    plan::{FilterColumn, PointedRow, RELATED},
    planner::Planner,
    relations::Pointed,
};
use crate::source::{ColumnSpec, Complaint, FieldSpec, Filter, is_parameter};

impl<'a> Planner<'a> {
    /// Resolves the columns that requests may filter by, and then those of the scope.
    pub(super) fn filters(&mut self) {
        let named = self.spec.filters.clone();
        for name in named.clone().unwrap_or_else(|| self.usual_filters()) {
            match self.filter(&name, "filters") {
                Ok((filter, _)) if is_parameter(&filter.column) => {
                    // Without names of the operator's own such a column is left out without a word.
                    if named.is_some() {
                        let message = format!("column `{}` is a parameter of every list", filter.column);
                        self.complaints.push(Complaint::new("filters", message, "leave it out of the filters"));
                    }
                }
                Ok(resolved) => {
                    self.add_filter(resolved);
                }
                Err(complaint) => {
                    if named.is_some() {
                        self.complaints.push(complaint);
                    }
                }
            }
        }

        self.plan.open = self.plan.filters.len();
        for name in &self.spec.scope {
            match self.filter(name, &format!("scope.{name}")) {
                Ok(resolved) => {
                    let index = self.add_filter(resolved);
                    self.plan.scoped.push(index);
                }
                Err(complaint) => self.complaints.push(complaint),
            }
        }
    }

    /// Adds a column, unless it is there already; returns its index.
    fn add_filter(&mut self, (filter, column): (Filter, FilterColumn)) -> usize {
        let known = self.plan.filters.iter().position(|known| *known == filter);
        known.unwrap_or_else(|| {
            self.plan.filter_columns.push(column);
            self.plan.filters.push(filter);
            self.plan.filters.len() - 1
        })
    }

    /// The columns that a request may filter by if the configuration names none: those of the key
    /// and of indexes, if a field shows the column. By filters, above all by `like`, a client can
    /// find out a value letter by letter; if each row shows the value, there is nothing to find
    /// out. A column that is only in a link, a relation or the order is not shown. Nor is one with
    /// the same label for several values.
    fn usual_filters(&self) -> Vec<String> {
        let same = |one: &str, other: &str| match (self.table.column(one, ""), self.table.column(other, "")) {
            (Ok(one), Ok(other)) => one.name == other.name,
            _ => false,
        };
        let is_shown = |name: &str| match &self.spec.fields {
            None => self.table.declared().any(|column| same(&column.name, name)),
            Some(fields) => {
                let shows = |column: &ColumnSpec| same(&column.name, name) && column.style.tells_values_apart();
                fields.iter().any(|(_, field)| matches!(field, FieldSpec::Column(column) if shows(column)))
            }
        };
        let quick = self.table.key.iter().chain(&self.table.indexed).chain(&self.spec.key);

        quick.filter(|name| is_shown(name)).cloned().collect()
    }

    /// Resolves the name of a column that conditions are on. A column of the table comes before one
    /// of a related row with the same name: names may hold dots.
    fn filter(&self, name: &str, at: &str) -> Result<(Filter, FilterColumn), Complaint> {
        let own = self.table.column(name, at);
        let of_related = if own.is_err() { self.pointed_filter(name, at) } else { None };
        if let Some(of_related) = of_related {
            return of_related;
        }

        let column = own?;
        let filter = filter_of(column.name.clone(), column, at)?;
        let is_indexed = self.is_quick(&column.name);
        Ok((filter, FilterColumn { is_indexed, ..filter_column(column, self.own(&column.name)) }))
    }

    /// Resolves `author.name`, a column of the row that a field or a column points to; `None` if
    /// nothing that stands before a dot points to a row.
    fn pointed_filter(&self, name: &str, at: &str) -> Option<Result<(Filter, FilterColumn), Complaint>> {
        let (pointing, (via, table), column) = name.match_indices('.').find_map(|(dot, _)| {
            let (pointing, via) = self.points(&name[..dot])?;
            Some((pointing, via, &name[dot + 1..]))
        })?;

        Some(self.pointed(&via, table.as_deref(), at).and_then(|pointed| {
            let column = pointed.target.column(column, at)?;
            let filter = filter_of(format!("{pointing}.{}", column.name), column, at)?;
            Ok((filter, self.pointed_column(&pointed, column)))
        }))
    }

    /// The column by which a field shows one related row, and the related table if it is named; or
    /// the table's own column of this name, if it is a foreign key. First its name.
    fn points(&self, name: &str) -> Option<(String, (String, Option<String>))> {
        let fields = self.spec.fields.iter().flatten().chain(&self.spec.unshown);
        let via = fields.filter(|(field, _)| field == name).find_map(|(_, field)| match field {
            FieldSpec::Via { via, related } => Some((via.clone(), related.table.clone())),
            _ => None,
        });
        if let Some(via) = via {
            return Some((name.to_owned(), via));
        }

        let column = self.table.column(name, "").ok()?.name.clone();
        let is_foreign = self.table.foreign_keys.iter().any(|key| key.column == column);
        is_foreign.then(|| (column.clone(), (column, None)))
    }

    /// Whether an index begins with a column of the table. A view has the indexes of its tables.
    fn is_quick(&self, column: &String) -> bool {
        self.table.is_view || self.table.indexed.contains(column) || self.table.key.first() == Some(column)
    }

    /// The column of a related row as SQL: a query for its value, as a field would show it. Where
    /// only one row can be related, and the database may answer that from its side too, the
    /// comparison stands inside a query for the row.
    fn pointed_column(&self, pointed: &Pointed<'_>, column: &TableColumn) -> FilterColumn {
        let dialect = self.plan.dialect;
        let sql = dialect.column(&dialect.quote(RELATED), &column.name);
        let row = PointedRow {
            table: pointed.target.sql.clone(),
            column: column.name.clone(),
            to: pointed.first.is_empty().then(|| pointed.to.clone()),
            via: pointed.via.clone(),
            is_indexed: self.is_quick(&pointed.via),
            exists: None,
        };

        if pointed.first.is_empty() && dialect.joins_exists {
            let exists = format!("EXISTS (SELECT 1 {} AND ", pointed.from);
            let row = PointedRow { exists: Some(exists), ..row };
            return FilterColumn { pointed: Some(row), ..filter_column(column, sql) };
        }

        // A query in the place of a value has no collation of its own in SQLite.
        let collate = match &column.collation {
            Some(collation) if dialect.queries_lose_collations => format!(" COLLATE {collation}"),
            _ => String::new(),
        };
        let sql = format!("{}{collate}", pointed.select(&sql));
        FilterColumn { pointed: Some(row), ..filter_column(column, sql) }
    }
}

fn filter_of(name: String, column: &TableColumn, at: &str) -> Result<Filter, Complaint> {
    let operand = column.operand.ok_or_else(|| {
        let message = format!("column `{name}` has no declared type to compare by");
        Complaint::new(at, message, format!("leave it out of the {}", at.split('.').next().unwrap_or(at)))
    })?;
    Ok(Filter { column: name, operand, range: column.range.clone() })
}

fn filter_column(column: &TableColumn, sql: String) -> FilterColumn {
    FilterColumn { sql, bind: column.bind.clone(), operator: column.operator.clone(), is_indexed: false, pointed: None }
}

#[cfg(test)]
#[cfg(feature = "sqlite")]
mod tests {
    use std::sync::Arc;

    use crate::source::{Database, DatabaseOptions, FieldSpec, Filter, Related, Source, Spec, open_database};

    const TABLES: &str = "
        CREATE TABLE author (id INTEGER PRIMARY KEY, name TEXT, organisation_id INTEGER);
        CREATE TABLE item (id INTEGER PRIMARY KEY, \"limit\" INTEGER, \"author.name\" TEXT, Owner TEXT, any,
            author_id INTEGER REFERENCES author (id), editor_id INTEGER);";

    /// The source of a specification, or where it is wrong.
    fn made(change: impl FnOnce(&mut Spec)) -> Result<Arc<dyn Source>, Vec<String>> {
        let folder = tempfile::TempDir::new().unwrap();
        let path = folder.path().join("items.sqlite");
        rusqlite::Connection::open(&path).unwrap().execute_batch(TABLES).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut options = DatabaseOptions::new(format!("sqlite:{}", path.display()));
        options.identity = Some("items".into());
        let editor = Related::default().with(|related| {
            related.table = Some("author".into());
            related.columns = vec!["name".into()];
        });
        runtime.block_on(async {
            let database: Arc<dyn Database> = open_database(&options).await.unwrap();
            let spec = Spec::of("item").with(|spec| {
                spec.fields = Some(vec![
                    ("id".into(), FieldSpec::Column("id".into())),
                    ("editor".into(), FieldSpec::Via { via: "editor_id".into(), related: editor }),
                ]);
                change(spec);
            });
            let made = database.source(&spec).await.map(|(source, _)| source);
            made.map_err(|complaints| complaints.into_iter().map(|complaint| complaint.at).collect())
        })
    }

    fn names(filters: &[Filter]) -> Vec<&str> {
        filters.iter().map(|filter| &*filter.column).collect()
    }

    #[test]
    fn a_scope_is_on_any_column_of_the_table_or_of_a_row_that_it_points_to_and_no_request_may_filter_by_it() {
        let scoped = made(|spec| {
            let scope = ["owner", "limit", "author.name", "author_id.organisation_id", "editor.organisation_id", "id"];
            spec.scope = scope.map(Into::into).into();
        });
        let source = scoped.unwrap();
        assert_eq!(names(source.filters()), ["id"], "those that are shown, as without a scope");
        let scope = ["Owner", "limit", "author.name", "author_id.organisation_id", "editor.organisation_id"];
        assert_eq!(names(source.scope()), scope, "each once, by its own name");

        let plain = made(|_| {}).unwrap();
        assert_ne!(plain.fingerprint(), source.fingerprint());
        assert_eq!(plain.places(), source.places(), "cursors stay valid");
    }

    #[test]
    fn what_cannot_be_a_scope_or_a_filter_is_complained_of_where_it_stands() {
        let wrong = made(|spec| {
            let scope = ["none", "any", "author_id.none", "editor_id.name", "editor.none", "id.name", ".", "editor."];
            spec.scope = scope.map(Into::into).into();
        });
        let expected = ["none", "any", "author_id.none", "editor_id.name", "editor.none", "id.name", ".", "editor."];
        assert_eq!(wrong.err().unwrap(), expected.map(|name| format!("scope.{name}")));
        let wrong =
            made(|spec| spec.filters = Some(["limit", "any", "editor.none", "editor.name"].map(Into::into).into()));
        assert_eq!(wrong.err().unwrap(), ["filters", "filters", "filters"]);
    }
}
