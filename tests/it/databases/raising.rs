//! No value fails a row: what a database cannot give in its own form stands as its text or as NULL,
//! is counted, and the rest of the list is as it would be without it.

use serde_json::{Value, json};

use super::walk;
use crate::{
    servers::{Db, mariadb, postgres, postgres_without_encoding, sqlite},
    support::Running,
};

fn formless(server: &Running) -> u64 {
    server.chunkflow.metrics().values_without_form()
}

/// A function that gives the JSON of any value, or nothing where there is none.
const TRY_JSON: &str = "CREATE FUNCTION try_json(value anyelement) RETURNS text LANGUAGE plpgsql AS $$
    BEGIN RETURN to_json(value)::text; EXCEPTION WHEN OTHERS THEN RETURN NULL; END $$;";

/// Shapes of PostGIS: of every type, with and without further dimensions, empty, and within each
/// other.
const SHAPES: [&str; 31] = [
    "POINT(1 2)",
    "POINT Z (1 2 3)",
    "POINT M (1 2 3)",
    "POINT ZM (1 2 3 4)",
    "POINT EMPTY",
    "LINESTRING(0 0, 1 1)",
    "LINESTRING EMPTY",
    "POLYGON((0 0, 1 0, 1 1, 0 0))",
    "POLYGON EMPTY",
    "MULTIPOINT((1 1), (2 2))",
    "MULTILINESTRING((0 0, 1 1), (2 2, 3 3))",
    "MULTIPOLYGON(((0 0, 1 0, 1 1, 0 0)))",
    "GEOMETRYCOLLECTION(POINT(1 1), LINESTRING(0 0, 1 1))",
    "GEOMETRYCOLLECTION EMPTY",
    "CIRCULARSTRING(0 0, 1 1, 2 0)",
    "CIRCULARSTRING Z (0 0 1, 1 1 1, 2 0 1)",
    "CIRCULARSTRING ZM (0 0 1 2, 1 1 1 2, 2 0 1 2)",
    "CIRCULARSTRING EMPTY",
    "COMPOUNDCURVE((0 0, 1 1), CIRCULARSTRING(1 1, 2 2, 3 1))",
    "COMPOUNDCURVE EMPTY",
    "CURVEPOLYGON(CIRCULARSTRING(0 0, 4 0, 4 4, 0 4, 0 0))",
    "CURVEPOLYGON EMPTY",
    "MULTICURVE((0 0, 1 1), CIRCULARSTRING(1 1, 2 2, 3 1))",
    "MULTISURFACE(((0 0, 1 0, 1 1, 0 0)))",
    "MULTISURFACE EMPTY",
    "TIN(((0 0 0, 0 0 1, 0 1 0, 0 0 0)))",
    "TIN EMPTY",
    "TRIANGLE((0 0, 0 9, 9 0, 0 0))",
    "POLYHEDRALSURFACE Z (((0 0 0, 0 0 1, 0 1 1, 0 1 0, 0 0 0)))",
    "GEOMETRYCOLLECTION(CIRCULARSTRING(0 0, 1 1, 2 0))",
    "GEOMETRYCOLLECTION(POINT(1 1), GEOMETRYCOLLECTION(CURVEPOLYGON EMPTY))",
];

#[test]
fn shapes_of_every_kind_are_geojson_or_the_database_s_own_text() {
    let db = postgres();
    db.execute(&format!(
        "CREATE EXTENSION postgis; {TRY_JSON}
         CREATE TYPE place AS (name text, at geometry); CREATE DOMAIN spot AS geometry;
         CREATE TABLE owner (id int PRIMARY KEY);
         CREATE TABLE item (id int PRIMARY KEY, owner int REFERENCES owner, name text, shape geometry, spot spot, many geometry[], place place, globe geography);"
    ));
    for (id, shape) in SHAPES.iter().enumerate() {
        let srid = ["", "SRID=4326;", "SRID=3857;"][id % 3];
        db.execute_later(&format!(
            "INSERT INTO owner VALUES ({id});
             INSERT INTO item (id, owner, name, shape) VALUES ({id}, {id} / 3, 'shape {id}', '{srid}{shape}');"
        ));
    }

    // Many right ones around them, so that there are runs without any.
    db.execute_later(
        "INSERT INTO item (id, owner, name, shape) SELECT i, 30, 'point ' || i, ST_MakePoint(i, i) FROM generate_series(100, 1500) i;
         INSERT INTO item (id, owner, name, shape) SELECT i, 0, 'arc', 'CIRCULARSTRING(0 0, 1 1, 2 0)' FROM generate_series(1501, 1600) i;
         UPDATE item SET spot = shape, many = ARRAY[shape, NULL], place = ROW(name, shape)::place;
         INSERT INTO item (id) VALUES (9999);",
    );

    db.execute_now();

    let shown = ["shape", "spot", "many", "place"];
    let tried: Vec<String> = shown
        .iter()
        .map(|column| format!("coalesce(try_json({column}), to_json({column}::text)::text, 'null')"))
        .collect();
    let expected: Vec<Vec<Value>> = db
        .query(&format!("SELECT {} FROM item ORDER BY id", tried.join(", ")))
        .unwrap()
        .iter()
        .map(|row| row.iter().map(|value| serde_json::from_str(value).unwrap()).collect())
        .collect();
    let without = "SELECT count(*) FILTER (WHERE try_json(shape) IS NULL AND shape IS NOT NULL) FROM item";
    let without: u64 = db.query(without).unwrap()[0][0].parse().unwrap();
    assert!(without > 110, "{without}");

    for chunk_rows in [5, 50] {
        let server = db.serve(&format!("table = \"item\"\nchunk_rows = {chunk_rows}\nchunk_bytes = \"1\""));
        let rows = server.get("/list").results();
        assert_eq!(rows.len(), expected.len());
        for (row, expected) in rows.iter().zip(&expected) {
            for (column, value) in shown.iter().zip(expected) {
                assert_eq!(row[column], *value, "{column} of {}", row["name"]);
            }
        }
        assert_eq!(formless(&server), 4 * without, "in four columns");
        assert_eq!(server.get("/list?limit=40&id=gte.10").results(), rows[10..50], "however the list is cut");
    }

    // Related lists and rows: what stands in one depends on nothing else.
    let server = db.serve(
        "table = \"owner\"\n[resources.list.fields]\nid = \"id\"\nshapes = { from = \"item\", column = \"shape\" }\n\
         names = { from = \"item\", columns = [\"name\", \"shape\"] }",
    );

    for row in server.get("/list").results() {
        let owner = row["id"].as_u64().unwrap() as usize;
        let related: Vec<&Value> = row["shapes"].as_array().unwrap().iter().collect();
        let names: Vec<&Value> = row["names"].as_array().unwrap().iter().map(|object| &object["shape"]).collect();
        assert_eq!(related, names, "{owner}");
        let text =
            |id: usize| db.query(&format!("SELECT shape::text FROM item WHERE id = {id}")).unwrap()[0][0].clone();
        match owner {
            // All of a list with a curve are text; an owner of points alone has GeoJSON.
            1 => assert_eq!(related.len(), 3),
            6 => assert_eq!(*related[0], json!(text(18))),
            _ => {}
        }
    }

    assert_eq!(server.get("/list").results()[1]["shapes"][1], expected[4][0]);
    let via = db.serve("table = \"item\"\nkey = [\"id\"]\n[resources.list.fields]\nid = \"id\"\nowner = { via = \"owner\", column = \"id\" }");
    assert_eq!(via.get("/list").results().len(), expected.len());
}

/// A view of the numbers from 1 to 1,000, of which each column raises in its own rows, and in its
/// own way.
const RAISING: &str = "
    CREATE TYPE mood AS ENUM ('sad', 'happy');
    CREATE FUNCTION mood_json(value mood) RETURNS json LANGUAGE plpgsql IMMUTABLE AS $$
        BEGIN IF value = 'sad' THEN RAISE EXCEPTION 'too sad'; END IF; RETURN to_json(value::text); END $$;
    CREATE CAST (mood AS json) WITH FUNCTION mood_json(mood);
    CREATE FUNCTION refuses(n int) RETURNS int LANGUAGE plpgsql STABLE AS $$
        BEGIN IF n % 400 = 7 THEN RAISE EXCEPTION 'not this one' USING ERRCODE = 'ZZ123'; END IF; RETURN n; END $$;
    CREATE TABLE base (id int PRIMARY KEY, text text, moods mood[], bytes bytea);
    INSERT INTO base SELECT i, CASE i % 300 WHEN 5 THEN 'x' ELSE i::text END, CASE i % 250 WHEN 9 THEN '{sad,happy}'::mood[] ELSE '{happy}' END,
        CASE i WHEN 77 THEN '\\xff'::bytea ELSE '\\x61' END FROM generate_series(1, 1000) i;
    CREATE VIEW item AS SELECT id, text::int AS number, moods, 100 / (id % 333 - 3) AS ratio, refuses(id) AS refused, convert_from(bytes, 'UTF8') AS bytes,
        CASE WHEN id = 500 THEN (SELECT b.id FROM base b WHERE b.id < 3) ELSE id END AS single, CASE WHEN id = 501 THEN sqrt(1.0 - id)::float8 ELSE 1 END AS root FROM base;";

#[test]
fn whatever_raises_in_sql_is_null_or_text_and_every_other_value_stands() {
    let db = postgres();
    db.execute(RAISING);
    let server = db.serve("table = \"item\"\nkey = [\"id\"]");
    let rows = server.get("/list").results();
    assert_eq!(rows.len(), 1_000);
    let mut without = 0;
    for (index, row) in rows.iter().enumerate() {
        let id = index as i64 + 1;
        let mut value = |name: &str, raises: bool, value: Value, instead: Value| {
            without += u64::from(raises);
            assert_eq!(row[name], if raises { instead } else { value }, "{name} of {id}");
        };
        assert_eq!(row["id"], id);
        value("number", id % 300 == 5, json!(id), json!(null));
        value("moods", id % 250 == 9, json!(["happy"]), json!("{sad,happy}"));
        let divisor = id % 333 - 3;
        value("ratio", divisor == 0, json!(100i64.checked_div(divisor)), json!(null));
        value("refused", id % 400 == 7, json!(id), json!(null));
        value("bytes", id == 77, json!("a"), json!(null));
        value("single", id == 500, json!(id), json!(null));
        value("root", id == 501, json!(1.0), json!(null));
    }

    assert_eq!(formless(&server), without);
    let ids: Vec<String> = (1..=1_000).map(|id: i64| id.to_string()).collect();
    assert_eq!(walk(&db.serve("table = \"item\"\nkey = [\"id\"]"), "/list"), ids, "and so row by row");
}

#[test]
fn a_key_that_raises_fails_the_load_and_loses_nothing_in_silence() {
    let db = postgres();
    db.execute(RAISING);
    for resource in ["table = \"item\"\nkey = [\"number\"]", "table = \"item\"\nkey = [\"id\"]\norder = [\"-ratio\"]"] {
        let reply = db.serve(resource).get("/list");
        assert!(reply.status != 200 || !reply.whole, "{resource}");
    }
}

#[test]
fn a_condition_that_raises_or_a_value_of_a_request_that_does_not_fit_is_a_failure_as_before() {
    let db = postgres();
    db.execute(RAISING);
    let server = db.serve("table = \"item\"\nkey = [\"id\"]\nfilters = [\"id\", \"number\"]");
    assert_eq!(server.get("/list?id=eq.1.5").status, 400);
    assert_ne!(server.get("/list?number=gt.1").status, 200, "which rows fulfil it cannot be said");
    let server = db.serve("table = \"base\"\nwhere = \"1 / (id - 500) < 5\"\nfields = { id = \"id\" }");
    let reply = server.get("/list");
    assert!(reply.status != 200 || !reply.whole);
    assert_eq!(formless(&server), 0);
}

/// What raises in a view of the other databases, for rows 13 and 400 of 500.
fn others() -> Vec<(Db, &'static str)> {
    let lite = sqlite();
    let maria = mariadb();
    let rows = "INSERT INTO base WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 500) SELECT i, CASE WHEN i IN (13, 400)";
    lite.execute(&format!(
        "CREATE TABLE base (id INTEGER PRIMARY KEY, n INTEGER, doc TEXT);
         {rows} THEN -9223372036854775808 ELSE i END, CASE WHEN i IN (13, 400) THEN '{{broken' ELSE '{{\"a\": 1}}' END FROM n;
         CREATE VIEW item AS SELECT id, abs(n) AS number, json_extract(doc, '$.a') AS one, doc FROM base;"
    ));
    maria.execute(
        "CREATE TABLE base (id INTEGER PRIMARY KEY, n BIGINT, doc LONGTEXT);
         INSERT INTO base SELECT seq, CASE WHEN seq IN (13, 400) THEN -9223372036854775808 ELSE seq END, '1' FROM seq_1_to_500;
         CREATE VIEW item AS SELECT id, ABS(n) AS number, CASE WHEN id IN (13, 400) THEN (SELECT b.id FROM base b WHERE b.id < 3) ELSE 1 END AS one, doc FROM base;",
    );
    vec![(lite, "table = \"item\"\nkey = [\"id\"]"), (maria, "table = \"item\"\nkey = [\"id\"]")]
}

#[test]
fn what_raises_in_a_view_of_sqlite_or_mariadb_is_null_and_every_other_value_stands() {
    for (db, resource) in others() {
        let server = db.serve(resource);
        let rows = server.get("/list").results();
        assert_eq!(rows.len(), 500, "{}", db.name());
        for (index, row) in rows.iter().enumerate() {
            let id = index + 1;
            let raises = [13, 400].contains(&id);
            assert_eq!(row["id"], id, "{}", db.name());
            assert_eq!(row["number"], if raises { Value::Null } else { json!(id) }, "{} {id}", db.name());
            assert_eq!(row["one"], if raises { Value::Null } else { json!(1) }, "{} {id}", db.name());
        }
        assert_eq!(formless(&server), 4, "{}", db.name());
    }
}

#[test]
fn texts_of_a_postgresql_database_without_an_encoding_are_shown_and_are_keys_whatever_their_bytes() {
    let db = postgres_without_encoding();
    db.execute(
        "CREATE TABLE item (id int, name text PRIMARY KEY, many text[], doc json);
         INSERT INTO item SELECT i, convert_from(decode(to_hex(i), 'hex'), 'SQL_ASCII'), NULL, NULL FROM generate_series(32, 255) i;
         UPDATE item SET many = ARRAY[name], doc = ('{\"a\": \"' || name || '\"}')::json WHERE id > 127;",
    );

    let server = db.serve("table = \"item\"");
    let rows = server.get("/list").results();
    assert_eq!(rows.len(), 224);
    assert_eq!(rows[0]["name"], " ");
    let last = &rows[223];
    assert_eq!([&last["id"], &last["name"], &last["many"]], [&json!(255), &json!("\u{fffd}"), &json!(["\u{fffd}"])]);
    assert_eq!(last["doc"], json!({"a": "\u{fffd}"}));
    assert_eq!(server.chunkflow.metrics().replaced_utf8(), 3 * 128);
    assert_eq!(formless(&server), 0);
    let ids: Vec<String> = (32..=255).map(|id: i32| id.to_string()).collect();
    assert_eq!(walk(&server, "/list"), ids);
}
