//! A list inside an axum application: `cargo run --example embed`, then
//! `curl http://127.0.0.1:3000/lists/planets`.

use std::sync::Arc;

use axum::{Router, body::Body, extract::Request, response::Response, routing::get};
use chunkflow::{Chunkflow, Fetch, Memory, Resource, ResourceOptions, closure};
use serde::Serialize;

#[derive(Clone, Serialize)]
struct Planet {
    position: usize,
    name: &'static str,
}

const NAMES: [&str; 8] = ["Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune"];

/// The application: its own pages, and lists below `/lists`.
pub fn app() -> chunkflow::Result<Router> {
    // Where rows come from: here an array, elsewhere an ORM, another service, a file. The list goes
    // on behind `fetch.after`.
    let planets = closure(
        &["position", "name"],
        |planet: &Planet| planet.position,
        |fetch: Fetch<usize>| async move {
            let from = fetch.after.unwrap_or(0);
            let rows = NAMES.iter().enumerate().skip(from).take(fetch.limit);
            Ok::<_, std::io::Error>(rows.map(|(index, name)| Planet { position: index + 1, name }).collect())
        },
    );
    let resource = Resource::new("planets", Arc::new(planets), ResourceOptions::default())?;
    let chunkflow = Chunkflow::new(Arc::new(Memory::new(64 << 20))).with(resource);

    // `nest_service` and `nest` take the prefix off the path, so that /lists/planets is the
    // resource `planets`.
    let lists = move |request: Request| {
        let chunkflow = chunkflow.clone();
        async move { chunkflow.respond(&request).await.map(Body::new) }
    };
    let lists = Router::new().fallback(lists);
    Ok(Router::new().route("/", get(root)).nest("/lists", lists))
}

async fn root() -> Response<String> {
    Response::new("the planets stream at /lists/planets\n".to_owned())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    println!("curl http://{}/lists/planets", listener.local_addr()?);
    axum::serve(listener, app()?).await?;
    Ok(())
}
