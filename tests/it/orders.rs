//! `order`: lists in the other orders that a resource declares.

use chunkflow::{Change, Identity};
use http::Request;
use serde_json::{Value, json};

use crate::{
    servers::{Db, every_kind, sqlite},
    support::{Running, checked, next_cursor},
};

const ROWS: usize = 200;

const ORDERS: &str = "orders = [\"-rank\", \"name,-rank\"]\nchunk_rows = 8\nchunk_bytes = \"1B\"\nttl = \"1h\"";

fn fill(db: &Db) {
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, rank INTEGER NOT NULL, name VARCHAR(20) NOT NULL)");
    for id in 1..=ROWS {
        db.execute_later(&format!("INSERT INTO item VALUES ({id}, {}, 'n{}');", id * 7 % 101, id % 5));
    }
    db.execute_now();
}

fn serve(db: &Db) -> Running {
    db.serve(&format!("table = \"item\"\n{ORDERS}"))
}

/// The ids of a list, as the database's client prints them.
fn ids(server: &Running, target: &str) -> Vec<String> {
    server.get(target).results().iter().map(|row| row["id"].to_string()).collect()
}

#[test]
fn each_declared_order_is_the_one_that_the_database_sorts_by_and_pages_keep_it() {
    for db in every_kind() {
        fill(&db);
        let server = serve(&db);
        for (order, sql) in [
            ("-rank", "rank DESC, id"),
            ("-rank,id", "rank DESC, id"),
            ("name,-rank", "name, rank DESC, id"),
            ("id", "id"),
        ] {
            let expected = db.query(&format!("SELECT id FROM item ORDER BY {sql}")).unwrap().concat();
            assert_eq!(ids(&server, &format!("/list?order={order}")), expected, "{}: {order}", db.name());

            let mut target = format!("/list?limit=30&select=id&order={order}");
            let mut paged = vec![];
            loop {
                let reply = server.get(&target);
                paged.extend(reply.results().iter().map(|row| row["id"].to_string()));
                let Some(next) = reply.next("/list") else { break };
                target = next;
            }
            assert_eq!(paged, expected, "{}: {order} in pages", db.name());
        }
    }
}

#[test]
fn an_order_that_is_not_declared_is_refused_and_so_is_a_cursor_of_another() {
    let db = sqlite();
    fill(&db);
    let server = serve(&db);
    for (query, told) in [
        ("order=rank", "there is no order `rank`"),
        ("order=", "there is no order ``"),
        ("order=-rank&order=id", "`order` stands more than once"),
        ("%6frder=x", "there is no order `x`"),
    ] {
        let reply = server.get(&format!("/list?{query}"));
        assert_eq!(reply.status, 400, "{query}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(told), "{query}: {}", reply.json());
    }
    let remedy = server.get("/list?order=rnk").json()["remedy"].to_string();
    assert!(remedy.contains("orders here: id, -rank, name,-rank"), "{remedy}");

    let cursor = next_cursor(&server.get("/list?limit=5&order=-rank"));
    assert_eq!(server.get(&format!("/list?order=-rank&after={cursor}")).status, 200);
    for other in ["", "&order=id", "&order=name,-rank"] {
        assert_eq!(server.get(&format!("/list?after={cursor}{other}")).status, 400, "{other}");
    }
}

#[test]
fn a_told_change_and_a_purge_are_of_all_orders() {
    for db in every_kind() {
        fill(&db);
        let server = serve(&db);
        let targets = ["/list", "/list?order=-rank", "/list?order=name,-rank"];
        let named = |target: &str, id: usize| -> Value {
            let rows = server.get(target).results();
            rows.iter().find(|row| row["id"] == id).unwrap()["name"].clone()
        };
        targets.iter().for_each(|target| drop(server.get(target)));

        db.execute("UPDATE item SET name = 'told' WHERE id = 77");
        let before = server.chunkflow.metrics().misses();
        server.block_on(server.chunkflow.changed(&[Change::of("list", ["77"])])).unwrap();
        for target in targets {
            assert_eq!(named(target, 77), "told", "{}: {target}", db.name());
        }
        let cost = server.chunkflow.metrics().misses() - before;
        assert!(cost <= 8, "{}: {cost} chunks of three lists", db.name());

        db.execute("UPDATE item SET name = 'purged' WHERE id = 78");
        assert_ne!(named(targets[1], 78), "purged");
        server.block_on(server.purge("list")).unwrap();
        for target in targets {
            assert_eq!(named(target, 78), "purged", "{}: {target}", db.name());
        }
    }
}

#[test]
fn check_wants_an_index_for_each_order_and_says_which_column_is_not_there() {
    for db in every_kind() {
        fill(&db);
        let config = |orders: &str| db.config(&format!("table = \"item\"\n{orders}"));
        let told = checked(&config("orders = [\"-rank\"]"));
        assert!(told.contains("no index gives the order") && told.contains("orders ="), "{}: {told}", db.name());

        db.execute("CREATE INDEX item_rank ON item (rank DESC, id)");
        assert_eq!(checked(&config("orders = [\"-rank\"]")), "", "{}", db.name());

        let told = checked(&config("orders = [\"-rnk\"]"));
        assert!(told.contains("rnk"), "{}: {told}", db.name());
        for (orders, why) in [("[\"rank\", \"rank\"]", "stands twice"), ("[\"rank,\"]", "has an empty name")] {
            let told = checked(&config(&format!("orders = {orders}")));
            assert!(told.contains(why), "{told}");
        }
    }
}

#[test]
fn a_table_that_changes_is_looked_at_again_in_every_order() {
    for db in every_kind() {
        fill(&db);
        let server = db.serve("table = \"item\"\norders = [\"-rank\"]\nttl = \"0s\"\nstale = \"0s\"");
        assert_eq!(server.get("/list?order=-rank").results()[0].as_object().unwrap().len(), 3);
        db.execute("ALTER TABLE item ADD COLUMN more INTEGER");
        for target in ["/list?order=-rank", "/list"] {
            crate::support::until("the list is made again", || server.get(target).status == 200);
            assert_eq!(server.get(target).results()[0].as_object().unwrap().len(), 4, "{}: {target}", db.name());
        }
    }
}

#[test]
fn descriptions_name_the_orders() {
    let db = sqlite();
    fill(&db);
    let server = serve(&db);
    let index = server.get("/").json();
    assert_eq!(index["resources"][0]["orders"], json!(["id", "-rank", "name,-rank"]));

    let document = server.get("/openapi.json").json();
    let parameters = document["paths"]["/list"]["get"]["parameters"].as_array().unwrap();
    let of = |name: &str| parameters.iter().find(|one| one["name"] == name).unwrap()["schema"].clone();
    assert_eq!(of("order")["enum"], json!(["id", "-rank", "name,-rank"]));
    assert_eq!(of("select")["items"]["enum"], json!(["id", "rank", "name"]));
}

#[test]
fn an_order_by_a_column_behind_a_hidden_member_is_there_for_those_who_see_it_alone() {
    let db = sqlite();
    fill(&db);
    let list = db.config(
        "table = \"item\"\norder = [\"rank\"]\norders = [\"-rank\", \"name\", \"id\"]\nhidden_unless = { role = [\"admin\"], fields = [\"rank\"] }",
    );
    let server = Running::config(&format!("[server]\nsecret = \"the secret of a test, of no server\"\n{list}"));
    for hidden in ["-rank", "rank", "-rank,id"] {
        let reply = server.get(&format!("/list?order={hidden}"));
        assert_eq!(reply.status, 400, "{hidden}");
        assert!(reply.json()["remedy"].as_str().unwrap().ends_with("orders here: name, id"), "{}", reply.json());
    }
    assert_eq!(server.get("/list?order=name").results().len(), ROWS);
    assert_eq!(server.get("/list?order=name&select=rank").status, 400);
    assert_eq!(server.get("/").json()["resources"][0]["orders"], json!(["name", "id"]));

    let claims = json!({ "role": "admin" }).as_object().unwrap().clone();
    let mut request = Request::get("/list?order=-rank").header("host", "localhost").body(()).unwrap();
    request.extensions_mut().insert(Identity::new(claims));
    assert_eq!(server.block_on(server.chunkflow.respond(&request)).status(), 200);
}
