//! Who may see what: identities, scopes, hidden members.

mod bounds;
mod browser;
mod hidden;
mod rights;
mod scopes;
mod security;
mod sessions;
mod tenants;

use std::sync::Arc;

use chunkflow::{
    Access, Change, Chunkflow, Identity, Memory, Resource, ResourceOptions,
    source::{Database, DatabaseOptions, Spec, open_database},
    store::Store,
};
use http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};

use crate::{servers::Db, support::runtime};

/// A program with lists over a database, without the server.
struct Program {
    chunkflow: Chunkflow,
    runtime: Arc<tokio::runtime::Runtime>,
}

/// A response that was read to its end.
#[derive(Debug)]
struct Read {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl Read {
    /// The rows of a JSON list.
    fn rows(&self) -> Vec<Value> {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"));
        body["results"].as_array().unwrap_or_else(|| panic!("no list: {self:?}")).clone()
    }

    /// The ids of its rows.
    fn ids(&self) -> Vec<i64> {
        self.rows().iter().map(|row| row["id"].as_i64().unwrap()).collect()
    }

    /// Whether its first chunk was at hand.
    fn is_hit(&self) -> bool {
        self.headers["cache-status"].to_str().unwrap().contains("; hit")
    }
}

/// The database of a test.
async fn opened(db: &Db) -> Arc<dyn Database> {
    open_database(&DatabaseOptions::new(db.url())).await.unwrap()
}

/// The list of a table in small chunks.
async fn list(database: &Arc<dyn Database>, spec: &Spec, access: Access) -> Resource {
    let options = ResourceOptions::default().with(|options| {
        options.sizes.rows = 8;
        options.sizes.bytes = 1;
        options.access = access;
    });
    Resource::of("list", database, spec, &options).await.unwrap_or_else(|wrong| panic!("{wrong:?}"))
}

impl Program {
    /// The list `list` of a table in memory.
    fn over(db: &Db, spec: &Spec, access: Access) -> Program {
        Program::with(db, spec, access, Arc::new(Memory::new(64 << 20)).into())
    }

    fn with(db: &Db, spec: &Spec, access: Access, store: Store) -> Program {
        let runtime = Arc::new(runtime());
        let chunkflow = runtime.block_on(async {
            let database = opened(db).await;
            Chunkflow::new(store).with(list(&database, spec, access).await)
        });
        Program { chunkflow, runtime }
    }

    /// What somebody gets for a target.
    fn get(&self, who: Option<&Identity>, target: &str) -> Read {
        self.ask(who, target, &[])
    }

    /// The same with fields of the request.
    fn ask(&self, who: Option<&Identity>, target: &str, fields: &[(&str, &str)]) -> Read {
        let mut request = Request::get(target).header("host", "localhost");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let mut request = request.body(()).unwrap();
        request.extensions_mut().extend(
            who.map(|who| {
                let mut extensions = http::Extensions::new();
                extensions.insert(who.clone());
                extensions
            })
            .unwrap_or_default(),
        );

        self.runtime.block_on(async {
            let response = self.chunkflow.respond(&request).await;
            let status = response.status().as_u16();
            let headers = response.headers().clone();
            let body = response.into_body().collect().await.unwrap().to_bytes();
            Read { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
        })
    }

    fn changed(&self, keys: &[i64]) {
        let changes: Vec<Change> = keys.iter().map(|key| Change::of("list", [key.to_string()])).collect();
        self.runtime.block_on(self.chunkflow.changed(&changes)).unwrap();
    }

    /// Chunks that were not at hand so far.
    fn misses(&self) -> u64 {
        self.chunkflow.metrics().misses()
    }
}

/// An identity with these claims.
fn who(claims: Value) -> Identity {
    let Value::Object(claims) = claims else { panic!("claims are an object") };
    Identity::new(claims)
}

/// An identity of an organisation.
fn of_org(org: i64) -> Identity {
    who(json!({ "sub": "anna", "org": org }))
}

/// A table with the rows of three organisations, each third row one's.
const ITEMS: &str = "CREATE TABLE item (id INTEGER PRIMARY KEY, org INTEGER NOT NULL, code VARCHAR(20), name VARCHAR(40), email VARCHAR(40));";

/// Fills that table with so many rows.
fn fill(db: &Db, rows: i64) {
    db.execute(ITEMS);
    let values: Vec<String> =
        (1..=rows).map(|id| format!("({id}, {}, 'c{}', 'item {id}', 'u{id}@example.com')", id % 3, id % 2)).collect();
    for some in values.chunks(500) {
        db.execute(&format!("INSERT INTO item VALUES {};", some.join(", ")));
    }
}

fn items() -> Spec {
    Spec::of("item").with(|spec| spec.filters = Some(vec!["id".into(), "name".into(), "email".into()]))
}
