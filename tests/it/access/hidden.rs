//! Members that only some may see.

use std::sync::Arc;

use chunkflow::{
    Access, Chunkflow, Identity, Memory, Resource, ResourceOptions, Secret,
    source::{FieldSpec, OrderBy, Related, Spec},
};
use serde_json::json;

use super::{Program, fill, items, who};
use crate::{
    servers::{every_kind, sqlite},
    support::formats,
};

fn for_admins() -> Access {
    Access::default().hiding(["email"], "role", ["admin"])
}

fn admin() -> Identity {
    who(json!({ "role": "admin" }))
}

#[test]
fn a_hidden_member_is_in_no_format_and_everybody_else_s_list_is_whole() {
    for db in every_kind() {
        fill(&db, 40);
        let program = Program::over(&db, &items(), for_admins());
        for _ in 0..2 {
            for other in [None, Some(&who(json!({ "role": "reader" })))] {
                let rows = program.get(other, "/list").rows();
                assert_eq!(rows.len(), 40);
                assert_eq!(rows[0], json!({ "id": 1, "org": 1, "code": "c1", "name": "item 1" }), "{}", db.name());
                for format in formats() {
                    let body = program.get(other, &format!("/list.{format}")).body;
                    assert!(!body.contains("example.com") && !body.contains("email"), "{format}: {body}");
                }
            }
            let rows = program.get(Some(&admin()), "/list").rows();
            assert!(rows.len() == 40 && rows[0]["email"] == "u1@example.com");
        }
    }
}

#[test]
fn the_column_behind_a_hidden_member_cannot_be_named_in_any_way() {
    let db = sqlite();
    fill(&db, 40);
    let program = Program::over(&db, &items(), for_admins());
    let attempts = [
        "email=eq.u1@example.com",
        "email=like.u1*",
        "email=is.null",
        "select=email",
        "select=id,email",
        "order=email",
        "or=(id.eq.1,email.like.u1*)",
        "not.or=(email.like.u1*)",
        "and=(id.gt.0,or(email.like.u1*,id.eq.2))",
        "e%6dail=eq.x",
    ];
    for attempt in attempts {
        let read = program.get(None, &format!("/list?{attempt}"));
        assert_eq!(read.status, 400, "{attempt}: {}", read.body);
        let remedy = read.body.split("\"remedy\"").nth(1).unwrap_or_default();
        assert!(!remedy.contains("email"), "{attempt}: {}", read.body);
    }
    assert_eq!(program.get(Some(&admin()), "/list?email=like.u1*").ids().len(), 11);
    assert_eq!(
        program.get(Some(&admin()), "/list?select=email&limit=1").rows(),
        [json!({ "email": "u1@example.com" })]
    );

    for target in ["/", "/openapi.json"] {
        assert!(!program.get(None, target).body.contains("email"), "{target}");
        assert!(program.get(Some(&admin()), target).body.contains("email"), "{target}");
    }
}

#[test]
fn nobody_is_told_of_a_hidden_column_that_orders_the_list() {
    let db = sqlite();
    fill(&db, 10);
    let spec = items().with(|spec| spec.order = vec![OrderBy::parse("-email")]);
    let options = |secret: Option<Secret>| {
        ResourceOptions::default().with(|options| {
            options.access = for_admins();
            options.secret = secret;
        })
    };

    // Without a secret anybody could read the values in cursors.
    let runtime = std::sync::Arc::new(crate::support::runtime());
    let database = runtime.block_on(super::opened(&db));
    let wrong = runtime.block_on(Resource::of("list", &database, &spec, &options(None))).unwrap_err();
    assert!(wrong[0].at == "order" && wrong[0].message.contains("cursors hold its values"), "{wrong:?}");

    let secret = Secret::new(&["the secret of a test, of no server"]).unwrap();
    let list = runtime.block_on(Resource::of("list", &database, &spec, &options(Some(secret)))).unwrap();
    let program = Program { chunkflow: Chunkflow::new(Arc::new(Memory::new(1 << 20))).with(list), runtime };
    let decoded = |text: &str| {
        let all: Vec<u8> = text
            .split(|c: char| !c.is_ascii_alphanumeric() && c != '-' && c != '_')
            .flat_map(|part| {
                base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, part).unwrap_or_default()
            })
            .collect();
        String::from_utf8_lossy(&all).into_owned()
    };
    let page = program.get(None, "/list?limit=1");
    assert!(!decoded(page.headers["link"].to_str().unwrap()).contains("example.com"));
    assert!(!decoded(&program.get(None, "/list.sse").body).contains("example.com"));

    for target in ["/", "/openapi.json", "/list", "/list?limit=1", "/list?order=email", "/list?zzz=1"] {
        let read = program.get(None, target);
        assert!(!read.body.contains("email") || target.contains("order=email"), "{target}: {}", read.body);
    }
    assert!(program.get(Some(&admin()), "/").body.contains("-email"));
}

#[test]
fn a_name_that_is_no_member_is_refused_and_hides_nothing() {
    let source = chunkflow::closure(
        &["id", "email"],
        |row: &std::collections::BTreeMap<&str, u32>| row["id"],
        |_: chunkflow::Fetch<u32>| async { Ok::<_, std::io::Error>(vec![]) },
    );
    let options = ResourceOptions::default()
        .with(|options| options.access = Access::default().hiding(["emial"], "role", ["admin"]));
    let wrong = Resource::new("list", Arc::new(source), options).unwrap_err();
    assert!(wrong.to_string().contains("`emial`") && wrong.to_string().contains("email"), "{wrong}");
}

#[test]
fn a_column_that_another_member_shows_stays_open_and_one_behind_a_link_does_not() {
    let db = sqlite();
    fill(&db, 10);
    let field = |column: &str| FieldSpec::Column(column.into());
    let spec = items().with(|spec| {
        spec.fields = Some(vec![
            ("id".into(), field("id")),
            ("name".into(), field("name")),
            ("address".into(), field("email")),
            ("page".into(), FieldSpec::Link("/of/{email}/{name}".into())),
        ]);
    });
    let program = Program::over(&db, &spec, Access::default().hiding(["page", "address"], "role", ["admin"]));
    assert_eq!(program.get(None, "/list?limit=1").rows(), [json!({ "id": 1, "name": "item 1" })]);
    assert_eq!(program.get(None, "/list?name=eq.item 2".replace(' ', "%20").as_str()).ids(), [2]);
    assert_eq!(program.get(None, "/list?email=like.u1*").status, 400);

    let program = Program::over(&db, &spec, Access::default().hiding(["page"], "role", ["admin"]));
    assert_eq!(program.get(None, "/list?email=eq.u2@example.com").ids(), [2], "`address` shows it");
}

#[test]
fn a_hidden_relation_closes_its_own_column_and_those_behind_it() {
    let db = sqlite();
    db.execute("CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(20));");
    db.execute("CREATE TABLE book (id INTEGER PRIMARY KEY, author_id INTEGER REFERENCES author (id));");
    db.execute("INSERT INTO author VALUES (1, 'a'), (2, 'b'); INSERT INTO book VALUES (1, 1), (2, 2);");
    let spec = Spec::of("book").with(|spec| {
        let related = Related::default().with(|related| related.columns = vec!["name".into()]);
        spec.fields = Some(vec![
            ("id".into(), FieldSpec::Column("id".into())),
            ("author".into(), FieldSpec::Via { via: "author_id".into(), related }),
        ]);
        spec.filters = Some(vec!["id".into(), "author_id".into(), "author.name".into()]);
    });

    let program = Program::over(&db, &spec, Access::default().hiding(["author"], "role", ["admin"]));
    assert_eq!(program.get(Some(&admin()), "/list?author.name=eq.b").rows(), [json!({ "id": 2, "author": "b" })]);
    for closed in ["author.name=eq.b", "author_id=eq.2", "author_id.name=eq.b", "or=(author.name.eq.b,id.eq.1)"] {
        assert_eq!(program.get(None, &format!("/list?{closed}")).status, 400, "{closed}");
    }
    assert_eq!(program.get(None, "/list").rows(), [json!({ "id": 1 }), json!({ "id": 2 })]);
}
