//! Cold: rows a second from SQLite through the whole machine, against plain rusqlite loops that read the same
//! columns and joins and throw them away. One thread each (run it with `taskset -c 0`), in turn, so that the
//! ratio holds when the machine drifts.
//!
//! `cargo bench --bench cold -- FILE [ROUNDS]`, where FILE was made by `chunkflow demo --rows N --database FILE`.

use std::{collections::HashMap, future::poll_fn, hint::black_box, pin::Pin, sync::Arc, time::Instant};

use chunkflow::{
    Chunkflow, Format, Memory, Resource, ResourceOptions, Sqlite,
    source::{Database, FieldSpec, GateLimits, OrderBy, Related, Spec},
};
use http_body::Body as _;
use rusqlite::{Connection, OpenFlags, params};

const WHERE: &str = "publishing_status IN ('published', 'published_outdated')";
const RUN: i64 = 500;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let Some(file) = arguments.first() else {
        // Run without arguments by `cargo test` or `cargo bench`: nothing to measure.
        eprintln!("usage: cargo bench --bench cold -- FILE [ROUNDS]");
        return;
    };

    let rounds = arguments.get(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(5);
    type Loop = (&'static str, fn(&Connection) -> u64);
    let loops: [Loop; 4] = [
        ("group_concat", group_concat),
        ("query per row", query_per_row),
        ("runs, joined", runs_joined),
        ("runs, names mapped", runs_mapped),
    ];

    let connection = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY).expect("the file opens");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rates: Vec<Vec<f64>> = vec![vec![]; loops.len() + 1];
    for round in 0..=rounds {
        for (index, (_, read)) in loops.iter().enumerate() {
            let (began, rows) = (Instant::now(), read(&connection));
            note(&mut rates[index], round, rows, began);
        }
        let began = Instant::now();
        let (rows, first, last) = runtime.block_on(chunkflow(file));
        note(&mut rates[loops.len()], round, rows, began);
        if round == rounds {
            println!("rows/s of the first 10,000 {first:.0}, of the last 10,000 {last:.0}: {:.2}", last / first);
        }
    }

    let median = |rates: &[f64]| {
        let mut rates = rates.to_vec();
        rates.sort_by(f64::total_cmp);
        rates[rates.len() / 2]
    };

    let own = median(&rates[loops.len()]);
    println!("{:20} {own:9.0} rows/s", "chunkflow");
    for ((name, _), rates) in loops.iter().zip(&rates) {
        println!("{name:20} {:9.0} rows/s   chunkflow/this {:.2}", median(rates), own / median(rates));
    }
}

/// The first round warms the file's pages and is not counted.
fn note(rates: &mut Vec<f64>, round: usize, rows: u64, began: Instant) {
    if round > 0 {
        rates.push(rows as f64 / began.elapsed().as_secs_f64());
    }
}

/// The whole machine: source, cutter, format, store, stream.
async fn chunkflow(file: &str) -> (u64, f64, f64) {
    let related = |table: &str| {
        Related::default().with(|related| {
            related.table = Some(table.into());
            related.columns = vec!["slug".into()];
        })
    };

    let through = |table: &str, target: &str| FieldSpec::Through {
        through: table.into(),
        on: None,
        to: None,
        related: related(target),
    };

    let spec = Spec::default().with(|spec| {
        spec.table = "tricks_trick".into();
        spec.condition = Some(WHERE.into());
        spec.order = vec![OrderBy::parse("id")];
        spec.fields = Some(vec![
            ("title".into(), FieldSpec::Column("title".into())),
            ("url".into(), FieldSpec::Link("/tricks/{slug}/".into())),
            ("categories".into(), through("tricks_trick_categories", "tricks_category")),
            ("technologies".into(), through("tricks_trick_technologies", "tricks_technology")),
        ]);
    });

    let database = Sqlite::open(&format!("sqlite:{file}"), GateLimits::default(), std::time::Duration::from_secs(60))
        .expect("it opens");
    let (source, fields) = database.source(&spec).await.expect("a right spec");
    let options = ResourceOptions::default().with(|options| options.fields = Some(fields));
    let resource = Resource::new("tricks", source, options).expect("a right resource");
    let chunkflow = Chunkflow::new(Arc::new(Memory::new(64 << 20))).with(resource);
    let mut body =
        chunkflow.body(&chunkflow.resources()[0], Format::JSON, "http://localhost").await.expect("it begins");
    let began = Instant::now();
    let mut marks = vec![(0, 0.0)];
    while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
        black_box(frame.expect("a frame"));
        if body.rows() != marks[marks.len() - 1].0 {
            marks.push((body.rows(), began.elapsed().as_secs_f64()));
        }
    }

    let rate = |from: usize, to: usize| (marks[to].0 - marks[from].0) as f64 / (marks[to].1 - marks[from].1);
    let end = marks.len() - 1;
    let total = marks[end].0;
    let after = |rows: u64| marks.iter().position(|mark| mark.0 >= rows).unwrap_or(end);
    (total, rate(1, after(10_000).max(2)), rate(after(total.saturating_sub(10_000)).min(end - 1), end))
}

fn group_concat(connection: &Connection) -> u64 {
    let sql = format!(
        "SELECT t.id, t.title, t.slug, \
         (SELECT group_concat(c.slug) FROM tricks_trick_categories j JOIN tricks_category c ON c.id = j.category_id WHERE j.trick_id = t.id), \
         (SELECT group_concat(c.slug) FROM tricks_trick_technologies j JOIN tricks_technology c ON c.id = j.technology_id WHERE j.trick_id = t.id) \
         FROM tricks_trick t WHERE {WHERE} ORDER BY t.id"
    );

    let mut statement = connection.prepare(&sql).expect("right SQL");
    let mut rows = statement.query([]).expect("it runs");
    let mut count = 0;
    while let Some(row) = rows.next().expect("a row") {
        for column in 0..5 {
            black_box(row.get_ref(column).expect("a column"));
        }
        count += 1;
    }

    count
}

fn query_per_row(connection: &Connection) -> u64 {
    let mut statement = connection
        .prepare(&format!("SELECT id, title, slug FROM tricks_trick WHERE {WHERE} ORDER BY id"))
        .expect("right SQL");
    let related = |table: &str, target: &str, column: &str| {
        let sql = format!(
            "SELECT c.slug FROM {table} j JOIN {target} c ON c.id = j.{column} WHERE j.trick_id = ?1 ORDER BY c.id"
        );
        connection.prepare(&sql).expect("right SQL")
    };

    let mut relations = [
        related("tricks_trick_categories", "tricks_category", "category_id"),
        related("tricks_trick_technologies", "tricks_technology", "technology_id"),
    ];

    let mut rows = statement.query([]).expect("it runs");
    let mut count = 0;
    while let Some(row) = rows.next().expect("a row") {
        black_box((row.get_ref(1).expect("a column"), row.get_ref(2).expect("a column")));
        let id: i64 = row.get(0).expect("a key");
        for relation in &mut relations {
            let mut found = relation.query([id]).expect("it runs");
            while let Some(row) = found.next().expect("a row") {
                black_box(row.get_ref(0).expect("a column"));
            }
        }
        count += 1;
    }

    count
}

fn runs_joined(connection: &Connection) -> u64 {
    let joined = |table: &str, target: &str, column: &str| {
        format!(
            "SELECT j.trick_id, c.slug FROM {table} j JOIN {target} c ON c.id = j.{column} WHERE j.trick_id BETWEEN ?1 AND ?2 ORDER BY j.trick_id, c.id"
        )
    };
    let relations = [
        joined("tricks_trick_categories", "tricks_category", "category_id"),
        joined("tricks_trick_technologies", "tricks_technology", "technology_id"),
    ];
    runs(connection, &relations, |_, row| {
        black_box((row.get_ref(0).expect("a key"), row.get_ref(1).expect("a column")));
    })
}

fn runs_mapped(connection: &Connection) -> u64 {
    let names = |table: &str| {
        let mut statement = connection.prepare(&format!("SELECT id, slug FROM {table}")).expect("right SQL");
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))).expect("it runs");
        rows.map(|row| row.expect("a row")).collect::<HashMap<i64, String>>()
    };

    let names = [names("tricks_category"), names("tricks_technology")];
    let plain =
        |table: &str, column: &str| format!("SELECT trick_id, {column} FROM {table} WHERE trick_id BETWEEN ?1 AND ?2");
    let relations =
        [plain("tricks_trick_categories", "category_id"), plain("tricks_trick_technologies", "technology_id")];
    runs(connection, &relations, |relation, row| {
        let (key, id): (i64, i64) = (row.get(0).expect("a key"), row.get(1).expect("an id"));
        black_box((key, names[relation].get(&id)));
    })
}

/// Keyset runs of 500 rows, and for each run one query a relation.
fn runs(connection: &Connection, relations: &[String; 2], take: impl Fn(usize, &rusqlite::Row<'_>)) -> u64 {
    let sql = format!("SELECT id, title, slug FROM tricks_trick WHERE {WHERE} AND id > ?1 ORDER BY id LIMIT {RUN}");
    let mut statement = connection.prepare(&sql).expect("right SQL");
    let mut related = relations.each_ref().map(|sql| connection.prepare(sql).expect("right SQL"));
    let (mut after, mut count) = (0, 0);
    loop {
        let (mut first, mut last, mut read) = (None, after, 0);
        let mut rows = statement.query([after]).expect("it runs");
        while let Some(row) = rows.next().expect("a row") {
            last = row.get(0).expect("a key");
            first = first.or(Some(last));
            black_box((row.get_ref(1).expect("a column"), row.get_ref(2).expect("a column")));
            read += 1;
        }
        drop(rows);
        let Some(first) = first else { return count };
        for (index, relation) in related.iter_mut().enumerate() {
            let mut rows = relation.query(params![first, last]).expect("it runs");
            while let Some(row) = rows.next().expect("a row") {
                take(index, row);
            }
        }
        count += read;
        after = last;
    }
}
