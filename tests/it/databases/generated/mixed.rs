//! Columns of different types are related where SQL's `=` between the two says so, and nowhere
//! else.

use std::collections::BTreeMap;

use super::kinds;
use crate::{
    servers::{Db, mariadb, postgres, sqlite},
    support::Running,
};

/// Types that can be compared with one another, each with values.
type Group = &'static [(&'static str, &'static [&'static str])];

const POSTGRES: &[Group] = &[
    &[
        ("char(3)", &["'G'", "'GAL'", "'LB'", "''"]),
        ("char(5)", &["'G'", "'GAL'", "'GALA'", "'g'"]),
        ("varchar(4)", &["'G'", "'G '", "'GAL'", "''", "'g'"]),
        ("text", &["'G'", "'G  '", "'GAL'", "'GALA'", "'é'"]),
        ("text COLLATE \"C\"", &["'G'", "'g'", "''"]),
        ("ext.citext", &["'g'", "'GAL'", "''"]),
        ("name", &["'G'", "'g'", "''"]),
        ("unit", &["'G'", "'LB'"]),
        ("word", &["'G'", "''", "'GAL'"]),
        ("blindly", &["'g'", "'e'", "'gal'"]),
    ],
    &[
        ("smallint", &["0", "7", "-1"]),
        ("int", &["0", "7", "2147483647"]),
        ("bigint", &["0", "7", "3000000000", "9007199254740993"]),
        ("positive", &["7", "8"]),
        ("numeric(10,2)", &["7.00", "7.5", "0"]),
        ("numeric", &["7", "7.50", "9007199254740993"]),
        ("double precision", &["7", "7.5", "9007199254740992", "0.1"]),
        ("real", &["7", "0.1"]),
        ("oid", &["7", "3000000000"]),
    ],
    &[
        ("bit(1)", &["'0'", "'1'"]),
        ("bit(3)", &["'001'", "'100'"]),
        ("bit(9)", &["'001000000'", "'000000001'"]),
        ("varbit(9)", &["'1'", "'001'", "'100'", "'001000000'"]),
        ("mask", &["'001'", "'111'"]),
    ],
    &[
        ("date", &["'2026-01-02'", "'2026-01-03'"]),
        ("timestamp(0)", &["'2026-01-02 00:00:00'", "'2026-01-02 00:00:01'"]),
        ("timestamp(3)", &["'2026-01-02 00:00:00'", "'2026-01-02 00:00:01.5'"]),
        ("timestamptz", &["'2026-01-02 00:00:00Z'", "'2026-01-02 00:00:01.5Z'"]),
    ],
    &[("inet", &["'10.0.0.0/8'", "'10.0.0.0'"]), ("cidr", &["'10.0.0.0/8'", "'10.0.0.0/32'"])],
    &[("time(0)", &["'01:02:03'"]), ("time(3)", &["'01:02:03'", "'01:02:03.5'"]), ("interval", &["'01:02:03'"])],
];

const MARIADB: &[Group] = &[
    &[
        ("TINYINT", &["0", "7", "-1"]),
        ("INT", &["0", "7", "2147483647"]),
        ("BIGINT", &["0", "7", "-1", "9007199254740993"]),
        ("BIGINT UNSIGNED", &["7", "18446744073709551615"]),
        ("DECIMAL(10,2)", &["7.00", "7.5", "0"]),
        // Not one that is no double: whether it is equal depends on the index that MariaDB finds it
        // by.
        ("DOUBLE", &["7", "7.5"]),
        ("FLOAT", &["7", "0.5"]),
        ("BIT(9)", &["7", "500"]),
        ("YEAR", &["1999", "2026"]),
        ("VARCHAR(9)", &["'7'", "'7.5'", "'x'", "' 7'", "'2026'"]),
    ],
    &[
        ("CHAR(3) COLLATE utf8mb4_general_ci", &["'G'", "'GAL'", "''", "'é'"]),
        ("CHAR(3) COLLATE utf8mb4_bin", &["'G'", "'g'", "'GAL'", "''"]),
        ("VARCHAR(4) COLLATE utf8mb4_nopad_bin", &["'G'", "'G '", "'g'", "''"]),
        ("VARCHAR(4) CHARACTER SET latin1", &["'G'", "'é'"]),
        ("VARCHAR(4) CHARACTER SET cp1251", &["'G'", "'ж'"]),
        ("VARCHAR(4) CHARACTER SET latin1 COLLATE latin1_bin", &["'G'", "'g'"]),
        ("BINARY(3)", &["'G'", "'GAL'"]),
        ("VARBINARY(4)", &["'G'", "'GAL'", "''"]),
    ],
    &[
        ("DATE", &["'2026-01-02'", "'2026-01-03'"]),
        ("DATETIME(3)", &["'2026-01-02'", "'2026-01-02 00:00:01.5'"]),
        ("DATETIME", &["'2026-01-02'", "'2026-01-02 00:00:01'"]),
        ("TIMESTAMP(2)", &["'2026-01-02'", "'2026-01-02 00:00:01.5'"]),
        ("VARCHAR(30)", &["'2026-01-02'", "'2026-01-02 00:00:01.5'"]),
    ],
];

const SQLITE: &[Group] = &[&[
    ("INTEGER", &["0", "7", "9007199254740993"]),
    ("INT NOT NULL", &["7", "'x'", "7.5", "x'37'"]),
    ("TEXT NOT NULL", &["'7'", "'7.0'", "'G'", "'g'", "'G '", "x'37'"]),
    ("TEXT NOT NULL COLLATE NOCASE", &["'G'", "'7'", "'é'"]),
    ("TEXT NOT NULL COLLATE RTRIM", &["'G '", "'g'", "'7'"]),
    ("REAL NOT NULL", &["7", "7.5", "'G'", "9007199254740992"]),
    ("NUMERIC NOT NULL", &["7", "7.5", "'G'"]),
    ("BLOB NOT NULL", &["7", "'7'", "'G'", "x'47'", "7.5"]),
]];

struct Pair {
    name: String,
    own: usize,
    item: usize,
}

fn hold(db: &Db, groups: &[Group]) {
    kinds::prepare(db);
    let types: Vec<_> = groups.iter().copied().flatten().collect();
    let mut ddl =
        "CREATE TABLE number (id INT NOT NULL PRIMARY KEY); INSERT INTO number VALUES (0), (1), (2);\n".to_owned();
    for (at, (sql, values)) in types.iter().enumerate() {
        ddl += &format!("CREATE TABLE own{at} (k {sql}, n INT, PRIMARY KEY (k));\n");
        ddl += &format!("CREATE TABLE item{at} (id INT NOT NULL, k {sql}, number INT, PRIMARY KEY (id));\n");
        for (n, value) in values.iter().enumerate() {
            ddl += &format!("INSERT INTO own{at} VALUES ({value}, {n});\n");
            ddl += &format!("INSERT INTO item{at} VALUES ({n}, {value}, {});\n", n % 3);
        }
    }

    db.execute(&ddl);

    let mut pairs = vec![];
    let mut before = 0;
    for group in groups {
        for own in before..before + group.len() {
            let items = before..before + group.len();
            pairs.extend(items.map(|item| Pair { name: format!("{own}_{item}"), own, item }));
        }
        before += group.len();
    }

    // What SQL does not compare, nobody asks for.
    let joined = |pair: &Pair| {
        let sql =
            format!("SELECT i.id, o.n FROM item{} i JOIN own{} o ON o.k = i.k ORDER BY i.id, o.k", pair.item, pair.own);
        db.query(&sql).ok()
    };

    let pairs: Vec<(Pair, Vec<Vec<String>>)> =
        pairs.into_iter().filter_map(|pair| Some((joined(&pair)?, pair))).map(|(rows, pair)| (pair, rows)).collect();
    let mut config = format!("[databases]\nmain = \"{}\"\n", db.url());
    for (Pair { name, own, item }, _) in &pairs {
        config += &format!(
            "[resources.a{name}]\ndatabase = \"main\"\ntable = \"own{own}\"\nfields = {{ n = \"n\", from = {{ from = \"item{item}\", on = \"k\", column = \"id\" }}, \
             through = {{ through = \"item{item}\", on = \"k\", to = \"number\", table = \"number\", column = \"id\" }} }}\n\
             [resources.b{name}]\ndatabase = \"main\"\ntable = \"item{item}\"\nfields = {{ id = \"id\", own = {{ via = \"k\", table = \"own{own}\", column = \"n\" }} }}\n"
        );
    }

    let server = Running::config(&config);
    let mut faults = vec![];
    for (Pair { name, own, item }, rows) in &pairs {
        let told = format!("{} ← {}", types[*own].0, types[*item].0);
        let mut owned: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut owners: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for row in rows {
            owned.entry(row[1].clone()).or_default().push(row[0].clone());
            owners.entry(row[0].clone()).or_default().push(row[1].clone());
        }
        for row in server.get(&format!("/a{name}")).results() {
            let texts = |name: &str| row[name].as_array().unwrap().iter().map(|id| id.to_string()).collect::<Vec<_>>();
            let expected = owned.get(&row["n"].to_string()).cloned().unwrap_or_default();
            let mut through: Vec<String> =
                expected.iter().map(|id| (id.parse::<usize>().unwrap() % 3).to_string()).collect();
            through.sort();
            for (way, found, expected) in [("from", texts("from"), &expected), ("through", texts("through"), &through)]
            {
                faults.extend((found != *expected).then(|| format!("{told}, {way}: {row}, and SQL says {expected:?}")));
            }
        }
        // Where several are equal it is the first of them.
        for row in server.get(&format!("/b{name}")).results() {
            let expected = owners.get(&row["id"].to_string()).map_or("null", |all| &*all[0]);
            let own = row["own"].to_string();
            faults.extend((own != expected).then(|| format!("{told}, via: {row}, and SQL says {expected}")));
        }
    }

    assert!(faults.is_empty(), "{}: {} faults:\n{}", db.name(), faults.len(), faults.join("\n"));
}

#[test]
fn columns_of_different_types_are_related_where_postgresql_says_that_they_are_equal() {
    hold(&postgres(), POSTGRES);
}

#[test]
fn columns_of_different_types_are_related_where_mariadb_says_that_they_are_equal() {
    hold(&mariadb(), MARIADB);
}

#[test]
fn columns_of_different_types_are_related_where_sqlite_says_that_they_are_equal() {
    hold(&sqlite(), SQLITE);
}
