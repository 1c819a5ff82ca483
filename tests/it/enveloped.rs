//! The envelope of JSON lists, and the names of their members.

use crate::support::{File, ask, checked};

fn file() -> File {
    File::with(
        "CREATE TABLE author (id INTEGER PRIMARY KEY, full_name TEXT);
         CREATE TABLE item (id INTEGER PRIMARY KEY, created_at TEXT, author_id INTEGER REFERENCES author (id));
         INSERT INTO author VALUES (1, 'Ann'); INSERT INTO item VALUES (1, 'now', 1), (2, NULL, NULL)",
    )
}

#[test]
fn a_list_has_the_envelope_that_the_configuration_names_whole_and_empty_and_compressed() {
    let file = file();
    for (envelope, begin, end) in [
        ("", "{\"results\":[", "]}"),
        ("envelope = \"data\"", "{\"data\":[", "]}"),
        ("envelope = \"a \\\"b\\\"\"", "{\"a \\\"b\\\"\":[", "]}"),
        ("envelope = false", "[", "]"),
        ("envelope = \"none\"", "[", "]"),
    ] {
        let server = file.serve(&format!("table = \"item\"\n{envelope}"));
        let rows = r#"{"id":1,"created_at":"now","author_id":1},{"id":2,"created_at":null,"author_id":null}"#;
        let whole = format!("{begin}{rows}{end}");
        for _ in 0..2 {
            assert_eq!(String::from_utf8(server.get("/list").body).unwrap(), whole);
            let gzip = ask(server.address, "GET", "/list", &[("accept-encoding", "gzip")]);
            assert_eq!(crate::encodings::decoded(gzip).unwrap().body, whole.as_bytes());
        }
        assert_eq!(server.get("/list?id=eq.9").body, format!("{begin}{end}").as_bytes());
        assert_eq!(server.get("/list?select=id&limit=1").body, format!("{begin}{{\"id\":1}}{end}").as_bytes());
        assert_eq!(server.get("/list.csv").body, b"id,created_at,author_id\r\n1,now,1\r\n2,,\r\n", "of JSON alone");
    }
}

#[test]
fn a_counted_list_needs_an_envelope_with_a_place_for_the_number() {
    let file = file();
    let server = file.serve("table = \"item\"\ncount = true\nenvelope = \"data\"\nfields = { id = \"id\" }");
    assert_eq!(server.get("/list").body, br#"{"data":[{"id":1},{"id":2}],"count":2}"#);
    for envelope in ["false", "\"none\"", "\"count\""] {
        let told = checked(&file.config(&format!("table = \"item\"\ncount = true\nenvelope = {envelope}")));
        assert!(told.contains("no place for the number of its rows") && told.contains("take `count` out"), "{told}");
    }
    for (envelope, why) in [("true", "is a name or false"), ("\"\"", "is empty")] {
        let told = checked(&file.config(&format!("table = \"item\"\nenvelope = {envelope}")));
        assert!(told.contains(why), "{told}");
    }
}

#[test]
fn members_that_are_named_after_columns_are_in_camel_case_and_others_stay() {
    let file = file();
    let server = file.serve("table = \"item\"\ncase = \"camel\"");
    assert_eq!(server.get("/list?limit=1").body, br#"{"results":[{"id":1,"createdAt":"now","authorId":1}]}"#);
    assert_eq!(server.get("/list?limit=1&select=createdAt").body, br#"{"results":[{"createdAt":"now"}]}"#);
    assert_eq!(server.get("/list?select=created_at").status, 400, "a member is selected by its own name");
    let document = server.get("/openapi.json").json();
    assert!(document["components"]["schemas"]["list"]["properties"]["createdAt"].is_object());

    let named = "author = { via = \"author_id\", columns = [\"full_name\"] }";
    let server = file.serve(&format!(
        "table = \"item\"\ncase = \"camel\"\n[resources.list.fields]\nmade_at = \"created_at\"\n{named}"
    ));
    assert_eq!(server.get("/list?limit=1").body, br#"{"results":[{"made_at":"now","author":{"fullName":"Ann"}}]}"#);
    let document = server.get("/openapi.json").json();
    let author = &document["components"]["schemas"]["list"]["properties"]["author"];
    assert!(author["properties"]["fullName"].is_object(), "{author}");
}

#[test]
fn two_members_of_one_name_are_refused() {
    let file = File::with("CREATE TABLE item (id INTEGER PRIMARY KEY, a_b TEXT, aB TEXT)");
    let told = checked(&file.config("table = \"item\"\ncase = \"camel\""));
    assert!(told.contains("two columns would both be the member `aB`"), "{told}");
    let told = checked(&file.config("table = \"item\"\ncase = \"camle\""));
    assert!(told.contains("there is no case `camle`") && told.contains("did you mean `camel`?"), "{told}");
}
