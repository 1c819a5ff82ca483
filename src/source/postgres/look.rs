//! A look at a PostgreSQL database: its catalogue, its identity, the user that it sees, and the
//! versions of the catalogue's rows. All of it is from one snapshot.

use std::collections::HashMap;

use tokio_postgres::Client;

use super::catalogue;
use crate::source::sql::{catalogue::Catalogue, definition::Told};

/// The result of a look.
pub(super) struct Look {
    pub(super) catalogue: Catalogue,
    pub(super) told: Told,
    /// Each table and view, by its name as SQL.
    pub(super) relations: HashMap<String, Relation>,
    /// The versions of the catalogue's rows about each table or view.
    pub(super) versions: Versions,
    /// The tables and views that each view reads.
    pub(super) behind: HashMap<u32, Vec<u32>>,
    /// The SQL for the version of each collation, by the collation.
    pub(super) collations: HashMap<u32, String>,
}

/// A table or view.
#[derive(Clone, Debug)]
pub(super) struct Relation {
    pub(super) oid: u32,
    /// Whether `LOCK TABLE` takes it. Not if it is a materialized view or a foreign table, or if
    /// this user may read only some of its columns.
    pub(super) locks: bool,
    /// The collation of each column that has one.
    pub(super) collations: HashMap<String, u32>,
}

/// Versions of the catalogue's rows, by the table that they are about.
pub(super) type Versions = HashMap<u32, Vec<String>>;

/// Every change of a column or a view writes a new row.
const VERSIONS: &str = "
SELECT attrelid::int8, string_agg(attnum || ' ' || xmin, ',' ORDER BY attnum) FROM pg_attribute WHERE attnum > 0{a} GROUP BY attrelid
UNION ALL SELECT ev_class::int8, 'rule ' || string_agg(xmin::text, ',' ORDER BY oid) FROM pg_rewrite WHERE true{r} GROUP BY ev_class";

const RELATIONS: &str = "
SELECT c.oid::int8, n.nspname::text, c.relname::text, c.relkind IN ('r', 'p', 'v') AND has_table_privilege(c.oid, 'SELECT')
FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND n.nspname NOT LIKE 'pg\\_%' AND n.nspname <> 'information_schema'";

/// The tables and views that a view's rule reads. Those that came with the server
/// (FirstNormalObjectId in access/transam.h) do not change, and are left out.
const BEHIND: &str = "
SELECT DISTINCT r.ev_class::int8, d.refobjid::int8 FROM pg_rewrite r
    JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
WHERE d.refobjid <> r.ev_class AND d.refobjid >= 16384 AND r.ev_class >= 16384
ORDER BY 1, 2";

/// Each column with its full type. Types and collations are named with their schema if the search
/// path does not have it.
const DECLARED: &str = "
SELECT a.attrelid::int8, a.attname::text, format_type(a.atttypid, a.atttypmod) || CASE WHEN a.attnotnull THEN ' not null' ELSE '' END,
    a.attcollation::int8
FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') AND c.oid >= 16384 AND a.attnum > 0 AND NOT a.attisdropped";

/// Collations of columns; `100` is the database's default (DEFAULT_COLLATION_OID).
const COLLATIONS: &str = "
SELECT co.oid::int8, quote_ident(n.nspname) || '.' || quote_ident(co.collname), pg_collation_actual_version(co.oid)
FROM pg_collation co JOIN pg_namespace n ON n.oid = co.collnamespace
WHERE co.oid IN (SELECT attcollation FROM pg_attribute WHERE attrelid >= 16384)";

const DEFAULT: u32 = 100;

/// The identity of the database, and its user.
const FACTS: &str = "
SELECT current_setting('server_version_num')::int8, d.oid::int8, d.datcollate::text, current_user::text, session_user::text,
    has_function_privilege('pg_catalog.pg_control_system()', 'EXECUTE')
FROM pg_database d WHERE d.datname = current_database()";

/// Looks, in a transaction that `begin` opens. `told` holds what is known without a query.
pub(super) async fn look(client: &Client, begin: &str, mut told: Told) -> Result<Look, tokio_postgres::Error> {
    client.batch_execute(begin).await?;
    let mut catalogue = catalogue::read(client).await?;

    let mut relations = HashMap::new();
    let mut names = HashMap::new();
    for row in client.query_typed(RELATIONS, &[]).await? {
        let (oid, schema, name): (i64, String, String) = (row.get(0), row.get(1), row.get(2));
        let sql = catalogue::sql_name(&schema, &name);
        names.insert(oid, sql.clone());
        relations.insert(sql, Relation { oid: oid as u32, locks: row.get(3), collations: HashMap::new() });
    }

    let versions = versions(client, None).await?;
    let mut behind: HashMap<u32, Vec<u32>> = HashMap::new();
    for row in client.query_typed(BEHIND, &[]).await? {
        let (view, table): (i64, i64) = (row.get(0), row.get(1));
        behind.entry(view as u32).or_default().push(table as u32);
    }

    let facts = client.query_typed(FACTS, &[]).await?;
    let mut own_version = "NULL::text".to_owned();
    let mut collate = String::new();
    if let Some(facts) = facts.first() {
        let (version, database): (i64, i64) = (facts.get(0), facts.get(1));
        collate = facts.get(2);
        told.user = format!("{} {}", facts.get::<_, String>(3), facts.get::<_, String>(4));
        if facts.get(5) {
            let system = client.query_typed("SELECT system_identifier::text FROM pg_control_system()", &[]).await?;
            told.own = system.first().map(|row| format!("postgres {} {database}", row.get::<_, String>(0)));
        }
        own_version = match version {
            150_000.. => format!("pg_database_collation_actual_version({database})"),
            // In older versions the default collation is always the C library's.
            _ => "(SELECT pg_collation_actual_version(c.oid) FROM pg_collation c, pg_database d \
                  WHERE d.datname = current_database() AND c.collprovider = 'c' AND c.collcollate = d.datcollate LIMIT 1)"
                .to_owned(),
        };
    }

    let mut collations = HashMap::new();
    let mut collation_names = HashMap::new();
    for row in client.query_typed(COLLATIONS, &[]).await? {
        let (oid, name, version): (i64, String, Option<String>) = (row.get(0), row.get(1), row.get(2));
        let oid = oid as u32;
        if oid == DEFAULT {
            let version = client.query_typed(&format!("SELECT {own_version}"), &[]).await?;
            let version: Option<String> = version.first().and_then(|row| row.get(0));
            collations.insert(oid, own_version.clone());
            collation_names.insert(oid, format!("{collate} {}", version.unwrap_or_default()));
        } else {
            collations.insert(oid, format!("pg_collation_actual_version({oid})"));
            collation_names.insert(oid, format!("{name} {}", version.unwrap_or_default()));
        }
    }

    let places: HashMap<String, usize> =
        catalogue.tables.iter().enumerate().map(|(place, table)| (table.sql.clone(), place)).collect();
    for row in client.query_typed(DECLARED, &[]).await? {
        let (oid, name, declared, collation): (i64, String, String, i64) =
            (row.get(0), row.get(1), row.get(2), row.get(3));
        let Some(sql) = names.get(&oid) else { continue };
        let Some(place) = places.get(sql) else { continue };
        let columns = &mut catalogue.tables[*place].columns;
        let Some(column) = columns.iter_mut().find(|column| column.name == name) else { continue };
        let collation = collation as u32;
        column.declared_as = match collation_names.get(&collation) {
            Some(collated) => format!("{declared} collate {collated}"),
            None => declared,
        };
        if collation != 0
            && let Some(relation) = relations.get_mut(sql)
        {
            relation.collations.insert(name, collation);
        }
    }

    client.batch_execute("COMMIT").await?;
    Ok(Look { catalogue, told, relations, versions, behind, collations })
}

/// The versions of the catalogue's rows about these tables, or about all (`None`).
pub(super) async fn versions(client: &Client, of: Option<&[u32]>) -> Result<Versions, tokio_postgres::Error> {
    let one_of = |column: &str| of.map_or(String::new(), |oids| format!(" AND {column} IN ({})", list(oids)));
    let sql = VERSIONS.replace("{a}", &one_of("attrelid")).replace("{r}", &one_of("ev_class"));
    let mut versions = Versions::new();
    for row in client.query_typed(&sql, &[]).await? {
        let oid: i64 = row.get(0);
        versions.entry(oid as u32).or_default().push(row.get(1));
    }
    versions.values_mut().for_each(|about| about.sort());
    Ok(versions)
}

/// Numbers of tables, as an SQL list; there must be at least one.
pub(super) fn list(oids: &[u32]) -> String {
    let texts: Vec<String> = oids.iter().map(u32::to_string).collect();
    if texts.is_empty() { "0".to_owned() } else { texts.join(", ") }
}
