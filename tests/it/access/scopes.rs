//! Scopes: whose rows a list has.

use chunkflow::{Access, Identity, source::Spec};
use serde_json::{Value, json};

use super::{Program, fill, items, of_org, who};
use crate::servers::{every_kind, mariadb, postgres, sqlite};

fn by_org() -> Access {
    Access::default().scoped("org", "org")
}

#[test]
fn each_identity_gets_exactly_the_rows_of_its_claim() {
    for db in every_kind() {
        fill(&db, 100);
        let program = Program::over(&db, &items(), by_org());
        for org in [0, 1, 2, 0, 1, 2] {
            let expected: Vec<i64> = (1..=100).filter(|id| id % 3 == org).collect();
            assert_eq!(program.get(Some(&of_org(org)), "/list").ids(), expected, "{}", db.name());
        }

        let several = who(json!({ "org": [2, 1, 1] }));
        let expected: Vec<i64> = (1..=100).filter(|id| id % 3 > 0).collect();
        assert_eq!(program.get(Some(&several), "/list").ids(), expected);
        assert_eq!(program.get(Some(&who(json!({ "org": [] }))), "/list").ids(), [0; 0]);
        assert_eq!(program.get(Some(&of_org(7)), "/list").ids(), [0; 0]);
        // No parameter lets more in.
        assert_eq!(program.get(Some(&of_org(1)), "/list?id=in.(1,2,3,4)").ids(), [1, 4]);
        assert_eq!(program.get(Some(&of_org(1)), "/list?id=gt.0&limit=3").ids(), [1, 4, 7]);
    }
}

#[test]
fn a_text_claim_with_quotes_and_signs_is_bound_as_it_is() {
    for db in every_kind() {
        db.execute(super::ITEMS);
        let codes = ["plain", "o'brien", "50%", "back\\slash", "a\"b", ""];
        for (id, code) in codes.iter().enumerate() {
            let code = code.replace('\'', "''");
            let code = if db.name() == "mariadb" { code.replace('\\', "\\\\") } else { code };
            db.execute(&format!("INSERT INTO item VALUES ({id}, 0, '{code}', NULL, NULL);"));
        }
        db.execute("INSERT INTO item VALUES (100, 0, NULL, NULL, NULL);");

        let program = Program::over(&db, &items(), Access::default().scoped("code", "tenant"));
        for (id, code) in codes.iter().enumerate() {
            let rows = program.get(Some(&who(json!({ "tenant": code }))), "/list").ids();
            assert_eq!(rows, [id as i64], "{}: {code}", db.name());
        }
        for other in ["' OR '1'='1", "plain' --", "%", "*", "plain\u{1f}", "null"] {
            assert_eq!(program.get(Some(&who(json!({ "tenant": other }))), "/list").ids(), [0; 0], "{other}");
        }
    }
}

#[test]
fn a_claim_is_compared_as_the_database_compares_and_so_by_the_columns_collation() {
    for db in every_kind() {
        db.execute(super::ITEMS);
        for (id, code) in ["acme", "Acme", "acmé", "acme2"].iter().enumerate() {
            db.execute(&format!("INSERT INTO item VALUES ({id}, 0, '{code}', NULL, NULL);"));
        }
        let program = Program::over(&db, &items(), Access::default().scoped("code", "tenant"));
        let same = db.query("SELECT id FROM item WHERE code = 'acme' ORDER BY id").unwrap().concat();
        let rows = program.get(Some(&who(json!({ "tenant": "acme" }))), "/list").ids();
        assert_eq!(rows.iter().map(i64::to_string).collect::<Vec<_>>(), same, "{}", db.name());
        let ignores_case = db.name() == "mariadb";
        assert_eq!(rows.contains(&1), ignores_case, "{}: as docs/access.md says", db.name());
    }
}

/// A claim that is not what its column needs opens nothing.
#[test]
fn a_claim_that_is_missing_or_of_another_type_is_403_and_never_everything() {
    let db = sqlite();
    fill(&db, 10);
    let by_number = Program::over(&db, &items(), by_org());
    let by_text = Program::over(&db, &items(), Access::default().scoped("code", "org"));
    let huge: Vec<i64> = (0..100_000).collect();
    let wrong = |program: &Program, claims: Value| {
        let read = program.get(Some(&who(claims.clone())), "/list");
        let told = claims.to_string();
        assert_eq!(read.status, 403, "{}: {}", &told[..told.len().min(80)], read.body);
        assert!(read.body.contains("urn:chunkflow:problem:forbidden"), "{}", read.body);
    };

    for program in [&by_number, &by_text] {
        wrong(program, json!({}));
        wrong(program, json!({ "Org": 1 }));
        for value in
            [json!(null), json!({}), json!({ "org": 1 }), json!(true), json!([null]), json!([[1]]), json!([{}])]
        {
            wrong(program, json!({ "org": value }));
        }
        wrong(program, json!({ "org": huge }));
    }
    for value in [
        json!(1.5),
        json!("1.0"),
        json!("one"),
        json!(""),
        json!("1 OR 1=1"),
        json!("+1"),
        json!("01"),
        json!(" 1"),
        json!("0x1"),
        json!(["1", "x"]),
        json!("-0"),
    ] {
        wrong(&by_number, json!({ "org": value }));
    }
    for value in [json!(1), json!(1.5), json!("a\0b"), json!(["c1", 1])] {
        wrong(&by_text, json!({ "org": value }));
    }

    // A token has numbers as texts too, and a number beyond every row is no row.
    assert_eq!(by_number.get(Some(&who(json!({ "org": "1" }))), "/list").ids(), [1, 4, 7, 10]);
    assert_eq!(by_number.get(Some(&who(json!({ "org": "9".repeat(40) }))), "/list").ids(), [0; 0]);
    assert_eq!(by_number.get(Some(&who(json!({ "org": u64::MAX }))), "/list").ids(), [0; 0]);
}

#[test]
fn a_claim_that_only_the_database_knows_to_be_wrong_is_403_too() {
    let db = postgres();
    db.execute("CREATE TABLE item (id int PRIMARY KEY, org uuid, born date);");
    let of = |access: Access, claims: Value, query: &str| {
        let program = Program::over(&db, &Spec::of("item"), access);
        program.get(Some(&who(claims)), &format!("/list{query}")).status
    };
    let by_org = || Access::default().scoped("org", "org");
    assert_eq!(of(by_org(), json!({ "org": "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11" }), ""), 200);
    assert_eq!(of(by_org(), json!({ "org": "no uuid" }), ""), 403);
    assert_eq!(of(by_org(), json!({ "org": ["no uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"] }), ""), 403);
    assert_eq!(of(by_org(), json!({ "org": "no uuid" }), "?id=eq.1"), 400);
    assert_eq!(of(Access::default().scoped("born", "day"), json!({ "day": "no day" }), ""), 403);

    // MariaDB would take a text that is no time for the one that is zero.
    let db = mariadb();
    db.execute("CREATE TABLE item (id int PRIMARY KEY, born date, at time, kind bit(8));");
    db.execute("INSERT INTO item VALUES (1, '2026-12-01', '00:00:00', 0);");
    assert_eq!(db.query("SELECT id FROM item WHERE at = 'noon'").unwrap().concat(), ["1"]);
    for (column, right, wrong) in
        [("born", "2026-12-01", "no day"), ("at", "00:00:00", "noon"), ("at", "00:00:00", ""), ("kind", "0", "x")]
    {
        let program = Program::over(&db, &Spec::of("item"), Access::default().scoped(column, "claim"));
        let of = |claim: &str| program.get(Some(&who(json!({ "claim": claim }))), "/list");
        assert_eq!(of(right).ids(), [1], "{column}");
        assert_eq!(of(wrong).status, 403, "{column}: {wrong}");
    }
}

#[test]
fn chunks_are_shared_as_far_as_the_rows_are_the_same() {
    let db = sqlite();
    fill(&db, 100);
    let program = Program::over(&db, &items(), by_org());
    let hit = |claims: Value| program.get(Some(&who(claims)), "/list").is_hit();
    assert!(!hit(json!({ "sub": "anna", "org": 1 })));
    assert!(hit(json!({ "sub": "bea", "org": 1, "role": "admin" })), "another person of the same organisation");
    assert!(hit(json!({ "sub": "bea", "org": "1" })), "the same number");
    assert!(hit(json!({ "org": [1, 1] })), "a list of that one");
    assert!(!hit(json!({ "sub": "anna", "org": 2 })), "another organisation");
    assert!(!hit(json!({ "org": [2, 1] })));
    assert!(hit(json!({ "org": [1, 2, 1] })), "in any order");
    assert!(!hit(json!({ "org": [1, 2, 0] })));
}

#[test]
fn a_cursor_of_another_scope_is_refused() {
    let db = sqlite();
    fill(&db, 100);
    let program = Program::over(&db, &items(), by_org());
    let page = program.get(Some(&of_org(1)), "/list?limit=5");
    let next = page.headers["link"].to_str().unwrap();
    let after = next.split_once("after=").unwrap().1.split_once('>').unwrap().0.to_owned();
    let target = format!("/list?limit=5&after={after}");
    assert_eq!(program.get(Some(&of_org(1)), &target).ids(), [16, 19, 22, 25, 28]);

    let refused = |who: &Identity| {
        let read = program.get(Some(who), &target);
        assert_eq!(read.status, 400, "{}", read.body);
        assert!(read.body.contains("cursor"), "{}", read.body);
    };
    refused(&of_org(2));
    refused(&who(json!({ "org": [1, 2] })));
    let event = program.ask(Some(&of_org(2)), "/list.sse", &[("last-event-id", &after)]);
    assert_eq!(event.status, 400);

    // Neither does a list without a scope take it.
    let open = Program::over(&db, &items(), Access::authenticated());
    assert_eq!(open.get(Some(&of_org(1)), &target).status, 400);
}

#[test]
fn a_scope_may_be_a_column_of_the_row_that_a_column_points_to() {
    for db in every_kind() {
        db.execute("CREATE TABLE author (id INTEGER PRIMARY KEY, team INTEGER, name VARCHAR(20));");
        db.execute(
            "CREATE TABLE book (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES author (id), title VARCHAR(20));",
        );
        db.execute("INSERT INTO author VALUES (1, 10, 'a'), (2, 20, 'b'), (3, NULL, 'c');");
        db.execute("INSERT INTO book VALUES (1, 1, 'x'), (2, 2, 'y'), (3, 3, 'z'), (4, NULL, 'n'), (5, 1, 'w');");

        let spec = Spec::of("book");
        let program = Program::over(&db, &spec, Access::default().scoped("author_id.team", "team"));
        let of = |team: Value| program.get(Some(&who(json!({ "team": team }))), "/list").ids();
        assert_eq!(of(json!(10)), [1, 5], "{}", db.name());
        assert_eq!(of(json!([10, 20])), [1, 2, 5]);
        assert_eq!(of(json!(30)), [0; 0]);
    }
}

#[test]
fn a_changed_row_of_a_tenant_costs_that_tenant_s_chunks_only() {
    for db in every_kind() {
        fill(&db, 300);
        let program = Program::over(&db, &items(), by_org());
        let read_all = || (0..3).for_each(|org| drop(program.get(Some(&of_org(org)), "/list").ids()));
        read_all();
        let before = program.misses();
        read_all();
        assert_eq!(program.misses(), before, "all is warm");

        db.execute("UPDATE item SET name = 'new' WHERE id = 100;");
        program.changed(&[100]);
        for org in [0, 2] {
            program.get(Some(&of_org(org)), "/list").ids();
        }
        assert_eq!(program.misses(), before, "{}: nothing of the others", db.name());
        let rows = program.get(Some(&of_org(1)), "/list").rows();
        assert!(rows.iter().any(|row| row["id"] == 100 && row["name"] == "new"));
        assert_eq!(program.misses(), before + 1, "{}", db.name());

        // A row that goes from one tenant to another leaves one list and comes to the other.
        db.execute("UPDATE item SET org = 2 WHERE id = 100;");
        program.changed(&[100]);
        assert!(!program.get(Some(&of_org(1)), "/list").ids().contains(&100));
        assert!(program.get(Some(&of_org(2)), "/list").ids().contains(&100));
        assert!(!program.get(Some(&of_org(0)), "/list").ids().contains(&100));
    }
}

#[test]
fn a_purge_is_of_every_scope() {
    let db = sqlite();
    fill(&db, 30);
    let program = Program::over(&db, &items(), by_org());
    program.get(Some(&of_org(1)), "/list");
    db.execute("UPDATE item SET name = 'new';");
    let list = program.chunkflow.resource("list").unwrap();
    program.runtime.block_on(program.chunkflow.purge(&list)).unwrap();
    let rows = program.get(Some(&of_org(1)), "/list").rows();
    assert!(rows.iter().all(|row| row["name"] == "new"));
}
