//! A database with the tables over which lists stand that will change.

use fastrand::Rng;

use super::super::{
    column, kinds,
    lists::{Expected, Field, Resource, expected},
    made,
    random::value,
    schema::{Column, Table},
    whole,
};
use crate::servers::Db;

/// More than two reads of a list take.
pub const ROWS: usize = 530;

/// Where the tables stand in a world.
pub const ITEM: usize = 0;
pub const OWNER: usize = 1;
pub const VIEW: usize = 2;

pub const VIEWS: &[&str] = &[
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

/// A database with its tables as they are.
pub struct World {
    pub db: Db,
    pub tables: Vec<Table>,
    pub view: &'static str,
}

impl World {
    pub fn new(db: Db, rng: &mut Rng) -> World {
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

    pub fn lists(&self) -> String {
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

    /// Whether SQLite's rowid is in the order of a list, so that any change of the schema makes it
    /// another.
    pub fn is_by_rowid(&self, list: &Resource) -> bool {
        let table = self.tables.iter().find(|table| table.name == list.table).unwrap();
        let declared = |at: &usize| table.columns[*at].kind.sql.contains("NOT NULL");
        self.db.name() == "sqlite" && (table.key.is_empty() || (table.key.len() > 1 && !table.key.iter().all(declared)))
    }

    /// What plain SQL gives for each list; none where it cannot be.
    pub fn expected(&self, resources: &[Resource]) -> Vec<Option<Vec<Expected>>> {
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
pub fn item_rows(item: &Table, rng: &mut Rng) -> Vec<Vec<String>> {
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
