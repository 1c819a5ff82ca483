//! PostgreSQL, cold: rows a second to a JSON body, against `COPY` by psql, against the best SQL that makes the
//! same JSON, and against an axum handler as one writes it by hand; the first byte; the last rows against the
//! first. All in turn, so that ratios hold when the machine drifts.
//!
//! `cargo bench --bench postgres -- run [ROWS] [ROUNDS]`: starts a server of its own (tests/servers/postgres)
//! and ends it.

use std::{
    convert::Infallible,
    future::poll_fn,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    pin::Pin,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Router, body::Body, extract::State, routing::get};
use bytes::Bytes;
use chunkflow::{
    Chunkflow, Format, Memory, Resource, ResourceOptions,
    server::{Server, ServerConfig, Shutdown},
    source::{Database, DatabaseOptions, FieldSpec, Related, Spec, open_database},
};
use futures_util::{StreamExt, stream};
use http_body::Body as _;
use serde::Serialize;

const TRICKS: u32 = 85_000;
const ROW_TO_JSON: &str = "SELECT row_to_json(r) FROM (SELECT title, slug,
    ARRAY(SELECT c.name FROM trick_category j JOIN category c ON c.id = j.category_id WHERE j.trick_id = t.id ORDER BY c.id) AS categories,
    ARRAY(SELECT c.name FROM trick_technology j JOIN technology c ON c.id = j.technology_id WHERE j.trick_id = t.id ORDER BY c.id) AS technologies
    FROM trick t ORDER BY t.id) r";
/// Aggregated once for the whole list, and not for each row.
const JSON_AGG: &str = "SELECT row_to_json(r) FROM (SELECT title, slug, coalesce(a.names, '{}') AS categories, coalesce(b.names, '{}') AS technologies
    FROM trick t
    LEFT JOIN (SELECT j.trick_id, array_agg(c.name ORDER BY c.id) AS names FROM trick_category j JOIN category c ON c.id = j.category_id GROUP BY 1) a ON a.trick_id = t.id
    LEFT JOIN (SELECT j.trick_id, array_agg(c.name ORDER BY c.id) AS names FROM trick_technology j JOIN technology c ON c.id = j.technology_id GROUP BY 1) b ON b.trick_id = t.id
    ORDER BY t.id) r";

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if arguments.first().is_none_or(|argument| argument != "run") {
        // Run without arguments by `cargo test` or `cargo bench`: nothing to measure.
        eprintln!("usage: cargo bench --bench postgres -- run [ROWS] [ROUNDS]");
        return;
    }

    let number = |index: usize, usual: u32| arguments.get(index).and_then(|text| text.parse().ok()).unwrap_or(usual);
    let (rows, rounds) = (number(1, 100_000), number(2, 5));
    let postgres = Postgres::start();
    postgres.fill(rows);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
    let mut table = Table::default();
    let serving = runtime.block_on(Serving::start(&postgres.url));
    for round in 0..=rounds {
        // The first round warms everything up and is not counted.
        let mut note = |name: &'static str, rows: u32, seconds: f64| {
            if round > 0 {
                table.note(name, f64::from(rows) / seconds);
            }
        };
        let (seconds, first, last) = runtime.block_on(body(&postgres.url, flat_spec(), rows));
        note("flat: chunkflow", rows, seconds);
        note("flat: chunkflow, the first tenth", rows / 10, first);
        note("flat: chunkflow, the last tenth", rows / 10, last);
        note("flat: COPY by psql", rows, postgres.copy("SELECT * FROM flat ORDER BY id"));
        note("lists: chunkflow", TRICKS, runtime.block_on(body(&postgres.url, trick_spec(), TRICKS)).0);
        note("lists: COPY (row_to_json, ARRAY of names)", TRICKS, postgres.copy(ROW_TO_JSON));
        note("lists: COPY (row_to_json, aggregates joined)", TRICKS, postgres.copy(JSON_AGG));
        for (list, rows, names) in [
            ("flat", rows, ["http: axum, query_raw, serde_json", "http: chunkflow, cold", "http: chunkflow, warm"]),
            (
                "trick",
                TRICKS,
                ["http lists: axum, ARRAY of names", "http lists: chunkflow, cold", "http lists: chunkflow, warm"],
            ),
        ] {
            for (server, name) in [serving.axum, serving.cold, serving.warm].into_iter().zip(names) {
                if round == 0 {
                    serving.fetch(server, list);
                }
                note(name, rows, serving.fetch(server, list));
            }
        }
    }

    for (name, than) in [
        ("flat: chunkflow", "flat: COPY by psql"),
        ("flat: chunkflow, the last tenth", "flat: chunkflow, the first tenth"),
        ("lists: chunkflow", "lists: COPY (row_to_json, ARRAY of names)"),
        ("lists: chunkflow", "lists: COPY (row_to_json, aggregates joined)"),
        ("http: chunkflow, cold", "http: axum, query_raw, serde_json"),
        ("http: chunkflow, warm", "http: axum, query_raw, serde_json"),
        ("http lists: chunkflow, cold", "http lists: axum, ARRAY of names"),
        ("http lists: chunkflow, warm", "http lists: axum, ARRAY of names"),
    ] {
        table.ratio(name, than);
    }

    let (first, trip) = runtime.block_on(first_byte(&postgres.url));
    println!("first byte of a cold list {first:.0} µs, a round trip (SELECT 1) {trip:.0} µs: medians of 200");
}

/// Rates by name.
#[derive(Default)]
struct Table(Vec<(&'static str, Vec<f64>)>);

impl Table {
    fn note(&mut self, name: &'static str, rate: f64) {
        match self.0.iter_mut().find(|(known, _)| *known == name) {
            Some((_, rates)) => rates.push(rate),
            None => self.0.push((name, vec![rate])),
        }
    }

    fn median(&self, name: &str) -> f64 {
        let (_, rates) = self.0.iter().find(|(known, _)| *known == name).expect("it was measured");
        median(rates)
    }

    fn ratio(&self, name: &str, than: &str) {
        let (own, other) = (self.median(name), self.median(than));
        println!("{name:34} {own:10.0} rows/s  {than:48} {other:10.0} rows/s  {:.2}", own / other);
    }
}

fn median(values: &[f64]) -> f64 {
    let mut values = values.to_vec();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A server of this benchmark's own, ended when dropped.
struct Postgres {
    child: Child,
    url: String,
    _folder: tempfile::TempDir,
}

impl Postgres {
    fn start() -> Postgres {
        let port = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("its address").port();
        let folder = tempfile::TempDir::new().expect("a folder");
        let mut child = Command::new("tests/servers/postgres")
            .args([folder.path().to_str().expect("a name"), &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the script starts");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("a pipe")).read_line(&mut line).expect("it says something");
        assert_eq!(line, "ready\n");
        Postgres {
            child,
            url: format!("postgres://chunkflow@127.0.0.1:{port}/postgres?sslmode=disable"),
            _folder: folder,
        }
    }

    fn psql(&self, sql: &str) {
        let status = Command::new("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-c", sql, &self.url])
            .stdout(Stdio::null())
            .status();
        assert!(status.expect("psql runs").success());
    }

    fn copy(&self, sql: &str) -> f64 {
        let began = Instant::now();
        self.psql(&format!("COPY ({sql}) TO STDOUT"));
        began.elapsed().as_secs_f64()
    }

    fn fill(&self, rows: u32) {
        for sql in [
            "CREATE TABLE flat (id bigint PRIMARY KEY, a int NOT NULL, b boolean, c double precision, d numeric(12,2), e text, f varchar(40), g timestamptz, h date, u uuid)",
            &format!(
                "INSERT INTO flat SELECT i, i % 1000, i % 2 = 0, i * 1.5, (i % 100000)::numeric / 100, 'some text of usual length number ' || i, 'short ' || i % 100,
                 '2026-01-01'::timestamptz + i * interval '1 second', '2026-01-01'::date + (i % 365)::int, md5(i::text)::uuid FROM generate_series(1, {rows}) i"
            ),
            "CREATE TABLE category (id int PRIMARY KEY, name text NOT NULL)",
            "CREATE TABLE technology (id int PRIMARY KEY, name text NOT NULL)",
            "INSERT INTO category SELECT i, 'category ' || i FROM generate_series(1, 20) i",
            "INSERT INTO technology SELECT i, 'technology ' || i FROM generate_series(1, 40) i",
            "CREATE TABLE trick (id int PRIMARY KEY, title text NOT NULL, slug text NOT NULL)",
            &format!("INSERT INTO trick SELECT i, 'How to do trick number ' || i, 'trick-' || i FROM generate_series(1, {TRICKS}) i"),
            "CREATE TABLE trick_category (id serial PRIMARY KEY, trick_id int NOT NULL REFERENCES trick, category_id int NOT NULL REFERENCES category, UNIQUE (trick_id, category_id))",
            "CREATE TABLE trick_technology (id serial PRIMARY KEY, trick_id int NOT NULL REFERENCES trick, technology_id int NOT NULL REFERENCES technology, UNIQUE (trick_id, technology_id))",
            "INSERT INTO trick_category (trick_id, category_id) SELECT t.id, 1 + (t.id * 7 + c * 3) % 20 FROM trick t, generate_series(0, 2) c WHERE c <= t.id % 3",
            "INSERT INTO trick_technology (trick_id, technology_id) SELECT t.id, 1 + (t.id * 11 + c * 5) % 40 FROM trick t, generate_series(0, 3) c WHERE c <= t.id % 4",
            "VACUUM ANALYZE",
        ] {
            self.psql(sql);
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // The script ends the server at the end of its input.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

fn flat_spec() -> Spec {
    Spec::of("flat")
}

fn trick_spec() -> Spec {
    let through = |through: &str, table: &str| FieldSpec::Through {
        through: through.into(),
        on: None,
        to: None,
        related: Related::default().with(|related| {
            related.table = Some(table.into());
            related.columns = vec!["name".into()];
        }),
    };

    Spec::default().with(|spec| {
        spec.table = "trick".into();
        spec.fields = Some(vec![
            ("title".into(), FieldSpec::Column("title".into())),
            ("slug".into(), FieldSpec::Column("slug".into())),
            ("categories".into(), through("trick_category", "category")),
            ("technologies".into(), through("trick_technology", "technology")),
        ]);
    })
}

/// Lists over a database, each named after its table, with a store of so many bytes.
async fn lists(url: &str, specs: Vec<Spec>, store: u64) -> Chunkflow {
    let database: Arc<dyn Database> = open_database(&DatabaseOptions::new(url)).await.expect("it opens");
    let mut chunkflow = Chunkflow::new(Arc::new(Memory::new(store)));
    for spec in specs {
        let (source, fields) = database.source(&spec).await.expect("a right spec");
        let options = ResourceOptions::default().with(|options| options.fields = Some(fields));
        chunkflow = chunkflow.with(Resource::new(&spec.table, source, options).expect("a right resource"));
    }
    chunkflow
}

/// Seconds for a whole body, and for its first and its last tenth.
async fn body(url: &str, spec: Spec, rows: u32) -> (f64, f64, f64) {
    let chunkflow = lists(url, vec![spec], 1 << 20).await;
    let began = Instant::now();
    let mut body = chunkflow.body(&chunkflow.resources()[0], Format::JSON, "").await.expect("it begins");
    let (mut first, mut last) = (None, None);
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        std::hint::black_box(frame.expect("a frame"));
        let share = body.rows() as f64 / f64::from(rows);
        first = first.or((share >= 0.1).then(|| began.elapsed().as_secs_f64() / share / 10.0));
        last = last.or((share >= 0.9).then(|| (began.elapsed().as_secs_f64(), share)));
    }
    assert_eq!(body.rows(), u64::from(rows));
    let whole = began.elapsed().as_secs_f64();
    let (at, share) = last.expect("nine tenths came");
    (whole, first.expect("a tenth came"), (whole - at) / (1.0 - share) / 10.0)
}

/// Medians of the time to the first frame of a cold list and to the answer of `SELECT 1`, in microseconds.
async fn first_byte(url: &str) -> (f64, f64) {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("it connects");
    tokio::spawn(connection);
    let chunkflow = lists(url, vec![flat_spec()], 1).await;
    let (mut firsts, mut trips) = (vec![], vec![]);
    for _ in 0..200 {
        let began = Instant::now();
        let mut body = chunkflow.body(&chunkflow.resources()[0], Format::JSON, "").await.expect("it begins");
        poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await.expect("a frame").expect("no failure");
        firsts.push(began.elapsed().as_secs_f64() * 1e6);
        drop(body);
        tokio::time::sleep(Duration::from_millis(5)).await;
        let began = Instant::now();
        client.query_typed("SELECT 1", &[]).await.expect("an answer");
        trips.push(began.elapsed().as_secs_f64() * 1e6);
    }

    (median(&firsts), median(&trips))
}

/// Three servers of the same list.
struct Serving {
    axum: SocketAddr,
    cold: SocketAddr,
    warm: SocketAddr,
}

impl Serving {
    async fn start(url: &str) -> Serving {
        Serving { axum: by_hand(url).await, cold: serve(url, 1).await, warm: serve(url, 1 << 30).await }
    }

    /// Seconds for a whole list.
    fn fetch(&self, address: SocketAddr, list: &str) -> f64 {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).expect("it connects");
        let request = format!("GET /{list} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it is sent");
        let (mut buffer, mut end) = (vec![0; 1 << 18], vec![]);
        loop {
            match stream.read(&mut buffer).expect("it is read") {
                0 => break,
                read => {
                    end.extend_from_slice(&buffer[..read]);
                    end.drain(..end.len().saturating_sub(16));
                }
            }
        }

        assert!(end.ends_with(b"]}") || end.ends_with(b"0\r\n\r\n"), "a whole list");
        began.elapsed().as_secs_f64()
    }
}

async fn serve(url: &str, store: u64) -> SocketAddr {
    let config = ServerConfig::default().with(|server| server.listen = SocketAddr::from(([127, 0, 0, 1], 0)).into());
    let server = Server::bind(config, lists(url, vec![flat_spec(), trick_spec()], store).await).expect("it listens");
    let address = server.address().expect("an address of the internet");
    tokio::spawn(server.run(Shutdown::default()));
    address
}

/// What one would write: a struct, serde, and rows as they come.
#[derive(Serialize)]
struct Row {
    id: i64,
    a: i32,
    b: bool,
    c: f64,
    d: String,
    e: String,
    f: String,
    g: String,
    h: String,
    u: String,
}

async fn by_hand(url: &str) -> SocketAddr {
    let (client, connection) = tokio_postgres::connect(url, tokio_postgres::NoTls).await.expect("it connects");
    tokio::spawn(connection);
    let app = Router::new().route("/flat", get(flat)).route("/trick", get(tricks)).with_state(Arc::new(client));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("it listens");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move { axum::serve(listener, app).await });
    address
}

#[derive(Serialize)]
struct Trick {
    title: String,
    slug: String,
    categories: Vec<String>,
    technologies: Vec<String>,
}

async fn flat(State(client): State<Arc<tokio_postgres::Client>>) -> Body {
    let sql = "SELECT id, a, b, c, d::text, e, f, to_json(g)#>>'{}', h::text, u::text FROM flat ORDER BY id";
    let row = |row: tokio_postgres::Row| Row {
        id: row.get(0),
        a: row.get(1),
        b: row.get(2),
        c: row.get(3),
        d: row.get(4),
        e: row.get(5),
        f: row.get(6),
        g: row.get(7),
        h: row.get(8),
        u: row.get(9),
    };
    written(&client, sql, row).await
}

async fn tricks(State(client): State<Arc<tokio_postgres::Client>>) -> Body {
    let names = |table: &str, column: &str| {
        format!(
            "ARRAY(SELECT c.name FROM trick_{table} j JOIN {table} c ON c.id = j.{column} WHERE j.trick_id = t.id ORDER BY c.id)"
        )
    };

    let sql = format!(
        "SELECT title, slug, {}, {} FROM trick t ORDER BY id",
        names("category", "category_id"),
        names("technology", "technology_id")
    );

    let row = |row: tokio_postgres::Row| Trick {
        title: row.get(0),
        slug: row.get(1),
        categories: row.get(2),
        technologies: row.get(3),
    };

    written(&client, &sql, row).await
}

/// Rows as they come, 256 in a frame.
async fn written<T: Serialize>(
    client: &tokio_postgres::Client,
    sql: &str,
    read: impl Fn(tokio_postgres::Row) -> T + Send + Sync + 'static,
) -> Body {
    let rows = client.query_raw(sql, Vec::<i32>::new()).await.expect("rows");
    let rows = rows.chunks(256).enumerate().map(move |(batch, rows)| {
        let mut bytes = if batch == 0 { b"{\"results\":[".to_vec() } else { vec![b','] };
        for (index, row) in rows.into_iter().enumerate() {
            if index > 0 {
                bytes.push(b',');
            }
            serde_json::to_writer(&mut bytes, &read(row.expect("a row"))).expect("JSON");
        }
        Ok::<_, Infallible>(Bytes::from(bytes))
    });
    Body::from_stream(rows.chain(stream::once(async { Ok(Bytes::from_static(b"]}")) })))
}
