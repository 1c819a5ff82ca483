//! PostgreSQL's row-level security, told who reads.

use chunkflow::{Access, Identity, source::Spec};
use serde_json::{Value, json};

use super::{Program, who};
use crate::servers::{Db, mariadb, postgres, sqlite};

/// A table whose policies show a role the rows of the organisation in a setting, and another role
/// all rows that are public.
fn secured() -> Db {
    let db = postgres();
    let role = |role: &str| format!("{role}_{}", db.database());
    db.execute(&format!(
        "CREATE TABLE item (id int PRIMARY KEY, org int NOT NULL, public boolean NOT NULL, name text);
         CREATE TABLE member (org int, sub text);
         INSERT INTO item SELECT id, id % 3, id % 2 = 0, 'item ' || id FROM generate_series(1, 60) id;
         ALTER TABLE item ENABLE ROW LEVEL SECURITY;
         CREATE ROLE {reader}; CREATE ROLE {partner};
         GRANT SELECT ON item, member TO {reader}, {partner};
         CREATE POLICY own ON item TO {reader} USING
             (org = current_setting('request.org')::int
              OR org IN (SELECT org FROM member WHERE sub = current_setting('request.sub')));
         CREATE POLICY shared ON item TO {partner} USING (public);",
        reader = role("reader"),
        partner = role("partner"),
    ));
    db
}

fn program(db: &Db) -> Program {
    let roles = ["reader", "partner"].map(|role| format!("{role}_{}", db.database()));
    let access = Access::default()
        .as_role("db_role", roles)
        .with_setting("request.org", "org")
        .with_setting("request.sub", "sub");
    let spec = Spec::of("item").with(|spec| spec.filters = Some(vec!["id".into(), "name".into()]));
    Program::over(db, &spec, access)
}

fn reader(db: &Db, org: i64, sub: &str) -> Identity {
    who(json!({ "db_role": format!("reader_{}", db.database()), "org": org, "sub": sub }))
}

#[test]
fn the_database_s_own_policies_say_whose_rows_they_are() {
    let db = secured();
    let program = program(&db);
    for _ in 0..2 {
        for org in 0..3 {
            let expected: Vec<i64> = (1..=60).filter(|id| id % 3 == org).collect();
            assert_eq!(program.get(Some(&reader(&db, org, "anna")), "/list").ids(), expected);
        }
        let partner = who(json!({ "db_role": format!("partner_{}", db.database()), "org": 1, "sub": "p" }));
        assert_eq!(program.get(Some(&partner), "/list").ids(), (1..=60).filter(|id| id % 2 == 0).collect::<Vec<i64>>());
    }
    assert!(program.get(Some(&reader(&db, 1, "anna")), "/list").is_hit(), "and are kept apart");
    assert!(!program.get(Some(&reader(&db, 1, "bea")), "/list").is_hit(), "policies may look at the name");
    assert_eq!(program.get(Some(&reader(&db, 1, "anna")), "/list?id=lt.8").ids(), [1, 4, 7]);
    assert_eq!(program.get(Some(&reader(&db, 1, "o'x\\'; RESET ROLE; --")), "/list?id=lt.8").ids(), [1, 4, 7]);
}

#[test]
fn the_configured_role_proves_what_a_claimed_role_has_read() {
    let db = secured();
    let login = format!("login_{}", db.database());
    db.execute(&format!(
        "CREATE ROLE api_{name}; GRANT SELECT ON item, member TO api_{name};
         CREATE ROLE {login} LOGIN NOINHERIT; GRANT api_{name}, reader_{name} TO {login};
         REVOKE USAGE ON SCHEMA public FROM PUBLIC; GRANT USAGE ON SCHEMA public TO api_{name}, reader_{name};",
        name = db.database()
    ));
    let access = Access::default()
        .as_role("db_role", [format!("reader_{}", db.database())])
        .with_setting("request.org", "org")
        .with_setting("request.sub", "sub");
    let runtime = std::sync::Arc::new(crate::support::runtime());
    let chunkflow = runtime.block_on(async {
        let mut options = chunkflow::source::DatabaseOptions::new(db.as_user(&login).url());
        options.role = Some(format!("api_{}", db.database()));
        let database = chunkflow::source::open_database(&options).await.unwrap();
        let list = super::list(&database, &Spec::of("item"), access).await;
        chunkflow::Chunkflow::new(std::sync::Arc::new(chunkflow::Memory::new(1 << 20))).with(list)
    });
    let program = Program { chunkflow, runtime };
    assert_eq!(program.get(Some(&reader(&db, 1, "anna")), "/list").ids().len(), 20);
}

#[test]
fn a_claim_that_a_policy_cannot_compare_is_403() {
    let db = secured();
    let program = program(&db);
    let claims = json!({ "db_role": format!("reader_{}", db.database()), "org": "abc", "sub": "x" });
    for target in ["/list", "/list.csv"] {
        let read = program.get(Some(&who(claims.clone())), target);
        assert_eq!(read.status, 403, "{}", read.body);
    }
}

#[test]
fn no_role_is_taken_that_the_list_does_not_name() {
    let db = secured();
    let program = program(&db);
    for role in [
        json!("chunkflow"),
        json!("none"),
        json!("default"),
        json!("postgres"),
        json!(""),
        json!(null),
        json!(["reader"]),
        json!("reader"),
    ] {
        let read = program.get(Some(&who(json!({ "db_role": role, "org": 1, "sub": "x" }))), "/list");
        assert_eq!(read.status, 403, "{role}: {}", read.body);
    }
    let of = |claims: Value| program.get(Some(&who(claims)), "/list").status;
    let role = format!("reader_{}", db.database());
    assert_eq!(of(json!({ "db_role": role, "sub": "x" })), 403, "a setting without its claim");
    assert_eq!(of(json!({ "db_role": role, "sub": "x", "org": null })), 403);
    assert_eq!(of(json!({ "db_role": role, "sub": "x", "org": {} })), 403);
    assert_eq!(of(json!({ "db_role": role, "sub": "a\0b", "org": 1 })), 403);
    assert_eq!(program.get(None, "/list").status, 401);
}

#[test]
fn a_told_change_of_any_table_that_a_policy_may_read_is_seen() {
    let db = secured();
    let program = program(&db);
    let anna = reader(&db, 1, "anna");
    let before = program.get(Some(&anna), "/list").ids();
    assert_eq!(before.len(), 20);

    db.execute("INSERT INTO member VALUES (2, 'anna');");
    let change = chunkflow::Change::of("list", ["1"]).in_table("member");
    program.runtime.block_on(program.chunkflow.changed(&[change])).unwrap();
    assert_eq!(program.get(Some(&anna), "/list").ids().len(), 40);

    // A row that the connection's own user does not see comes into the list all the same.
    db.execute("UPDATE item SET org = 1 WHERE id = 3;");
    program.changed(&[3]);
    assert!(program.get(Some(&anna), "/list").ids().contains(&3));
}

#[test]
fn a_database_without_such_policies_is_refused() {
    for db in [sqlite(), mariadb()] {
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY);");
        crate::support::runtime().block_on(async {
            let database = super::opened(&db).await;
            let options = chunkflow::ResourceOptions::default()
                .with(|options| options.access = Access::default().with_setting("request.org", "org"));
            let wrong = chunkflow::Resource::of("list", &database, &Spec::of("item"), &options).await.unwrap_err();
            assert!(wrong[0].message.contains("row-level security"), "{wrong:?}");
        });
    }
}
