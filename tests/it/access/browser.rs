//! Lists with owners in Chromium: a page of a named origin reads them with a key, with a cookie and
//! by a ticket; a page of another origin does not.

use std::process::Command;

use super::sessions::Site;
use crate::{
    admin::{chromium, somebody_else},
    servers::{free_port, sqlite},
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
    let listed = free_port();
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

/// A page that goes from an application to two that mean harm, in one browser. The application logs
/// in and makes a ticket. The others have both: the browser sends the cookie to the whole site, and
/// the ticket stands in their address.
fn goes_round(api: &str, session: &str) -> String {
    format!(
        r#"<!doctype html><meta charset="utf-8"><title>a site</title><script type="module">
const server = "{api}", here = location.hostname, said = [here];
const rows = (answer) => answer.status === 200 ? answer.text().then((text) => text.match(/"id":/g).length) : answer.status;
const read = (init) => fetch(server + "/list", init).then(rows).catch(() => "refused");
if (here === "app.site.example")
    document.cookie = "sessionid={session}; domain=site.example; path=/; max-age=3600; samesite=lax";
said.push(await read({{}}), await read({{ credentials: "include" }}));

const ticket = location.hash.slice(1) || await fetch(server + "/-/ticket", {{
    method: "POST",
    credentials: "include",
    headers: {{ "Content-Type": "application/json" }},
    body: JSON.stringify({{ list: "/list.sse" }}),
}}).then((answer) => answer.json()).then((made) => made.ticket);
const stream = server + "/list.sse?ticket=" + ticket;
said.push(await new Promise((done) => {{
    const events = new EventSource(stream);
    let count = 0;
    events.onmessage = () => count++;
    events.addEventListener("end", () => {{ events.close(); done("events" + count); }});
    events.onerror = () => {{ events.close(); done("refused"); }};
}}));
for (const target of [stream, server + "/list"]) {{
    const answer = await fetch(target, {{ mode: "no-cors", credentials: "include" }}).catch(() => null);
    said.push(answer ? answer.type + (await answer.text()).length : "refused");
}}
said.push(await new Promise((done) => {{
    const script = document.createElement("script");
    script.src = server + "/list";
    script.onload = () => done("run");
    script.onerror = () => done("refused");
    document.head.append(script);
}}));

await fetch("/done?" + said.join());
const next = {{ "app.site.example": "evil.site.example", "evil.site.example": "evil.example" }}[here];
if (next) location.href = `http://${{next}}:${{location.port}}/#${{ticket}}`;
</script>"#
    )
}

#[test]
fn in_chromium_a_cookie_of_the_site_opens_lists_to_its_application_and_to_no_other_page_that_has_it() {
    let site = Site::start();
    let db = sqlite();
    super::fill(&db, 30);
    let listed = free_port();
    let server = Running::config(&format!(
        "[server]\nallowed_hosts = [\"api.site.example\"]\n\
         cors = {{ origins = [\"http://app.site.example:{listed}\"], credentials = true }}\n\
         [auth.forward]\nurl = \"http://127.0.0.1:{}/whoami\"\ncookies = [\"sessionid\"]\ncache = \"0s\"\n{}",
        site.port,
        db.config("table = \"item\"\nscope = { org = \"org\" }"),
    ));
    let api = format!("http://api.site.example:{}", server.address.port());
    let page = goes_round(&api, site.sessions["anna"].as_str().unwrap());

    let (port, done) = somebody_else(page, listed);
    let folder = tempfile::TempDir::new().unwrap();
    let mut browser = chromium(folder.path()).arg(format!("http://app.site.example:{port}/")).spawn().unwrap();
    let said = || done.recv_timeout(STUCK).map(|said| said.split(' ').next().unwrap_or_default().to_owned());
    let told: Vec<_> = (0..3).map(|_| said()).collect();
    let _ = Command::new("kill").arg(browser.id().to_string()).status();
    let _ = browser.wait();

    let nothing = "refused,refused,refused,opaque0,opaque0,refused";
    let [own, same_site, other] = &told[..] else { panic!("three pages") };
    assert_eq!(own.as_deref(), Ok("app.site.example,401,10,events10,opaque0,opaque0,refused"));
    assert_eq!(same_site.as_deref(), Ok(&*format!("evil.site.example,{nothing}")));
    assert_eq!(other.as_deref(), Ok(&*format!("evil.example,{nothing}")));
    // Each request with the cookie is a question to the application: four of its own page, three of
    // the page of the same site, none of the page of another.
    assert_eq!(site.get("/asked"), "7");
}
