//! A configuration for a database as it is: printed by `chunkflow init`, served by `chunkflow serve
//! URL`.

use std::{collections::HashSet, fmt::Write};

use super::{
    label::label,
    left_out::{harmless, left_out},
};
use crate::{
    paths,
    resource::is_name,
    row::Value,
    source::{Complaint, Database, FieldSpec, Related, Spec, TableInfo, Values},
    text,
};

/// How many columns the log's example has at most.
const SHOWN: usize = 8;

/// What would be served, and what would not.
pub(crate) struct Draft {
    resources: Vec<DraftResource>,
    /// Whether the tables are Django's.
    is_django: bool,
}

struct DraftResource {
    name: String,
    info: TableInfo,
    relations: Vec<DraftRelation>,
    /// Why it is not served, if it is not.
    left_out: Option<String>,
    /// Fields whose values rest on a guess with a framework's format, and what to write for each.
    hints: Vec<(String, String)>,
}

struct DraftRelation {
    name: String,
    field: FieldSpec,
    /// Why it is left out, if it is.
    off: Option<String>,
}

impl Draft {
    /// Looks at every table of a database. With `relations`, foreign keys become members with
    /// related rows, and guesses about a framework's values are noted.
    pub(crate) async fn of(database: &dyn Database, relations: bool) -> Draft {
        let tables = database.tables();
        let reasons = left_out(&tables);
        let seen = tables.iter().zip(&reasons).filter(|(_, reason)| reason.is_none());
        let seen: HashSet<&str> = seen.map(|(info, _)| &*info.name).collect();
        let is_django = tables.iter().any(|info| info.name == "django_migrations");
        let with_hints = relations && is_django;
        let mut resources: Vec<DraftResource> = vec![];
        for (info, reason) in tables.iter().zip(&reasons) {
            let name = name_of(&info.name, &tables, &resources);
            let relations = if relations { relations_of(info, &tables, &seen) } else { vec![] };
            let left_out = reason.clone();
            let info = info.clone();
            let hints = vec![];
            let mut draft = DraftResource { name, left_out, info, relations, hints };
            if draft.left_out.is_none() {
                draft.try_out(database).await;
            }
            if draft.left_out.is_none() && with_hints {
                draft.ask_for_hints(database).await;
            }
            resources.push(draft);
        }

        Draft { resources, is_django }
    }

    /// The resources that would be served.
    pub(crate) fn served(&self) -> usize {
        self.resources.iter().filter(|draft| draft.left_out.is_none()).count()
    }

    /// Tables that would be served under another name than their own, with that name.
    pub(crate) fn renamed(&self) -> impl Iterator<Item = (&str, &str)> {
        let served = self.resources.iter().filter(|draft| draft.left_out.is_none() && draft.name != draft.info.name);
        served.map(|draft| (&*draft.info.name, &*draft.name))
    }

    /// Tables that would not be served, each with the reason and with a configuration that serves
    /// it all the same.
    pub(crate) fn left_out(&self) -> impl Iterator<Item = (&str, String)> {
        self.resources.iter().filter_map(|draft| {
            let why = draft.left_out.as_deref()?;
            Some((&*draft.info.name, format!("{why}; a configuration serves it: {}", draft.example())))
        })
    }

    /// The configuration, with `url` for the database: TOML that can be served as it is.
    pub(crate) fn to_toml(&self, url: &str) -> String {
        let mut out = String::from(HEAD);
        line(&mut out, format_args!("[databases]\nmain = {}", quoted(url)));
        for draft in &self.resources {
            draft.write(self.is_django, &mut out);
        }
        out
    }
}

const HEAD: &str = "\
# The lists of a database, as `chunkflow init` found it. Each [resources.NAME] is a list at GET /NAME.
# Take out what nobody should see. `chunkflow check` says what is wrong or slow about this file;
# chunkflow.example.toml shows everything that can stand in it.

# [server]
# listen = \"127.0.0.1:8080\"
# public_url = \"https://www.example.com\"     # for absolute links; without it, scheme and host of the request
# allowed_hosts = [\"www.example.com\"]

# The URL may hold a password: ${NAME} takes it from the environment.
";

/// Writing to memory cannot fail.
fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

impl DraftResource {
    /// Leaves out what the database refuses, or would answer slowly.
    async fn try_out(&mut self, database: &dyn Database) {
        // Each round leaves out at least one thing.
        while self.left_out.is_none() {
            let spec = self.spec();
            let complaints = match database.source(&spec).await {
                Ok(_) => database.explain(&spec).await,
                Err(complaints) => complaints,
            };
            let complaints: Vec<Complaint> = complaints.into_iter().filter(|one| !one.is_note).collect();
            if complaints.is_empty() {
                return;
            }
            for complaint in complaints {
                let why = format!("{} ({})", complaint.message, complaint.remedy);
                let name = complaint.at.strip_prefix("fields.").unwrap_or_default();
                // If the whole query is refused, any of the relations may be the cause.
                let any = complaint.at == "table";
                let mut guilty = self
                    .relations
                    .iter_mut()
                    .filter(|relation| relation.off.is_none() && (any || relation.name == name))
                    .peekable();
                if guilty.peek().is_none() {
                    self.left_out = Some(why);
                    return;
                }
                guilty.for_each(|relation| relation.off = Some(why.clone()));
            }
        }
    }

    /// Finds the columns whose content only Django's models know.
    async fn ask_for_hints(&mut self, database: &dyn Database) {
        let spec = Spec { values: Values::Django { use_tz: true }, ..self.spec() };
        let notes = database.explain(&spec).await.into_iter().filter(|one| one.is_note);
        self.hints = notes.filter_map(|one| Some((one.at.strip_prefix("fields.")?.to_owned(), one.remedy))).collect();
    }

    fn spec(&self) -> Spec {
        let columns = self.info.columns.iter().map(|(name, _)| (name.clone(), FieldSpec::Column(name.clone().into())));
        let related = self.relations.iter().filter(|relation| relation.off.is_none());
        let related = related.map(|relation| (relation.name.clone(), relation.field.clone()));
        Spec { table: self.info.name.clone(), fields: Some(columns.chain(related).collect()), ..Spec::default() }
    }

    /// The resource on one line, with columns that are not secret.
    fn example(&self) -> String {
        let fields = harmless(&self.info).into_iter().take(SHOWN);
        let fields: Vec<String> = fields.map(|name| format!("{} = {}", key(name), quoted(name))).collect();
        let unkeyed = if self.info.key.is_empty() { "key = [\"…\"], " } else { "" };
        let name = key(&self.name);
        let table = quoted(&self.info.name);
        format!(
            "resources.{name} = {{ database = \"main\", table = {table}, {unkeyed}fields = {{ {} }} }}",
            fields.join(", ")
        )
    }

    fn write(&self, is_django: bool, out: &mut String) {
        out.push('\n');
        for text in self.info.comment.iter().flat_map(|comment| comment.lines()) {
            line(out, format_args!("# {}", shown(text)));
        }

        let kind = if self.info.is_view { "View" } else { "Table" };
        let table = quoted(&self.info.name);
        if let Some(why) = &self.left_out {
            line(out, format_args!("# {kind} {table} is left out: {}", shown(why)));
            let name = key(&self.name);
            line(out, format_args!("# [resources.{name}]\n# database = \"main\"\n# table = {table}"));
            if self.info.key.is_empty() {
                line(out, format_args!("# key = [\"…\"]"));
            }
            line(out, format_args!("# [resources.{name}.fields]"));
            for name in harmless(&self.info) {
                line(out, format_args!("# {} = {}", key(name), quoted(name)));
            }
            return;
        }

        line(out, format_args!("# {kind} {table}, by {}", shown(&self.info.key.join(", "))));
        line(out, format_args!("[resources.{}]\ndatabase = \"main\"\ntable = {table}", key(&self.name)));
        if is_django {
            line(out, format_args!("# values = \"django\"    # as DjangoJSONEncoder writes queryset.values()"));
        }

        if self.relations.is_empty() && self.hints.is_empty() {
            return;
        }

        line(out, format_args!("\n[resources.{}.fields]", key(&self.name)));
        for (name, _) in &self.info.columns {
            for (_, hint) in self.hints.iter().filter(|(field, _)| field == name) {
                line(out, format_args!("# {}, for Django's values: {}", key(name), shown(hint)));
            }
            line(out, format_args!("{} = {}", key(name), quoted(name)));
        }

        for relation in &self.relations {
            let field = format!("{} = {}", key(&relation.name), field(&relation.field));
            match &relation.off {
                None => line(out, format_args!("{field}")),
                Some(why) => line(out, format_args!("# {field}    # {}", shown(why))),
            }
        }
    }
}

/// A text on one line of a comment.
fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// A TOML string; JSON's escapes are valid in TOML.
fn quoted(text: &str) -> String {
    let mut out = text::Output::default();
    text::scalar(Value::Text(text.as_bytes()), &mut out);
    String::from_utf8_lossy(&out.bytes).into_owned()
}

/// A TOML key.
fn key(name: &str) -> String {
    let bare = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-');
    if !name.is_empty() && name.chars().all(bare) { name.to_owned() } else { quoted(name) }
}

fn field(field: &FieldSpec) -> String {
    let (kind, related) = match field {
        FieldSpec::Column(column) => return quoted(&column.name),
        FieldSpec::Cursor => return "{ cursor = true }".to_owned(),
        FieldSpec::Link(link) => return format!("{{ link = {} }}", quoted(link)),
        FieldSpec::Via { via, related } => (format!("via = {}", quoted(via)), related),
        FieldSpec::Through { through, on, to, related } => {
            let on = ends("on", on);
            let to = ends("to", to);
            let table = ends("table", &related.table);
            (format!("through = {}{table}{on}{to}", quoted(through)), related)
        }
        FieldSpec::From { on, related } => {
            (format!("from = {}{}", quoted(related.table.as_deref().unwrap_or_default()), ends("on", on)), related)
        }
    };

    let columns: Vec<String> = related.columns.iter().map(|column| quoted(&column.name)).collect();
    format!("{{ {kind}, columns = [{}] }}", columns.join(", "))
}

fn ends(name: &str, value: &Option<String>) -> String {
    value.as_ref().map_or(String::new(), |value| format!(", {name} = {}", quoted(value)))
}

/// The name for a table's resource: the table's own, unless that is one of the server's paths or
/// cannot be in a path. Then a name that no table has.
fn name_of(table: &str, tables: &[TableInfo], others: &[DraftResource]) -> String {
    if is_name(table) && !paths::are_taken_by(table) {
        return table.to_owned();
    }
    let mut name = table.replace(char::is_control, "_").replacen("-/", "-_", 1);
    loop {
        name.push('_');
        let taken = tables.iter().any(|other| other.name == name) || others.iter().any(|other| other.name == name);
        if is_name(&name) && !taken {
            return name;
        }
    }
}

/// Related rows by foreign keys, in tables that are `seen`: the row that a column points to, and
/// the rows behind a join table. Rows that point here may be very many; they are written as
/// comments.
fn relations_of(info: &TableInfo, tables: &[TableInfo], seen: &HashSet<&str>) -> Vec<DraftRelation> {
    let mut found: Vec<DraftRelation> = vec![];
    let taken = |found: &[DraftRelation], name: &str| {
        found.iter().any(|other| other.name == name) || info.columns.iter().any(|(column, _)| column == name)
    };

    let mut push = |wanted: String, other: String, field: FieldSpec, off: Option<String>| {
        let free = [wanted, other].into_iter().find(|name| !taken(&found, name));
        found.extend(free.map(|name| DraftRelation { name, field, off }));
    };

    let named = |name: &str| tables.iter().find(|table| table.name == name);
    // A name without a schema means this table's own schema first.
    let called = |target: &TableInfo| {
        let beside = format!("{}.{}", info.schema, target.name);
        let other = tables.iter().any(|table| table.full_name == beside && table.name != target.name);
        if other { target.full_name.clone() } else { target.name.clone() }
    };

    for (column, target, _) in &info.references {
        let Some(target) = named(target).filter(|target| seen.contains(&*target.name)) else { continue };
        let name = column.strip_suffix("_id").unwrap_or(column).to_owned();
        let field = FieldSpec::Via { via: column.clone(), related: related(target, None) };
        push(name, format!("{column}_row"), field, None);
    }

    for join in tables.iter().filter(|join| joins(join) && seen.contains(&*join.name)) {
        for (index, (on, here, _)) in join.references.iter().enumerate().filter(|(_, key)| key.1 == info.name) {
            let (to, there, _) = &join.references[1 - index];
            let Some(target) = named(there).filter(|target| seen.contains(&*target.name)) else { continue };
            // A table that is joined with itself has two references to it, so both columns must be
            // named.
            let both = (here == there).then(|| (on.clone(), to.clone()));
            let (on, to_column) = both.unzip();
            let field = FieldSpec::Through {
                through: called(join),
                on,
                to: to_column,
                related: related(target, Some(called(target))),
            };
            let bare = |name: &str| name.rsplit_once('.').map_or(name, |(_, bare)| bare).to_owned();
            push(bare(&target.name), format!("{}_{}", bare(&join.name), to), field, None);
        }
    }

    for other in tables.iter().filter(|other| !joins(other) && seen.contains(&*other.name)) {
        let pointing: Vec<_> = other.references.iter().filter(|key| key.1 == info.name).collect();
        for (column, ..) in &pointing {
            let on = (pointing.len() > 1).then(|| column.clone());
            let field = FieldSpec::From { on, related: related(other, Some(called(other))) };
            let bare = other.name.rsplit_once('.').map_or(&*other.name, |(_, bare)| bare);
            let off = "rows that point here can be very many".to_owned();
            push(bare.to_owned(), format!("{bare}_{column}"), field, Some(off));
        }
    }

    found
}

/// Whether a table only joins two others: two references, and little else.
fn joins(info: &TableInfo) -> bool {
    info.references.len() == 2
        && info.references[0].0 != info.references[1].0
        && info.columns.len() <= 4
        && !info.is_view
}

/// The key of a related row and the column that names it for people.
fn related(target: &TableInfo, table: Option<String>) -> Related {
    // SQLite's rowid identifies rows, but is no declared column.
    let declared = |key: &&String| target.columns.iter().any(|(name, _)| name == *key);
    let mut columns: Vec<String> = target.key.iter().filter(declared).cloned().collect();
    if let Some(label) = label(target).filter(|label| !columns.iter().any(|column| column.eq_ignore_ascii_case(label)))
    {
        columns.push(label);
    }
    Related { table, columns: columns.into_iter().map(Into::into).collect(), object: true, order: vec![] }
}
