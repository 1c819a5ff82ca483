//! Databases as they are found in the wild: they are served unasked, or it is said why not.

use crate::{
    servers::{Db, every_kind, postgres},
    support::{Process, binary},
};

/// Modelled on the well-known samples: a music shop, a film rental, employees, flights; and what
/// real ones grow.
const WILD: &str = r#"
CREATE TABLE artist (artist_id int PRIMARY KEY, name varchar(120));
COMMENT ON TABLE artist IS E'Who made the records\n[not] = "toml"';
CREATE TABLE album (album_id int PRIMARY KEY, title varchar(160) NOT NULL, artist_id int NOT NULL REFERENCES artist);
CREATE TABLE track (track_id int PRIMARY KEY, name text NOT NULL, album_id int REFERENCES album, unit_price numeric(10,2) NOT NULL);
CREATE TABLE playlist (playlist_id int PRIMARY KEY, name varchar(120));
CREATE TABLE playlist_track (playlist_id int REFERENCES playlist, track_id int REFERENCES track, PRIMARY KEY (playlist_id, track_id));
CREATE TABLE employees (emp_no int PRIMARY KEY, birth_date date NOT NULL, first_name varchar(14) NOT NULL, reports_to int REFERENCES employees);
CREATE TABLE salaries (emp_no int REFERENCES employees, from_date date, salary int NOT NULL, PRIMARY KEY (emp_no, from_date));
CREATE TYPE mpaa AS ENUM ('G', 'PG', 'R');
CREATE TABLE film (film_id serial PRIMARY KEY, title text NOT NULL, rating mpaa DEFAULT 'G', features text[], fulltext tsvector, last_update timestamptz DEFAULT now());
CREATE TABLE actor (actor_id serial PRIMARY KEY, last_name text NOT NULL);
CREATE TABLE film_actor (actor_id int REFERENCES actor, film_id int REFERENCES film, last_update timestamptz DEFAULT now(), PRIMARY KEY (actor_id, film_id));
CREATE TABLE ticket_flights (ticket_no char(13), flight_id int, fare varchar(10), amount numeric(10,2), PRIMARY KEY (ticket_no, flight_id));
CREATE TABLE boarding (ticket_no char(13), flight_id int, seat varchar(4), PRIMARY KEY (ticket_no, flight_id), FOREIGN KEY (ticket_no, flight_id) REFERENCES ticket_flights);
CREATE SCHEMA "Sales Dept";
CREATE TABLE "Sales Dept"."Order ""Lines""" ("order" int, "select" int, "Ünï cödé" text, "quote's" text, "back\slash" text, PRIMARY KEY ("order", "select"));
CREATE TABLE "MixedCase" ("Id" int PRIMARY KEY, id int, "ID" int);
CREATE TABLE "user" (id uuid PRIMARY KEY, "from" text, "limit" int, "after" int);
CREATE TABLE friends (id int PRIMARY KEY, name text); CREATE TABLE friendship (a int REFERENCES friends, b int REFERENCES friends, PRIMARY KEY (a, b));
CREATE TABLE healthz (id int PRIMARY KEY);
CREATE TABLE "data.json" (id int PRIMARY KEY);
CREATE TABLE "${HOME}" (id int PRIMARY KEY);
CREATE TABLE nothing (id int PRIMARY KEY);
CREATE TABLE nokey (a int, b text);
CREATE TABLE auth_user (id int PRIMARY KEY, username text);
CREATE TABLE members (id int PRIMARY KEY, encrypted_password text);
CREATE MATERIALIZED VIEW rated AS SELECT film_id AS id, rating FROM film; CREATE UNIQUE INDEX ON rated (id);
CREATE VIEW artists_and_more AS SELECT * FROM artist;
CREATE TABLE events (id int, at date, PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE events_2026 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
INSERT INTO artist VALUES (1, 'AC/DC'), (2, NULL); INSERT INTO album VALUES (1, 'Let there', 1); INSERT INTO track VALUES (1, 'one', 1, 0.99), (2, 'two', NULL, 1.99);
INSERT INTO playlist VALUES (1, 'all'); INSERT INTO playlist_track VALUES (1, 2), (1, 1);
INSERT INTO employees VALUES (1, '1990-01-01', 'a', NULL), (2, '1991-01-01', 'b', 1); INSERT INTO salaries VALUES (1, '2020-01-01', 5), (1, '2021-01-01', 6), (2, '2020-01-01', 7);
INSERT INTO film VALUES (1, 'f', 'PG', '{a,b}', 'x', '2026-01-01Z'); INSERT INTO actor VALUES (1, 'l'); INSERT INTO film_actor VALUES (1, 1);
INSERT INTO ticket_flights VALUES ('1', 1, 'x', 1), ('1', 2, 'y', 2), ('2', 1, 'z', 3);
INSERT INTO "Sales Dept"."Order ""Lines""" VALUES (1, 1, 'ü', 'q', 'b'), (1, 2, NULL, NULL, NULL);
INSERT INTO "MixedCase" VALUES (1, 2, 3); INSERT INTO "user" VALUES ('a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11', 'x', 1, 2);
INSERT INTO friends VALUES (1, 'a'), (2, 'b'); INSERT INTO friendship VALUES (1, 2); INSERT INTO events VALUES (1, '2026-05-05'); INSERT INTO healthz VALUES (1);
"#;

fn wild() -> Db {
    let db = postgres();
    db.execute(WILD);
    // As wide as PostgreSQL allows.
    let columns: Vec<String> = (1..1600).map(|n| format!("c{n} smallint")).collect();
    db.execute(&format!(
        "CREATE TABLE wide (id int PRIMARY KEY, {}); INSERT INTO wide (id, c1599) VALUES (1, 7);",
        columns.join(", ")
    ));
    db
}

#[test]
fn a_database_is_served_as_it_is_found_and_what_is_left_out_is_said() {
    let db = wild();
    let folder = tempfile::TempDir::new().unwrap();
    let server = Process::serve(&["serve", &db.url()], folder.path());
    for (list, rows) in [
        ("artist", 2),
        ("album", 1),
        ("track", 2),
        ("playlist", 1),
        ("playlist_track", 2),
        ("employees", 2),
        ("salaries", 3),
        ("film", 1),
        ("actor", 1),
        ("film_actor", 1),
        ("ticket_flights", 3),
        ("boarding", 0),
        ("Sales%20Dept.Order%20%22Lines%22", 2),
        ("MixedCase", 1),
        ("user", 1),
        ("friends", 2),
        ("friendship", 1),
        ("healthz_", 1),
        ("data.json", 0),
        ("nothing", 0),
        ("events", 1),
        ("wide", 1),
        ("rated", 0),
    ] {
        let found = server.get(&format!("/{list}")).results();
        assert_eq!(found.len(), rows, "{list}");
        if list == "wide" {
            assert_eq!((found[0]["c1599"].as_i64(), found[0].as_object().unwrap().len()), (Some(7), 1600));
        }
        if list == "MixedCase" {
            assert_eq!(found[0], serde_json::json!({"Id": 1, "id": 2, "ID": 3}));
        }
    }

    for list in ["nokey", "auth_user", "members", "artists_and_more", "events_2026", "_HOME_", "__HOME_"] {
        assert_eq!(server.get(&format!("/{list}")).status, 404, "{list}");
    }

    // The log says each with why; the process says it before it serves.
    let output = binary(&["init", &db.url()], folder.path()).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    for (table, why) in [
        ("nokey", "no key"),
        ("auth_user", "credentials"),
        ("members", "`encrypted_password`"),
        ("artists_and_more", "no key"),
        ("events_2026", "a part of"),
        ("${HOME}", "variable"),
    ] {
        let line = text
            .lines()
            .find(|line| line.contains(&format!("\"{table}\" is left out")))
            .unwrap_or_else(|| panic!("{table}: {text}"));
        assert!(line.starts_with("# ") && line.contains(why), "{line}");
    }
}

#[test]
fn what_init_prints_works_unchanged_and_passes_check() {
    let db = wild();
    let folder = tempfile::TempDir::new().unwrap();
    let output = binary(&["init", &db.url()], folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::write(folder.path().join("chunkflow.toml"), &output.stdout).unwrap();
    let check = binary(&["check"], folder.path()).output().unwrap();
    assert!(
        check.status.success(),
        "{}\n{}",
        String::from_utf8_lossy(&check.stderr),
        String::from_utf8_lossy(&output.stdout)
    );

    let server = Process::serve(&["serve"], folder.path());
    let one = |list: &str| server.get(&format!("/{list}")).results().remove(0);
    assert_eq!(
        one("playlist")["track"],
        serde_json::json!([{"track_id": 1, "name": "one"}, {"track_id": 2, "name": "two"}])
    );

    assert_eq!(one("track")["album"], serde_json::json!({"album_id": 1, "title": "Let there"}));
    assert_eq!(one("film")["actor"], serde_json::json!([{"actor_id": 1, "last_name": "l"}]));
    let employees = server.get("/employees").results();
    assert_eq!(employees[1]["reports_to_row"], serde_json::json!({"emp_no": 1, "first_name": "a"}));
    assert_eq!(one("friends")["friends"], serde_json::json!([{"id": 2, "name": "b"}]));
}

/// The same in what all databases understand.
const COMMON: &str = r#"
CREATE TABLE artist (artist_id INTEGER PRIMARY KEY, name VARCHAR(120));
CREATE TABLE album (album_id INTEGER PRIMARY KEY, title VARCHAR(160) NOT NULL, artist_id INTEGER NOT NULL, FOREIGN KEY (artist_id) REFERENCES artist (artist_id));
CREATE TABLE track (track_id INTEGER PRIMARY KEY, name VARCHAR(160) NOT NULL);
CREATE TABLE playlist (playlist_id INTEGER PRIMARY KEY, name VARCHAR(120));
CREATE TABLE playlist_track (playlist_id INTEGER NOT NULL, track_id INTEGER NOT NULL, PRIMARY KEY (playlist_id, track_id),
    FOREIGN KEY (playlist_id) REFERENCES playlist (playlist_id), FOREIGN KEY (track_id) REFERENCES track (track_id));
CREATE TABLE employees (emp_no INTEGER PRIMARY KEY, first_name VARCHAR(14) NOT NULL, reports_to INTEGER, FOREIGN KEY (reports_to) REFERENCES employees (emp_no));
CREATE TABLE ticket_flights (ticket_no CHAR(13) NOT NULL, flight_id INTEGER NOT NULL, amount NUMERIC(10,2), PRIMARY KEY (ticket_no, flight_id));
CREATE TABLE "Order ""Lines""" ("order" INTEGER NOT NULL, "select" INTEGER NOT NULL, "Ünï cödé" VARCHAR(20), "quote's `tick`" VARCHAR(20), PRIMARY KEY ("order", "select"));
CREATE TABLE "user" (id INTEGER PRIMARY KEY, "from" VARCHAR(20), "limit" INTEGER, "after" INTEGER);
CREATE TABLE healthz (id INTEGER PRIMARY KEY);
CREATE TABLE auth_user (id INTEGER PRIMARY KEY, username VARCHAR(20));
CREATE TABLE members (id INTEGER PRIMARY KEY, encrypted_password VARCHAR(20));
CREATE VIEW artists_and_more AS SELECT * FROM artist;
INSERT INTO artist VALUES (1, 'AC/DC'), (2, NULL); INSERT INTO album VALUES (1, 'Let there', 1); INSERT INTO track VALUES (1, 'one'), (2, 'two');
INSERT INTO playlist VALUES (1, 'all'); INSERT INTO playlist_track VALUES (1, 2), (1, 1);
INSERT INTO employees VALUES (1, 'a', NULL), (2, 'b', 1); INSERT INTO ticket_flights VALUES ('1', 1, 1), ('1', 2, 2), ('2', 1, 3);
INSERT INTO "Order ""Lines""" VALUES (1, 1, 'ü', 'q'), (1, 2, NULL, NULL); INSERT INTO "user" VALUES (1, 'x', 1, 2);
"#;

#[test]
fn every_kind_of_database_is_served_as_it_is_found_and_described() {
    for db in every_kind() {
        let quotes = if db.name() == "mariadb" { "SET sql_mode = 'ANSI_QUOTES';" } else { "" };
        db.execute(&format!("{quotes}{COMMON}"));
        let folder = tempfile::TempDir::new().unwrap();
        let server = Process::serve(&["serve", &db.url()], folder.path());
        for (list, rows) in [
            ("artist", 2),
            ("playlist_track", 2),
            ("employees", 2),
            ("ticket_flights", 3),
            ("Order%20%22Lines%22", 2),
            ("user", 1),
            ("healthz_", 0),
        ] {
            assert_eq!(server.get(&format!("/{list}")).results().len(), rows, "{} {list}", db.name());
        }
        for list in ["auth_user", "members", "artists_and_more"] {
            assert_eq!(server.get(&format!("/{list}")).status, 404, "{} {list}", db.name());
        }
        drop(server);
        let output = binary(&["init", &db.url()], folder.path()).output().unwrap();
        std::fs::write(folder.path().join("chunkflow.toml"), &output.stdout).unwrap();
        let check = binary(&["check"], folder.path()).output().unwrap();
        let told = String::from_utf8_lossy(&check.stderr).into_owned();
        assert!(check.status.success(), "{}: {told}\n{}", db.name(), String::from_utf8_lossy(&output.stdout));
        let server = Process::serve(&["serve"], folder.path());
        let one = |list: &str| server.get(&format!("/{list}")).results().remove(0);
        assert_eq!(
            one("playlist")["track"],
            serde_json::json!([{"track_id": 1, "name": "one"}, {"track_id": 2, "name": "two"}]),
            "{}",
            db.name()
        );
        assert_eq!(one("album")["artist"], serde_json::json!({"artist_id": 1, "name": "AC/DC"}), "{}", db.name());
    }
}
