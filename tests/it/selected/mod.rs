//! `select`: some members of a list's rows.

mod changes;
mod projected;

use chunkflow::metrics::MetricsFormat;

use crate::{
    client::ask,
    encodings::decoded,
    servers::{Db, every_kind, postgres, sqlite},
    support::{File, Numbers, Running, binary, ids, serve_numbers},
};

/// Tables with every kind of relation.
const TABLES: &str = "
    CREATE TABLE author (id INTEGER PRIMARY KEY, name VARCHAR(40), born INTEGER, score NUMERIC(5,1));
    CREATE TABLE tag (id INTEGER PRIMARY KEY, name VARCHAR(40));
    CREATE TABLE item (id INTEGER PRIMARY KEY, slug VARCHAR(40), price NUMERIC(10,2), note VARCHAR(200), author_id INTEGER, editor_id INTEGER);
    CREATE TABLE item_tag (id INTEGER PRIMARY KEY, item_id INTEGER REFERENCES item (id), tag_id INTEGER REFERENCES tag (id));
    CREATE INDEX item_tag_item ON item_tag (item_id);
    CREATE TABLE comment (id INTEGER PRIMARY KEY, item_id INTEGER REFERENCES item (id), body VARCHAR(40), score NUMERIC(5,1));
    CREATE INDEX comment_item ON comment (item_id);";

/// The members of a row, in order: more than one kind of each.
const MEMBERS: [&str; 11] =
    ["id", "slug", "price", "note", "url", "author", "editor", "tags", "comments", "cursor", "twice"];

const FIELDS: &str = "
    id = \"id\"
    slug = \"slug\"
    price = { column = \"price\", values = \"django\" }
    note = \"note\"
    url = { link = \"/item/{slug}/{id}\" }
    author = { via = \"author_id\", table = \"author\", column = \"name\" }
    editor = { via = \"editor_id\", table = \"author\", columns = [\"born\", \"id\", \"name\", \"score\"], values = \"django\" }
    tags = { through = \"item_tag\", column = \"name\" }
    comments = { from = \"comment\", columns = [\"body\", \"id\", \"score\"], values = \"django\" }
    cursor = { cursor = true }
    twice = \"note\"";

const ROWS: i64 = 300;

/// Makes the tables and their rows.
fn fill(db: &Db) {
    db.execute(TABLES);
    for id in 1..=5 {
        db.execute_later(&format!("INSERT INTO author VALUES ({id}, 'author, {id}', {}, {id}.5);", 1900 + id));
        db.execute_later(&format!("INSERT INTO tag VALUES ({id}, 'tag \"{id}\"');"));
    }
    for id in 1..=ROWS {
        let or_null = |divisor: i64, value: String| if id % divisor == 0 { "NULL".to_owned() } else { value };
        db.execute_later(&format!(
            "INSERT INTO item VALUES ({id}, {}, {id}.50, {}, {}, {});",
            or_null(17, format!("'slug {id}'")),
            or_null(3, format!("'{}'", "n".repeat((id % 100) as usize))),
            or_null(4, (id % 7).to_string()),
            or_null(5, (id % 6).to_string()),
        ));
        for at in 0..id % 3 {
            db.execute_later(&format!("INSERT INTO item_tag VALUES ({}, {id}, {});", id * 10 + at, 1 + (id + at) % 5));
            db.execute_later(&format!("INSERT INTO comment VALUES ({}, {id}, 'c {at}', {at}.5);", id * 10 + at));
        }
    }
    db.execute_now();
}

/// Serves them, with chunks of about eight rows.
fn serve(db: &Db, more: &str) -> Running {
    db.serve(&format!(
        "table = \"item\"\nfilters = [\"id\", \"price\"]\nchunk_rows = 8\nchunk_bytes = \"1B\"\nttl = \"1h\"\n{more}\n[resources.list.fields]{FIELDS}"
    ))
}

#[test]
fn a_selection_that_cannot_be_read_or_names_no_member_is_refused_and_says_which_there_are() {
    let server = serve_numbers(&Numbers::new(10, 10));
    for (select, told) in [
        ("", "is no list of members"),
        ("id,", "is no list of members"),
        ("id,id", "names `id` twice"),
        ("ids", "there is no member `ids` to select"),
        ("id&select=id", "`select` stands more than once"),
        ("%22id", "is no list of members"),
    ] {
        let reply = server.get(&format!("/numbers?select={select}"));
        assert_eq!(reply.status, 400, "{select}");
        assert!(reply.json()["detail"].as_str().unwrap().contains(told), "{select}: {}", reply.json());
    }
    let remedy = server.get("/numbers?select=ids").json()["remedy"].as_str().unwrap().to_owned();
    assert!(remedy.starts_with("did you mean `id`? members here: id"), "{remedy}");
}

#[test]
fn all_members_in_their_order_are_the_whole_list_itself() {
    let db = sqlite();
    fill(&db);
    let server = serve(&db, "");
    let whole = server.get("/list").body;
    let reads = server.chunkflow.metrics().reads();
    let all = server.get(&format!("/list?select={}", MEMBERS.join(",")));
    assert_eq!((all.body, server.chunkflow.metrics().reads()), (whole, reads));
    assert!(all.headers["cache-status"].contains("hit"));
}

#[test]
fn a_cursor_of_the_whole_list_is_one_of_each_selection_and_the_link_keeps_what_was_selected() {
    let db = sqlite();
    fill(&db);
    let server = serve(&db, "");
    let mut target = "/list?limit=40&select=slug,id".to_owned();
    let mut seen = vec![];
    loop {
        let reply = server.get(&target);
        assert!(reply.results().iter().all(|row| row.as_object().unwrap().keys().eq(["id", "slug"])));
        seen.extend(ids(&reply));
        let Some(next) = reply.next("/list") else { break };
        let whole = next.replace("select=slug,id&", "");
        assert_eq!(ids(&server.get(&whole)), ids(&server.get(&next)));
        target = next;
    }
    assert_eq!(seen, (1..=ROWS as u64).collect::<Vec<_>>());
}

#[test]
fn a_selection_reads_no_column_that_it_does_not_show() {
    let db = postgres();
    db.execute("CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT); INSERT INTO item SELECT n, 'n' FROM generate_series(1, 20) n");
    db.execute("CREATE VIEW v AS SELECT id, name, 1 / (id - 7) AS raises FROM item");
    let server = db.serve("table = \"v\"\nkey = [\"id\"]");
    let formless = || {
        let text = server.chunkflow.exposition(MetricsFormat::Text);
        let line = text.lines().find(|line| line.starts_with("chunkflow_values_without_form_total "));
        line.and_then(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).unwrap()
    };
    assert_eq!(server.get("/list?select=name,id").results().len(), 20);
    assert_eq!(formless(), 0, "the column that raises was not read");
    assert_eq!(server.get("/list?select=name,raises").results().len(), 20);
    assert_eq!(formless(), 1);
}

#[test]
fn a_selection_has_its_members_in_the_asked_order_in_every_format_and_coding() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, a TEXT, b TEXT); INSERT INTO item VALUES (1,'x','y'),(2,'z',NULL)",
    );
    let server = file.serve("table = \"item\"\ncount = true");
    let of = |format: &str| String::from_utf8(server.get(&format!("/list.{format}?select=b,id")).body).unwrap();
    assert_eq!(of("json"), r#"{"results":[{"b":"y","id":1},{"b":null,"id":2}],"count":2}"#);
    assert_eq!(of("ndjson"), "{\"b\":\"y\",\"id\":1}\n{\"b\":null,\"id\":2}\n{\"_end\":{\"count\":2}}\n");
    assert_eq!(of("csv"), "b,id\r\ny,1\r\n,2\r\n_end,2\r\n");
    assert!(of("sse").contains("data: {\"b\":\"y\",\"id\":1}"));
    assert_eq!(server.get("/list.csv?select=b").body, b"b\r\ny\r\n\"\"\r\n_end 2\r\n");

    let gzip = ask(server.address, "GET", "/list?select=b,id", &[("accept-encoding", "gzip")]);
    assert_eq!(decoded(gzip).unwrap().body, of("json").as_bytes());
    let head = ask(server.address, "HEAD", "/list?select=b,id", &[]);
    assert_eq!(head.header("content-length"), of("json").len().to_string());
    assert_eq!(ask(server.address, "HEAD", "/list?select=c", &[]).status, 400);
}

#[test]
fn what_is_asked_of_a_selection_holds_for_every_kind_of_database() {
    for db in every_kind() {
        fill(&db);
        let server = serve(&db, "");
        let rows = server.get("/list?select=tags,author&id=gt.10&limit=3").results();
        let expected: Vec<_> = server.get("/list?id=gt.10&limit=3").results();
        for (row, whole) in rows.iter().zip(&expected) {
            assert_eq!((&row["tags"], &row["author"]), (&whole["tags"], &whole["author"]), "{}", db.name());
            assert_eq!(row.as_object().unwrap().len(), 2);
        }
        assert_eq!(rows.len(), 3);
    }
}

#[test]
fn an_export_has_the_members_and_the_order_that_its_options_name() {
    let file =
        File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, a TEXT); INSERT INTO item VALUES (1,'x'),(2,'y')");
    let folder = file.folder.path();
    std::fs::write(folder.join("chunkflow.toml"), file.config("table = \"item\"\norders = [\"-a\"]")).unwrap();
    let export = |arguments: &[&str]| {
        binary(&[&["export", "list", "--format", "csv"], arguments].concat(), folder).output().unwrap()
    };

    assert_eq!(export(&["--select", "a", "--order", "-a"]).stdout, b"a\r\ny\r\nx\r\n");
    for (wrong, told) in [(["--select", "b"], "members here: id, a"), (["--order", "a"], "orders here: id, -a")] {
        let output = export(&wrong);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(2) && said.contains(told), "{said}");
    }
}
