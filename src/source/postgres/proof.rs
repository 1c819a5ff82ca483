//! Each read proves that the tables, the database and the user are those that its source was made
//! from.
//!
//! A transaction locks its tables before it takes its snapshot. So it sees the catalogue that its
//! queries are run with, and no table that was rewritten meanwhile looks empty to it. After the
//! rows it says which versions of the catalogue's rows it saw.
//!
//! Some relations cannot be locked: materialized views, foreign tables, and tables of which the
//! user may read only some columns. A second transaction looks at these after the read: what is the
//! same before and after did not change in between.

use std::{borrow::Cow, collections::BTreeSet};

use tokio_postgres::{Client, SimpleQueryMessage};

use super::{
    Failure,
    look::{Look, list, versions},
};
use crate::{
    error::{Error, Kind},
    source::{
        DatabaseOptions, Session,
        sql::{catalogue::Table, dialect::Dialect},
    },
};

/// What a read saw: the values of one row.
pub(super) type Stamp = Vec<Option<String>>;

/// How a read proves what it saw, and the expected answer.
#[derive(Debug)]
pub(super) struct Proof {
    /// The SQL that opens the transaction and locks the tables.
    begin: String,
    /// The SQL that ends the transaction and says what it saw.
    end: String,
    /// The SQL that goes back to the role of the configuration.
    own_role: String,
    pub(super) stamp: Stamp,
}

impl Proof {
    /// The SQL that opens a transaction and locks the tables, and then reads as this session.
    pub(super) fn begin(&self, session: Option<&Session>) -> Cow<'_, str> {
        match session {
            Some(session) => (self.begin.clone() + &session.statements()).into(),
            None => Cow::Borrowed(&self.begin),
        }
    }

    /// The SQL that ends the transaction and says what it saw, which is asked by the role of the
    /// configuration.
    pub(super) fn end(&self, session: Option<&Session>) -> Cow<'_, str> {
        match session {
            Some(Session { role: Some(_), .. }) => format!("{}; {}", self.own_role, self.end).into(),
            _ => Cow::Borrowed(&self.end),
        }
    }
}

/// The tables of a source and the relations behind them, as a look saw them.
pub(super) struct Ground {
    oids: Vec<u32>,
    views: Vec<u32>,
    begin: String,
    end: String,
    own_role: String,
}

impl Ground {
    /// The ground of a plan's tables; `begin` is the SQL that opens a transaction.
    pub(super) fn new(look: &Look, tables: &[&Table], begin: &str, options: &DatabaseOptions) -> Ground {
        let known = || tables.iter().filter_map(|table| Some((*table, look.relations.get(&table.sql)?)));
        let mut behind = BTreeSet::new();
        let mut next: Vec<u32> = known().map(|(_, relation)| relation.oid).collect();
        let mut views = vec![];
        while let Some(oid) = next.pop() {
            if let Some(below) = look.behind.get(&oid).filter(|_| !views.contains(&oid)) {
                views.push(oid);
                behind.extend(below);
                next.extend(below);
            }
        }

        views.sort_unstable();
        let unlocked = |oid: &u32| look.relations.values().any(|relation| relation.oid == *oid && !relation.locks);
        let own: Vec<u32> = known().map(|(_, relation)| relation.oid).collect();
        let unlocked: Vec<u32> = own.iter().chain(&behind).copied().filter(unlocked).collect();
        let locked: Vec<&str> = known().filter(|(_, relation)| relation.locks).map(|(table, _)| &*table.sql).collect();

        let saw = saw(look, tables, &behind, &views, &unlocked, options);
        let lock = if locked.is_empty() {
            String::new()
        } else {
            format!("; LOCK TABLE {} IN ACCESS SHARE MODE", locked.join(", "))
        };

        let again = if unlocked.is_empty() { String::new() } else { format!("; {saw}") };
        Ground {
            oids: own.into_iter().chain(behind).collect(),
            views,
            begin: format!("{begin}{lock}"),
            end: format!("{saw}; COMMIT{again}"),
            own_role: match &options.role {
                Some(role) => format!("SET LOCAL ROLE {}", super::DIALECT.quote(role)),
                None => "RESET ROLE".to_owned(),
            },
        }
    }

    /// Opens a transaction in which the tables cannot change. False if they have changed since the
    /// look.
    pub(super) async fn enter(&self, client: &Client, look: &Look) -> Result<bool, Failure> {
        client.batch_execute(&self.begin).await?;
        let now = versions(client, Some(&self.oids)).await?;
        Ok(self.oids.iter().all(|oid| now.get(oid) == look.versions.get(oid)))
    }

    /// The definitions of the views, always in the same order.
    pub(super) async fn behind(&self, client: &Client) -> Result<Vec<String>, Failure> {
        if self.views.is_empty() {
            return Ok(vec![]);
        }
        let sql = format!(
            "SELECT c.oid::regclass::text || ' ' || pg_get_viewdef(c.oid) FROM pg_class c WHERE c.oid IN ({}) ORDER BY 1",
            list(&self.views)
        );
        let rows = client.query_typed(&sql, &[]).await?;
        Ok(rows.iter().map(|row| row.get(0)).collect())
    }

    /// Ends the transaction; what it saw becomes the expected answer.
    pub(super) async fn leave(self, client: &Client) -> Result<Proof, Failure> {
        let stamp = read_stamp(client, &self.end).await?;
        Ok(Proof { begin: self.begin, end: self.end, own_role: self.own_role, stamp })
    }
}

/// The SQL for what a transaction saw. It is cheap: one look-up in an index of the catalogue, and
/// calls of functions.
fn saw(
    look: &Look,
    tables: &[&Table],
    behind: &BTreeSet<u32>,
    views: &[u32],
    unlocked: &[u32],
    options: &DatabaseOptions,
) -> String {
    let mut says: Vec<String> = vec![];
    if options.identity.is_none() && look.told.own.is_some() {
        // The file's path holds the number of the database.
        says.extend(["(pg_control_system()).system_identifier", "pg_relation_filepath(1259)"].map(str::to_owned));
    }

    if !options.share && options.role.is_none() {
        says.extend(["current_user", "session_user"].map(str::to_owned));
    }

    // If a name leads to another table, its number changes; so the numbers below may be constants.
    says.extend(tables.iter().map(|table| format!("to_regclass({})::oid", literal(&table.sql))));
    let own = tables.iter().filter_map(|table| Some(look.relations.get(&table.sql)?.oid));
    let all: Vec<u32> = own.chain(behind.iter().copied()).collect();
    // A changed row gets the number of a new transaction, so the order of the numbers does not
    // matter.
    says.push(format!("(SELECT array_agg(xmin) FROM pg_attribute WHERE attrelid IN ({}) AND attnum > 0)", list(&all)));
    if !views.is_empty() {
        says.push(format!("(SELECT array_agg(xmin) FROM pg_rewrite WHERE ev_class IN ({}))", list(views)));
    }

    if !unlocked.is_empty() {
        says.push(format!(
            "(SELECT string_agg(oid || ' ' || relfilenode, ',' ORDER BY oid) FROM pg_class WHERE oid IN ({}))",
            list(unlocked)
        ));
    }

    let used = tables.iter().filter_map(|table| look.relations.get(&table.sql));
    let collations: BTreeSet<&String> = used
        .flat_map(|relation| relation.collations.values())
        .filter_map(|collation| look.collations.get(collation))
        .collect();
    says.extend(collations.into_iter().cloned());
    format!("SELECT {}", says.join(", "))
}

/// A text as an SQL literal.
fn literal(text: &str) -> String {
    let dialect = Dialect { quote: '\'', ..super::DIALECT };
    let quoted = dialect.quote(text);
    // A backslash must stay one, with either setting of `standard_conforming_strings`.
    if text.contains('\\') { format!("E{}", quoted.replace('\\', "\\\\")) } else { quoted }
}

/// Ends a transaction, and returns what it saw.
///
/// # Errors
/// If something that cannot be locked changed during the read.
pub(super) async fn read_stamp(client: &Client, end: &str) -> Result<Stamp, Failure> {
    stamp_of(client.simple_query(end).await?)
}

/// What a transaction saw, from its answers.
pub(super) fn stamp_of(said: Vec<SimpleQueryMessage>) -> Result<Stamp, Failure> {
    let row = |message| match message {
        SimpleQueryMessage::Row(row) => Some((0..row.len()).map(|at| row.get(at).map(str::to_owned)).collect()),
        _ => None,
    };
    let mut seen = said.into_iter().filter_map(row);
    let stamp: Stamp = seen.next().unwrap_or_default();
    if seen.any(|again: Stamp| again != stamp) {
        return Err(Error::new(Kind::Unavailable, "a table was replaced while it was read")
            .remedy("try again shortly")
            .into());
    }
    Ok(stamp)
}
