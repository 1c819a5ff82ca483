//! Values as Django writes them. Django itself makes and fills the tables, and prints what its
//! encoder writes for each row. `tests/django/oracle` is that Django, from Debian's packages.

use std::{
    collections::BTreeMap,
    io::Write as _,
    process::{Command, Stdio},
};

use chunkflow::server::Config;
use serde_json::{Value, json};

use crate::{
    servers::{Db, every_kind, sqlite},
    support::{Running, binary, runtime},
};

/// The program's output for this input.
fn oracle(arguments: &[&str], input: &str) -> String {
    let mut child = Command::new("tests/django/oracle")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("Django is there: ./test installs it");
    let mut stdin = child.stdin.take().unwrap();
    let sent = input.to_owned();
    let writer = std::thread::spawn(move || stdin.write_all(sent.as_bytes()));
    let output = child.wait_with_output().unwrap();
    let _ = writer.join();
    assert!(output.status.success(), "{arguments:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Tables made by Django, and what it writes of each: `json.dumps(list(queryset.values()),
/// cls=DjangoJSONEncoder)`.
fn made(db: &Db, naive: bool) -> BTreeMap<String, String> {
    let url = db.url();
    let (engine, name, port) = match db.name() {
        "sqlite" => ("sqlite3", url.strip_prefix("sqlite:").unwrap(), "0"),
        kind => {
            let (_, there) = url.rsplit_once(':').unwrap();
            let (port, name) = there.split_once('/').unwrap();
            (if kind == "postgres" { "postgresql" } else { "mysql" }, name, port)
        }
    };
    let mut arguments = vec!["make", engine, name, port];
    arguments.extend(naive.then_some("naive"));
    serde_json::from_str(&oracle(&arguments, "")).unwrap()
}

/// The columns whose content only Django's model knows, as a user would configure them.
const FIELDS: &[(&str, &str)] = &[
    ("price", "{ column = \"price\", decimals = 2 }"),
    ("fine", "{ column = \"fine\", decimals = 10 }"),
    ("vast", "{ column = \"vast\", decimals = 2 }"),
    ("rounded", "{ column = \"rounded\", decimals = 0 }"),
    ("share", "{ column = \"share\", decimals = 3 }"),
    ("weight", "{ column = \"weight\", decimals = 2 }"),
    ("took", "{ column = \"took\", as = \"duration\" }"),
    ("ident", "{ column = \"ident\", as = \"uuid\" }"),
];

/// The output of `chunkflow init` for a database, with `values` and those fields.
fn configured(db: &Db, values: &str, fields: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let output = binary(&["init", &db.url()], folder.path()).output().unwrap();
    assert!(output.status.success());
    let mut text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("# values = \"django\""), "init names the values that Django's own tables call for");
    text = text.replace("# values = \"django\"", values);
    for (name, field) in fields {
        text = text.replace(&format!("\n{name} = \"{name}\"\n"), &format!("\n{name} = {field}\n"));
    }
    text
}

/// Asserts that a list's rows are what Django writes, number by number and text by text.
fn assert_same(expected: &str, body: &[u8], what: &str) {
    let text = String::from_utf8(body.to_vec()).unwrap();
    let rows = text.strip_prefix("{\"results\":").and_then(|text| text.strip_suffix('}')).unwrap_or(&text);
    assert_eq!(oracle(&["compare"], &format!("{expected}\n{rows}\n")).trim(), "OK", "{what}");
}

#[test]
fn the_values_are_those_of_django_s_encoder_from_every_database() {
    for db in every_kind() {
        let expected = made(&db, false);
        let server = Running::config(&configured(&db, "values = \"django\"", FIELDS));
        for (table, dump) in &expected {
            assert_same(dump, &server.get(&format!("/{table}")).body, &format!("{} {table}", db.name()));
        }
        assert_eq!(server.chunkflow.metrics().values_without_form(), 0, "{}", db.name());
    }
}

#[test]
fn check_guesses_nothing_of_postgresql_nor_of_what_the_fields_say() {
    for db in every_kind() {
        made(&db, false);
        let guessed = |fields| {
            let text = configured(&db, "values = \"django\"", fields);
            let checked = runtime().block_on(Config::check("chunkflow.toml", &text, &|_| None));
            checked.unwrap_or_else(|wrong| panic!("{wrong}")).guesses().render(false)
        };
        let uuid = ("maker_id", "{ column = \"maker_id\", as = \"uuid\" }");
        let integers =
            ["big", "big_positive"].map(|name| (name, format!("{{ column = \"{name}\", as = \"integer\" }}")));
        let integers = integers.iter().map(|(name, field)| (*name, &**field));
        let said: Vec<(&str, &str)> = FIELDS.iter().copied().chain([uuid]).chain(integers).collect();
        let of_price = |text: &str| text.matches("column `price`").count();
        assert_eq!(of_price(&guessed(&[])), usize::from(db.name() == "sqlite"), "{}", db.name());
        if db.name() == "postgres" {
            assert_eq!(guessed(&[]), "");
        }
        let rest = guessed(&said);
        assert!(
            !["price", "took", "ident", "big", "maker_id"].iter().any(|name| rest.contains(&format!("`{name}`"))),
            "{rest}"
        );
    }
}

#[test]
fn without_use_tz_moments_are_naive() {
    for db in every_kind() {
        let expected = made(&db, true);
        let values = "values = { framework = \"django\", use_tz = false }";
        let server = Running::config(&configured(&db, values, FIELDS));
        for (table, dump) in &expected {
            assert_same(dump, &server.get(&format!("/{table}")).body, &format!("{} {table}", db.name()));
        }
    }
}

#[test]
fn the_same_rows_are_the_same_bytes_from_every_database() {
    let bodies: Vec<[String; 4]> = every_kind()
        .into_iter()
        .map(|db| {
            made(&db, false);
            let server = Running::config(&configured(&db, "values = \"django\"", FIELDS));
            ["/shop_maker", "/shop_maker.csv", "/shop_tag.ndjson", "/shop_tag.sse?limit=1000"].map(|target| {
                let text = String::from_utf8(server.get(target).body).unwrap();
                // An event's id is a cursor, which differs between databases.
                text.lines().filter(|line| !line.starts_with("id:")).collect::<Vec<_>>().join("\n")
            })
        })
        .collect();
    for other in &bodies[1..] {
        for (one, other) in bodies[0].iter().zip(other) {
            let first = one.lines().zip(other.lines()).find(|(one, other)| one != other);
            assert!(one == other, "{first:?}");
        }
    }

    assert!(bodies[0][0].contains("\"P0DT00H00M00S\""), "{}", bodies[0][0]);
}

/// Django's rows of a table, by their keys.
fn rows(dump: &str, key: &str) -> BTreeMap<String, Value> {
    let rows: Vec<Value> = serde_json::from_str(dump).unwrap();
    rows.into_iter().map(|row| (row[key].to_string(), row)).collect()
}

/// Some members of a row.
fn part(row: &Value, members: &[&str]) -> Value {
    members.iter().map(|name| ((*name).to_owned(), row[name].clone())).collect::<serde_json::Map<_, _>>().into()
}

#[test]
fn fields_of_related_objects_and_lists_are_written_in_the_same_way() {
    for db in every_kind() {
        let expected = made(&db, false);
        let server = db.serve(
            "table = \"shop_item\"\nvalues = \"django\"\n[resources.list.fields]\nid = \"id\"
             maker = { via = \"maker_id\", columns = [
                 \"id\", \"name\", { column = \"share\", decimals = 3 }, { column = \"took\", as = \"duration\" }] }
             share = { via = \"maker_id\", column = \"share\", decimals = 3 }
             tags = { through = \"shop_item_tags\", table = \"shop_tag\", columns = [
                 \"id\", \"name\", \"made\", { column = \"weight\", decimals = 2 }] }
             made = { through = \"shop_item_tags\", table = \"shop_tag\", column = \"made\" }
             kept = { through = \"shop_item_tags\", table = \"shop_tag\", column = \"weight\", decimals = 1, values = \"database\" }
             children = { from = \"shop_item\", columns = [
                 \"id\", \"moment\", { column = \"price\", decimals = 2 }, { column = \"took\", as = \"duration\" }] }",
        );
        let makers = rows(&expected["shop_maker"], "id");
        let tags = rows(&expected["shop_tag"], "id");
        let joins = rows(&expected["shop_item_tags"], "id");
        let items = rows(&expected["shop_item"], "id");
        let found = server.get("/list").results();
        assert_eq!(found.len(), items.len());
        for row in found {
            let item = &items[&row["id"].to_string()];
            let maker = makers.get(&item["maker_id"].to_string());
            let own: BTreeMap<i64, &Value> = joins
                .values()
                .filter(|join| join["item_id"] == item["id"])
                .map(|join| (join["tag_id"].as_i64().unwrap(), &tags[&join["tag_id"].to_string()]))
                .collect();
            let children: BTreeMap<i64, &Value> = items
                .values()
                .filter(|other| other["parent_id"] == item["id"])
                .map(|other| (other["id"].as_i64().unwrap(), other))
                .collect();
            let weight = |tag: &&Value| tag["weight"].as_str().unwrap().parse::<f64>().unwrap();
            let children: Vec<Value> =
                children.values().map(|child| part(child, &["id", "moment", "price", "took"])).collect();
            assert_eq!(
                row,
                json!({
                    "id": item["id"],
                    "maker": maker,
                    "share": maker.map(|maker| &maker["share"]),
                    "tags": own.values().collect::<Vec<_>>(),
                    "made": own.values().map(|tag| &tag["made"]).collect::<Vec<_>>(),
                    // Rounded half to even; a number.
                    "kept": own.values().map(|tag| (weight(tag) * 10.0).round_ties_even() / 10.0).collect::<Vec<_>>(),
                    "children": children,
                }),
                "{}",
                db.name()
            );
        }
    }
}

#[test]
fn every_format_has_the_same_values() {
    for db in every_kind() {
        let expected: Vec<Value> = serde_json::from_str(&made(&db, false)["shop_item"]).unwrap();
        let server = Running::config(&configured(&db, "values = \"django\"", FIELDS));
        let lines = server.get("/shop_item.ndjson").body;
        let lines: Vec<Value> =
            String::from_utf8(lines).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let events = String::from_utf8(server.get("/shop_item.sse?limit=100000").body).unwrap();
        let events: Vec<Value> = events
            .lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .filter_map(|data| serde_json::from_str(data).ok())
            .filter(|event: &Value| event.get("price").is_some())
            .collect();
        for row in &expected {
            let at = row["id"].as_u64().unwrap() as usize - 1;
            for name in ["price", "fine", "moment", "clock", "took", "ident", "truth", "maker_id", "day"] {
                assert_eq!(lines[at][name], row[name], "{} {name}", db.name());
                assert_eq!(events[at][name], row[name], "{} {name}", db.name());
            }
        }

        let csv = String::from_utf8(server.get("/shop_maker.csv").body).unwrap();
        let makers: Vec<Value> = serde_json::from_str(&made_of(&server, "/shop_maker")).unwrap();
        for (line, maker) in csv.lines().skip(1).zip(&makers) {
            let fields: Vec<&str> =
                ["id", "name", "share", "took"].map(|name| maker[name].as_str().unwrap_or("")).into();
            assert_eq!(line, fields.join(","), "{}", db.name());
        }
    }
}

/// The rows of a list, as text.
fn made_of(server: &Running, target: &str) -> String {
    Value::from(server.get(target).results()).to_string()
}

/// Walks a list one row a request.
fn walk(server: &Running, target: &str) -> Vec<Value> {
    let path = target.split('?').next().unwrap();
    let mut next = format!("{target}{}limit=7", if target.contains('?') { '&' } else { '?' });
    let mut found = vec![];
    loop {
        let reply = server.get(&next);
        found.extend(reply.results());
        match reply.next(path) {
            Some(link) => next = link,
            None => return found,
        }
    }
}

#[test]
fn a_list_in_the_order_of_a_column_that_is_written_otherwise_is_whole() {
    for db in every_kind() {
        made(&db, false);
        for column in ["moment", "clock", "price", "took", "ident", "truth", "maker_id", "ratio"] {
            let resource = |values: &str, field: &str| {
                format!(
                    "table = \"shop_item\"\norder = [\"-{column}\"]\nfilters = [\"{column}\"]\n{values}\n\
                     [resources.list.fields]\nid = \"id\"\nit = {field}"
                )
            };
            let field = match FIELDS.iter().find(|(name, _)| *name == column) {
                Some((_, field)) => (*field).to_owned(),
                None => format!("\"{column}\""),
            };
            let plain = resource("", &format!("\"{column}\""));
            let django = resource("values = \"django\"", &field);
            let plain = db.serve(&plain);
            let django = db.serve(&django);
            let ids = |rows: Vec<Value>| rows.iter().map(|row| row["id"].as_i64().unwrap()).collect::<Vec<_>>();
            let expected = ids(plain.get("/list").results());
            assert_eq!(expected.len(), 201);
            assert_eq!(ids(walk(&django, "/list")), expected, "{} {column}", db.name());

            // Filters use the column's own values too.
            for filter in [format!("{column}=is.null"), format!("{column}=is.not_null")] {
                let target = format!("/list?{filter}");
                assert_eq!(ids(walk(&django, &target)), ids(plain.get(&target).results()), "{} {column}", db.name());
            }
        }
        let server = db.serve(&format!(
            "table = \"shop_item\"\nvalues = \"django\"\nfilters = [\"price\"]\n[resources.list.fields]\nprice = {}",
            FIELDS[0].1
        ));
        assert_eq!(server.get("/list?price=eq.-1.5").results()[0], json!({"price": "-1.50"}), "{}", db.name());
    }
}

#[test]
fn paths_of_files_are_the_urls_that_django_s_storage_makes() {
    let paths = [
        "",
        "a.png",
        "Ünï ©.png",
        "a/b's (1)!*~.png",
        "a?b#c;d:e@f&g=h+i,j%20.png",
        "/a//b.png",
        "a\\b.png",
        "a/../b.png",
        "a/..",
        "../a.png",
        "a/./b",
        "a b\"c.png",
        "..a/.b",
        "[x]{y}|^`<z>",
    ];

    let urls: Value = serde_json::from_str(&oracle(&["urls"], &json!(paths).to_string())).unwrap();
    for db in every_kind() {
        db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, file VARCHAR(100))");
        for (id, path) in paths.iter().enumerate() {
            let path = path.replace('\'', "''");
            // A backslash begins an escape in MariaDB.
            let path = if db.name() == "mariadb" { path.replace('\\', "\\\\") } else { path };
            db.execute_later(&format!("INSERT INTO item VALUES ({id}, '{path}');"));
        }
        db.execute_later("INSERT INTO item VALUES (100, NULL);");
        db.execute_now();
        let server =
            db.serve("table = \"item\"\n[resources.list.fields]\nfile = { column = \"file\", base = \"/media/\" }");
        let mut found: Vec<Value> =
            server.get("/list").results().into_iter().map(|mut row| row["file"].take()).collect();
        assert_eq!(found.pop(), Some(Value::Null));
        assert_eq!(Value::from(found), urls, "{}", db.name());
    }
}

#[test]
fn bytes_that_the_encoder_fails_on_are_base64() {
    for db in every_kind() {
        made(&db, false);
        let server = Running::config(&configured(&db, "values = \"django\"", FIELDS));
        let found: Vec<Value> =
            server.get("/shop_blob").results().into_iter().map(|mut row| row["data"].take()).collect();
        assert_eq!(found[..3], [json!(null), json!(""), json!("AP8=")], "{}", db.name());
    }
}

#[test]
fn what_is_no_number_of_json_is_null_and_not_the_nan_that_python_writes() {
    let db = crate::servers::postgres();
    db.execute(
        "CREATE TABLE item (id int PRIMARY KEY, ratio float8, price numeric, ratios float8[], day date, span interval);
         INSERT INTO item VALUES (1, 'NaN', 'NaN', '{NaN,1}', 'infinity', '1 mon'), (2, 'Infinity', '1e-7', NULL, '0044-03-15 BC', NULL);",
    );
    let server = db.serve("table = \"item\"\nvalues = \"django\"");
    assert_eq!(
        server.get("/list").results(),
        [
            json!({"id": 1, "ratio": null, "price": "NaN", "ratios": [null, 1.0], "day": "infinity", "span": "P30DT00H00M00S"}),
            json!({"id": 2, "ratio": null, "price": "1E-7", "ratios": null, "day": "0044-03-15 BC", "span": null}),
        ]
    );
    assert_eq!(server.chunkflow.metrics().values_without_form(), 2, "days that Python does not have");
}

#[test]
fn init_hints_at_django_s_values_only_where_its_tables_are() {
    let db = sqlite();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY)");
    let folder = tempfile::tempdir().unwrap();
    let printed = || String::from_utf8(binary(&["init", &db.url()], folder.path()).output().unwrap().stdout).unwrap();
    assert!(!printed().contains("django"));
    db.execute("CREATE TABLE django_migrations (id INTEGER PRIMARY KEY)");
    assert!(printed().contains("\n# values = \"django\""));
    assert!(!printed().contains("[resources.item.fields]"), "there is nothing to say of them");

    // With the hints that only the models give, at each such field.
    db.execute("CREATE TABLE other (id INTEGER PRIMARY KEY, price decimal, span bigint, item bigint)");
    let hint = "\n# price, for Django's values: write { column = \"price\", decimals = 2 }";
    assert!(printed().contains(hint), "{}", printed());
    let config = printed().replace("# values", "values");
    assert_eq!(crate::support::checked(&config), "", "what it prints works");
}
