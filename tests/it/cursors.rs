//! Cursors that clients hold: what they show, and where they are accepted.

use std::{net::SocketAddr, sync::Arc};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chunkflow::{
    Chunkflow, Memory, Resource, ResourceOptions, Secret,
    server::ServerConfig,
    source::{Cursor, Source, Value},
};

use crate::{
    servers::{Kind, Server, every_kind},
    support::{
        File, Numbers, Process, Reply, Running, ask, binary, checked, forged, next_cursor, numbered, parse, until,
    },
};

const OLD: &str = "nTgYgtKk2OFbU8UJ0uYkzWcCq1hX4bJmE7dZr5sA3vQ=";
const NEW: &str = "Q0mRk8s1x7Yw4ZtV2bN6cP9eLhJ3fGdU5aKoIiTqSxE=";

fn with_secret(config: &str, secret: &str) -> String {
    if secret.is_empty() { config.to_owned() } else { format!("[server]\nsecret = {secret}\n\n{config}") }
}

/// Forty people, ordered by a number that rows do not show.
fn people() -> File {
    let rows: Vec<String> = (0..40).map(|n| format!("({n}, 'person {n}', '900-{:02}-4711')", (n * 17) % 40)).collect();
    File::with(&format!(
        "CREATE TABLE person (id INTEGER PRIMARY KEY, name TEXT NOT NULL, ssn TEXT NOT NULL UNIQUE);
         INSERT INTO person VALUES {};",
        rows.join(", ")
    ))
}

const PEOPLE: &str =
    "table = \"person\"\norder = [\"-ssn\"]\n[resources.list.fields]\nname = \"name\"\nplace = { cursor = true }";

/// All cursors that a list gives out: in rows, as ids of events, in links.
fn handed_out(server: &Running) -> Vec<String> {
    let mut cursors: Vec<String> = vec![];
    cursors.extend(server.get("/list").results().iter().map(|row| row["place"].as_str().unwrap().to_owned()));
    let events = server.get("/list.sse").body;
    let ids = std::str::from_utf8(&events).unwrap().lines().filter_map(|line| line.strip_prefix("id: "));
    cursors.extend(ids.filter(|id| *id != "end").map(str::to_owned));
    cursors.extend((1..40).map(|limit| next_cursor(&server.get(&format!("/list?limit={limit}")))));
    assert_eq!(cursors.len(), 40 + 40 + 39);
    cursors
}

/// The names behind a cursor.
fn behind(server: &Running, cursor: &str) -> Reply {
    server.get(&format!("/list?after={cursor}"))
}

#[test]
fn with_a_secret_no_cursor_shows_what_it_holds_and_each_goes_on_behind_its_row() {
    let file = people();
    let shows = |cursor: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(cursor).unwrap();
        bytes.windows(4).any(|part| part == b"4711")
    };

    let open = file.serve(PEOPLE);
    assert!(handed_out(&open).iter().all(|cursor| shows(cursor)), "without one they do");

    let server = Running::config(&with_secret(&file.config(PEOPLE), &format!("{OLD:?}")));
    let cursors = handed_out(&server);
    assert!(!cursors.iter().any(|cursor| shows(cursor)));
    let all = server.get("/list").results();
    for (index, cursor) in cursors.iter().enumerate() {
        let at = if index < 80 { index % 40 } else { index - 80 };
        assert_eq!(behind(&server, cursor).results(), all[at + 1..], "{index}");
        let resumed = ask(server.address, "GET", "/list.sse", &[("last-event-id", cursor)]);
        assert_eq!((resumed.status, resumed.whole), (200, true));
    }

    // The same place always has the same text, since cached bytes contain it.
    assert_eq!(cursors[..40], cursors[40..80]);
    assert_eq!(cursors[..39], cursors[80..]);
}

#[test]
fn with_a_secret_a_cursor_that_no_key_of_it_made_is_a_bad_request_with_a_remedy() {
    let file = people();
    let open = file.serve(PEOPLE);
    let serve = |secret: &str| Running::config(&with_secret(&file.config(PEOPLE), secret));
    let old = serve(&format!("{OLD:?}"));
    let new = serve(&format!("{NEW:?}"));
    let rotated = serve(&format!("[{NEW:?}, {OLD:?}]"));
    let twin = serve(&format!("{OLD:?}"));
    let of = |server: &Running| next_cursor(&server.get("/list?limit=7"));
    let takes = |server: &Running, made_by: &Running| {
        let replies =
            [behind(server, &of(made_by)), ask(server.address, "GET", "/list.sse", &[("last-event-id", &of(made_by))])];
        let statuses = replies.each_ref().map(|reply| reply.status);
        assert_eq!(statuses[0], statuses[1]);
        if statuses[0] == 400 {
            assert!(replies[0].json()["remedy"].as_str().is_some_and(|remedy| !remedy.is_empty()), "{replies:?}");
        }
        statuses[0]
    };

    for (server, made_by) in [(&open, &open), (&old, &old), (&old, &twin), (&rotated, &old), (&rotated, &new)] {
        assert_eq!(takes(server, made_by), 200);
        assert_eq!(behind(server, &of(made_by)).results().len(), 33);
    }

    assert_eq!(takes(&new, &rotated), 200, "the first text seals");
    for (server, made_by) in
        [(&old, &open), (&rotated, &open), (&old, &new), (&new, &old), (&old, &rotated), (&open, &old)]
    {
        assert_eq!(takes(server, made_by), 400);
    }

    // A client that knows the form but not the secret cannot make one up.
    let guess = Cursor::after(&[Value::Text(b"900-20-4711"), Value::Integer(3)]).unwrap();
    let plain = of(&open);
    let encrypted = of(&old);
    assert_eq!(behind(&open, &forged(&plain, &guess)).status, 200, "the test forges as it should");
    for made_up in [forged(&plain, &guess), forged(&encrypted, &guess), "A".repeat(40), "Ag".repeat(30)] {
        assert_eq!(behind(&old, &made_up).status, 400);
    }

    // Nor can a cursor be altered into another.
    let bytes = URL_SAFE_NO_PAD.decode(&encrypted).unwrap();
    for bit in 0..bytes.len() * 8 {
        let mut altered = bytes.clone();
        altered[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(behind(&old, &URL_SAFE_NO_PAD.encode(altered)).status, 400, "bit {bit}");
    }
}

#[test]
fn a_new_secret_is_another_key_for_chunks_that_hold_cursors_and_for_no_others() {
    let redis = Server::shared(Kind::Redis);
    let file = numbered(3_000);
    let plain = "table = \"item\"";
    let named = "table = \"item\"\n[resources.named.fields]\nid = \"id\"\nplace = { cursor = true }";
    let config = format!(
        "{}\n[resources.named]\ndatabase = \"main\"\n{named}\n[store]\nurl = \"redis://127.0.0.1:{}\"\nprefix = \"rotated:\"\nnear = \"0\"\n",
        file.config(plain),
        redis.port
    );

    let serve = |secret: String| Running::config(&with_secret(&config, &secret));
    let loads = |server: &Running, target: &str| {
        let before = server.chunkflow.metrics().loads();
        assert!(server.get(target).whole);
        server.block_on(server.chunkflow.written());
        server.chunkflow.metrics().loads() - before
    };

    let others = ["/list", "/list.ndjson", "/list.csv", "/list?id=gt.20"];
    let holding = ["/list.sse", "/named", "/named.csv", "/list.sse?id=gt.20"];

    let old = serve(format!("{OLD:?}"));
    for target in others.into_iter().chain(holding) {
        assert!(loads(&old, target) > 0, "{target}");
    }

    // Another server, one that has begun to rotate the secret, and one that has finished.
    let (twin, rotated, new) =
        (serve(format!("{OLD:?}")), serve(format!("[{NEW:?}, {OLD:?}]")), serve(format!("{NEW:?}")));
    for target in others {
        for server in [&twin, &rotated, &serve(String::new())] {
            assert_eq!(loads(server, target), 0, "{target}: no cursor stands in it");
        }
        assert!(loads(&new, target) > 0, "{target}: no secret that it knows vouches for what is there");
    }

    for target in holding {
        assert_eq!(loads(&twin, target), 0, "{target}");
        assert!(loads(&rotated, target) > 0, "{target}");
        assert_eq!(loads(&new, target), 0, "{target}: what the new one sealed is there");
    }

    // A cursor from the store's chunks works on every server that serves them.
    for server in [&old, &rotated, &new] {
        let rows = server.get("/named").results();
        let place = rows[1_999]["place"].as_str().unwrap();
        assert_eq!(server.get(&format!("/named?after={place}")).results().len(), 1_000);
    }
}

#[test]
fn a_cursor_of_another_list_database_or_order_is_a_bad_request_in_every_database_with_a_secret_and_without() {
    for secret in ["", "\"nTgYgtKk2OFbU8UJ0uYkzWcCq1hX4bJmE7dZr5sA3vQ=\""] {
        for (db, other) in every_kind().into_iter().zip(every_kind()) {
            for one in [&db, &other] {
                one.execute(
                    "CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, size INTEGER NOT NULL);
                     CREATE TABLE twin (id INTEGER PRIMARY KEY, name VARCHAR(40) NOT NULL, size INTEGER NOT NULL);
                     INSERT INTO item VALUES (1, 'a', 5), (2, 'b', 6), (3, 'c', 7);
                     INSERT INTO twin VALUES (1, 'a', 5), (2, 'b', 6), (3, 'c', 7);",
                );
            }
            let serve = |config: String| Running::config(&with_secret(&config, secret));
            let list = |order: &str| db.config(&format!("table = \"item\"\norder = {order}"));
            let first = serve(list("[\"name\"]"));
            let cursor = next_cursor(&first.get("/list?limit=1"));
            let what = |what: &str| format!("{} {what} {secret}", db.name());

            assert_eq!(behind(&first, &cursor).results().len(), 2, "{}", what("its own"));
            let same =
                serve(db.config("table = \"item\"\norder = [\"name\"]\nwhere = \"id < 3\"\nfields = { id = \"id\" }"));
            assert_eq!(
                behind(&same, &cursor).results().len(),
                1,
                "{}",
                what("other rows and fields in the same order")
            );
            for (changed, config) in [
                ("another direction", list("[\"-name\"]")),
                ("another direction of the key", list("[\"name\", \"-id\"]")),
                ("another order", list("[\"size\"]")),
                ("another table", db.config("table = \"twin\"\norder = [\"name\"]")),
                ("another name", list("[\"name\"]").replace("resources.list", "resources.lists")),
                ("another database", other.config("table = \"item\"\norder = [\"name\"]")),
            ] {
                let server = serve(config);
                let name = server.chunkflow.resources()[0].name().to_owned();
                let reply = server.get(&format!("/{name}?after={cursor}"));
                assert_eq!(reply.status, 400, "{}: {}", what(changed), String::from_utf8_lossy(&reply.body));
            }
            // The column gets another type, whose values have other places in another order.
            db.execute(match db.name() {
                "sqlite" => {
                    "DROP TABLE item; CREATE TABLE item (id INTEGER PRIMARY KEY, name VARCHAR(40) COLLATE NOCASE NOT NULL, size INTEGER NOT NULL)"
                }
                "postgres" => "ALTER TABLE item ALTER name TYPE INTEGER USING id",
                _ => "DELETE FROM item; ALTER TABLE item MODIFY name INTEGER NOT NULL",
            });
            let reply = behind(&serve(list("[\"name\"]")), &cursor);
            assert_eq!(reply.status, 400, "{}", what("another type or collation"));
        }
    }
}

#[test]
fn a_made_up_cursor_with_a_value_that_its_column_cannot_have_is_a_bad_request() {
    let nan = Value::Real(f64::NAN);
    let infinite = Value::Real(f64::INFINITY);
    let (text, blob) = (Value::Text(b"1 OR 1=1"), Value::Blob(b"\x00\xff'"));
    let nul = Value::Text(b"a\0b");
    let decimal = Value::Decimal(b"1); --");
    let wrong = |column: &str| match column {
        "whole" => vec![Value::Null, text, blob, nul, decimal, nan, infinite, Value::Real(1.5)],
        "price" => vec![Value::Null, text, blob, nul, decimal, Value::Bool(true)],
        "day" => vec![Value::Null, text, nul, Value::Text(b""), Value::Text(b"soon")],
        _ => vec![Value::Null],
    };

    for db in every_kind() {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, whole BIGINT NOT NULL, price NUMERIC(10,2) NOT NULL, day DATE NOT NULL, name VARCHAR(20) NOT NULL);
             INSERT INTO item VALUES (1, 10, 1.50, '2026-01-01', 'a'), (2, -3, 2.25, '2026-01-02', 'b'), (3, 0, 10.00, '2026-01-03', 'c');",
        );
        for column in ["whole", "price", "day", "name"] {
            let server = db.serve(&format!("table = \"item\"\norder = [\"{column}\"]"));
            let all = server.get("/list").results();
            for (at, limit) in [1, 2].into_iter().enumerate() {
                let honest = next_cursor(&server.get(&format!("/list?limit={limit}")));
                assert_eq!(behind(&server, &honest).results(), all[at + 1..], "{} {column}", db.name());
            }
            let real = next_cursor(&server.get("/list?limit=1"));
            for value in wrong(column) {
                let reply = behind(&server, &forged(&real, &Cursor::after(&[value, Value::Integer(1)]).unwrap()));
                let told = String::from_utf8_lossy(&reply.body);
                // In SQLite each value has its own type, and so a place in the order of every
                // column; only NaN has none.
                let placed =
                    db.name() == "sqlite" && value != Value::Null && !matches!(value, Value::Real(n) if n.is_nan());
                assert_eq!(reply.status, if placed { 200 } else { 400 }, "{} {column} {value:?}: {told}", db.name());
            }
            // Only as many values as columns are accepted, and the last one is checked too.
            for key in [vec![], vec![Value::Integer(1); 3], vec![Value::Integer(1)]] {
                let made_up = forged(&real, &Cursor::after(&key).unwrap());
                assert_eq!(behind(&server, &made_up).status, if key.is_empty() { 200 } else { 400 }, "{key:?}");
            }
        }
    }
}

#[test]
fn a_secret_that_could_be_guessed_is_refused_at_its_place_and_shown_nowhere() {
    let file = numbered(3);
    let config = |secret: &str| with_secret(&file.config("table = \"item\""), secret);
    let short = "hunter2hunter2hunter2hunter2";
    for (secret, why) in [
        ("\"\"".to_owned(), "is empty"),
        ("\"${EMPTY}\"".to_owned(), "is empty"),
        ("[]".to_owned(), "has no text"),
        (format!("{short:?}"), "is shorter than 32 bytes"),
        (format!("[{NEW:?}, {short:?}]"), "is shorter than 32 bytes"),
        (format!("[{NEW:?}, \"\"]"), "is empty"),
    ] {
        let environment = |name: &str| (name == "EMPTY").then(String::new);
        let told =
            chunkflow::server::Config::parse("chunkflow.toml", &config(&secret), &environment).unwrap_err().to_string();
        assert!(told.contains(why) && told.contains("openssl rand -base64 32"), "{secret}: {told}");
        assert!(told.contains("chunkflow.toml:2:10"), "{secret}: {told}");
        assert!(!told.contains("hunter2") && !told.contains(NEW), "{told}");
    }

    let told = parse(&config("7")).unwrap_err().to_string();
    assert!(told.contains("`secret` is integer, not a text"), "{told}");
    let shown = format!("{:?}", parse(&config(&format!("[{NEW:?}, {OLD:?}]"))).unwrap());
    assert!(!shown.contains(NEW) && !shown.contains(OLD) && shown.contains("Secret(..)"), "{shown}");
}

#[test]
fn check_complains_of_an_order_that_only_cursors_show_unless_there_is_a_secret() {
    let file = people();
    let hidden = "column `ssn` orders the list and is not among its fields";
    let config = file.config(&PEOPLE.replace("name = \"name\"", "name = \"name\"\nid = \"id\""));
    let told = checked(&config);
    assert!(told.contains(hidden) && told.contains("openssl rand -base64 32"), "{told}");
    assert!(told.contains("chunkflow.toml:7:9"), "at the order: {told}");
    assert_eq!(checked(&with_secret(&config, &format!("{OLD:?}"))), "");
    // Shown unchanged, under any name, or with all columns.
    for resource in [
        "table = \"person\"\norder = [\"-ssn\"]",
        "table = \"person\"\norder = [\"-ssn\"]\nfields = { number = \"ssn\", id = \"id\" }",
    ] {
        assert_eq!(checked(&file.config(resource)), "", "{resource}");
    }

    // The key at the end of each order too.
    let told = checked(&file.config("table = \"person\"\nfields = { name = \"name\" }"));
    assert!(told.contains("column `id` orders the list"), "{told}");
    // A link shows another thing.
    let told = checked(&file.config("table = \"person\"\nfields = { link = { link = \"/person/{id}\" } }"));
    assert!(told.contains("column `id` orders the list"), "{told}");
}

#[test]
fn a_reload_takes_a_new_secret_over() {
    let file = people();
    let admin = SocketAddr::from(([127, 0, 0, 1], crate::servers::free_port()));
    let write = |secret: &str| {
        let config = with_secret(&file.config(PEOPLE), secret);
        std::fs::write(file.folder.path().join("chunkflow.toml"), format!("[admin]\nlisten = \"{admin}\"\n{config}"))
            .unwrap();
    };

    write(&format!("{OLD:?}"));
    let server = Process::serve(&["serve", "--log", "info"], file.folder.path());
    let takes = |cursor: &str| server.get(&format!("/list?after={cursor}")).status;
    let first = next_cursor(&server.get("/list?limit=1"));
    let reload = |secret: &str| {
        write(secret);
        binary(&["reload"], file.folder.path()).output().unwrap()
    };

    assert!(reload(&format!("[{NEW:?}, {OLD:?}]")).status.success());
    until("the new secret seals", || next_cursor(&server.get("/list?limit=1")) != first);
    let second = next_cursor(&server.get("/list?limit=1"));
    assert_eq!((takes(&first), takes(&second)), (200, 200));
    let rows = server.get("/list").results();
    assert_eq!(rows[0]["place"], second, "and stands in the rows");

    let refused = reload("\"short\"");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned() + &String::from_utf8_lossy(&refused.stdout);
    assert!(!refused.status.success() && told.contains("shorter than 32 bytes"), "{told}");
    assert_eq!(takes(&first), 200, "refused whole");

    assert!(reload(&format!("{NEW:?}")).status.success());
    until("the old one is forgotten", || takes(&first) == 400);
    assert_eq!(takes(&second), 200);
}

#[test]
fn a_program_gives_each_resource_its_secret_and_what_one_seals_it_takes_back() {
    let source = Numbers::new(50, 10);
    let serve = |secret: Option<Secret>| {
        let options = ResourceOptions::default().with(|options| options.secret = secret);
        let resource = Resource::new("list", Arc::clone(&source) as Arc<dyn Source>, options).unwrap();
        let place = Cursor::after(&[Value::Integer(20)]).unwrap();
        let text = resource.sealed(&place);
        assert_eq!(resource.unsealed(&text).unwrap(), place);
        let server =
            Running::start(ServerConfig::default(), Chunkflow::new(Arc::new(Memory::new(1 << 20))).with(resource));
        assert_eq!(behind(&server, &text).results().len(), 30);
        text
    };
    let texts = [None, Some(Secret::new(&[OLD]).unwrap()), Some(Secret::new(&[NEW, OLD]).unwrap())].map(serve);
    assert!(texts[0] != texts[1] && texts[1] != texts[2]);
}
