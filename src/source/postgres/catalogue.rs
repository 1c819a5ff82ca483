//! Reads PostgreSQL's tables from the catalogue
//! (<https://www.postgresql.org/docs/current/catalogs.html>).

use std::{collections::HashMap, ops::RangeInclusive};

use tokio_postgres::{Client, Row, types::Type};

use super::{DIALECT, views, wire::Wire};
use crate::source::{
    Operand, ValueType,
    sql::catalogue::{Catalogue, ForeignKey, Holds, Table, TableColumn, tell_apart},
};

/// A related table of at most this size, in bytes on disk, may be read whole for a run of rows.
const SMALL_TABLE: i64 = 32 * 1024;

/// Types that are written as an object's name but stored as its number.
const NAMES_OF_OBJECTS: &[&str] = &[
    "regclass",
    "regcollation",
    "regconfig",
    "regdictionary",
    "regnamespace",
    "regoper",
    "regoperator",
    "regproc",
    "regprocedure",
    "regrole",
    "regtype",
];

const TABLES: &str = "
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind::text, pg_table_is_visible(c.oid), obj_description(c.oid, 'pg_class'),
    c.relispartition, CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 2147483648 END::int8
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    AND has_schema_privilege(n.oid, 'USAGE') AND has_any_column_privilege(c.oid, 'SELECT')
ORDER BY n.nspname, c.relname";

/// Each column with its type; for a domain, the type below it. A type has its name in `pg_type`,
/// not the one of SQL's grammar: there, `character` is `character(1)`, while `bpchar` has any
/// length. If a type's own operators are in a schema that the session does not search, they are
/// named too: the order uses them, and a plain operator would compare differently. The last column
/// is whether its texts are compared byte by byte: before version 15 every default collation is the
/// C library's.
const COLUMNS: &str = "
WITH RECURSIVE base (oid, base) AS (
    SELECT oid, oid FROM pg_type WHERE typtype <> 'd'
    UNION ALL SELECT t.oid, b.base FROM pg_type t JOIN base b ON t.typbasetype = b.oid WHERE t.typtype = 'd'),
hidden (type, schema) AS (
    SELECT oc.opcintype, quote_ident(opn.nspname)
    FROM pg_opclass oc JOIN pg_am am ON am.oid = oc.opcmethod AND am.amname = 'btree'
        JOIN pg_amop ao ON ao.amopfamily = oc.opcfamily AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
        JOIN pg_operator op ON op.oid = ao.amopopr JOIN pg_namespace opn ON opn.oid = op.oprnamespace
    WHERE oc.opcdefault AND ao.amopstrategy = 3 AND NOT pg_operator_is_visible(op.oid))
SELECT a.attrelid::int8, a.attnum::int8, a.attname::text, a.attnotnull, b.base::int8, t.typname::text, t.typcategory::text,
    quote_ident(tn.nspname) || '.' || quote_ident(t.typname), CASE WHEN a.attcollation <> t.typcollation AND a.attcollation <> 0
        THEN quote_ident(cn.nspname) || '.' || quote_ident(co.collname) END, coalesce(co.collisdeterministic, true), t.typtype::text,
    hidden.schema, EXISTS (SELECT FROM pg_cast pc WHERE pc.castsource = t.oid AND pc.casttarget = 'json'::regtype),
    t.oid <> a.atttypid, coalesce(CASE
        WHEN co.oid = 100 THEN (
            SELECT CASE WHEN coalesce(to_jsonb(d) ->> 'datlocprovider', 'c') = 'c' THEN d.datcollate END
            FROM pg_database d WHERE d.datname = current_database())
        WHEN co.collprovider = 'c' THEN co.collcollate END IN ('C', 'POSIX'), false)
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid JOIN pg_namespace n ON n.oid = c.relnamespace
    JOIN base b ON b.oid = a.atttypid JOIN pg_type t ON t.oid = b.base JOIN pg_namespace tn ON tn.oid = t.typnamespace
    LEFT JOIN hidden ON hidden.type = t.oid
    LEFT JOIN pg_collation co ON co.oid = a.attcollation LEFT JOIN pg_namespace cn ON cn.oid = co.collnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
    AND a.attnum > 0 AND NOT a.attisdropped AND has_column_privilege(c.oid, a.attnum, 'SELECT')
ORDER BY a.attrelid, a.attnum";

/// Indexes over plain columns that hold all rows.
const INDEXES: &str = "
SELECT i.indrelid::int8, i.indisprimary, i.indisunique AND i.indimmediate, (i.indkey::int2[])[0:i.indnkeyatts - 1]::text
FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE i.indisvalid AND i.indpred IS NULL AND NOT (0 = ANY (i.indkey::int2[]))
    AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'
ORDER BY i.indrelid, i.indisprimary DESC, i.indnkeyatts, i.indexrelid";

const FOREIGN_KEYS: &str = "
SELECT conrelid::int8, confrelid::int8, conkey[1]::int8, confkey[1]::int8 FROM pg_constraint
WHERE contype = 'f' AND array_length(conkey, 1) = 1 AND conparentid = 0 ORDER BY oid";

/// Reads the catalogue of everything that this user may read.
pub(super) async fn read(client: &Client) -> Result<Catalogue, tokio_postgres::Error> {
    let mut tables = vec![];
    let mut places: HashMap<i64, usize> = HashMap::new();
    for row in client.query_typed(TABLES, &[]).await? {
        places.insert(row.get(0), tables.len());
        tables.push(table(&row));
    }

    tell_apart(&mut tables);
    // By number, since the numbers have gaps.
    let mut columns: HashMap<(i64, i64), String> = HashMap::new();
    for row in client.query_typed(COLUMNS, &[]).await? {
        let oid: i64 = row.get(0);
        let Some(place) = places.get(&oid) else { continue };
        let column = column(&row);
        columns.insert((oid, row.get(1)), column.name.clone());
        tables[*place].columns.push(column);
    }

    for row in client.query_typed(INDEXES, &[]).await? {
        let (oid, unique): (i64, bool) = (row.get(0), row.get(2));
        let Some(table) = places.get(&oid).map(|place| &mut tables[*place]) else { continue };
        let numbers: String = row.get(3);
        // `{1,2}`; or `[0:1]={1,2}`, where an array counts from zero.
        let numbers = numbers.rsplit(['{', '}']).nth(1).unwrap_or_default().split(',');
        let names = numbers.map(|number| columns.get(&(oid, number.parse().ok()?)).cloned());
        let Some(names) = names.collect::<Option<Vec<String>>>() else { continue };
        table.indexed.extend(names.first().cloned());
        let nullable = |name: &String| table.columns.iter().any(|column| column.name == *name && column.nullable);
        let can_be_null = names.iter().any(nullable);
        // A materialized view has no NOT NULL; whether its key identifies rows is checked while
        // they are read.
        if unique && table.key.is_empty() && (table.is_view || !can_be_null) {
            table.key = names;
            table.key_can_be_null = can_be_null;
        }
    }

    for row in client.query_typed(FOREIGN_KEYS, &[]).await? {
        let (holder, target): (i64, i64) = (row.get(0), row.get(1));
        let ends = (columns.get(&(holder, row.get(2))), columns.get(&(target, row.get(3))));
        let (Some(place), Some(to), (Some(column), Some(to_column))) = (places.get(&holder), places.get(&target), ends)
        else {
            continue;
        };
        let key = ForeignKey { column: column.clone(), table: tables[*to].name.clone(), to: to_column.clone() };
        tables[*place].foreign_keys.push(key);
    }

    views::note_reads(client, &mut tables, &places).await?;
    Ok(Catalogue { dialect: &DIALECT, tables })
}

/// A table's name as SQL.
pub(super) fn sql_name(schema: &str, name: &str) -> String {
    format!("{}.{}", DIALECT.quote(schema), DIALECT.quote(name))
}

fn table(row: &Row) -> Table {
    let (schema, name, kind): (String, String, String) = (row.get(1), row.get(2), row.get(3));
    let (visible, partition, size): (bool, bool, i64) = (row.get(4), row.get(6), row.get(7));
    let full_name = format!("{schema}.{name}");
    Table {
        sql: sql_name(&schema, &name),
        name: if visible { name } else { full_name.clone() },
        full_name,
        schema,
        comment: row.get(5),
        is_view: matches!(&*kind, "v" | "m"),
        is_part: partition,
        is_small: size <= SMALL_TABLE,
        ..Table::default()
    }
}

/// The range of a type of whole numbers.
fn range(wire: &Wire) -> Option<RangeInclusive<i128>> {
    match wire {
        Wire::Int2 => Some(i16::MIN.into()..=i16::MAX.into()),
        Wire::Int4 => Some(i32::MIN.into()..=i32::MAX.into()),
        Wire::Int8 => Some(i64::MIN.into()..=i64::MAX.into()),
        Wire::Oid => Some(0..=u32::MAX.into()),
        _ => None,
    }
}

fn column(row: &Row) -> TableColumn {
    let (not_null, base, type_name): (bool, i64, String) = (row.get(3), row.get(4), row.get(5));
    let (category, of_type, collation): (String, String, Option<String>) = (row.get(6), row.get(7), row.get(8));
    let deterministic: bool = row.get(9);
    let class: String = row.get(10);
    let operators: Option<String> = row.get(11);
    let is_enum = class == "e";
    let is_composite = class == "c";
    let is_domain: bool = row.get(13);
    let is_bytewise: bool = row.get(14);
    let is_plain_text = matches!(&*type_name, "text" | "varchar");
    let wire = Type::from_oid(base as u32).as_ref().and_then(Wire::of);
    let as_text = "?::text".to_owned();
    let is_text = is_enum || matches!(&*type_name, "citext" | "char");
    // For PostgreSQL's own types (FirstNormalObjectId in access/transam.h) and for ranges, JSON
    // would only be the text in quotes. So it would for a type of an extension, unless that has its
    // own JSON form.
    let is_own = base < 16_384 || (class == "b" && !row.get::<_, bool>(12));
    let has_text = is_text || matches!(&*class, "r" | "m") || (is_own && category != "A" && !is_composite);
    let (read, read_key) = match wire {
        Some(Wire::Json | Wire::Jsonb | Wire::Array) => ("?".to_owned(), as_text),
        Some(_) => ("?".to_owned(), "?".to_owned()),
        None if has_text => (as_text.clone(), as_text),
        None => ("to_json(?)".to_owned(), as_text),
    };

    // A number, where the text would not be read back: a byte that is no character, or a name that
    // several functions share.
    let number = match base {
        _ if base == i64::from(Type::CHAR.oid()) => Some("int4"),
        _ if NAMES_OF_OBJECTS.contains(&&*type_name) => Some("oid"),
        _ => None,
    };

    let (read_key, kind) = match number {
        Some(number) => (format!("?::{number}"), format!("?::{number}::{of_type}")),
        None => (read_key, format!("?::{of_type}")),
    };

    // A domain over an enum has no operators of its own, but its values are in the enum's order. It
    // is cast where it is compared, but not in ORDER BY, so that its index can be used.
    let operator = match operators {
        Some(schema) => Some(format!("OPERATOR({schema}.?)")),
        None => (is_enum && is_domain).then(|| format!("::{of_type} ?")),
    };

    let operand = match wire {
        Some(Wire::Int2 | Wire::Int4 | Wire::Int8 | Wire::Oid) => Some(Operand::Integer),
        Some(Wire::Float4 | Wire::Float8 | Wire::Numeric) => Some(Operand::Number),
        Some(Wire::Json | Wire::Jsonb | Wire::Array | Wire::Bytea) => None,
        Some(_) => Some(Operand::Text),
        // Composite types, ranges, geometry and user-defined types have no obvious text.
        None if is_text || matches!(&*category, "D" | "T" | "I" | "V") => Some(Operand::Text),
        None => None,
    };

    let length = match wire {
        Some(Wire::Text | Wire::Bytea) => DIALECT.length,
        // The longer of its text and its binary form.
        Some(Wire::Array) => "greatest(octet_length((?)::text), octet_length(array_send(?)))::int8",
        Some(Wire::Json | Wire::Jsonb) | None => "octet_length((?)::text)::int8",
        Some(_) => "",
    };

    TableColumn {
        nullable: !not_null,
        length,
        text: type_name == "citext" || matches!(wire, Some(Wire::Text)),
        operand,
        holds: holds(&type_name, is_text),
        read,
        read_key,
        // The server infers a bound value's type from the column it is compared with, but not that
        // of a row.
        bind: if is_composite { kind.clone() } else { "?".to_owned() },
        bind_key: number.map(|_| kind.clone()),
        kind,
        operator,
        range: wire.as_ref().and_then(range),
        whole: matches!(wire, Some(Wire::Int2 | Wire::Int4 | Wire::Int8)),
        has_exact_texts: is_plain_text && deterministic,
        // A longer text than a name can be is cut when it is compared with one.
        has_ordered_bytes: (is_plain_text || type_name == "name") && is_bytewise,
        collation,
        exact: (!deterministic).then(|| "? COLLATE \"C\"".to_owned()),
        unordered: (matches!(wire, Some(Wire::Json)) || matches!(&*type_name, "xml" | "point" | "line" | "polygon"))
            .then_some("PostgreSQL has no order for its type"),
        ..TableColumn::plain(row.get(2))
    }
}

/// What the values of a type are, by the type's name; for an array, whose type's name begins with
/// `_`, what its elements are.
fn holds(type_name: &str, is_text: bool) -> Option<Holds> {
    let element = type_name.strip_prefix('_');
    let moments = |has_offset| Holds { has_offset: Some(has_offset), ..Holds::new(ValueType::DateTime) };
    let holds = match element.unwrap_or(type_name) {
        "bool" => Holds::new(ValueType::Boolean),
        "int2" | "int4" | "int8" | "oid" => Holds::new(ValueType::Integer),
        "numeric" => Holds::new(ValueType::Decimal),
        "float4" | "float8" => Holds::new(ValueType::Float),
        "text" | "varchar" | "bpchar" | "name" => Holds::new(ValueType::Text),
        "bytea" => Holds::new(ValueType::Bytes),
        "uuid" => Holds::new(ValueType::Uuid),
        "json" | "jsonb" => Holds::new(ValueType::Json),
        "date" => Holds::new(ValueType::Date),
        "time" => Holds::new(ValueType::Time),
        "timestamp" => moments(false),
        "timestamptz" => moments(true),
        "interval" => Holds::new(ValueType::Duration),
        _ if is_text => Holds::new(ValueType::Text),
        _ => return None,
    };

    Some(Holds { is_array: element.is_some(), ..holds })
}
