//! Two users of one database, and two databases at one address, behind two servers with one store:
//! what a user may not see never comes, whichever of the servers is asked, in any order, cold and
//! warm.

use std::path::{Path, PathBuf};

use fastrand::Rng;

use super::{
    column, fault, kinds,
    kinds::Kind,
    lists::{Expected, check, expected, resources},
    made,
    random::value,
    schema::{Table, quoted},
    whole,
};
use crate::{
    servers::{Db, Kind as Server, Server as Machine, mariadb, postgres, sqlite},
    support::{Running, parse},
};

const ROWS: usize = 60;
const SEEDS: std::ops::Range<u64> = 0..3;
/// How often a server is asked, with each schema.
const ASKED: usize = 24;

/// Who reads: a database as one user has it.
struct Side {
    db: Db,
    /// What stands in `[databases]`.
    database: String,
    /// The tables as this user has them.
    tables: Vec<Table>,
    lists: String,
    /// The file that must be at the address while this user's server is asked.
    file: Option<File>,
}

/// A file of one of two machines, and the path that both know theirs by.
struct File {
    own: PathBuf,
    path: PathBuf,
}

impl File {
    fn put(&self) {
        let next = self.path.with_extension("next");
        std::os::unix::fs::symlink(&self.own, &next).unwrap();
        std::fs::rename(&next, &self.path).unwrap();
    }
}

/// Rows of `item (k, n, owner, viewer, a)` and `owner (id, viewer, label)`. A row is for `a`, for
/// `b`, or for both, `x`.
fn tables(db: &Db, rng: &mut Rng) -> Vec<Table> {
    let all: Vec<&'static Kind> = kinds::of(db).iter().collect();
    let id = whole(db);
    let short = |kind: &&&'static Kind| kind.sql.to_lowercase().starts_with("varchar(4)");
    let viewer = *all.iter().find(short).unwrap();
    let [k, label, a] = [(); 3].map(|()| *rng.choice(&all).unwrap());
    let who = |rng: &mut Rng| format!("'{}'", rng.choice(["a", "b", "x"]).unwrap());

    let mut item = Table {
        name: "item".into(),
        columns: vec![column("k", k), column("n", id), column("owner", id), column("viewer", viewer), column("a", a)],
        key: vec![0, 1],
        references: vec![],
        rows: vec![],
        options: "",
    };

    let mut owner = Table {
        name: "owner".into(),
        columns: vec![column("id", id), column("viewer", viewer), column("label", label)],
        key: vec![0],
        references: vec![],
        rows: vec![],
        options: "",
    };

    for n in 0..ROWS {
        let to = rng.usize(..ROWS).to_string();
        item.rows.push(vec![value(rng, k, false), n.to_string(), to, who(rng), value(rng, a, true)]);
        owner.rows.push(vec![n.to_string(), who(rng), value(rng, label, true)]);
    }

    vec![item, owner]
}

/// Lists over `item` and `owner`, where these are tables.
fn lists() -> String {
    let via = "owner = { via = \"owner\", table = \"owner\", columns = [\"id\", \"label\"] }\n";
    lists_of("", "", via, "\"k\", \"n\"")
}

/// The same where they are views, which have no key of their own.
fn lists_of_views() -> String {
    lists_of("key = [\"n\"]\n", "key = [\"id\"]\n", "", "\"n\"")
}

fn lists_of(of_item: &str, of_owner: &str, via: &str, order: &str) -> String {
    let each = "database = \"main\"\nchunk_rows = 2\nchunk_bytes = \"1B\"\n";
    format!(
        "[resources.item]\ntable = \"item\"\n{each}{of_item}\
         [resources.mine]\ntable = \"item\"\n{each}{of_item}[resources.mine.fields]\nn = \"n\"\n{via}\
         [resources.owner]\ntable = \"owner\"\n{each}{of_owner}[resources.owner.fields]\nid = \"id\"\nlabel = \"label\"\n\
         items = {{ from = \"item\", on = \"owner\", columns = [\"n\"], order = [{order}] }}\n"
    )
}

/// The tables without the last column of the first.
fn fewer(tables: &[Table]) -> Vec<Table> {
    let mut fewer = tables.to_vec();
    fewer[0].columns.pop();
    fewer
}

/// A policy for each table; and one of the users may not read a column.
fn with_policies(rng: &mut Rng) -> [Side; 2] {
    let db = postgres();
    kinds::prepare(&db);
    let tables = tables(&db, rng);
    made(&db, &tables);
    let users = ["a", "b"].map(|user| format!("{}_{user}", db.database()));
    let [a, b] = &users;
    db.execute(&format!("CREATE ROLE {a} LOGIN; CREATE ROLE {b} LOGIN; GRANT USAGE ON SCHEMA ext TO PUBLIC; GRANT USAGE ON SCHEMA \"odd Schema\" TO PUBLIC"));
    for table in ["item", "owner"] {
        db.execute(&format!(
            "ALTER TABLE {table} ENABLE ROW LEVEL SECURITY;
             CREATE POLICY own ON {table} USING (viewer IN (right(current_user::text, 1), 'x'))"
        ));
    }

    db.execute(&format!("GRANT SELECT ON item, owner TO {a}; GRANT SELECT ON owner TO {b}; GRANT SELECT (k, n, owner, viewer) ON item TO {b}"));
    let seen = [tables.clone(), fewer(&tables)];
    let mut seen = seen.into_iter();
    users.map(|user| {
        let db = db.as_user(&user);
        let database = format!("\"{}\"", db.url());
        Side { db, database, tables: seen.next().unwrap(), lists: lists(), file: None }
    })
}

/// A view for each table that asks who reads; and one of the users may not read a column.
fn with_views(rng: &mut Rng) -> [Side; 2] {
    let db = mariadb();
    let mut tables = tables(&db, rng);
    let below: Vec<Table> =
        tables.iter().map(|table| Table { name: format!("{}_base", table.name), ..table.clone() }).collect();
    made(&db, &below);
    tables[0].key = vec![1];
    for table in &tables {
        let columns: Vec<String> = table.columns.iter().map(|column| quoted(&db, &column.name)).collect();
        db.execute(&format!(
            "CREATE VIEW {name} AS SELECT {} FROM {name}_base WHERE viewer IN (RIGHT(SUBSTRING_INDEX(USER(), '@', 1), 1), 'x')",
            columns.join(", "),
            name = table.name
        ));
    }

    let [a, b] = ["cf_reads_a", "cf_reads_b"];
    let of = db.database();
    db.execute(&format!(
        "CREATE USER IF NOT EXISTS {a}@'127.0.0.1'; CREATE USER IF NOT EXISTS {b}@'127.0.0.1';
         GRANT SELECT, SHOW VIEW ON {of}.item TO {a}@'127.0.0.1'; GRANT SELECT, SHOW VIEW ON {of}.owner TO {a}@'127.0.0.1';
         GRANT SELECT (k, n, owner, viewer) ON {of}.item TO {b}@'127.0.0.1'; GRANT SHOW VIEW ON {of}.item TO {b}@'127.0.0.1';
         GRANT SELECT, SHOW VIEW ON {of}.owner TO {b}@'127.0.0.1'"
    ));
    let mut seen = [tables.clone(), fewer(&tables)].into_iter();
    [a, b].map(|user| {
        let db = db.as_user(user);
        let database = format!("\"{}\"", db.url());
        Side { db, database, tables: seen.next().unwrap(), lists: lists_of_views(), file: None }
    })
}

/// Two files that two machines know by one path.
fn with_files(rng: &mut Rng, folder: &Path) -> [Side; 2] {
    let path = folder.join("app.sqlite");
    let schema = tables(&sqlite(), rng);
    [(); 2].map(|()| {
        let db = sqlite();
        let mut tables = schema.clone();
        for table in &mut tables {
            // The same keys, with other values.
            for row in &mut table.rows {
                let last = row.len() - 1;
                row[last] = value(rng, table.columns[last].kind, true);
            }
        }
        made(&db, &tables);
        let own = PathBuf::from(db.url().trim_start_matches("sqlite:"));
        let file = File { own, path: path.clone() };
        let database = format!("\"sqlite:{}\"", path.display());
        Side { db, database, tables, lists: lists(), file: Some(file) }
    })
}

/// A server of one side's.
struct Reads {
    side: usize,
    config: String,
    server: Running,
}

impl Reads {
    fn begin(side: usize, config: String) -> Reads {
        Reads { side, server: Running::config(&config), config }
    }
}

fn hold(make: impl Fn(&mut Rng) -> [Side; 2]) {
    for seed in SEEDS {
        let mut rng = Rng::with_seed(seed);
        let sides = make(&mut rng);
        let near = if seed % 2 == 0 { "0" } else { "64MiB" };
        let prefix = format!("audience_{}_{}", sides[0].db.name(), seed);
        let config = |side: &Side| {
            let port = Machine::shared(Server::Redis).port;
            format!(
                "[databases]\nmain = {}\n[store]\nurl = \"redis://127.0.0.1:{port}\"\nprefix = \"{prefix}:\"\nnear = \"{near}\"\n{}",
                side.database, side.lists
            )
        };
        let put = |side: usize| sides[side].file.iter().for_each(File::put);
        let right: Vec<Vec<Vec<Expected>>> = sides
            .iter()
            .map(|side| resources(&side.lists).iter().map(|one| expected(&side.db, &side.tables, one)).collect())
            .collect();
        let all = resources(&sides[0].lists);
        assert!(right[0].iter().zip(&right[1]).all(|(a, b)| !a.is_empty() && !b.is_empty()));

        let begin = |side: usize| {
            put(side);
            Reads::begin(side, config(&sides[side]))
        };
        let mut servers = [begin(0), begin(1)];
        // What drives a database's connections lives as long as the server that opened them.
        let mut ended = vec![];
        let mut faults = vec![];
        for asked in 0..ASKED {
            let at = rng.usize(..2);
            let one = &servers[at];
            let list = rng.usize(..all.len());
            put(one.side);
            let told = format!("{prefix}, {asked}: server {at} for side {} of {}", one.side, all[list].name);
            let wrong = fault(|| check(one.server.address, &all[list].name, &right[one.side][list], &[7]));
            faults.extend(wrong.map(|wrong| format!("{told}: {wrong}")));
            one.server.block_on(one.server.chunkflow.written());
            match rng.u8(..8) {
                0 => one.server.block_on(one.server.purge(&all[list].name)).unwrap(),
                1 => servers[at] = begin(one.side),
                // It is told of the other, and reads its configuration again.
                2 => {
                    let to = 1 - one.side;
                    put(to);
                    let before = parse(&one.config).unwrap();
                    let text = config(&sides[to]);
                    let after = parse(&text).unwrap();
                    let reloaded = one.server.block_on(after.open_after(&before, &one.server.chunkflow)).unwrap();
                    let server = Running::start(after.server.clone(), reloaded);
                    ended.push(std::mem::replace(&mut servers[at], Reads { side: to, config: text, server }));
                }
                _ => {}
            }
        }
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }
}

#[test]
fn what_a_user_of_postgresql_may_not_see_never_comes_from_any_server() {
    hold(with_policies);
}

#[test]
fn what_a_user_of_mariadb_may_not_see_never_comes_from_any_server() {
    hold(with_views);
}

#[test]
fn what_stands_in_another_file_of_sqlite_at_the_same_path_never_comes_from_any_server() {
    let folder = tempfile::TempDir::new().unwrap();
    hold(|rng| with_files(rng, folder.path()));
}
