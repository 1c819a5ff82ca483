//! What a list does not show cannot be found out by filters either.

use crate::servers::every_kind;

/// Each case: the fields, and which columns may be filtered by. `id`, `token`, `pin` and `owner`
/// are the key or have an index; `note` has none.
const CASES: &[(&str, &[&str])] = &[
    ("", &["id", "token", "pin", "owner"]),
    ("fields = { id = \"id\", note = \"note\" }", &["id"]),
    ("fields = { note = \"note\" }", &[]),
    ("fields = { note = \"note\" }\norder = [\"-token\"]", &[]),
    ("fields = { note = \"note\" }\nkey = [\"pin\"]", &[]),
    // Under another name it is shown all the same; the filter has the column's name.
    ("fields = { key = \"token\", note = \"note\" }", &["token"]),
    ("fields = { KEY = \"TOKEN\" }", &["token"]),
    // A field that is only called like a column shows nothing of it.
    ("fields = { token = \"note\", pin = { link = \"/x/{id}\" } }", &[]),
    ("fields = { url = { link = \"/item/{token}/{pin}/{id}\" } }", &[]),
    ("fields = { note = \"note\", at = { cursor = true } }", &[]),
    ("fields = { note = \"note\", owner = { via = \"owner\", column = \"name\" } }", &[]),
    ("fields = { note = \"note\", owner = { via = \"owner\", columns = [\"id\", \"name\"] } }", &[]),
    ("fields = { id = \"id\", parts = { from = \"part\", columns = [\"id\", \"token\"] } }", &["id"]),
    // What is written down is meant.
    ("fields = { note = \"note\" }\nfilters = [\"token\", \"note\"]", &["token", "note"]),
    ("filters = []", &[]),
];

#[test]
fn only_key_and_indexed_columns_that_are_shown_as_they_are_are_filters_unless_others_are_named() {
    for db in every_kind() {
        db.execute(
            "CREATE TABLE owner (id INTEGER PRIMARY KEY, name VARCHAR(20));
             CREATE TABLE item (id INTEGER PRIMARY KEY, token VARCHAR(20) NOT NULL UNIQUE, pin INTEGER NOT NULL UNIQUE, note VARCHAR(20), owner INTEGER NOT NULL, FOREIGN KEY (owner) REFERENCES owner (id));
             CREATE TABLE part (id INTEGER PRIMARY KEY, token VARCHAR(20), item INTEGER, FOREIGN KEY (item) REFERENCES item (id));
             CREATE INDEX item_owner ON item (owner);
             INSERT INTO owner VALUES (1, 'o');
             INSERT INTO item VALUES (1, 's3cret', 1234, 'n', 1);
             INSERT INTO part VALUES (1, 's3cret', 1);",
        );
        for (fields, allowed) in CASES {
            let server = db.serve(&format!("table = \"item\"\n{fields}"));
            for column in ["id", "token", "pin", "owner", "note", "name", "rowid"] {
                let asked = ["eq.1", "gt.0", "like.s*", "is.not_null", "in.(1)"];
                let replies: Vec<_> =
                    asked.iter().map(|value| server.get(&format!("/list?{column}={value}"))).collect();
                let refused = replies.iter().all(|reply| reply.status == 400);
                let unknown = replies.iter().all(|reply| {
                    String::from_utf8_lossy(&reply.body).contains(&format!("there is no parameter `{column}`"))
                });
                let told = format!("{} {fields:?} {column}", db.name());
                assert_eq!(refused && unknown, !allowed.contains(&column), "{told}");
            }
            // What is hidden is not even named to the client that asks for something near it.
            let told = String::from_utf8_lossy(&server.get("/list?tokn=eq.1").body).into_owned();
            assert_eq!(told.contains("token"), allowed.contains(&"token"), "{} {fields:?}: {told}", db.name());
        }
    }
}
