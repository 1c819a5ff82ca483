//! Lists with owners in Chromium: a page of a named origin reads them with a key, with a cookie and
//! by a ticket; a page of another origin does not.

use std::process::Command;

use crate::{
    admin::{chromium, somebody_else},
    servers::sqlite,
    support::{Running, STUCK},
};

/// A page that reads a list of this server in four ways and tells what it got.
fn reads(server: &Running, key: &str) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><title>an application</title><script type="module">
const server = "http://{}", said = [], mine = {{ headers: {{ "X-Api-Key": "{key}" }} }};
const rows = (answer) => answer.status === 200 ? answer.text().then((text) => text.match(/"id":/g).length) : answer.status;
for (const [path, init] of [["/list", {{}}], ["/list", mine], ["/list.ndjson", {{ credentials: "include", ...mine }}], ["/open", {{ credentials: "include" }}]])
    said.push(await fetch(server + path, init).then(rows).catch(() => "refused"));
const ticket = await fetch(server + "/-/ticket", {{
    method: "POST",
    headers: {{ ...mine.headers, "Content-Type": "application/json" }},
    body: JSON.stringify({{ list: "/list.sse" }}),
}}).then((answer) => answer.json()).then((made) => made.ticket).catch(() => "none");
said.push(await new Promise((done) => {{
    const events = new EventSource(server + "/list.sse?ticket=" + encodeURIComponent(ticket));
    let count = 0;
    events.onmessage = () => count++;
    events.addEventListener("end", () => {{ events.close(); done("events" + count); }});
    events.onerror = () => {{ events.close(); done("refused"); }};
}}));
await fetch("/done?" + said.join());
</script>"#,
        server.address
    )
}

#[test]
fn in_chromium_a_page_of_a_named_origin_reads_its_own_rows_and_one_of_another_nothing() {
    let key = "cfk_a-key-of-a-page";
    let folder = tempfile::TempDir::new().unwrap();
    let keys = folder.path().join("keys.toml");
    let digest = {
        use sha2::Digest;
        sha2::Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    std::fs::write(&keys, format!("[page]\nsha256 = \"{digest}\"\nclaims = {{ org = 1 }}\n")).unwrap();

    let db = sqlite();
    super::fill(&db, 30);
    // The page's port is known once it is served, and the server's before.
    let listed = crate::servers::free_port();
    let server = Running::config(&format!(
        "[server]\ncors = {{ origins = [\"http://app.example:{listed}\"], credentials = true }}\n\
         [auth.keys]\nfile = {:?}\n{}\n[resources.open]\ndatabase = \"main\"\ntable = \"item\"\n",
        keys.display().to_string(),
        db.config("table = \"item\"\nscope = { org = \"org\" }"),
    ));

    let (port, done) = somebody_else(reads(&server, key), listed);
    let read = |host: &str| {
        let url = format!("http://{host}:{port}/");
        let mut browser = chromium(folder.path()).arg(url).spawn().unwrap();
        let said = done.recv_timeout(STUCK);
        let _ = Command::new("kill").arg(browser.id().to_string()).status();
        let _ = browser.wait();
        said.unwrap().split(' ').next().unwrap_or_default().to_owned()
    };
    assert_eq!(read("app.example"), "401,10,10,30,events10");
    assert_eq!(read("evil.example"), "refused,refused,refused,refused,refused");
}
