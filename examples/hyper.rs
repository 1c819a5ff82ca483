//! A list for each tenant of a program that serves by hyper: `cargo run --example hyper`, then
//! `curl http://127.0.0.1:3000/acme/orders`, and again, which does not ask the program's own data
//! any more.

use std::{collections::BTreeMap, convert::Infallible, sync::Arc};

use chunkflow::{Body, Chunkflow, Error, Fetch, Kind, Memory, Resource, ResourceOptions, closure, problem};
use hyper::{Request, Response, body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use tokio::net::TcpListener;

#[derive(Clone, Serialize)]
struct Order {
    number: u32,
    product: String,
}

/// The program's own data: the orders of each tenant, by their numbers.
pub struct Shop(BTreeMap<&'static str, BTreeMap<u32, Order>>);

impl Shop {
    /// A shop with two tenants.
    pub fn open() -> Shop {
        let orders = |products: &[&str]| {
            let numbered = (1..).zip(products);
            numbered.map(|(number, product)| (number, Order { number, product: (*product).to_owned() })).collect()
        };
        Shop([("acme", orders(&["anvil", "rocket"])), ("tyrell", orders(&["owl"]))].into())
    }
}

/// The orders of one tenant as a list. It is made for each request, and all of them share their
/// chunks: a list is known by its name, its columns and its version, so the version must name the
/// tenant.
fn orders(shop: &Arc<Shop>, tenant: &str) -> chunkflow::Result<Resource> {
    if !shop.0.contains_key(tenant) {
        return Err(Error::new(Kind::Missing, "there is no such tenant"));
    }
    let shop = Arc::clone(shop);
    let owner = tenant.to_owned();
    let source = closure(
        &["number", "product"],
        |order: &Order| order.number,
        move |fetch: Fetch<u32>| {
            let from = fetch.after.map_or(0, |number| number + 1);
            let rows = shop.0[&*owner].range(from..).take(fetch.limit).map(|(_, order)| order.clone()).collect();
            println!("the orders of {owner} are read from {from} on");
            async move { Ok::<_, Infallible>(rows) }
        },
    );
    Resource::new("orders", Arc::new(source.version(tenant)), ResourceOptions::default())
}

async fn answer<B>(chunkflow: &Chunkflow, shop: &Arc<Shop>, request: Request<B>) -> Response<Body> {
    let tenant = request.uri().path().strip_prefix('/').and_then(|path| path.strip_suffix("/orders"));
    let found = tenant.ok_or_else(|| Error::new(Kind::Missing, "there is nothing here").remedy("GET /TENANT/orders"));
    match found.and_then(|tenant| orders(shop, tenant)) {
        Ok(resource) => chunkflow.respond_to(&Arc::new(resource), &request).await,
        Err(error) => problem(error),
    }
}

/// Serves connections until the program ends.
pub async fn serve(listener: TcpListener, shop: Shop) -> std::io::Result<()> {
    let shop = Arc::new(shop);
    let chunkflow = Chunkflow::new(Arc::new(Memory::new(64 << 20)));
    loop {
        let (stream, _) = listener.accept().await?;
        let chunkflow = chunkflow.clone();
        let shop = Arc::clone(&shop);
        let service = service_fn(move |request: Request<Incoming>| {
            let chunkflow = chunkflow.clone();
            let shop = Arc::clone(&shop);
            async move { Ok::<_, Infallible>(answer(&chunkflow, &shop, request).await) }
        });
        tokio::spawn(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:3000").await?;
    println!("curl http://{}/acme/orders", listener.local_addr()?);
    serve(listener, Shop::open()).await
}
