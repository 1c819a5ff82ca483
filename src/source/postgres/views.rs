//! What the views of a PostgreSQL database read
//! (<https://www.postgresql.org/docs/current/catalog-pg-depend.html>).
//!
//! A view's query is kept as a rule, which depends on each column that occurs in it, even under
//! another name. A whole row (`to_jsonb(users)`) is no dependency on its columns. It shows in the
//! query's stored form, as a variable with the number 0.

use std::collections::HashMap;

use tokio_postgres::Client;

use crate::source::{ViewReads, sql::catalogue::Table};

const COLUMNS: &str = "
SELECT DISTINCT r.ev_class::int8, c.oid::int8, n.nspname::text, c.relname::text, a.attname::text
FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
        AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> r.ev_class
    JOIN pg_class c ON c.oid = d.refobjid JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = d.refobjsubid AND d.refobjsubid > 0
WHERE r.ev_type = '1' AND v.oid >= 16384 AND v.relkind IN ('v', 'm') AND c.relkind IN ('r', 'p', 'v', 'm', 'f')";

/// What may be read beyond the dependencies: whole rows; system tables, on which nothing depends;
/// functions, unless their extension says that they change nothing; functions of PostgreSQL that
/// take SQL or names of tables or files, or that show settings.
const DOUBTS: &str = r"
SELECT r.ev_class::int8, r.ev_action::text ~ ':varattno 0 ',
    EXISTS (SELECT FROM regexp_matches(r.ev_action::text, ':relid ([0-9]+)', 'g') m WHERE m[1]::int8 BETWEEN 1 AND 16383),
    (SELECT string_agg(DISTINCT p.proname::text, ', ')
        FROM pg_depend d LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
            JOIN pg_proc p ON p.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
        WHERE d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND p.provolatile <> 'i' AND p.oid >= 16384
            AND NOT (p.provolatile = 's' AND EXISTS (SELECT FROM pg_depend e
                WHERE e.classid = 'pg_proc'::regclass AND e.objid = p.oid AND e.deptype = 'e'))),
    substring(pg_get_viewdef(r.ev_class) FROM
        '(?i)\m((?:query|table|schema|database|cursor)_to_xml\w*|pg_read_\w+|pg_ls_\w+|lo_\w+|loread|current_setting|pg_show_\w+)\(')
FROM pg_rewrite r JOIN pg_class v ON v.oid = r.ev_class JOIN pg_namespace n ON n.oid = v.relnamespace
WHERE r.ev_type = '1' AND v.relkind IN ('v', 'm') AND n.nspname NOT LIKE 'pg\_%' AND n.nspname <> 'information_schema'";

/// Notes for each view which columns of which tables it reads. `places` gives the index of the
/// table with an oid.
pub(super) async fn note_reads(
    client: &Client,
    tables: &mut [Table],
    places: &HashMap<i64, usize>,
) -> Result<(), tokio_postgres::Error> {
    let mut whole: HashMap<i64, bool> = HashMap::new();
    for row in client.query_typed(DOUBTS, &[]).await? {
        let view: i64 = row.get(0);
        let system: bool = row.get(2);
        let functions: Option<String> = row.get(3);
        let built_in: Option<String> = row.get(4);
        let called =
            functions.or(built_in).map(|names| format!("it calls {names}, which may read more than is seen here"));
        let doubt = called.or_else(|| system.then(|| "it reads tables of the system".to_owned()));
        whole.insert(view, row.get(1));
        if let Some(place) = places.get(&view) {
            tables[*place].reads = Some(ViewReads { columns: vec![], doubt });
        }
    }

    for row in client.query_typed(COLUMNS, &[]).await? {
        let view: i64 = row.get(0);
        let oid: i64 = row.get(1);
        let schema: String = row.get(2);
        let name: String = row.get(3);
        let column: Option<String> = row.get(4);
        // Without a column the table is only joined or counted, unless a row is taken as a whole.
        let column = column.or_else(|| Some(String::new())).filter(|_| !whole.get(&view).is_some_and(|whole| *whole));
        // A view may read a table that this user may not, and that therefore is not in the list.
        let table = places.get(&oid).map_or(format!("{schema}.{name}"), |place| tables[*place].name.clone());
        if let Some(reads) = places.get(&view).and_then(|place| tables[*place].reads.as_mut()) {
            reads.columns.push((table, column));
        }
    }

    Ok(())
}
