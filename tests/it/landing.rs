//! The answer to `/`: JSON for programs, and a page that Chromium opens as a person would
//! (`tests/browser/landing`, over WebDriver).

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::Arc,
};

use chunkflow::{Chunkflow, Fetch, Kind, Memory, Resource, ResourceOptions, closure, server::ServerConfig};
use http_body_util::BodyExt;
use serde_json::Value;

use crate::{
    support::{File, Numbers, Running, ask, numbered, numbers_app, runtime, serve_numbers},
    tls::serve_securely,
};

const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8";

/// Runs the program that uses the page as a person does; returns its report.
fn person(url: &str, does: &[&str]) -> Value {
    let output = Command::new("timeout")
        .args(["120", "tests/browser/landing", url])
        .args(does)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{does:?}: {told}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn visit(server: &Running, does: &[&str]) -> Value {
    let said = person(&format!("http://{}/", server.address), does);
    is_well(&said, &[]);
    said
}

/// Asserts that axe finds nothing serious, that the console has only these complaints, that no
/// script in the rows ran, and that no part of the page is wider than the window.
fn is_well(said: &Value, complaints: &[&str]) {
    assert_eq!(said["axe"], serde_json::json!([]), "{said}");
    assert_eq!(said["ran"], Value::Null);
    assert_eq!(said["wider"], 0);
    for line in said["console"].as_array().unwrap() {
        assert!(complaints.iter().any(|complaint| line.as_str().unwrap().contains(complaint)), "{line}");
    }
}

fn get(address: SocketAddr, accept: &str) -> crate::client::Reply {
    ask(address, "GET", "/", &[("accept", accept)])
}

#[test]
fn browsers_get_a_page_at_the_root_and_programs_get_json() {
    let server = serve_numbers(&Numbers::new(10, 10));
    for accept in [BROWSER, "text/html", "text/*", "text/html;q=0.9, application/json;q=0.8"] {
        let page = get(server.address, accept);
        assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"), "{accept}");
        assert_eq!((page.header("vary"), page.header("cache-control")), ("Accept", "no-store"));
        assert!(page.header("content-security-policy").contains("default-src 'none'"));
        assert!(page.body.len() <= 30_000, "{} bytes", page.body.len());
    }

    for accept in ["*/*", "application/json", "application/json, text/html", "image/png", "text/html;q=0", "nonsense"] {
        let index = get(server.address, accept);
        assert_eq!(index.header("content-type"), "application/json; charset=utf-8", "{accept}");
        assert_eq!(index.header("vary"), "Accept", "{accept}");
        assert_eq!(index.json()["resources"][0]["name"], "numbers");
    }

    assert_eq!(server.get("/").json()["resources"][0]["path"], "/numbers", "without an `Accept` header too");

    let head = ask(server.address, "HEAD", "/", &[("accept", BROWSER)]);
    let length = get(server.address, BROWSER).body.len().to_string();
    assert_eq!((head.header("content-length"), head.body.len()), (&*length, 0));
    let posted = ask(server.address, "POST", "/", &[("accept", BROWSER)]);
    assert_eq!((posted.status, posted.header("allow")), (405, "GET, HEAD"));
}

#[test]
fn without_the_landing_page_browsers_too_get_json() {
    let file = numbered(3);
    let config = file.config("table = \"item\"").replace("[databases]", "[server]\nlanding = false\n\n[databases]");
    let server = Running::config(&config);
    assert_eq!(get(server.address, BROWSER).json()["resources"][0]["name"], "list");
}

#[test]
fn a_program_that_embeds_the_library_has_the_page_unless_it_does_not_want_it() {
    let chunkflow = numbers_app(&Numbers::new(3, 1), ResourceOptions::default(), crate::support::system_clock());
    let kind = |chunkflow: &Chunkflow| {
        let request = http::Request::get("/").header("host", "localhost").header("accept", BROWSER).body(()).unwrap();
        let response = runtime().block_on(chunkflow.respond(&request));
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let body = runtime().block_on(response.into_body().collect()).unwrap().to_bytes();
        (kind, String::from_utf8(body.to_vec()).unwrap())
    };
    let (page, body) = kind(&chunkflow);
    assert!(page == "text/html; charset=utf-8" && body.contains("<title>Chunkflow</title>"));
    assert_eq!(kind(&chunkflow.with_landing(false)).0, "application/json; charset=utf-8");
}

#[test]
fn chromium_asks_for_no_row_until_somebody_presses() {
    let source = Numbers::new(10, 10);
    let server = serve_numbers(&source);
    let said = visit(&server, &["look"]);
    assert_eq!((&said["names"][0], source.begun()), (&Value::from("numbers"), 0));
    assert_eq!(said["asked"], serde_json::json!(["/"]), "what lists there are, and nothing else");
}

#[test]
fn chromium_shows_a_list_from_the_database_beside_the_same_from_the_cache() {
    let source = Numbers::new(5_000, 200);
    let folder = tempfile::TempDir::new().unwrap();
    let plain = serve_numbers(&source);
    let secure = serve_securely(folder.path(), &source, ServerConfig::default());
    for url in [format!("http://{}/", plain.address), format!("https://{}/", secure.address)] {
        let said = person(&url, &["stream", "0"]);
        is_well(&said, &[]);
        let card = &said["card"];
        let runs: Vec<&str> = card["runs"].as_array().unwrap().iter().map(|run| run.as_str().unwrap()).collect();
        assert!(runs[0].starts_with("1: from the database") && runs[1].starts_with("2: from the cache"), "{runs:?}");
        assert!(runs.iter().all(|run| run.contains("5,000 rows") && run.ends_with("whole")), "{runs:?}");
        let blocks: Vec<u64> = card["blocks"].as_array().unwrap().iter().map(|n| n.as_u64().unwrap()).collect();
        assert!(blocks.iter().all(|count| (1..=240).contains(count)), "{blocks:?}");
        let widths: Vec<f64> = card["widths"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        assert!(widths.iter().all(|width| *width <= 1000.0) && widths.iter().any(|width| *width > 500.0), "{widths:?}");
        assert_eq!(card["head"], serde_json::json!(["id", "text"]));
        let rows = card["rows"].as_array().unwrap();
        assert_eq!((rows.len(), &rows[7][0]), (8, &Value::from("8")));
        assert_eq!(said["copied"], "Copied");
    }
}

#[test]
fn the_request_in_each_language_of_the_page_reads_the_list_as_pasted() {
    let server = serve_numbers(&Numbers::new(300, 5));
    let said = visit(&server, &["stream", "0"]);
    let folder = tempfile::TempDir::new().unwrap();
    let programs: [(&str, &str, &[&str]); 4] = [
        ("curl", "get.sh", &["sh", "get.sh"]),
        ("Python", "get.py", &["/usr/bin/python3", "get.py"]),
        ("JavaScript", "get.mjs", &["node", "get.mjs"]),
        ("Go", "get.go", &["go", "run", "get.go"]),
    ];

    for (language, file, command) in programs {
        let code = said["code"][language].as_str().unwrap();
        std::fs::write(folder.path().join(file), code).unwrap();
        let output = Command::new(command[0])
            .args(&command[1..])
            .current_dir(folder.path())
            .env("GOFLAGS", "-mod=mod")
            .env("GOCACHE", folder.path().join("cache"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{language}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        assert_eq!(lines.lines().count(), 300, "{language}: one line a row");
        assert!(lines.contains("xxxxx"), "{language}: {lines}");
    }
}

#[test]
fn a_list_that_is_cut_is_shown_as_cut_and_one_that_is_stopped_as_stopped() {
    let source = Numbers::held_back(5_000, 200);
    source.permits.add_permits(3);
    source.fail_behind(1_000, Kind::Unavailable);
    let server = serve_numbers(&source);
    source.permits.add_permits(100);
    let said = person(&format!("http://{}/", server.address), &["stream", "0"]);
    is_well(&said, &["net::ERR_"]);
    // Bytes that had arrived may be lost with the connection; then the stream has failed.
    for run in said["card"]["runs"].as_array().unwrap() {
        assert!(["cut", "failed"].iter().any(|end| run.as_str().unwrap().ends_with(end)), "{said}");
    }

    assert!(said["card"]["problem"].as_str().unwrap().contains("not whole"), "{said}");

    let source = Numbers::held_back(5_000, 200);
    source.permits.add_permits(2);
    let server = serve_numbers(&source);
    let said = visit(&server, &["stop", "0"]);
    assert!(said["card"]["told"].as_str().unwrap().starts_with("Stopped: "), "{said}");
    assert_eq!(said["card"]["problem"], "");
}

#[test]
fn what_a_list_says_when_it_cannot_be_had_stands_on_its_card() {
    let source = Numbers::new(5_000, 200);
    source.fail_behind(0, Kind::Unavailable);
    let server = serve_numbers(&source);
    let said = person(&format!("http://{}/", server.address), &["stream", "0"]);
    is_well(&said, &["503"]);
    let problem = said["card"]["problem"].as_str().unwrap();
    assert!(
        problem.contains("503") && problem.contains("cannot be reached") && problem.contains("try again"),
        "{problem}"
    );
}

#[test]
fn the_page_can_be_used_by_the_keyboard_alone() {
    let server = serve_numbers(&Numbers::new(20, 5));
    let said = visit(&server, &["keyboard", "0"]);
    assert_eq!(said["chosen"], serde_json::json!(["Python", "JavaScript", "Python", "curl", "Go"]));
    assert!(said["card"]["told"].as_str().unwrap().starts_with("Whole: 20 rows"), "{said}");
}

#[test]
fn of_many_lists_the_first_fifty_are_shown_and_the_others_found_by_their_names() {
    let store = Arc::new(Memory::new(1 << 20));
    let mut chunkflow = Chunkflow::new(store);
    for n in 0..1_500 {
        let resource = Resource::new(&format!("list {n}"), Numbers::new(1, 1), ResourceOptions::default());
        chunkflow = chunkflow.with(resource.unwrap());
    }
    let server = Running::start(ServerConfig::default(), chunkflow);
    let said = visit(&server, &["look"]);
    assert_eq!(said["names"].as_array().unwrap().len(), 50);
    assert_eq!(said["state"], "The first 50 of 1,500 lists: search for others.");
    assert_eq!(said["searchable"], true);
    let said = visit(&server, &["search", "LIST 1499"]);
    assert_eq!((&said["names"], &said["state"]), (&serde_json::json!(["list 1499"]), &Value::from("1 list")));
}

#[test]
fn rows_names_and_members_that_are_made_to_harm_the_page_do_nothing() {
    let script = "<script>window.ran = 1</script><img src=x onerror=window.ran=2>";
    let file = File::with(&format!(
        "CREATE TABLE \"{script}\" (id INTEGER PRIMARY KEY, \"{script}\" TEXT, \"\u{202e}dlrow\" TEXT, \"__proto__\" TEXT);
         INSERT INTO \"{script}\" VALUES (1, '{script}', '\u{202e}\u{2066}\u{5e9}\u{5dc}\u{5d5}\u{5dd} javascript:window.ran=3', '{{}}'),
             (2, hex(zeroblob(5000000)), NULL, char(0, 7, 8232, 0x1f600));"
    ));
    let server = Running::config(&format!(
        "[databases]\nmain = \"sqlite:{}\"\n\n[resources.\"{script}\"]\ndatabase = \"main\"\ntable = \"{script}\"\n",
        file.path.display()
    ));
    let said = visit(&server, &["stream", "0"]);
    assert_eq!(said["names"], serde_json::json!([script]));
    assert_eq!(said["card"]["rows"][0][1], script, "it stands as text");
    let long = said["card"]["rows"][1][1].as_str().unwrap();
    assert!(long.len() < 200 && long.ends_with('…'), "{} bytes", long.len());
    assert!(said["card"]["told"].as_str().unwrap().starts_with("Whole: 2 rows"), "{said}");

    // More members than a database has columns.
    let members: Vec<String> = (0..5_000).map(|n| format!("{n:04}{script}")).collect();
    let names: Vec<&str> = members.iter().map(String::as_str).collect();
    let source = closure(
        &names,
        |row: &BTreeMap<String, u32>| row.len(),
        async |_: Fetch<usize>| Ok::<_, std::io::Error>(vec![BTreeMap::from([(String::from("0000"), 1)])]),
    );

    let wide = Resource::new("wide", Arc::new(source), ResourceOptions::default()).unwrap();
    let app = Chunkflow::new(Arc::new(Memory::new(64 << 20))).with(wide);
    let server = Running::start(ServerConfig::default(), app);
    let said = visit(&server, &["stream", "0"]);
    assert_eq!(said["card"]["head"].as_array().unwrap().len(), 12);
    assert!(said["card"]["caption"].as_str().unwrap().contains("4,988 more members"), "{said}");
}

#[test]
fn the_demo_s_first_rows_are_ones_that_people_like_to_read() {
    let folder = tempfile::TempDir::new().unwrap();
    let server = crate::support::Process::serve(&["demo"], folder.path());
    let rows = server.get("/tricks?limit=8").results();
    for row in &rows {
        assert!((5..100).contains(&row["title"].as_str().unwrap().chars().count()), "{row}");
    }
}
