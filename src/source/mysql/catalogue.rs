//! Reads the tables of MySQL and MariaDB from the catalogue
//! (<https://dev.mysql.com/doc/refman/8.4/en/information-schema.html>).

use std::{
    collections::{BTreeSet, HashMap},
    ops::RangeInclusive,
};

use mysql_async::{Conn, Error, Row, prelude::Queryable};

use super::{
    DIALECT,
    connect::ServerFacts,
    views,
    wire::{text, whole},
};
use crate::source::{
    Operand, ValueType,
    sql::catalogue::{Catalogue, ForeignKey, Holds, Table, TableColumn, tell_apart},
};

/// A related table of at most this size, in estimated rows and bytes, may be read whole for a run
/// of rows.
const SMALL_TABLE: (i64, i64) = (256, 32 * 1024);

/// The tables of every database, since a configuration may name one of another; those of the URL's
/// own database are marked. Names that differ only in case are sorted apart: they are different
/// names on servers whose file names are case-sensitive.
const TABLES: &str = "
SELECT TABLE_SCHEMA, TABLE_NAME, TABLE_TYPE, TABLE_COMMENT,
    IF(@@lower_case_table_names = 0, BINARY TABLE_SCHEMA = BINARY DATABASE(), TABLE_SCHEMA = DATABASE()),
    COALESCE(TABLE_ROWS, 0), COALESCE(DATA_LENGTH, 0), COALESCE(AVG_ROW_LENGTH, 0)
FROM information_schema.TABLES
WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema') AND TABLE_TYPE <> 'SEQUENCE'
ORDER BY BINARY TABLE_SCHEMA, BINARY TABLE_NAME";

const COLUMNS: &str = "
SELECT TABLE_SCHEMA, TABLE_NAME, COLUMN_NAME, IS_NULLABLE = 'YES', DATA_TYPE, COLUMN_TYPE, CHARACTER_SET_NAME, COLLATION_NAME,
    NUMERIC_PRECISION, NUMERIC_SCALE, EXTRA LIKE '%INVISIBLE%'
FROM information_schema.COLUMNS
WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')
ORDER BY BINARY TABLE_SCHEMA, BINARY TABLE_NAME, ORDINAL_POSITION";

/// Each column of each index, the primary key first.
const INDEXES: &str = "
SELECT TABLE_SCHEMA, TABLE_NAME, INDEX_NAME, NON_UNIQUE = 0, COLUMN_NAME, SUB_PART IS NULL, COLLATION = 'D', INDEX_TYPE
FROM information_schema.STATISTICS
WHERE TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')
ORDER BY BINARY TABLE_SCHEMA, BINARY TABLE_NAME, INDEX_NAME <> 'PRIMARY', NON_UNIQUE, INDEX_NAME, SEQ_IN_INDEX";

const FOREIGN_KEYS: &str = "
SELECT TABLE_SCHEMA, TABLE_NAME, CONSTRAINT_NAME, COLUMN_NAME, REFERENCED_TABLE_SCHEMA, REFERENCED_TABLE_NAME, REFERENCED_COLUMN_NAME
FROM information_schema.KEY_COLUMN_USAGE
WHERE REFERENCED_TABLE_NAME IS NOT NULL AND TABLE_SCHEMA NOT IN ('mysql', 'sys', 'information_schema', 'performance_schema')
ORDER BY BINARY TABLE_SCHEMA, BINARY TABLE_NAME, CONSTRAINT_NAME, ORDINAL_POSITION";

/// What this catalogue knows of tables beyond the common part, by the tables' names as SQL.
pub(super) type Extras = HashMap<String, Extra>;

#[derive(Clone, Debug, Default)]
pub(super) struct Extra {
    /// The average length of a row in bytes; 0 if unknown.
    pub(super) row_length: usize,
    /// Each ordered index: its columns, and whether each is descending.
    pub(super) indexes: Vec<Vec<(String, bool)>>,
}

/// Reads the catalogue of everything that this user may read.
pub(super) async fn read(conn: &mut Conn, server: &ServerFacts) -> Result<(Catalogue, Extras), Error> {
    let mut tables = vec![];
    let mut extras = Extras::new();
    let mut places: HashMap<(String, String), usize> = HashMap::new();
    for row in conn.query::<Row, _>(TABLES).await? {
        let Some(name) = table_name(&row, 0) else { continue };
        let table = table(&row, &name);
        let row_length = whole(&row, 7).and_then(|length| usize::try_from(length).ok()).unwrap_or(0);
        extras.insert(table.sql.clone(), Extra { row_length, ..Extra::default() });
        places.insert(name, tables.len());
        tables.push(table);
    }

    tell_apart(&mut tables);
    let place = |row: &Row, at: usize| places.get(&table_name(row, at)?).copied();
    let mut texts = BTreeSet::new();
    for row in conn.query::<Row, _>(COLUMNS).await? {
        if let (Some(place), Some(name)) = (place(&row, 0), text(&row, 2)) {
            if text(&row, 4).as_deref() == Some("longtext") && !tables[place].is_view {
                texts.insert(place);
            }
            tables[place].columns.push(column(&row, name, server));
        }
    }

    if server.is_mariadb {
        for place in texts {
            // MariaDB's JSON is a text with a check. information_schema hides the check from users
            // with rights on single tables only.
            let created = conn.query_first::<Row, _>(format!("SHOW CREATE TABLE {}", tables[place].sql)).await;
            let created = created.ok().flatten().and_then(|row| text(&row, 1)).unwrap_or_default();
            for column in &mut tables[place].columns {
                if created.contains(&format!("CHECK (json_valid({}))", DIALECT.quote(&column.name))) {
                    let kind = std::mem::take(&mut column.kind);
                    *column = TableColumn { kind, ..json(column.name.clone(), column.nullable, column.declared) };
                }
            }
        }
    }

    let indexes = conn.query::<Row, _>(INDEXES).await?;
    let same = |one: &Row, other: &Row| (0..3).all(|at| text(one, at) == text(other, at));
    for index in indexes.chunk_by(same) {
        if let Some(place) = place(&index[0], 0) {
            let extra = extras.entry(tables[place].sql.clone()).or_default();
            add_index(&mut tables[place], extra, index);
        }
    }

    for key in conn.query::<Row, _>(FOREIGN_KEYS).await?.chunk_by(same) {
        let [row] = key else { continue };
        let (Some(from), Some(to)) = (place(row, 0), place(row, 4)) else { continue };
        let known = |table: &Table, at: usize| {
            let name = text(row, at)?;
            table.column(&name, "").ok().map(|column| column.name.clone())
        };
        if let (Some(column), Some(to_column)) = (known(&tables[from], 3), known(&tables[to], 6)) {
            let table = tables[to].name.clone();
            tables[from].foreign_keys.push(ForeignKey { column, table, to: to_column });
        }
    }

    views::note_reads(conn, &mut tables).await?;
    Ok((Catalogue { dialect: &DIALECT, tables }, extras))
}

/// The names of a database and a table.
fn table_name(row: &Row, at: usize) -> Option<(String, String)> {
    text(row, at).zip(text(row, at + 1))
}

fn is_set(row: &Row, at: usize) -> bool {
    whole(row, at) == Some(1)
}

fn table(row: &Row, (database, name): &(String, String)) -> Table {
    let full_name = format!("{database}.{name}");
    let is_view = text(row, 2).as_deref() == Some("VIEW");
    let within = |at: usize, most: i64| whole(row, at).is_some_and(|n| n <= most);
    Table {
        sql: format!("{}.{}", DIALECT.quote(database), DIALECT.quote(name)),
        name: if is_set(row, 4) { name.clone() } else { full_name.clone() },
        full_name,
        schema: database.clone(),
        elsewhere: !is_set(row, 4),
        // For a view the server puts the word VIEW here.
        comment: text(row, 3).filter(|comment| !comment.is_empty() && !is_view),
        is_view,
        is_small: !is_view && within(5, SMALL_TABLE.0) && within(6, SMALL_TABLE.1),
        ..Table::default()
    }
}

/// Adds an index; each row is one of its columns.
fn add_index(table: &mut Table, extra: &mut Extra, rows: &[Row]) {
    // An index may be over an expression, or over the beginning of a text; neither counts.
    let named = |row: &Row| text(row, 4).filter(|_| is_set(row, 5));
    let whole_columns: Vec<(String, bool)> =
        rows.iter().map_while(|row| named(row).map(|name| (name, is_set(row, 6)))).collect();
    let kind = text(&rows[0], 7).unwrap_or_default();
    if kind == "BTREE" {
        table.indexed.extend(whole_columns.first().map(|(name, _)| name.clone()));
        extra.indexes.push(whole_columns.clone());
    }

    let names = || whole_columns.iter().map(|(name, _)| name.clone());
    let nullable = |name: String| table.columns.iter().any(|column| column.name == name && column.nullable);
    let tells_apart = is_set(&rows[0], 3) && whole_columns.len() == rows.len() && !names().any(nullable);
    if tells_apart && table.key.is_empty() && matches!(&*kind, "BTREE" | "HASH") {
        table.key = names().collect();
    }
}

/// A JSON column, of MySQL or MariaDB.
fn json(name: String, nullable: bool, declared: bool) -> TableColumn {
    TableColumn {
        nullable,
        declared,
        json: true,
        holds: Some(Holds::new(ValueType::Json)),
        length: DIALECT.length,
        unordered: Some("JSON has no obvious order"),
        ..TableColumn::plain(name)
    }
}

/// The range of a type of whole numbers.
fn range(kind: &str, unsigned: bool) -> Option<RangeInclusive<i128>> {
    let bits = match kind {
        "tinyint" => 8,
        "smallint" => 16,
        "mediumint" => 24,
        "int" => 32,
        "bigint" | "bit" => 64,
        _ => return None,
    };
    let half = 1 << (bits - 1);
    Some(if unsigned { 0..=2 * half - 1 } else { -half..=half - 1 })
}

/// A column, with the SQL to read and compare it. A bound value is cast to the column's type, so
/// that comparisons agree with the order: MySQL compares a number with a text as doubles.
fn column(row: &Row, name: String, server: &ServerFacts) -> TableColumn {
    let nullable = is_set(row, 3);
    let declared = !is_set(row, 10);
    let kind = text(row, 4).unwrap_or_default();
    let full = text(row, 5).unwrap_or_default();
    let declared_as = format!(
        "{full}{} {} {}",
        if nullable { "" } else { " not null" },
        text(row, 6).unwrap_or_default(),
        text(row, 7).unwrap_or_default()
    );

    let holds = holds(&kind, &full);
    // Values of other types are always shorter than a row may be.
    let length = match &*kind {
        "varchar" | "text" | "mediumtext" | "longtext" | "varbinary" | "blob" | "mediumblob" | "longblob" | "json"
        | "vector" | "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring"
        | "multipolygon" | "geometrycollection" | "geomcollection" => DIALECT.length,
        _ => "",
    };

    let plain = TableColumn { nullable, declared, declared_as, holds, length, ..TableColumn::plain(name) };
    let unordered = |why| Some(why);
    match &*kind {
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "bit" | "year" => {
            let bits = kind == "bit";
            let unsigned = bits || full.contains("unsigned");
            // Excluded, since MySQL compares a year with a two-digit number as a year of this
            // century or the last.
            let whole = kind != "year";
            let range = range(&kind, unsigned);
            let kind = if unsigned { "CAST(? AS UNSIGNED)" } else { "CAST(? AS SIGNED)" }.into();
            // Bits from a subquery arrive as digits, though the column's type says bits.
            let read = || if bits { "CAST(? AS UNSIGNED)".to_owned() } else { "?".to_owned() };
            let operand = Some(Operand::Integer);
            TableColumn { operand, read: read(), read_key: read(), kind, whole, range, ..plain }
        }
        "decimal" => {
            let precision = whole(row, 8).unwrap_or(65);
            let scale = whole(row, 9).unwrap_or(0);
            // With as many decimals as possible, so that a request's value is not rounded.
            let scale = (65 - (precision - scale)).clamp(scale, 30.max(scale));
            let bind = format!("CAST(? AS DECIMAL(65,{scale}))");
            TableColumn { operand: Some(Operand::Number), kind: bind.clone(), bind, ..plain }
        }
        "float" => {
            // A FLOAT is written with its own shortest digits, but bound as the double that equals
            // it.
            let bind = if server.is_mariadb || server.version >= (8, 0, 17) { "CAST(? AS FLOAT)" } else { "(? + 0e0)" };
            let read_key = "(? + 0e0)".into();
            TableColumn { operand: Some(Operand::Number), read_key, bind: bind.into(), kind: bind.into(), ..plain }
        }
        "double" => TableColumn { operand: Some(Operand::Number), kind: "(? + 0e0)".into(), ..plain },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => {
            let charset = text(row, 6).unwrap_or_default();
            let collation = text(row, 7).unwrap_or_default();
            // A bound text is converted to the column's character set, and compared by its
            // collation.
            let as_column = |value: &str| as_text(value, &collation);
            // Others ignore spaces at the end.
            let is_bytewise = matches!(&*collation, "utf8mb4_0900_bin" | "utf8mb4_nopad_bin" | "utf8mb3_nopad_bin");
            let text = TableColumn {
                has_exact_texts: is_bytewise,
                has_ordered_bytes: is_bytewise,
                operand: Some(Operand::Text),
                text: true,
                collation: Some(collation.clone()),
                unordered: matches!(&*kind, "enum" | "set")
                    .then_some("MySQL orders it by its numbers, and compares it as text"),
                ..plain
            };
            match is_whole(&charset) {
                true => {
                    let exact = Some("CAST(CONVERT(? USING utf8mb4) AS BINARY)".into());
                    TableColumn { kind: as_column("?"), exact, ..text }
                }
                // Read as bytes, since UTF-8 would not give the text back.
                false => {
                    let (bytes, bind) = (|| "HEX(?)".to_owned(), as_column("UNHEX(?)"));
                    let kind = bind.clone();
                    let bind_key = Some(bind);
                    TableColumn { read_key: bytes(), kind, bind_key, exact: Some(bytes()), ..text }
                }
            }
        }
        // Read as hexadecimal digits, since bound text is UTF-8.
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => {
            let bind = "UNHEX(?)".to_owned();
            TableColumn { read_key: "HEX(?)".into(), kind: bind.clone(), bind, has_ordered_bytes: true, ..plain }
        }
        "date" | "datetime" | "timestamp" | "time" => {
            let bind = match &*kind {
                "date" => "CAST(? AS DATE)",
                "time" => "CAST(? AS TIME(6))",
                _ => "CAST(? AS DATETIME(6))",
            };
            // A key is the stored text, even if that is no valid date; in a list such a date is
            // NULL.
            let why = (!server.keeps_zero_dates && kind != "time")
                .then_some("this server does not compare dates that are none");
            let read_key = "CAST(? AS CHAR)".into();
            let bind = bind.to_owned();
            TableColumn { operand: Some(Operand::Text), read_key, kind: bind.clone(), bind, unordered: why, ..plain }
        }
        "json" => TableColumn { kind: "CAST(? AS JSON)".into(), ..json(plain.name, nullable, declared) },
        "uuid" | "inet4" | "inet6" => {
            let bind = format!("CAST(? AS {})", kind.to_uppercase());
            let read = || "CAST(? AS CHAR)".to_owned();
            let operand = Some(Operand::Text);
            TableColumn { operand, read: read(), read_key: read(), kind: bind.clone(), bind, ..plain }
        }
        "geometry" | "point" | "linestring" | "polygon" | "multipoint" | "multilinestring" | "multipolygon"
        | "geometrycollection" | "geomcollection" => TableColumn {
            read: "ST_AsText(?)".into(),
            unordered: unordered("MySQL has no order for its type"),
            ..plain
        },
        "vector" => TableColumn { unordered: unordered("MySQL has no order for its type"), ..plain },
        _ => {
            TableColumn { read: "CAST(? AS CHAR)".into(), unordered: unordered("its type is not known here"), ..plain }
        }
    }
}

/// What the values of a type are. Django uses `tinyint(1)` only for truth values and `char(32)`
/// only for UUIDs, but `bigint` for durations too.
fn holds(kind: &str, full: &str) -> Option<Holds> {
    Some(match kind {
        "tinyint" if full.starts_with("tinyint(1)") => Holds::new(ValueType::Boolean),
        "bigint" if !full.contains("unsigned") => {
            Holds { perhaps: Some(ValueType::Duration), ..Holds::new(ValueType::Integer) }
        }
        "tinyint" | "smallint" | "mediumint" | "int" | "bigint" | "bit" | "year" => Holds::new(ValueType::Integer),
        "decimal" => Holds::new(ValueType::Decimal),
        "float" | "double" => Holds::new(ValueType::Float),
        "char" if full == "char(32)" => Holds { perhaps: Some(ValueType::Uuid), ..Holds::new(ValueType::Text) },
        "char" | "varchar" | "tinytext" | "text" | "mediumtext" | "longtext" | "enum" | "set" => {
            Holds::new(ValueType::Text)
        }
        "binary" | "varbinary" | "tinyblob" | "blob" | "mediumblob" | "longblob" => Holds::new(ValueType::Bytes),
        "date" => Holds::new(ValueType::Date),
        "time" => Holds::new(ValueType::Time),
        "datetime" => Holds::new(ValueType::DateTime),
        "timestamp" => Holds { has_offset: Some(true), ..Holds::new(ValueType::DateTime) },
        "uuid" => Holds::new(ValueType::Uuid),
        _ => return None,
    })
}

/// A text converted to this collation, and to the character set that its name begins with.
pub(super) fn as_text(value: &str, collation: &str) -> String {
    format!("CONVERT({value} USING {}) COLLATE {}", DIALECT.quote(charset(collation)), DIALECT.quote(collation))
}

fn charset(collation: &str) -> &str {
    collation.split_once('_').map_or(collation, |(charset, _)| charset)
}

/// The collation by which MySQL compares a text of the first with one of the second, if both are
/// columns: the binary one within a character set, and Unicode's of two sets
/// (<https://mariadb.com/kb/en/coercibility/>,
/// <https://dev.mysql.com/doc/refman/8.4/en/charset-collation-coercibility.html>). MySQL refuses
/// other pairs; then the first is taken.
pub(super) fn compared_by<'a>(one: &'a str, other: &'a str) -> &'a str {
    let is_unicode = |collation: &str| charset(collation).starts_with("utf") || charset(collation) == "ucs2";
    let is_binary = |collation: &str| collation.ends_with("_bin");

    let gives_way = if charset(one) == charset(other) {
        is_binary(other) && !is_binary(one)
    } else {
        is_unicode(other) && (!is_unicode(one) || charset(other) == "utf8mb4")
    };
    if gives_way { other } else { one }
}

/// Whether every text of a character set comes back unchanged from UTF-8: tested with each code of
/// one and two bytes. Other sets have several codes for one character, or codes for none.
fn is_whole(charset: &str) -> bool {
    matches!(
        charset,
        "utf8mb4"
            | "utf8mb3"
            | "utf8"
            | "latin1"
            | "latin2"
            | "latin5"
            | "latin7"
            | "koi8r"
            | "koi8u"
            | "cp850"
            | "cp852"
            | "cp866"
            | "keybcs2"
            | "macce"
            | "macroman"
            | "ucs2"
            | "utf16"
            | "utf16le"
            | "utf32"
    )
}
