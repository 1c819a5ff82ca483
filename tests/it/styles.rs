//! The style of columns' values: `as`, `decimals`, `labels` and `base`, with and without a
//! framework's format.

use serde_json::{Value, json};

use crate::{
    servers::{Db, every_kind, postgres, sqlite},
    support::{File, Process, Running, binary, checked, parse, runtime},
};

const ITEMS: &str = "
CREATE TABLE item (id INTEGER PRIMARY KEY, status VARCHAR(9), size INTEGER, price DECIMAL(8,2), file VARCHAR(100), parent INTEGER REFERENCES item (id));
INSERT INTO item VALUES (1, 'p', 1, 1.5, 'a b.png', NULL), (2, 'd', 2, 1, '', 1), (3, NULL, NULL, NULL, NULL, 1), (4, '', 3, 0.25, 'x/y.png', 2);";

/// One field of a list, in the order of its rows.
fn field(server: &Running) -> Vec<Value> {
    server.get("/list").results().into_iter().map(|mut row| row["it"].take()).collect()
}

fn serve(db: &Db, it: &str) -> Running {
    db.serve(&format!("table = \"item\"\n[resources.list.fields]\nit = {it}"))
}

#[test]
fn values_have_labels_with_a_framework_or_without() {
    for db in every_kind() {
        db.execute(ITEMS);
        for values in ["", ", values = \"django\""] {
            let it = |field: &str| super::styles::field(&serve(&db, &format!("{{ {field}{values} }}")));
            assert_eq!(
                it("column = \"status\", labels = { p = \"Published\", \"\" = \"None yet\" }"),
                [json!("Published"), json!("d"), json!(null), json!("None yet")],
                "{}",
                db.name()
            );
            assert_eq!(
                it("column = \"size\", labels = { 1 = \"small\", \"2\" = \"large\" }"),
                [json!("small"), json!("large"), json!(null), json!(3)],
                "{}",
                db.name()
            );
        }
        let truth = "{ column = \"size\", as = \"boolean\", labels = { true = \"yes\" } }";
        assert_eq!(field(&serve(&db, truth)), [json!("yes"), json!(2), json!(null), json!(3)], "{}", db.name());
    }
}

#[test]
fn labels_decimals_and_bases_are_of_fields_of_related_rows_too() {
    for db in every_kind() {
        db.execute(ITEMS);
        let label = "labels = { p = \"Published\" }";
        for (it, expected) in [
            (
                format!("{{ via = \"parent\", column = \"status\", {label} }}"),
                json!([null, "Published", "Published", "d"]),
            ),
            (
                format!("{{ via = \"parent\", columns = [\"id\", {{ column = \"status\", {label} }}] }}"),
                json!([null, {"id": 1, "status": "Published"}, {"id": 1, "status": "Published"}, {"id": 2, "status": "d"}]),
            ),
            (
                "{ from = \"item\", column = \"file\", base = \"https://cdn.example.com/m\" }".to_owned(),
                json!([["", null], ["https://cdn.example.com/m/x/y.png"], [], []]),
            ),
            (
                "{ from = \"item\", columns = [{ column = \"price\", decimals = 1 }, \"size\"], values = \"django\" }".to_owned(),
                json!([[{"price": "1.0", "size": 2}, {"price": null, "size": null}], [{"price": "0.2", "size": 3}], [], []]),
            ),
            (
                "{ from = \"item\", columns = [{ column = \"size\", values = \"database\", as = \"text\" }], values = \"django\" }".to_owned(),
                json!([[{"size": "2"}, {"size": null}], [{"size": "3"}], [], []]),
            ),
        ] {
            assert_eq!(Value::from(field(&serve(&db, &it))), expected, "{} {it}", db.name());
        }
    }
}

#[test]
fn numbers_have_their_decimals_as_numbers_where_no_framework_writes_them_as_texts() {
    for db in every_kind() {
        db.execute(ITEMS);
        for (style, expected) in [
            ("decimals = 2", "1.50,1.00,null,0.25"),
            ("decimals = 3", "1.500,1.000,null,0.250"),
            ("decimals = 0", "2,1,null,0"),
            ("as = \"decimal\"", "1.50,1.00,null,0.25"),
            ("values = \"django\"", "\"1.50\",\"1.00\",null,\"0.25\""),
            ("values = \"django\", decimals = 3", "\"1.500\",\"1.000\",null,\"0.250\""),
        ] {
            let body = serve(&db, &format!("{{ column = \"price\", {style} }}")).get("/list").body;
            let rows: Vec<String> = expected.split(',').map(|value| format!("{{\"it\":{value}}}")).collect();
            let expected = format!("{{\"results\":[{}]}}", rows.join(","));
            assert_eq!(String::from_utf8(body).unwrap(), expected, "{} {style}", db.name());
        }
    }
}

#[test]
fn a_resource_in_a_framework_s_values_has_fields_that_are_not() {
    let db = sqlite();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, made DATETIME, flag BOOL); INSERT INTO item VALUES (1, '2026-01-02 03:04:05.678901', 1);");
    let server = db.serve(
        "table = \"item\"\nvalues = \"django\"\n[resources.list.fields]\nmade = \"made\"\nflag = \"flag\"
         raw = { column = \"made\", values = \"database\" }\nown = { column = \"made\", values = \"database\", as = \"datetime\" }
         number = { column = \"flag\", values = \"database\" }
         naive = { column = \"made\", values = { framework = \"django\", use_tz = false } }",
    );

    assert_eq!(
        server.get("/list").results(),
        [json!({
            "made": "2026-01-02T03:04:05.678Z", "flag": true, "raw": "2026-01-02 03:04:05.678901",
            "own": "2026-01-02T03:04:05.678901", "number": 1, "naive": "2026-01-02T03:04:05.678",
        })]
    );
}

#[test]
fn a_value_that_is_not_what_the_configuration_says_stands_as_text_and_is_counted_and_warned_of_once() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, code TEXT, made DATETIME);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 3000)
         INSERT INTO item SELECT i, iif(i % 2, 'no uuid', '0123abcd456789ef0123456789abcdef'), 'never' FROM n;",
    );

    let resource = "table = \"item\"\nvalues = \"django\"\n[resources.list.fields]\n\
                    code = { column = \"code\", as = \"uuid\" }\nmade = \"made\"";
    let server = file.serve(resource);
    let rows = server.get("/list").results();
    assert_eq!(rows[0], json!({"code": "no uuid", "made": "never"}));
    assert_eq!(rows[1], json!({"code": "0123abcd-4567-89ef-0123-456789abcdef", "made": "never"}));
    assert_eq!(server.chunkflow.metrics().values_without_form(), 1_500 + 3_000);
    let csv = String::from_utf8(server.get("/list.csv").body).unwrap();
    assert_eq!(csv.lines().nth(1), Some("no uuid,never"), "as itself, and not as JSON");

    std::fs::write(file.folder.path().join("chunkflow.toml"), file.config(resource)).unwrap();
    let output = binary(&["export", "list"], file.folder.path()).output().unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    let warnings: Vec<&str> = log.lines().filter(|line| line.contains("WARN")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    assert!(warnings[0].contains("not what its type or `as` says"), "{log}");
}

#[test]
fn two_configurations_never_share_chunks() {
    let db = sqlite();
    db.execute(ITEMS);
    let styles = [
        "\"price\"",
        "{ column = \"price\", decimals = 1 }",
        "{ column = \"price\", decimals = 2 }",
        "{ column = \"price\", as = \"float\" }",
        "{ column = \"price\", values = \"django\" }",
        "{ column = \"price\", as = \"text\" }",
        "{ column = \"price\", as = \"text\", labels = { \"1\" = \"one\" } }",
        "{ column = \"price\", as = \"text\", labels = { \"1\" = \"two\" } }",
        "{ via = \"parent\", column = \"price\" }",
        "{ via = \"parent\", column = \"price\", decimals = 1 }",
        "{ via = \"parent\", column = \"price\", decimals = 2 }",
        "{ via = \"parent\", columns = [\"price\"] }",
        "{ via = \"parent\", columns = [{ column = \"price\", decimals = 1 }] }",
        "{ via = \"parent\", columns = [{ column = \"price\", decimals = 2 }] }",
        "{ from = \"item\", column = \"price\" }",
        "{ from = \"item\", column = \"price\", decimals = 1 }",
        "{ from = \"item\", column = \"price\", decimals = 2 }",
        "{ from = \"item\", columns = [\"price\", \"size\"] }",
        "{ from = \"item\", columns = [{ column = \"price\", decimals = 1 }, \"size\"] }",
        "{ from = \"item\", columns = [\"price\", { column = \"size\", decimals = 1 }] }",
        "{ column = \"file\", base = \"/a/\" }",
        "{ column = \"file\", base = \"/b/\" }",
    ];

    let mut digests: Vec<[u8; 16]> = styles
        .iter()
        .map(|style| {
            let config =
                parse(&db.config(&format!("table = \"item\"\n[resources.list.fields]\nit = {style}"))).unwrap();
            let chunkflow = runtime().block_on(config.open()).unwrap();
            chunkflow.resource("list").unwrap().digest()
        })
        .collect();
    digests.sort_unstable();
    digests.dedup();
    assert_eq!(digests.len(), styles.len());
}

#[test]
fn a_reload_with_other_values_shows_them_at_once_and_clients_keep_their_places() {
    let file = File::with(ITEMS);
    let admin = std::net::SocketAddr::from(([127, 0, 0, 1], crate::servers::free_port()));
    let write = |it: &str| {
        let fields = format!("table = \"item\"\n[resources.list.fields]\nid = \"id\"\nit = {it}");
        let text = format!("[admin]\nlisten = \"{admin}\"\n{}", file.config(&fields));
        std::fs::write(file.folder.path().join("chunkflow.toml"), text).unwrap();
    };

    write("\"price\"");
    let process = Process::serve(&["serve"], file.folder.path());
    assert_eq!(process.get("/list").results()[0], json!({"id": 1, "it": 1.5}));
    let next = process.get("/list?limit=1").next("/list").unwrap();

    write("{ column = \"price\", decimals = 2, values = \"django\" }");
    assert!(binary(&["reload"], file.folder.path()).status().unwrap().success());
    assert_eq!(process.get("/list").results()[0], json!({"id": 1, "it": "1.50"}));
    assert_eq!(process.get(&next).results(), [json!({"id": 2, "it": "1.00"})]);
}

#[test]
fn a_value_that_the_database_cannot_give_fails_no_column_that_is_written_otherwise() {
    let db = postgres();
    db.execute(
        "CREATE TABLE base (id int PRIMARY KEY, n int NOT NULL, price numeric NOT NULL);
         INSERT INTO base SELECT i, i - 20, i FROM generate_series(1, 40) i;
         CREATE VIEW item AS SELECT id, 100 / n AS share, price FROM base;",
    );

    let server = db.serve(
        "table = \"item\"\nkey = [\"id\"]\nvalues = \"django\"\n[resources.list.fields]\nid = \"id\"
         share = { column = \"share\", decimals = 1 }\nprice = { column = \"price\", decimals = 2 }",
    );

    let rows = server.get("/list").results();
    assert_eq!(rows.len(), 40);
    assert_eq!(
        rows[18..21],
        [
            json!({"id": 19, "share": "-100.0", "price": "19.00"}),
            json!({"id": 20, "share": null, "price": "20.00"}),
            json!({"id": 21, "share": "100.0", "price": "21.00"}),
        ]
    );
}

#[test]
fn a_column_of_which_two_values_have_one_label_is_no_filter_unless_it_is_named() {
    let db = sqlite();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, status TEXT); CREATE INDEX status ON item (status); INSERT INTO item VALUES (1, 'a');");
    let status = |labels: &str, filters: &str| {
        let it = format!("{{ column = \"status\", labels = {{ {labels} }} }}");
        let server = db.serve(&format!("table = \"item\"\n{filters}\n[resources.list.fields]\nit = {it}"));
        server.get("/list?status=eq.a").status
    };
    assert_eq!(status("a = \"Open\", b = \"Closed\"", ""), 200);
    assert_eq!(status("a = \"Open\", b = \"Open\"", ""), 400);
    assert_eq!(status("a = \"Open\", b = \"Open\"", "filters = [\"status\"]"), 200);
}

#[test]
fn check_notes_the_columns_whose_values_are_guessed_and_nothing_is_wrong() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, price decimal NOT NULL, code char(32), span bigint, other bigint REFERENCES item (id), exact decimal(10, 2));",
    );

    let run = |resource: &str| {
        let config = format!(
            "[databases]\nmain = \"sqlite:item.sqlite\"\n[resources.item]\ndatabase = \"main\"\ntable = \"item\"\n{resource}"
        );
        std::fs::copy(&file.path, file.folder.path().join("item.sqlite")).unwrap();
        std::fs::write(file.folder.path().join("chunkflow.toml"), config).unwrap();
        let output = binary(&["check"], file.folder.path()).output().unwrap();
        let told = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        (output.status.code(), told)
    };

    let (code, told) = run("");
    assert_eq!((code, told.contains("note")), (Some(0), false), "{told}");

    let (code, told) = run("values = \"django\"");
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("nothing is wrong"), "{told}");
    assert_eq!(told.matches("note: chunkflow.toml:3:12: ").count(), 3, "{told}");
    for column in ["price", "code", "span"] {
        assert!(
            told.contains(&format!("column `{column}`")) || told.contains(&format!("of column `{column}`")),
            "{told}"
        );
    }

    assert!(told.contains("{ column = \"price\", decimals = 2 }"), "{told}");

    // Beside the errors, at the place of the field.
    let (code, told) =
        run("values = \"django\"\norder = [\"price\"]\n[resources.item.fields]\nprice = \"price\"\nid = \"id\"");
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("note: chunkflow.toml:9:9: ") && told.contains("1 thing to mend"), "{told}");

    // Nothing is guessed if the configuration says it.
    let (code, told) = run(
        "values = \"django\"\n[resources.item.fields]\nid = \"id\"\nprice = { column = \"price\", decimals = 2 }
         code = { column = \"code\", as = \"text\" }\nspan = { column = \"span\", as = \"integer\" }\nother = \"other\"\nexact = \"exact\"",
    );

    assert_eq!((code, told.contains("note")), (Some(0), false), "{told}");
}

#[test]
fn check_says_nothing_of_a_configuration_without_styles() {
    let db = sqlite();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, price decimal, code char(32), span bigint)");
    assert_eq!(checked(&db.config("table = \"item\"")), "");
}
