//! A schema as data: made in a database, and asked for again by plain SQL.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::kinds::Kind;
use crate::servers::Db;

/// A table with rows.
#[derive(Clone)]
pub struct Table {
    pub name: String,
    pub columns: Vec<Column>,
    /// The columns of its primary key; none where only SQLite's rowid tells its rows apart.
    pub key: Vec<usize>,
    /// Its columns that point to another table's key of one column: column and table.
    pub references: Vec<(usize, usize)>,
    /// Rows of SQL's literals.
    pub rows: Vec<Vec<String>>,
    /// What stands behind the columns.
    pub options: &'static str,
}

/// A column of a table.
#[derive(Clone)]
pub struct Column {
    pub name: String,
    pub kind: &'static Kind,
}

/// A value as the list shows it.
pub type Shown = Option<String>;

/// A name as SQL has it.
pub fn quoted(db: &Db, name: &str) -> String {
    match db.name() {
        "mariadb" => format!("`{}`", name.replace('`', "``")),
        _ => format!("\"{}\"", name.replace('"', "\"\"")),
    }
}

impl Table {
    /// The statements that make it, in a database that has the tables before it.
    pub fn ddl(&self, db: &Db, all: &[Table]) -> String {
        let name = quoted(db, &self.name);
        let column = |index: usize| quoted(db, &self.columns[index].name);
        let mut parts: Vec<String> = vec![];

        parts.extend((0..self.columns.len()).map(|index| self.column_ddl(db, index)));
        if !self.key.is_empty() {
            let key: Vec<String> = self.key.iter().map(|index| column(*index)).collect();
            parts.push(format!("PRIMARY KEY ({})", key.join(", ")));
        }

        let declared = |reference: &&(usize, usize)| self.columns[reference.0].kind.can_be_referenced();
        for (from, to) in self.references.iter().filter(declared) {
            let target = &all[*to];
            let target_key = quoted(db, &target.columns[target.key[0]].name);
            let target = quoted(db, &target.name);
            parts.push(format!("FOREIGN KEY ({}) REFERENCES {target} ({target_key})", column(*from)));
        }

        let mut sql = format!("CREATE TABLE {name} ({}){};\n", parts.join(", "), self.options);
        for (number, (from, _)) in self.references.iter().enumerate() {
            let index = quoted(db, &format!("ix {number} {}", self.name));
            sql += &format!("CREATE INDEX {index} ON {name} ({});\n", column(*from));
        }

        for rows in self.rows.chunks(200) {
            let rows: Vec<String> = rows.iter().map(|row| format!("({})", row.join(", "))).collect();
            sql += &format!("INSERT INTO {name} VALUES {};\n", rows.join(", "));
        }

        sql
    }

    /// A column as its table declares it.
    pub fn column_ddl(&self, db: &Db, index: usize) -> String {
        let Column { name, kind } = &self.columns[index];
        let in_key = self.key.contains(&index);
        let sql = if in_key { kind.sql.to_owned() } else { kind.sql.replace(" NOT NULL", "") };
        // What MariaDB does not say to be NULL is a time of its own.
        let is_null = if db.name() == "mariadb" && !in_key { " NULL" } else { "" };
        format!("{} {sql}{is_null}", quoted(db, name))
    }

    /// All rows in the order of the key, each column as the list shows it.
    pub fn read(&self, db: &Db) -> Vec<Vec<Shown>> {
        let all: Vec<usize> = (0..self.columns.len()).collect();
        let sql = format!(
            "SELECT {} FROM {} ORDER BY {}",
            self.selected(db, "", &all),
            quoted(db, &self.name),
            self.order(db, "")
        );
        read(db, &sql, &self.blobs(db, &all))
    }

    /// The rows that belong to each row, by a join as anybody would write it. `joins` may name the
    /// row as `o`, and must name the related one `r`.
    pub fn related(
        &self,
        db: &Db,
        joins: &str,
        target: &Table,
        columns: &[usize],
        count: usize,
    ) -> Vec<Vec<Vec<Shown>>> {
        let own: Vec<String> = self.columns.iter().map(|column| format!("t.{}", quoted(db, &column.name))).collect();
        let numbered = format!(
            "(SELECT {}, row_number() OVER (ORDER BY {}) AS chunkflow_row FROM {} t) o",
            own.join(", "),
            self.order(db, "t."),
            quoted(db, &self.name)
        );

        let sql = format!(
            "SELECT {}, {} FROM {numbered} {joins} ORDER BY o.chunkflow_row, {}",
            encoded(db, "o.chunkflow_row"),
            target.selected(db, "r.", columns),
            target.order(db, "r.")
        );

        let mut blobs = vec![false];
        blobs.extend(target.blobs(db, columns));
        let mut lists = vec![vec![]; count];
        for mut row in read(db, &sql, &blobs) {
            let number: usize = row.remove(0).unwrap().parse().unwrap();
            lists[number - 1].push(row);
        }

        lists
    }

    fn order(&self, db: &Db, alias: &str) -> String {
        if self.key.is_empty() {
            return format!("{alias}rowid");
        }
        let name = |index: &usize| format!("{alias}{}", quoted(db, &self.columns[*index].name));
        self.key.iter().map(name).collect::<Vec<_>>().join(", ")
    }

    fn selected(&self, db: &Db, alias: &str, columns: &[usize]) -> String {
        let shown = |index: &usize| {
            let column = &self.columns[*index];
            let name = format!("{alias}{}", quoted(db, &column.name));
            encoded(db, &column.kind.shown.split('?').collect::<Vec<_>>().join(&name))
        };
        columns.iter().map(shown).collect::<Vec<_>>().join(", ")
    }

    /// Which columns hold bytes that only the test makes base64.
    fn blobs(&self, db: &Db, columns: &[usize]) -> Vec<bool> {
        let is_blob = |index: &usize| db.name() == "sqlite" && self.columns[*index].kind.sql.starts_with("BLOB");
        columns.iter().map(is_blob).collect()
    }

    pub fn column(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|column| column.name == name)
    }
}

/// A text in a form in which no client changes it.
fn encoded(db: &Db, sql: &str) -> String {
    match db.name() {
        "postgres" => format!("coalesce('+' || encode(convert_to(({sql})::text, 'UTF8'), 'hex'), '-')"),
        "mariadb" => format!("COALESCE(CONCAT('+', HEX(CONVERT({sql} USING utf8mb4))), '-')"),
        _ => format!("CASE WHEN {sql} IS NULL THEN '-' ELSE '+' || hex({sql}) END"),
    }
}

fn read(db: &Db, sql: &str, blobs: &[bool]) -> Vec<Vec<Shown>> {
    let rows = db.query(sql).unwrap_or_else(|error| panic!("{error}\n{sql}"));
    let shown = |(cell, is_blob): (&String, &bool)| {
        let hex = cell.strip_prefix('+')?;
        let bytes: Vec<u8> =
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect();
        Some(if *is_blob { STANDARD.encode(bytes) } else { String::from_utf8(bytes).unwrap() })
    };
    rows.iter().map(|row| row.iter().zip(blobs).map(shown).collect()).collect()
}
