//! Reads the tables of a SQLite file (<https://www.sqlite.org/pragma.html>).

use rusqlite::{Connection, Result, params};

use super::{DIALECT, views};
use crate::source::{
    Operand, ValueType, ViewReads,
    sql::catalogue::{Catalogue, ForeignKey, Holds, Table, TableColumn},
};

/// Reads the catalogue of the `main` schema.
pub(super) fn read(connection: &mut Connection) -> Result<Catalogue> {
    let mut tables = read_tables(connection)?;
    resolve_references(&mut tables);
    views::note_reads(connection, &mut tables)?;
    Ok(Catalogue { dialect: &DIALECT, tables })
}

fn read_tables(connection: &Connection) -> Result<Vec<Table>> {
    let mut list = connection.prepare(
        "SELECT name, type, wr, strict FROM pragma_table_list WHERE schema = 'main' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\' \
         AND type IN ('table', 'view', 'virtual') ORDER BY name",
    )?;

    let names = list.query_map([], |row| Ok((row.get(0)?, row.get::<_, String>(1)?, row.get(2)?, row.get(3)?)))?;
    let mut tables = vec![];
    for name in names {
        let (name, kind, without_rowid, is_strict): (String, String, bool, bool) = name?;
        match table(connection, name.clone(), &kind, without_rowid, is_strict) {
            Ok(table) => tables.push(table),
            // A view of a table or function that is gone, or a module that is missing: the rest can
            // be read.
            Err(error) if kind != "table" => {
                tracing::debug!(%kind, name, %error, "SQLite cannot read it");
                let sql = DIALECT.quote(&name);
                let is_view = kind == "view";
                let reads = ViewReads { columns: vec![], doubt: Some(views::refused(&error)) };
                let reads = Some(reads);
                tables.push(Table { sql, full_name: name.clone(), name, is_view, reads, ..Table::default() });
            }
            Err(error) => return Err(error),
        }
    }

    Ok(tables)
}

fn table(connection: &Connection, name: String, kind: &str, without_rowid: bool, is_strict: bool) -> Result<Table> {
    let mut info = connection
        .prepare("SELECT name, type, \"notnull\", pk FROM pragma_table_xinfo(?1) WHERE hidden <> 1 ORDER BY cid")?;
    let created = connection
        .query_row("SELECT sql FROM sqlite_schema WHERE name = ?1", [&name], |row| row.get::<_, Option<String>>(0))
        .ok()
        .flatten()
        .unwrap_or_default();
    let checked = checked_as_json(&created);
    let mut columns = vec![];
    let mut key: Vec<(i64, String)> = vec![];
    let mut rows = info.query([&name])?;
    while let Some(row) = rows.next()? {
        let (column_name, declared, not_null, pk): (String, String, bool, i64) =
            (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
        if pk > 0 {
            key.push((pk, column_name.clone()));
        }
        let is_json = declared.eq_ignore_ascii_case("json")
            || checked.iter().any(|checked| checked.eq_ignore_ascii_case(&column_name));
        let collated = collation(connection, &name, &column_name);
        let is_binary = collated.eq_ignore_ascii_case("BINARY");
        columns.push(TableColumn {
            nullable: !not_null,
            operand: operand(&declared),
            kind: affinity(&declared).to_owned(),
            whole: affinity(&declared) == "INTEGER",
            // Elsewhere a text that looks like a number becomes one.
            has_exact_texts: is_binary && affinity(&declared) == "TEXT",
            has_ordered_bytes: is_binary,
            collation: Some(DIALECT.quote(&collated)),
            as_in_key: key_collation(connection, &name, &column_name)?
                .map(|collation| format!("? COLLATE {}", DIALECT.quote(&collation))),
            declared_as: format!("{declared}{} collate {}", if not_null { " not null" } else { "" }, collated),
            exact: Some("? COLLATE BINARY".to_owned()),
            // Any value may be in any column. SQLite reads neither the type nor the length of one
            // from its bytes.
            length: "CASE WHEN typeof(?) IN ('text', 'blob') THEN octet_length(?) END",
            text: affinity(&declared) == "TEXT",
            // A value in a TEXT column is text, or bytes, which are shown as text.
            is_typed: kind == "table" && (is_strict || affinity(&declared) == "TEXT"),
            json: is_json,
            holds: if is_json { Some(Holds::new(ValueType::Json)) } else { holds(&declared) },
            ..TableColumn::plain(column_name)
        });
    }

    key.sort();
    let mut key: Vec<String> = key.into_iter().map(|(_, name)| name).collect();
    let (indexed, key_has_index) = indexes(connection, &name)?;

    // A key of one INTEGER column without an index of its own *is* the rowid, and never NULL.
    let is_rowid = kind == "table" && !without_rowid && key.len() == 1 && !key_has_index;
    for column in &mut columns {
        if key.contains(&column.name) && (is_rowid || without_rowid) {
            column.nullable = false;
            column.is_typed |= is_rowid;
        }
    }

    // Other key columns may be NULL in SQLite, even in many rows; the rowid then identifies them.
    let key_can_be_null = columns.iter().any(|column| column.nullable && key.contains(&column.name));
    if kind == "table" && !without_rowid && !is_rowid {
        let free = ["rowid", "_rowid_", "oid"]
            .into_iter()
            .find(|name| !columns.iter().any(|column| column.name.eq_ignore_ascii_case(name)));
        if let Some(rowid) = free {
            columns.push(TableColumn {
                kind: "INTEGER".into(),
                holds: Some(Holds::new(ValueType::Integer)),
                whole: true,
                nullable: false,
                operand: Some(Operand::Integer),
                declared: false,
                ..TableColumn::plain(rowid.into())
            });
            if key.is_empty() || key_can_be_null {
                key.push(rowid.into());
            }
        }
    }

    if kind != "table" {
        key.clear();
    }

    let foreign_keys = foreign_keys(connection, &name)?;
    // VACUUM may renumber rowids that no column holds, and then changes the schema's version.
    let unstable = columns.iter().any(|column| !column.declared && key.contains(&column.name));
    let version = connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
    Ok(Table {
        sql: DIALECT.quote(&name),
        full_name: name.clone(),
        schema: String::new(),
        elsewhere: false,
        name,
        comment: None,
        is_view: kind == "view",
        is_part: false,
        is_small: true,
        columns,
        key,
        key_can_be_null: false,
        foreign_keys,
        indexed,
        unstable_key: unstable.then_some(version),
        reads: None,
    })
}

/// The first column of each index that holds all rows, and whether the primary key has an index.
fn indexes(connection: &Connection, table: &str) -> Result<(Vec<String>, bool)> {
    let mut list = connection.prepare(
        "SELECT i.name, l.origin FROM pragma_index_list(?1) AS l, pragma_index_info(l.name) AS i \
         WHERE l.partial = 0 AND i.seqno = 0 AND i.name IS NOT NULL ORDER BY l.seq",
    )?;
    let rows = list.query_map([table], |row| Ok((row.get::<_, String>(0)?, row.get::<_, String>(1)?)))?;
    let found: Vec<(String, String)> = rows.collect::<Result<_>>()?;
    let key = found.iter().any(|(_, origin)| origin == "pk");
    Ok((found.into_iter().map(|(name, _)| name).collect(), key))
}

/// The foreign keys of one column. `to` is empty if the declaration leaves it to the other table's
/// key.
fn foreign_keys(connection: &Connection, table: &str) -> Result<Vec<ForeignKey>> {
    let mut list = connection.prepare(
        "SELECT \"from\", \"table\", coalesce(\"to\", '') FROM pragma_foreign_key_list(?1) \
         WHERE id NOT IN (SELECT id FROM pragma_foreign_key_list(?1) WHERE seq > 0) ORDER BY id DESC",
    )?;
    let rows = list
        .query_map(params![table], |row| Ok(ForeignKey { column: row.get(0)?, table: row.get(1)?, to: row.get(2)? }))?;
    rows.collect()
}

fn declared_key(table: &Table) -> Vec<String> {
    table.declared_key().into_iter().map(str::to_owned).collect()
}

/// Spells the names in foreign keys as the tables themselves do, and drops keys to missing tables.
fn resolve_references(tables: &mut [Table]) {
    let known: Vec<(String, Vec<String>, Vec<String>)> = tables
        .iter()
        .map(|table| {
            (table.name.clone(), declared_key(table), table.columns.iter().map(|column| column.name.clone()).collect())
        })
        .collect();
    for key in tables.iter_mut().flat_map(|table| &mut table.foreign_keys) {
        let Some((name, primary, columns)) = known.iter().find(|(name, ..)| name.eq_ignore_ascii_case(&key.table))
        else {
            continue;
        };
        key.table.clone_from(name);
        let to = match (&*key.to, &primary[..]) {
            ("", [one]) => Some(one),
            (to, _) => columns.iter().find(|column| column.eq_ignore_ascii_case(to)),
        };
        key.to = to.cloned().unwrap_or_default();
    }

    for table in tables {
        table.foreign_keys.retain(|key| !key.to.is_empty());
    }
}

/// The columns that a table's declaration checks to be JSON, as Django's does: `CHECK
/// ((JSON_VALID("doc") OR "doc" IS NULL))`.
fn checked_as_json(created: &str) -> Vec<String> {
    let lower = created.to_ascii_lowercase();
    let name = |at: usize| {
        let argument = created[at..].trim_start().strip_prefix('(')?.trim_start();
        let close = match argument.chars().next()? {
            '[' => ']',
            quote @ ('"' | '`') => quote,
            _ => return Some(argument[..argument.find([')', ','])?].trim().to_owned()),
        };
        Some(argument[1..].split(close).next()?.to_owned())
    };
    // A check of the whole table counts for its column too. A match in a comment or a text does no
    // harm, since a value that is no JSON is written as text.
    lower.match_indices("json_valid").filter_map(|(at, found)| name(at + found.len())).collect()
}

/// The collation of a column; SQLite does not tell that of a view's column, which is taken as the
/// default.
fn collation(connection: &Connection, table: &str, column: &str) -> String {
    let told = connection.column_metadata(Some("main"), table, column).ok().and_then(|told| told.1?.into_string().ok());
    told.unwrap_or_else(|| "BINARY".to_owned())
}

/// The collation of a column in the primary key's index, if it differs from the column's own.
fn key_collation(connection: &Connection, table: &str, column: &str) -> Result<Option<String>> {
    let mut found = connection.prepare_cached(
        "SELECT i.coll FROM pragma_index_list(?1) AS l, pragma_index_xinfo(l.name) AS i \
         WHERE l.origin = 'pk' AND i.name = ?2 AND i.key = 1",
    )?;
    let mut rows = found.query(params![table, column])?;
    let told: Option<String> = rows.next()?.map(|row| row.get(0)).transpose()?;
    let own = collation(connection, table, column);
    Ok(told.filter(|told| !told.eq_ignore_ascii_case(&own)))
}

/// SQLite's affinity of a declared type, by a name that `CAST` takes; empty for none.
fn affinity(declared: &str) -> &'static str {
    let declared = declared.to_ascii_uppercase();
    let has = |words: &[&str]| words.iter().any(|word| declared.contains(word));
    match () {
        () if has(&["INT"]) => "INTEGER",
        () if has(&["CHAR", "CLOB", "TEXT"]) => "TEXT",
        () if declared.is_empty() || declared == "ANY" || has(&["BLOB"]) => "",
        () if has(&["REAL", "FLOA", "DOUB"]) => "REAL",
        () => "NUMERIC",
    }
}

/// What the values of a declared type are, though SQLite keeps any value in it. Django uses
/// `char(32)` only for UUIDs, but `bigint` for durations too.
fn holds(declared: &str) -> Option<Holds> {
    let declared = declared.trim().to_ascii_lowercase();
    let (name, arguments) = declared.split_once('(').unwrap_or((&declared, ""));
    let arguments = arguments.trim_end_matches(')');
    let numeric = Holds { as_doubles: true, ..Holds::new(ValueType::Decimal) };
    Some(match (name.trim(), affinity(&declared)) {
        ("bool" | "boolean", _) => Holds::new(ValueType::Boolean),
        ("date", _) => Holds::new(ValueType::Date),
        ("time", _) => Holds::new(ValueType::Time),
        ("datetime" | "timestamp", _) => Holds::new(ValueType::DateTime),
        ("uuid", _) => Holds::new(ValueType::Uuid),
        ("dec" | "decimal" | "numeric", _) => Holds { decimals: decimals(arguments), ..numeric },
        ("char", _) if arguments.trim() == "32" => {
            Holds { perhaps: Some(ValueType::Uuid), ..Holds::new(ValueType::Text) }
        }
        ("bigint", _) => Holds { perhaps: Some(ValueType::Duration), ..Holds::new(ValueType::Integer) },
        (_, "INTEGER") => Holds::new(ValueType::Integer),
        (_, "TEXT") => Holds::new(ValueType::Text),
        (_, "REAL") => Holds::new(ValueType::Float),
        ("blob", _) => Holds::new(ValueType::Bytes),
        _ => return None,
    })
}

/// The decimals of `(10, 2)`; with a precision alone there are none.
fn decimals(arguments: &str) -> Option<u8> {
    match arguments.split_once(',') {
        Some((_, decimals)) => decimals.trim().parse().ok(),
        None if arguments.trim().is_empty() => None,
        None => Some(0),
    }
}

/// The syntax of a filter's value, such that the column's affinity converts it as it converted the
/// stored values.
fn operand(declared: &str) -> Option<Operand> {
    let words = declared.to_ascii_uppercase();
    match affinity(declared) {
        "INTEGER" => Some(Operand::Integer),
        "REAL" => Some(Operand::Number),
        "NUMERIC" if words.contains("BOOL") => Some(Operand::Integer),
        "NUMERIC" if words.contains("NUM") || words.contains("DEC") => Some(Operand::Number),
        // A DATE column or the like holds text.
        "TEXT" | "NUMERIC" => Some(Operand::Text),
        _ => None,
    }
}
