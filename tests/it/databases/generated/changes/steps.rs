//! Changes of a schema.

use fastrand::Rng;

use super::{
    super::{
        column, kinds,
        schema::{Column, Table, quoted},
    },
    world::{ITEM, OWNER, ROWS, VIEW, VIEWS, World, item_rows},
};
use crate::servers::Db;

/// What changes a database: SQL, and what its tables and its view are then. None where there is no
/// such change.
pub type Make = fn(&World, &mut Rng) -> Option<(String, Vec<Table>, &'static str)>;

pub struct Change {
    pub what: &'static str,
    pub make: Make,
    /// Whether it is no change of a definition, so that rows of before and after may stand in one
    /// list.
    pub of_rows: bool,
    /// Whether no list but one by rowid may notice.
    pub unnoticed: bool,
}

const fn change(what: &'static str, make: Make) -> Change {
    Change { what, make, of_rows: false, unnoticed: false }
}

/// Those of a group come one after the other.
pub const CHANGES: &[&[Change]] = &[
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
