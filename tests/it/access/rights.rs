//! Lists that are not for everybody.

use chunkflow::Access;
use serde_json::{Value, json};

use super::{Program, fill, items, of_org, who};
use crate::servers::sqlite;

#[test]
fn a_list_that_is_not_for_everybody_is_401_for_nobody_in_particular() {
    let db = sqlite();
    fill(&db, 10);
    for access in [
        Access::authenticated(),
        Access::default().requiring("role", ["editor"]),
        Access::default().scoped("org", "org"),
    ] {
        let program = Program::over(&db, &items(), access);
        for target in ["/list", "/list.csv", "/list?limit=1", "/list?nonsense=1"] {
            let read = program.get(None, target);
            assert_eq!(read.status, 401, "{target}");
            assert!(read.headers.contains_key("www-authenticate"), "RFC 9110 §15.5.2");
            assert_eq!(read.headers["cache-control"], "no-store");
        }
        assert_eq!(program.misses(), 0, "nothing was read");
    }
}

#[test]
fn a_claim_that_is_required_must_have_or_list_one_of_the_values() {
    let db = sqlite();
    fill(&db, 10);
    let program =
        Program::over(&db, &items(), Access::default().requiring("role", ["editor", "admin"]).requiring("level", [3]));
    let status = |claims: Value| program.get(Some(&who(claims)), "/list").status;
    assert_eq!(status(json!({ "role": "editor", "level": 3 })), 200);
    assert_eq!(status(json!({ "role": ["reader", "admin"], "level": [1, 3] })), 200);
    for wrong in [
        json!({}),
        json!({ "role": "editor" }),
        json!({ "role": "editor", "level": "3" }),
        json!({ "role": "Editor", "level": 3 }),
        json!({ "role": "editor,admin", "level": 3 }),
        json!({ "role": [], "level": 3 }),
        json!({ "role": [["editor"]], "level": 3 }),
        json!({ "role": { "editor": true }, "level": 3 }),
        json!({ "role": null, "level": 3 }),
    ] {
        assert_eq!(status(wrong.clone()), 403, "{wrong}");
    }
}

#[test]
fn nobody_is_shown_the_name_of_a_list_that_is_not_theirs() {
    let db = sqlite();
    fill(&db, 10);
    let program = Program::over(&db, &items(), Access::default().requiring("role", ["editor"]));
    let editor = who(json!({ "role": "editor" }));
    for target in ["/", "/openapi.json", "/lst", "/lst.csv"] {
        for other in [None, Some(&of_org(1)), Some(&who(json!({ "role": "reader" })))] {
            let body = program.get(other, target).body;
            assert!(
                !body.contains("`list`") && !body.contains("\"list\"") && !body.contains("/list"),
                "{target}: {body}"
            );
            assert!(!body.contains("email"), "{target}: {body}");
        }
        assert!(program.get(Some(&editor), target).body.contains("list"), "{target}");
    }
}

#[test]
fn an_identity_that_has_ended_opens_nothing() {
    let db = sqlite();
    fill(&db, 10);
    let program = Program::over(&db, &items(), Access::default().scoped("org", "org"));
    let now = std::time::SystemTime::now();
    let hour = std::time::Duration::from_secs(3600);
    assert_eq!(program.get(Some(&of_org(1).until(now + hour)), "/list").status, 200);
    assert_eq!(program.get(Some(&of_org(1).until(now - hour)), "/list").status, 401);
}

#[test]
fn a_list_whose_scope_an_identity_has_not_is_not_named_to_it() {
    let db = sqlite();
    fill(&db, 10);
    let program = Program::over(&db, &items(), Access::default().scoped("org", "org"));
    let other = who(json!({ "sub": "x" }));
    assert_eq!(program.get(Some(&other), "/list").status, 403);
    for target in ["/lst", "/", "/openapi.json"] {
        let read = program.get(Some(&other), target);
        assert!(!read.body.contains("list`") && !read.body.contains("/list"), "{target}: {}", read.body);
        assert!(read.headers["vary"].to_str().unwrap().contains("Authorization"), "{target}");
    }
}

#[test]
fn a_shared_cache_that_stores_it_all_the_same_tells_clients_apart() {
    let db = sqlite();
    fill(&db, 10);
    let closed = Program::over(&db, &items(), Access::default().scoped("org", "org"));
    let vary = closed.get(Some(&of_org(1)), "/list").headers["vary"].to_str().unwrap().to_owned();
    for field in ["Accept", "Accept-Encoding", "Authorization", "Cookie", "X-Api-Key"] {
        assert!(vary.split(", ").any(|one| one == field), "{vary}");
    }

    let open = Program::over(&db, &items(), Access::default());
    assert_eq!(open.get(None, "/list").headers["vary"], "Accept, Accept-Encoding");
}
