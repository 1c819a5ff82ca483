//! Trees of conditions, conditions on related rows, and patterns without regard to case: the same
//! rows from every database.

use std::collections::BTreeSet;

use proptest::{prelude::*, sample::select, test_runner::TestRunner};
use serde_json::Value;

use super::{ids, walk};
use crate::{
    client::Reply,
    servers::{Db, every_kind, postgres, sqlite},
    support::{Running, checked},
};

/// Items, some with an author that is not there, and some with none.
fn fill(db: &Db) -> Vec<Item> {
    db.execute(
        "CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(40));
         CREATE TABLE item (id INTEGER PRIMARY KEY, number INTEGER, word VARCHAR(40), author_id INTEGER);
         CREATE INDEX item_author ON item (author_id);
         INSERT INTO author VALUES (1, 'ann'), (2, 'bob'), (3, NULL);",
    );
    let mut items = vec![];
    for number in [None, Some(1), Some(2), Some(3)] {
        for word in [None, Some("ann"), Some("bob"), Some("bo")] {
            for author in [None, Some(1), Some(2), Some(3), Some(9)] {
                let id = items.len() as i64 + 1;
                let sql = |value: Option<String>| value.unwrap_or_else(|| "NULL".into());
                let values = [
                    sql(number.map(|number: i64| number.to_string())),
                    sql(word.map(|word| format!("'{word}'"))),
                    sql(author.map(|author: i64| author.to_string())),
                ];
                db.execute_later(&format!("INSERT INTO item VALUES ({id}, {});", values.join(", ")));
                let name = match author {
                    Some(1) => Some("ann"),
                    Some(2) => Some("bob"),
                    _ => None,
                };
                items.push(Item { id, number, word, name });
            }
        }
    }
    db.execute_now();
    items
}

#[derive(Clone, Copy, Debug)]
struct Item {
    id: i64,
    number: Option<i64>,
    word: Option<&'static str>,
    name: Option<&'static str>,
}

const LIST: &str = "table = \"item\"
    filters = [\"id\", \"number\", \"word\", \"author.name\"]
    fields = { id = \"id\", author = { via = \"author_id\", table = \"author\", column = \"name\" } }";

/// A condition as a request writes it, and its truth by SQL's logic of three values.
#[derive(Clone, Debug)]
enum Tree {
    Is { column: &'static str, is_negated: bool, operator: &'static str, values: Vec<&'static str> },
    Group { is_any: bool, is_negated: bool, parts: Vec<Tree> },
}

impl Tree {
    fn written(&self) -> String {
        let not = |is_negated: bool| if is_negated { "not." } else { "" };
        match self {
            Tree::Is { column, is_negated, operator, values } => {
                let value = if *operator == "in" { format!("({})", values.join(",")) } else { values[0].to_owned() };
                format!("{column}.{}{operator}.{value}", not(*is_negated))
            }
            Tree::Group { is_any, is_negated, parts } => {
                let word = if *is_any { "or" } else { "and" };
                let parts: Vec<String> = parts.iter().map(Tree::written).collect();
                format!("{}{word}({})", not(*is_negated), parts.join(","))
            }
        }
    }

    fn holds(&self, item: &Item) -> Option<bool> {
        let (is_negated, holds) = match self {
            Tree::Is { column, is_negated, operator, values } => (is_negated, compared(item, column, operator, values)),
            Tree::Group { is_any, is_negated, parts } => {
                let parts: Vec<Option<bool>> = parts.iter().map(|part| part.holds(item)).collect();
                let is_decided = parts.contains(&Some(*is_any));
                let is_open = parts.contains(&None);
                let holds = if is_decided {
                    Some(*is_any)
                } else if is_open {
                    None
                } else {
                    Some(!*is_any)
                };
                (is_negated, holds)
            }
        };
        holds.map(|holds| holds != *is_negated)
    }
}

fn compared(item: &Item, column: &str, operator: &str, values: &[&str]) -> Option<bool> {
    let own = match column {
        "number" => item.number.map(|number| number.to_string()),
        "word" => item.word.map(str::to_owned),
        _ => item.name.map(str::to_owned),
    };
    if operator == "is" {
        return Some(own.is_none() == (values[0] == "null"));
    }
    if operator == "in" && values.is_empty() {
        return Some(false);
    }
    let own = own?;
    Some(match operator {
        "eq" => own == values[0],
        "neq" => own != values[0],
        "gt" => own.as_str() > values[0],
        "gte" => own.as_str() >= values[0],
        "lt" => own.as_str() < values[0],
        "lte" => own.as_str() <= values[0],
        "in" => values.contains(&&*own),
        "like" => own.starts_with(values[0].trim_end_matches('*')),
        _ => own.starts_with(&values[0].trim_end_matches('*').to_lowercase()),
    })
}

fn tree() -> impl Strategy<Value = Tree> {
    let columns = ["number", "word", "author.name"];
    let operators = ["eq", "neq", "gt", "gte", "lt", "lte", "in", "is", "like", "ilike"];
    let is =
        (select(columns.to_vec()), any::<bool>(), select(operators.to_vec()), prop::collection::vec(0..3usize, 0..4));
    let is = is.prop_map(|(column, is_negated, operator, chosen)| {
        let is_number = column == "number";
        let operator = if is_number && operator.ends_with("like") { "eq" } else { operator };
        let known = match operator {
            "is" => ["null", "not_null", "null"],
            "like" => ["bo*", "ann", "c*"],
            "ilike" => ["BO*", "AnN", "c*"],
            _ if is_number => ["1", "2", "9"],
            _ => ["ann", "bo", "bob"],
        };
        let mut values: Vec<&'static str> = chosen.into_iter().map(|at| known[at]).collect();
        if operator != "in" {
            values.resize(1, known[0]);
        }
        Tree::Is { column, is_negated, operator, values }
    });
    is.prop_recursive(4, 24, 3, |inner| {
        let parts = prop::collection::vec(inner, 1..4);
        (any::<bool>(), any::<bool>(), parts).prop_map(|(is_any, is_negated, parts)| Tree::Group {
            is_any,
            is_negated,
            parts,
        })
    })
}

#[test]
fn every_database_gives_the_rows_for_which_a_tree_is_true_by_the_logic_of_three_values() {
    for db in every_kind() {
        let items = fill(&db);
        let running = db.serve(LIST);
        let mut runner = TestRunner::new(ProptestConfig { cases: 100, ..ProptestConfig::default() });
        let run = runner.run(&tree(), |tree| {
            let target = format!("/list?and=({})", tree.written());
            let reply = running.get(&target);
            let expected: Vec<i64> =
                items.iter().filter(|item| tree.holds(item) == Some(true)).map(|item| item.id).collect();
            prop_assert_eq!(reply.status, 200, "{}: {}: {}", db.name(), &target, text(&reply));
            prop_assert_eq!(ids(&reply.results()), expected, "{}: {}", db.name(), target);
            Ok(())
        });
        run.unwrap();
    }
}

fn text(reply: &Reply) -> String {
    String::from_utf8_lossy(&reply.body).into_owned()
}

fn found(running: &Running, query: &str) -> Vec<i64> {
    let reply = running.get(&format!("/list?{query}"));
    assert_eq!(reply.status, 200, "{query}: {}", text(&reply));
    ids(&reply.results())
}

#[test]
fn a_filter_on_a_related_row_is_written_with_the_fields_name_and_gives_its_rows() {
    for db in every_kind() {
        let items = fill(&db);
        let running = db.serve(LIST);
        let of = |has: &dyn Fn(&Item) -> bool| -> Vec<i64> {
            items.iter().filter(|item| has(item)).map(|item| item.id).collect()
        };
        assert_eq!(found(&running, "author.name=eq.bob"), of(&|item| item.name == Some("bob")));
        assert_eq!(found(&running, "author.name=not.in.(bob,x)"), of(&|item| item.name == Some("ann")));
        assert_eq!(found(&running, "author.name=is.null"), of(&|item| item.name.is_none()), "without one too");
        assert_eq!(found(&running, "author.name=ilike.B*"), of(&|item| item.name == Some("bob")));
        assert_eq!(
            found(&running, "or=(author.name.eq.ann,number.eq.3)&id=lt.70"),
            of(&|item| (item.name == Some("ann") || item.number == Some(3)) && item.id < 70)
        );

        let paged = walk(&running, "/list?or=(author.name.eq.ann,number.eq.3)");
        let whole = of(&|item| item.name == Some("ann") || item.number == Some(3));
        assert_eq!(paged, whole.iter().map(ToString::to_string).collect::<Vec<_>>(), "page by page too");

        let reply = running.get("/list?author.secret=eq.1");
        assert_eq!(reply.status, 400);
        assert!(text(&reply).contains("author.name"), "it says what there is: {}", text(&reply));
        assert_eq!(running.get("/list?author_id=eq.1").status, 400, "the column itself is no filter");
    }
}

#[test]
fn where_what_is_pointed_to_is_no_key_a_condition_is_on_the_row_that_the_list_shows() {
    for db in every_kind() {
        // SQLite alone lets several rows be pointed to.
        let is_sqlite = db.name() == "sqlite";
        let (unique, folded) = if is_sqlite { ("", " COLLATE NOCASE") } else { (" UNIQUE", "") };
        let unchecked = if is_sqlite { "PRAGMA foreign_keys = OFF; " } else { "" };
        db.execute(&format!(
            "{unchecked}CREATE TABLE author (id INTEGER PRIMARY KEY, code BIGINT{unique}, name VARCHAR(40){folded});
             CREATE TABLE item (id INTEGER PRIMARY KEY, code BIGINT REFERENCES author (code));
             INSERT INTO author VALUES (1, 7, 'ann'), (3, 8, 'bob'), (4, 9, NULL);
             INSERT INTO item VALUES (1, 7), (2, 8), (3, 9), (4, NULL);"
        ));
        if is_sqlite {
            db.execute("PRAGMA foreign_keys = OFF; INSERT INTO author VALUES (2, 7, 'bob'), (5, 9, 'bob')");
        }
        let running = db.serve(
            "table = \"item\"\nfilters = [\"author.name\"]\n\
             fields = { id = \"id\", author = { via = \"code\", column = \"name\" } }",
        );
        let shown: Vec<Value> = running.get("/list").results().into_iter().map(|row| row["author"].clone()).collect();
        assert_eq!(shown, ["ann".into(), "bob".into(), Value::Null, Value::Null]);
        assert_eq!(found(&running, "author.name=is.not_null"), [1, 2]);
        assert_eq!(found(&running, "author.name=eq.bob"), [2]);
        assert_eq!(found(&running, "author.name=not.in.(ann,x)"), [2]);
        assert_eq!(found(&running, "author.name=is.null"), [3, 4]);
        let by_collation: &[i64] = if db.name() == "postgres" { &[] } else { &[2] };
        assert_eq!(found(&running, "author.name=eq.BOB"), by_collation, "{}: the column's own", db.name());
    }
}

#[test]
fn a_condition_on_a_related_row_compares_by_the_type_and_collation_of_its_column() {
    for db in every_kind() {
        let (exact, folded) = match db.name() {
            "postgres" => (" COLLATE \"C\"", ""),
            "mariadb" => (" CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", " CHARACTER SET latin1"),
            _ => ("", " COLLATE NOCASE"),
        };
        db.execute(&format!(
            "CREATE TABLE author (id INTEGER PRIMARY KEY, exact VARCHAR(40){exact}, folded VARCHAR(40){folded},
                 price NUMERIC(10,2), born DATE);
             CREATE TABLE item (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES author (id));
             INSERT INTO author VALUES (1, 'a', 'a', 1.50, '2026-01-02'), (2, 'B', 'B', 10, '2026-11-01');
             INSERT INTO item VALUES (1, 1), (2, 2), (3, NULL);"
        ));
        let names = ["exact", "folded", "price", "born"].map(|name| format!("\"author_id.{name}\"")).join(", ");
        let running = db.serve(&format!("table = \"item\"\nfields = {{ id = \"id\" }}\nfilters = [{names}]"));
        assert_eq!(found(&running, "author_id.exact=eq.A"), [0; 0], "{}", db.name());
        assert_eq!(found(&running, "author_id.exact=lt.a"), [2], "{}", db.name());
        assert_eq!(found(&running, "author_id.exact=in.(a,b)"), [1], "{}", db.name());
        let folds = db.name() != "postgres";
        assert_eq!(found(&running, "author_id.folded=in.(A)"), if folds { vec![1] } else { vec![] }, "{}", db.name());
        assert_eq!(found(&running, "author_id.price=gt.9.5"), [2], "{}", db.name());
        assert_eq!(found(&running, "author_id.price=in.(1.5,7)"), [1], "{}", db.name());
        assert_eq!(found(&running, "author_id.price=not.eq.1.50"), [2], "{}", db.name());
        assert_eq!(found(&running, "author_id.born=gte.2026-10-01"), [2], "{}", db.name());
    }
}

#[test]
fn a_pattern_of_ilike_has_no_regard_to_the_case_of_letters_in_any_collation() {
    for db in every_kind() {
        let exact = match db.name() {
            "postgres" => " COLLATE \"C\"",
            "mariadb" => " CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
            _ => "",
        };
        db.execute(&format!(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, word VARCHAR(40){exact});
             INSERT INTO item VALUES (1, 'Ann'), (2, 'ANN'), (3, 'bob'), (4, NULL), (5, 'a_n');"
        ));
        let running = db.serve("table = \"item\"\nfilters = [\"id\", \"word\"]");
        assert_eq!(found(&running, "word=ilike.aNn"), [1, 2]);
        assert_eq!(found(&running, "word=ilike.A*"), [1, 2, 5]);
        assert_eq!(found(&running, "word=not.ilike.a*"), [3]);
        if db.name() != "sqlite" {
            assert_eq!(found(&running, "word=like.A*"), [1, 2], "the collation's own");
        }
        assert_eq!(running.get(&format!("/list?word=ilike.{}", "a".repeat(129))).status, 400);
    }
}

#[test]
fn trees_that_mean_the_same_share_chunks() {
    let db = sqlite();
    fill(&db);
    let running = db.serve(LIST);
    let first = running.get("/list?or=(number.eq.1,word.eq.bob)&id=gt.3");
    for same in [
        "or=(word.eq.bob,number.eq.1)&id=gt.3",
        "id=gt.3&or=(number.eq.1,or(word.eq.bob,number.eq.1))",
        "and=(id.not.lte.3,or(number.eq.1,word.eq.bob))",
        "not.or=(id.lte.3,and(number.neq.1,word.neq.bob))",
    ] {
        let reply = running.get(&format!("/list?{same}"));
        assert!(reply.header("cache-status").contains("hit"), "{same}: {}", reply.header("cache-status"));
        assert_eq!(text(&reply), text(&first), "{same}");
    }
    assert!(!running.get("/list?or=(number.eq.1,word.eq.bob)").header("cache-status").contains("hit"));
}

#[test]
fn a_column_that_is_called_as_a_tree_is_served_and_is_no_filter() {
    for db in every_kind() {
        let quote = if db.name() == "mariadb" { '`' } else { '"' };
        db.execute(&format!(
            "CREATE TABLE item ({quote}or{quote} INTEGER PRIMARY KEY, {quote}and{quote} INTEGER);
             INSERT INTO item VALUES (1, 2), (3, 4);"
        ));
        let running = db.serve("table = \"item\"");
        let reply = running.get("/list");
        assert_eq!(reply.status, 200, "{}", text(&reply));
        let rows: Vec<Value> = reply.results();
        assert_eq!(rows[1], serde_json::json!({"or": 3, "and": 4}));
        assert_eq!(running.get("/list?or=eq.1").status, 400);
        let refused = checked(&db.config("table = \"item\"\nfilters = [\"or\"]"));
        assert!(refused.contains("column `or` is a parameter of every list"), "{refused}");
    }
}

#[test]
fn check_names_the_index_that_a_filter_on_a_related_row_lacks_and_what_it_cannot_be() {
    for db in every_kind() {
        fill(&db);
        db.execute("CREATE TABLE pointer (id INTEGER PRIMARY KEY, author_id INTEGER)");
        let fields =
            "fields = { id = \"id\", author = { via = \"author_id\", table = \"author\", column = \"name\" } }";
        let checked = |table: &str, filters: &str| {
            checked(&db.config(&format!("table = \"{table}\"\nfilters = [{filters}]\n{fields}")))
        };
        let told = checked("pointer", "\"author.name\"");
        let lacks_one = "a condition on `author.name` may look through all of the table";
        // Others look the author of each row up, in the order of the list.
        assert_eq!(told.contains(lacks_one), db.name() == "postgres", "{}: {told}", db.name());
        assert_eq!(told.contains("CREATE INDEX"), db.name() == "postgres", "{}: {told}", db.name());
        let told = checked("item", "\"author.name\"");
        assert!(!told.contains("author.name"), "{}: it has one: {told}", db.name());
        let told = checked("item", "\"author.names\"");
        assert!(told.contains("has no column `names`"), "{told}");
        let told = checked("item", "\"editor.name\"");
        assert!(told.contains("has no column `editor.name`"), "{told}");
    }
}

#[test]
fn a_hostile_tree_costs_no_more_than_the_time_limit() {
    let db = sqlite();
    db.execute(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000)
         INSERT INTO item SELECT i, replace(hex(zeroblob(500)), '0', 'a') FROM n;",
    );
    let database = format!("main = {{ url = \"{}\", pool = 1, timeout = \"300ms\" }}", db.url());
    let running = Running::config(&format!(
        "[databases]\n{database}\n[resources.list]\ndatabase = \"main\"\ntable = \"item\"\nfilters = [\"text\"]"
    ));
    let pattern = format!("text.ilike.*{}b*", "a".repeat(110));
    let tree = format!(
        "/list?or=({})",
        vec![pattern; 32].iter().enumerate().map(|(n, one)| format!("{one}{n}")).collect::<Vec<_>>().join(",")
    );
    assert_eq!(running.get(&tree).status, 504);
    assert_eq!(running.get("/list?limit=1").status, 200, "and the only connection is free again");
}

#[test]
fn what_a_database_has_no_operator_for_is_refused_as_the_requests_fault() {
    let db = postgres();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY); INSERT INTO item VALUES (1), (10);");
    let running = db.serve("table = \"item\"");
    assert_eq!(running.get("/list?id=ilike.1*").status, 400);
    let all: BTreeSet<i64> =
        found(&running, "or=(id.eq.99999999999999,id.not.eq.99999999999999)").into_iter().collect();
    assert_eq!(all, BTreeSet::from([1, 10]), "a number beyond the column's range is bound to nothing");
}
