//! How much one identity may ask for at once, and how often.

use std::io::Read;

use sha2::Digest;

use crate::{
    servers::{Kind, Server, sqlite},
    support::{Client, Running, ask, binary, checked, output_in_time, until},
};

/// A list of known clients, with this in `[auth]`.
fn serve(auth: &str, rows: i64) -> (Running, tempfile::TempDir) {
    let folder = tempfile::TempDir::new().unwrap();
    let keys = folder.path().join("keys.toml");
    let entry = |name: &str| {
        let digest: String =
            sha2::Sha256::digest(format!("cfk_{name}")).iter().map(|byte| format!("{byte:02x}")).collect();
        format!("[{name}]\nsha256 = \"{digest}\"\n")
    };
    std::fs::write(&keys, entry("anna") + &entry("bea")).unwrap();
    let db = Box::leak(Box::new(sqlite()));
    super::fill(db, rows);
    let text = format!(
        "[auth]\n{auth}\nkeys = {{ file = {:?} }}\n{}\n[resources.open]\ndatabase = \"main\"\ntable = \"item\"\n",
        keys.display().to_string(),
        db.config("table = \"item\"\naccess = \"authenticated\""),
    );
    (Running::config(&text), folder)
}

#[test]
fn one_identity_has_so_many_streams_at_once_and_others_have_theirs() {
    // More than the buffers of a connection take, so that a stream goes on until its client leaves.
    let (server, _folder) = serve("max_streams = 2", 150_000);
    let begin = |key: &str| {
        let mut client = Client::connect(server.address);
        client.send("GET", "/list", "HTTP/1.1", &[("host", "localhost"), ("x-api-key", key)]);
        let mut first = [0; 15];
        client.stream.read_exact(&mut first).unwrap();
        (client, String::from_utf8_lossy(&first[9..12]).into_owned())
    };
    let held: Vec<_> = (0..2).map(|_| begin("cfk_anna")).collect();
    assert!(held.iter().all(|(_, status)| status == "200"));
    let (_, status) = begin("cfk_anna");
    assert_eq!(status, "429");
    assert_eq!(begin("cfk_bea").1, "200", "another identity at the same address");
    assert_eq!(server.get("/open?limit=1").status, 200, "nor does it count where nobody is asked");

    drop(held);
    until("the streams of who has left are given back", || begin("cfk_anna").1 == "200");
}

#[test]
fn one_identity_asks_so_often_and_others_as_often_as_they_may() {
    let (server, _folder) = serve("request_rate = \"3/h\"", 3);
    let status = |key: &str| ask(server.address, "GET", "/list", &[("x-api-key", key)]).status;
    assert_eq!([(); 4].map(|()| status("cfk_anna")), [200, 200, 200, 429]);
    assert_eq!(status("cfk_bea"), 200);
    assert_eq!(server.get("/open").status, 200);
}

#[test]
fn a_list_that_nobody_reads_whole_is_not_warmed() {
    let db = sqlite();
    super::fill(&db, 30);
    let folder = tempfile::TempDir::new().unwrap();
    let store = Server::shared(Kind::Redis);
    let text = format!(
        "[auth.jwt]\nsecret = \"a secret of a test, which is long enough\"\n[store]\nurl = \"redis://127.0.0.1:{}\"\n\
         prefix = \"scoped-warm:\"\n{}\n[resources.open]\ndatabase = \"main\"\ntable = \"item\"\n",
        store.port,
        db.config("table = \"item\"\nscope = { org = \"org\" }"),
    );
    std::fs::write(folder.path().join("chunkflow.toml"), text).unwrap();
    let all = output_in_time(&mut binary(&["warm"], folder.path()));
    let said = String::from_utf8_lossy(&all.stderr).into_owned();
    assert!(all.status.success() && said.contains("`list` has rows of each identity's own"), "{said}");
    assert!(String::from_utf8_lossy(&all.stdout).starts_with("1 chunks loaded"), "{all:?}");

    let named = output_in_time(&mut binary(&["warm", "list"], folder.path()));
    let said = String::from_utf8_lossy(&named.stderr).into_owned();
    assert!(named.status.code() == Some(1) && said.contains("there is no whole list"), "{said}");
}

#[test]
fn check_says_what_nobody_could_read_and_which_index_a_scope_wants() {
    let db = sqlite();
    super::fill(&db, 10);
    let scoped = db.config("table = \"item\"\nscope = { org = \"org\" }");
    let said = checked(&scoped);
    assert!(said.contains("there is no [auth]") && said.contains(":7:"), "{said}");

    let auth = "[auth.jwt]\nsecret = \"a secret of a test, which is long enough\"\n";
    let said = checked(&format!("{auth}{scoped}"));
    assert!(said.contains("no index begins with the scope's column `org`"), "{said}");
    assert!(said.contains("CREATE INDEX \"item_scope\" ON \"item\" (\"org\", \"id\")"), "{said}");
    db.execute("CREATE INDEX \"item_scope\" ON \"item\" (\"org\", \"id\");");
    assert_eq!(checked(&format!("{auth}{scoped}")), "");

    let sorted = db.config("table = \"item\"\norder = [\"name\"]\nscope = { org = \"org\" }");
    db.execute("CREATE INDEX item_name ON item (name, id);");
    let said = checked(&format!("{auth}{sorted}"));
    assert!(said.contains("each chunk sorts all rows of the scope"), "{said}");
    assert!(said.contains("(\"org\", \"name\", \"id\")"), "{said}");
}

#[test]
fn a_configuration_that_says_nothing_of_who_may_read_is_refused() {
    let db = sqlite();
    super::fill(&db, 3);
    for (line, told) in [
        ("access = \"privat\"", "there is no access `privat`"),
        ("access = \"public\"\nscope = { org = \"org\" }", "is not for everybody"),
        ("scope = {}", "`scope` is empty"),
        ("scope = { org = \"\" }", "`org` is empty"),
        ("scope = { orgs = \"org\" }", "orgs"),
        ("require = { role = [] }", "`role` names no value"),
        ("require = { role = 1.5 }", "`role` is float"),
        ("hidden_unless = { role = [\"admin\"] }", "names no fields"),
        ("hidden_unless = { fields = [\"email\"] }", "names no claim"),
        ("hidden_unless = { role = [\"admin\"], fields = [\"e-mail\"] }", "there is no member `e-mail` to hide"),
        (
            "hidden_unless = { role = [\"admin\"], fields = [\"name\"] }\norder = [\"name\"]",
            "is behind a hidden member",
        ),
        ("rls = { role = \"claim:r\", roles = [\"None\"] }", "is the name of no role"),
        ("rls = { role = \"reader\", roles = [\"reader\"] }", "names no claim"),
        ("rls = { role = \"claim:r\" }", "any role could be claimed"),
        ("rls = { set = { org = \"org\" } }", "no setting of an application"),
        ("rls = {}", "tells the database nothing"),
        ("rls = { set = { \"request.org\" = \"org\" } }", "row-level security"),
    ] {
        let auth = "[auth.jwt]\nsecret = \"a secret of a test, which is long enough\"\n";
        let said = checked(&format!("{auth}{}", db.config(&format!("table = \"item\"\n{line}"))));
        assert!(said.contains(told), "{line}: {said}");
    }
}
