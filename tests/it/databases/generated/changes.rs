//! Schemas that change while their lists are asked for. From the first read after a change on, every whole answer is what plain SQL
//! gives now, or what was whole in the cache: never some of each. A walk by pages that crosses the change is refused, or right.

use fastrand::Rng;
use serde_json::Value;

use super::{
    column, fault, kinds,
    lists::{Expected, Field, Member, Resource, expected, lines, pages, path, resources, same_csv, same_row},
    made,
    random::value,
    schema::{Column, Table, quoted},
    whole,
};
use crate::{
    client::Reply,
    servers::{Db, mariadb, postgres, sqlite},
    support::{Running, until},
};

/// More than two reads of a list take.
const ROWS: usize = 530;
/// Rows of the first page, which is asked for before a change: far fewer than a read's.
const PAGE: usize = 5;
const SEEDS: std::ops::Range<u64> = 0..2;

/// Where the tables stand in a world.
const ITEM: usize = 0;
const OWNER: usize = 1;
const VIEW: usize = 2;

const VIEWS: &[&str] = &[
    "SELECT id, label FROM owner",
    "SELECT 700 - id AS id, label FROM owner",
    "SELECT id, label FROM owner WHERE id % 3 <> 0",
];

const LISTS: &str = "
[resources.all]
table = \"item\"
[resources.some]
table = \"item\"
[resources.some.fields]
k = \"k\"
n = \"n\"
a = \"a\"
owner = { via = \"owner\", table = \"owner\", columns = [\"id\", \"label\"] }
[resources.owner]
table = \"owner\"
[resources.owner.fields]
id = \"id\"
label = \"label\"
items = { from = \"item\", on = \"owner\", columns = [\"n\", \"a\"] }
[resources.v]
table = \"v\"
key = [\"id\"]
";

const LOOSE_LIST: &str = "[resources.loose]\ntable = \"loose\"\n";

// ------------------------------------------------------------------------------------------------------------------ world

/// A database with its tables as they are.
struct World {
    db: Db,
    tables: Vec<Table>,
    view: &'static str,
}

impl World {
    fn new(db: Db, rng: &mut Rng) -> World {
        kinds::prepare(&db);
        let id = whole(&db);
        let any = |rng: &mut Rng| *rng.choice(&kinds::of(&db).iter().collect::<Vec<_>>()).unwrap();
        let label = any(rng);
        let table = |name: &str, columns: Vec<Column>, key: &[usize]| Table {
            name: name.into(),
            columns,
            key: key.into(),
            references: vec![],
            rows: vec![],
            options: "",
        };

        // In SQLite a key that can be NULL has the rowid beside it.
        let number = kinds::of(&db).iter().find(|kind| kind.sql == "INT NOT NULL").unwrap_or(id);
        let item = vec![
            column("k", any(rng)),
            column("n", number),
            column("a", any(rng)),
            column("b", any(rng)),
            column("owner", id),
        ];
        let mut item = table("item", item, &[0, 1]);
        item.rows = item_rows(&item, rng);
        let mut owner = table("owner", vec![column("id", id), column("label", label)], &[0]);
        owner.rows = (0..ROWS).map(|n| vec![n.to_string(), value(rng, label, true)]).collect();
        let mut tables = vec![item, owner, table("v", vec![column("id", id), column("label", label)], &[0])];
        if db.name() == "sqlite" {
            let mut loose = table("loose", vec![column("n", id), column("a", label)], &[]);
            loose.rows = (0..ROWS).map(|n| vec![n.to_string(), value(rng, label, true)]).collect();
            tables.push(loose);
        }

        let real: Vec<Table> = tables.iter().filter(|table| table.name != "v").cloned().collect();
        made(&db, &real);
        db.execute(&format!("CREATE VIEW v AS {}", VIEWS[0]));
        World { db, tables, view: VIEWS[0] }
    }

    fn lists(&self) -> String {
        let mut text = String::new();
        let loose = if self.db.name() == "sqlite" { LOOSE_LIST } else { "" };
        for line in LISTS.lines().chain(loose.lines()) {
            text += line;
            text.push('\n');
            if line.starts_with("table = ") {
                // Small chunks, so that a list has many.
                text += "database = \"main\"\nchunk_rows = 2\nchunk_bytes = \"1B\"\n";
            }
        }
        text
    }

    /// Whether SQLite's rowid is in the order of a list, so that any change of the schema makes it another.
    fn is_by_rowid(&self, list: &Resource) -> bool {
        let table = self.tables.iter().find(|table| table.name == list.table).unwrap();
        let declared = |at: &usize| table.columns[*at].kind.sql.contains("NOT NULL");
        self.db.name() == "sqlite" && (table.key.is_empty() || (table.key.len() > 1 && !table.key.iter().all(declared)))
    }

    /// What plain SQL gives for each list; none where it cannot be.
    fn expected(&self, resources: &[Resource]) -> Vec<Option<Vec<Expected>>> {
        let named = |name: &str| self.tables.iter().find(|table| table.name == name).unwrap();
        let can_be = |resource: &Resource| {
            let has = |table: &str, column: &String| named(table).column(column).is_some();
            resource.fields.iter().all(|(_, field)| match field {
                Field::Column(column) => has(&resource.table, column),
                Field::Related(said, columns) => {
                    let table = said.get("table").or_else(|| said.get("from")).unwrap();
                    columns.iter().all(|column| has(table, column))
                }
            })
        };
        let one = |resource| can_be(resource).then(|| expected(&self.db, &self.tables, resource));
        resources.iter().map(one).collect()
    }
}

/// Rows of `item`, each told apart by its number.
fn item_rows(item: &Table, rng: &mut Rng) -> Vec<Vec<String>> {
    let row = |n: usize| {
        let cell = |(at, column): (usize, &Column)| match &*column.name {
            "n" => n.to_string(),
            "owner" => rng.usize(..ROWS).to_string(),
            _ => value(rng, column.kind, !item.key.contains(&at)),
        };
        item.columns.iter().enumerate().map(cell).collect()
    };
    (0..ROWS).map(row).collect()
}

// ---------------------------------------------------------------------------------------------------------------- changes

/// What changes a database: SQL, and what its tables and its view are then. None where there is no such change.
type Make = fn(&World, &mut Rng) -> Option<(String, Vec<Table>, &'static str)>;

struct Change {
    what: &'static str,
    make: Make,
    /// Whether it is no change of a definition, so that rows of before and after may stand in one list.
    of_rows: bool,
    /// Whether no list but one by rowid may notice.
    unnoticed: bool,
}

const fn change(what: &'static str, make: Make) -> Change {
    Change { what, make, of_rows: false, unnoticed: false }
}

/// Those of a group come one after the other.
const CHANGES: &[&[Change]] = &[
    &[
        change("the key has another type", |world, rng| alter(world, rng, ITEM, "k")),
        change("the key has another collation", |world, rng| alter(world, rng, ITEM, "k")),
    ],
    &[change("another table, with another key, has its name", |world, rng| {
        let mut item = world.tables[ITEM].clone();
        item.columns[item.key[0]].kind = rng.choice(kinds::of(&world.db)).unwrap();
        item.rows = item_rows(&item, rng);
        let sql = format!("DROP TABLE item; {}", item.ddl(&world.db, &[]));
        with(world, ITEM, item, sql)
    })],
    &[Change {
        what: "another table of the same form has its name",
        make: |world, _| {
            let item = &world.tables[ITEM];
            let select = |column: &Column| match &*column.name {
                "owner" => format!("(owner + 1) % {ROWS}"),
                name => quoted(&world.db, name),
            };
            let sql = rebuilt(&world.db, item, &item.columns.iter().map(select).collect::<Vec<_>>().join(", "));
            with(world, ITEM, item.clone(), sql)
        },
        of_rows: true,
        unnoticed: false,
    }],
    &[
        change("a column more", |world, rng| add(world, rng, "c")),
        change("a column less", |world, _| drop_column(world, "c")),
    ],
    &[
        change("a shown column has another name", |world, _| rename(world, "a", "z")),
        change("a shown column has its name back", |world, _| rename(world, "z", "a")),
    ],
    &[
        change("a key's column has another name", |world, _| rename(world, "k", "q")),
        change("a key's column has its name back", |world, _| rename(world, "q", "k")),
    ],
    &[
        change("a shown column is gone", |world, _| drop_column(world, "a")),
        change("a shown column is back with another type", |world, rng| add(world, rng, "a")),
    ],
    &[change("a shown column has another type", |world, rng| alter(world, rng, ITEM, "a"))],
    &[change("a related column has another type", |world, rng| alter(world, rng, OWNER, "label"))],
    &[
        change("a view shows other rows", |world, _| view(world, 1)),
        change("a view shows fewer rows", |world, _| view(world, 2)),
    ],
    &[Change {
        what: "a table that no list reads",
        make: |world, rng| {
            let sql = format!("CREATE TABLE unrelated_{} (x int)", rng.u32(..));
            Some((sql, world.tables.clone(), world.view))
        },
        of_rows: false,
        unnoticed: true,
    }],
    &[change("rows have other numbers", |world, _| {
        let sql = "DELETE FROM loose WHERE n = (SELECT min(n) FROM loose); VACUUM";
        (world.db.name() == "sqlite").then(|| (sql.to_owned(), world.tables.clone(), world.view))
    })],
];

fn with(world: &World, at: usize, table: Table, sql: String) -> Option<(String, Vec<Table>, &'static str)> {
    let mut tables = world.tables.clone();
    tables[at] = table;
    Some((sql, tables, world.view))
}

/// Another table in the place of one, with what is selected of its rows.
fn rebuilt(db: &Db, table: &Table, select: &str) -> String {
    let name = &table.name;
    let empty = Table { rows: vec![], ..table.clone() };
    format!(
        "ALTER TABLE {name} RENAME TO old; {} INSERT INTO {name} SELECT {select} FROM old; DROP TABLE old;",
        empty.ddl(db, &[])
    )
}

/// A column with another type or collation, and its values as texts.
fn alter(world: &World, rng: &mut Rng, at: usize, name: &str) -> Option<(String, Vec<Table>, &'static str)> {
    let db = &world.db;
    let mut table = world.tables[at].clone();
    let place = table.column(name)?;
    let others: Vec<_> = kinds::altered(db).iter().filter(|kind| kind.sql != table.columns[place].kind.sql).collect();
    let kind = *rng.choice(&others)?;
    table.columns[place].kind = kind;
    let sql = match db.name() {
        "postgres" => {
            let base = kind.sql.split(' ').next()?;
            format!("ALTER TABLE {} ALTER {name} TYPE {} USING {name}::text::{base}", table.name, kind.sql)
        }
        "mariadb" => format!("ALTER TABLE {} MODIFY {}", table.name, table.column_ddl(db, place)),
        _ => rebuilt(db, &table, "*"),
    };
    if at != OWNER {
        return with(world, at, table, sql);
    }

    let sql = match db.name() {
        "mariadb" => sql,
        // A view keeps its table as it is.
        _ => format!("DROP VIEW v; {sql}; CREATE VIEW v AS {}", world.view),
    };
    let (sql, mut tables, view) = with(world, at, table, sql)?;
    tables[VIEW].columns[1].kind = kind;
    Some((sql, tables, view))
}

fn add(world: &World, rng: &mut Rng, name: &str) -> Option<(String, Vec<Table>, &'static str)> {
    let mut item = world.tables[ITEM].clone();
    let kind = rng.choice(kinds::of(&world.db))?;
    item.columns.push(column(name, kind));
    let declared = item.column_ddl(&world.db, item.columns.len() - 1);
    let sql = format!("ALTER TABLE item ADD COLUMN {declared}; UPDATE item SET {name} = {}", kind.values[0]);
    with(world, ITEM, item, sql)
}

fn drop_column(world: &World, name: &str) -> Option<(String, Vec<Table>, &'static str)> {
    let mut item = world.tables[ITEM].clone();
    item.columns.remove(item.column(name)?);
    with(world, ITEM, item, format!("ALTER TABLE item DROP COLUMN {name}"))
}

fn rename(world: &World, from: &str, to: &str) -> Option<(String, Vec<Table>, &'static str)> {
    let mut item = world.tables[ITEM].clone();
    let place = item.column(from)?;
    item.columns[place].name = to.into();
    with(world, ITEM, item, format!("ALTER TABLE item RENAME COLUMN {from} TO {to}"))
}

fn view(world: &World, number: usize) -> Option<(String, Vec<Table>, &'static str)> {
    let sql = VIEWS[number];
    let make = match world.db.name() {
        "sqlite" => format!("DROP VIEW v; CREATE VIEW v AS {sql}"),
        _ => format!("CREATE OR REPLACE VIEW v AS {sql}"),
    };
    Some((make, world.tables.clone(), sql))
}

// ------------------------------------------------------------------------------------------------------------------ right

/// What an answer may be.
struct Right<'a> {
    now: Option<&'a [Expected]>,
    before: Option<&'a [Expected]>,
    /// Whether all of what was before was in the cache.
    was_whole: bool,
    of_rows: bool,
    /// Whether it must be an answer.
    unnoticed: bool,
}

impl Right<'_> {
    /// Which row is the first behind a page of so many of before: where the view shows others, that behind their last number.
    fn behind(&self, page: usize) -> usize {
        let number = |row: &Expected| match &row[..] {
            [(name, Member::Value(Some(id))), _] if name == "id" => id.parse::<i64>().ok(),
            _ => None,
        };
        let found = self
            .before
            .and_then(|before| number(&before[page - 1]))
            .zip(self.now)
            .and_then(|(last, now)| now.iter().position(|row| number(row).is_some_and(|id| id > last)));
        found.unwrap_or(page)
    }

    /// Whether an answer is what the list is now; what is wrong, where it is neither that, nor what it may be still, nor a refusal.
    fn holds(
        &self,
        reply: &Reply,
        part: std::ops::Range<usize>,
        same: impl Fn(&Reply, &[Expected]) -> Option<String>,
    ) -> Result<bool, String> {
        if reply.status != 200 || !reply.whole {
            let refused = !reply.whole || matches!(reply.status, 400 | 503);
            let body = String::from_utf8_lossy(&reply.body);
            return if refused && !self.unnoticed { Ok(false) } else { Err(format!("{}: {body}", reply.status)) };
        }

        let cut = |list: &[Expected]| part.start.min(list.len())..part.end.min(list.len());
        let wrong = match self.now.map(|now| same(reply, &now[cut(now)])) {
            Some(None) => return Ok(true),
            Some(Some(wrong)) => wrong,
            None => "it can not be any more".to_owned(),
        };
        if self.was_whole && self.before.is_some_and(|before| same(reply, &before[cut(before)]).is_none()) {
            return Ok(false);
        }
        if self.of_rows
            && let (Some(now), Some(before)) = (self.now, self.before)
        {
            let pairs = now[cut(now)].iter().zip(&before[cut(before)]);
            let rows = rows(reply);
            if rows.len() == pairs.len()
                && rows.iter().zip(pairs).all(|(row, (now, before))| same_row(row, now) || same_row(row, before))
            {
                return Ok(false);
            }
        }
        Err(wrong)
    }
}

/// The rows of JSON or NDJSON; none of CSV.
fn rows(reply: &Reply) -> Vec<Value> {
    match reply.header("content-type") {
        kind if kind.starts_with("application/json") => reply.results(),
        kind if kind.starts_with("application/x-ndjson") => lines(reply),
        _ => vec![],
    }
}

fn same_rows(reply: &Reply, expected: &[Expected]) -> Option<String> {
    let rows = rows(reply);
    if rows.len() != expected.len() {
        return Some(format!("{} rows, and SQL says {}", rows.len(), expected.len()));
    }
    let wrong = rows.iter().zip(expected).position(|(row, expected)| !same_row(row, expected))?;
    Some(format!("row {wrong} is {}", rows[wrong]))
}

fn same_records(reply: &Reply, expected: &[Expected]) -> Option<String> {
    fault(|| same_csv(reply, expected, "csv"))
}

// ------------------------------------------------------------------------------------------------------------------- test

/// A server, and how much of a list it has before each change.
struct Asked {
    name: &'static str,
    server: Running,
    has_all: bool,
    /// The next page of each list, as the first one says.
    next: Vec<Option<String>>,
}

impl Asked {
    /// Has it forget all lists, and asks for as much of each as it is to have.
    fn prepare(&mut self, resources: &[Resource], lists: &[Option<Vec<Expected>>]) {
        self.next.clear();
        for (resource, list) in resources.iter().zip(lists) {
            let path = path(&resource.name);
            self.server.block_on(self.server.chunkflow.purge(&resource.name)).unwrap();
            let Some(list) = list else {
                self.next.push(None);
                continue;
            };
            let page = self.server.get(&format!("{path}?limit={PAGE}"));
            let wrong = same_rows(&page, &list[..PAGE]);
            assert!(wrong.is_none(), "{} {path}: {wrong:?}", self.name);
            self.next.push(page.next(&path));
            if self.has_all {
                assert!(same_rows(&self.server.get(&path), list).is_none(), "{} {path}", self.name);
            }
        }
    }

    /// Asks for a list in every format, and for the page behind the one of before.
    fn ask(&self, at: usize, resource: &Resource, right: &Right<'_>) -> Vec<String> {
        let path = path(&resource.name);
        let all = 0..usize::MAX;
        let mut faults = vec![];
        let mut note = |what: &str, held: Result<bool, String>| {
            faults.extend(held.err().map(|wrong| format!("{}, {path} {what}: {wrong}", self.name)));
        };

        note("first", right.holds(&self.server.get(&path), all.clone(), same_rows));
        if let Some(next) = &self.next[at] {
            let longer = next.replace(&format!("limit={PAGE}"), "limit=400");
            let from = right.behind(PAGE);
            note("next page", right.holds(&self.server.get(&longer), from..from + 400, same_rows));
        }
        // Only JSON was whole in the cache.
        let fresh = Right { was_whole: false, ..*right };
        note("ndjson", fresh.holds(&self.server.get(&format!("{path}.ndjson")), all.clone(), same_rows));
        if !right.of_rows {
            note("csv", fresh.holds(&self.server.get(&format!("{path}.csv")), all.clone(), same_records));
        }
        note("again", right.holds(&self.server.get(&path), all, same_rows));
        faults
    }

    /// Waits until a list is what it is now.
    fn settle(&self, resource: &Resource, now: &[Expected], told: &str) {
        let path = path(&resource.name);
        self.server.block_on(self.server.chunkflow.purge(&resource.name)).unwrap();
        until(&format!("{told}: {} {path} is right", self.name), || {
            let reply = self.server.get(&path);
            let right = Right { now: Some(now), before: None, was_whole: false, of_rows: false, unnoticed: false };
            right.holds(&reply, 0..usize::MAX, same_rows).unwrap_or_else(|wrong| panic!("{told} {path}: {wrong}"))
        });
    }
}

fn hold(db: impl Fn() -> Db) {
    for seed in SEEDS {
        let mut rng = Rng::with_seed(seed);
        let mut world = World::new(db(), &mut rng);
        let lists = world.lists();
        let all = resources(&lists);
        let config = format!("[databases]\nmain = \"{}\"\n{lists}", world.db.url());
        let asked = |name, has_all, store: &str| Asked {
            name,
            server: Running::config(&format!("{config}{store}")),
            has_all,
            next: vec![],
        };
        let mut servers = [
            asked("warm", true, ""),
            asked("begun", false, ""),
            asked("without a cache", false, "[store]\nurl = \"memory:1KiB\"\n"),
        ];

        let mut groups: Vec<&[Change]> = CHANGES.to_vec();
        rng.shuffle(&mut groups);
        let mut faults = vec![];
        for change in groups.into_iter().flatten() {
            let told = format!("{}, seed {seed}: {}", world.db.name(), change.what);
            let Some((sql, tables, view)) = (change.make)(&world, &mut rng) else { continue };
            let before = world.expected(&all);
            servers.iter_mut().for_each(|one| one.prepare(&all, &before));
            if world.db.name() == "mariadb" {
                // What has no form as a text stays what it is.
                if world.db.try_execute(&sql).is_err() {
                    continue;
                }
            } else {
                world.db.execute(&sql);
            }
            world = World { tables, view, ..world };

            let now = world.expected(&all);
            for (at, resource) in all.iter().enumerate() {
                for one in &servers {
                    let right = Right {
                        now: now[at].as_deref(),
                        before: before[at].as_deref(),
                        was_whole: one.has_all,
                        of_rows: change.of_rows,
                        unnoticed: change.unnoticed && before[at].is_some() && !world.is_by_rowid(resource),
                    };
                    let told = |fault: String| format!("{told} ({sql:.200}): {fault}");
                    faults.extend(one.ask(at, resource, &right).into_iter().map(told));
                }
            }
            for (resource, now) in all.iter().zip(&now).filter_map(|(resource, now)| Some((resource, now.as_ref()?))) {
                servers.iter().for_each(|one| one.settle(resource, now, &told));
                let rows = pages(servers[0].server.address, &path(&resource.name), 250, &told);
                assert!(rows.len() == now.len() && rows.iter().zip(now).all(|(row, now)| same_row(row, now)), "{told}");
            }
        }
        assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    }
}

#[test]
fn a_list_of_postgresql_is_right_before_and_after_any_change_of_its_schema() {
    hold(postgres);
}

#[test]
fn a_list_of_mariadb_is_right_before_and_after_any_change_of_its_schema() {
    hold(mariadb);
}

#[test]
fn a_list_of_sqlite_is_right_before_and_after_any_change_of_its_schema() {
    hold(sqlite);
}
