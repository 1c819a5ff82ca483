//! The operator's page as a person uses it in Chromium, and what it reads and does.

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::atomic::Ordering,
};

use chunkflow::{
    Kind, Memory, Resource, ResourceOptions,
    server::{AdminConfig, Server, ServerConfig, Shutdown},
    source::{Field, Part, Source},
};
use serde_json::{Value, json};

use crate::support::{Client, Numbers, Running, STUCK, ask, numbered, serve_numbers, until};

/// A browser as a person uses it; see `tests/clients/browser`.
pub struct Browser {
    orders: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
    child: Child,
}

impl Drop for Browser {
    fn drop(&mut self) {
        self.orders = None;
        let _ = self.child.wait();
    }
}

impl Browser {
    pub fn start() -> Browser {
        let mut child = Command::new("timeout")
            .args([STUCK.as_secs().to_string(), "tests/clients/browser".to_owned()])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Browser { orders, answers, child }
    }

    fn order(&mut self, order: &Value) -> Value {
        writeln!(self.orders.as_mut().unwrap(), "{order}").unwrap();
        let mut line = String::new();
        self.answers.read_line(&mut line).unwrap();
        let answer: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{order}: {error}: {line}"));
        assert!(answer["error"].is_null(), "{order}: {answer}");
        answer
    }

    pub fn open(&mut self, admin: SocketAddr) {
        self.order(&json!(["open", format!("http://{admin}/")]));
    }

    pub fn see(&mut self, text: &str) {
        self.order(&json!(["see", text]));
    }

    pub fn press(&mut self, name: &str) {
        self.order(&json!(["press", name]));
    }

    fn fill(&mut self, label: &str, text: &str) {
        self.order(&json!(["fill", label, text]));
    }

    pub fn evaluate(&mut self, script: &str) -> Value {
        self.order(&json!(["evaluate", script]))
    }

    /// Asserts that axe finds nothing that keeps people from using the page.
    pub fn is_accessible(&mut self) {
        let axe = std::fs::read_to_string("target/tools/node_modules/axe-core/axe.min.js");
        self.evaluate(&format!("{};0", axe.expect("./test puts axe there")));
        let serious = "axe.run().then((found) => found.violations.filter((one) => ['serious', 'critical'].includes(one.impact)) \
             .map((one) => one.id + ': ' + one.nodes[0].html.slice(0, 200)))";
        assert_eq!(self.evaluate(serious), json!([]));
    }

    /// Asserts that the page had no error and sent requests to no other server.
    pub fn was_quiet(&mut self, admin: SocketAddr, ignored: &str) {
        let said = self.order(&json!(["complaints"]));
        let own = format!("http://{admin}/");
        let asked = said["asked"].as_array().unwrap();
        assert!(asked.iter().all(|url| url.as_str().unwrap().starts_with(&own)), "{asked:?}");
        let complaints: Vec<&str> = said["complaints"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
        let complaints: Vec<_> =
            complaints.into_iter().filter(|one| ignored.is_empty() || !one.contains(ignored)).collect();
        assert_eq!(complaints, Vec::<&str>::new());
    }
}

/// An admin listener of a server.
pub fn operate(server: &Running, token: Option<&str>) -> SocketAddr {
    let listen = SocketAddr::from(([127, 0, 0, 1], 0));
    let config = AdminConfig::at(listen).with(|admin| admin.token = token.map(str::to_owned));
    server.block_on(async {
        let admin = Server::bind_admin(config, server.chunkflow.clone()).unwrap();
        let address = admin.address().unwrap();
        tokio::spawn(admin.run(Shutdown::default()));
        address
    })
}

fn status(admin: SocketAddr) -> Value {
    ask(admin, "GET", "/status.json", &[]).json()
}

fn hits(server: &Running, target: &str) -> bool {
    server.get(target).header("cache-status").contains("hit")
}

#[test]
fn a_person_sees_lists_and_streams_in_a_browser_and_purges_warms_and_cuts() {
    let source = Numbers::held_back(5_000, 200);
    let server = serve_numbers(&source);
    let admin = operate(&server, None);
    let mut browser = Browser::start();
    browser.open(admin);
    browser.see("numbers");
    browser.see("None since the start");

    // A stream that waits for its database is shown as under way until it is cut.
    source.permits.add_permits(1);
    let mut client = Client::get(server.address, "/numbers");
    assert!(client.wait_for("\"id\":1,"));
    browser.see("127.0.0.1");
    browser.press("Cut the stream of numbers to 127.0.0.1");
    browser.see("The stream is cut.");
    assert!(!client.read_reply("GET").whole, "its client sees that");
    until("it is counted as the operator's", || server.chunkflow.metrics().cut_by_operator() == 1);
    assert_eq!(server.chunkflow.metrics().cut(), 0, "of which no alert tells");
    browser.see("None.");

    source.permits.add_permits(10_000);
    browser.press("Warm numbers");
    browser.see("numbers is being warmed.");
    until("all of it was loaded", || source.handed.load(Ordering::SeqCst) >= 5_000);
    until("and is there", || hits(&server, "/numbers"));
    let loads = server.chunkflow.metrics().loads();
    assert!(server.get("/numbers").whole);
    assert_eq!(server.chunkflow.metrics().loads(), loads, "each chunk was warm");

    browser.press("Purge numbers");
    browser.see("numbers is purged.");
    assert!(!hits(&server, "/numbers"));

    // A failure is shown with its remedy.
    server.block_on(server.purge("numbers")).unwrap();
    source.fail_behind(0, Kind::Unavailable);
    assert_eq!(server.get("/numbers").status, 503);
    browser.see("the test's source fails here");

    // The charts have something to draw after two samples.
    let drawn = "[...document.querySelectorAll('#streams polyline')].some((line) => line.points.numberOfItems > 1)";
    until("the charts are drawn", || browser.evaluate(drawn) == Value::Bool(true));
    browser.is_accessible();
    browser.was_quiet(admin, "");
}

#[test]
fn the_page_asks_for_the_token_and_keeps_it_nowhere() {
    let server = serve_numbers(&Numbers::new(10, 10));
    let admin = operate(&server, Some("s3cret"));
    let mut browser = Browser::start();
    browser.open(admin);
    browser.see("This listener asks for its token");
    browser.fill("Token", "wrong");
    browser.press("Open");
    browser.see("The token is wrong.");
    browser.fill("Token", "s3cret");
    browser.press("Open");
    browser.see("numbers");
    assert!(!hits(&server, "/numbers") && hits(&server, "/numbers"));
    browser.press("Purge numbers");
    browser.see("numbers is purged.");
    assert!(!hits(&server, "/numbers"));

    let kept = browser.evaluate("document.cookie + location.href + JSON.stringify(localStorage) + JSON.stringify(sessionStorage) + document.documentElement.outerHTML + [...document.querySelectorAll('input')].map((one) => one.value)");
    assert!(!kept.as_str().unwrap().contains("s3cret"));
    browser.open(admin);
    browser.see("This listener asks for its token");
    // Chromium reports each 401.
    browser.was_quiet(admin, "401");
}

/// Names of lists that would do harm if they were anything but text.
const HOSTILE: [&str; 5] = [
    "<img src=x onerror=\"document.title='harmed'\">",
    "</script><script>document.title='harmed'</script>",
    "a\" onmouseover=\"document.title='harmed'",
    "\u{202e}gpj.elif",
    "x?host=evil#&/../purge/%2e",
];

#[test]
fn a_hostile_name_of_a_list_is_text_and_nothing_else() {
    let mut app = chunkflow::Chunkflow::new(std::sync::Arc::new(Memory::new(64 << 20)));
    for name in HOSTILE {
        let source = Numbers::new(20, 10) as std::sync::Arc<dyn Source>;
        app = app.with(Resource::new(name, source, ResourceOptions::default()).unwrap());
    }

    let server = Running::start(ServerConfig::default(), app);
    let admin = operate(&server, None);
    let mut browser = Browser::start();
    browser.open(admin);
    for name in HOSTILE {
        browser.see(name);
        browser.press(&format!("Warm {name}"));
        browser.see(&format!("{name} is being warmed."));
        let is_warm = |list: &Value| list["name"] == name && list["chunks"] != 0;
        until("it is warm", || status(admin)["lists"].as_array().unwrap().iter().any(is_warm));
    }

    assert_ne!(browser.evaluate("document.title"), "harmed");
    assert_eq!(browser.evaluate("document.querySelectorAll('img, script').length"), 1, "its own script");
    browser.was_quiet(admin, "");
}

#[test]
fn the_page_is_one_file_that_may_ask_nobody_else() {
    let server = serve_numbers(&Numbers::new(10, 10));
    let admin = operate(&server, Some("s3cret"));
    let page = ask(admin, "GET", "/", &[]);
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    let policy = page.header("content-security-policy");
    assert!(policy.starts_with("default-src 'none'; script-src 'sha256-") && policy.contains("connect-src 'self'"));
    assert!(!policy.contains("unsafe"));
    let text = String::from_utf8(page.body.clone()).unwrap();
    assert!(!text.contains("innerHTML"));
    // Without a namespace of XML, which is not loaded, and an example.
    let others = text.replace("http://www.w3.org/2000/svg", "").replace("https://www.example.com", "");
    assert!(!others.contains("://"), "no address of others");
    assert!(!text.contains("numbers"), "it tells nothing");
    assert!(page.body.len() < 30 * 1024);
    for (method, target) in [("GET", "/status.json"), ("POST", "/warm/numbers"), ("POST", "/cut/1"), ("POST", "/")] {
        assert_eq!(ask(admin, method, target, &[]).status, 401, "{method} {target}");
    }

    assert_eq!(server.get("/status.json").status, 404, "never on the public listener");
}

#[test]
fn warming_a_list_with_links_needs_a_host_and_takes_only_one() {
    let source = Numbers::new(500, 10);
    let link = Field::Link(vec![Part::Literal("/n/".into()), Part::Column(0)]);
    let fields = vec![("id".to_owned(), Field::Column(0)), ("url".to_owned(), link)];
    let options = ResourceOptions::default().with(|options| options.fields = Some(fields));
    let linked = Resource::new("linked", source as std::sync::Arc<_>, options).unwrap();
    let server = serve_numbers(&Numbers::new(10, 10));
    let app = server.chunkflow.clone().with(linked);
    let server = Running::start(ServerConfig::default(), app);
    let admin = operate(&server, None);

    let refused = ask(admin, "POST", "/warm/linked", &[]);
    assert_eq!(refused.status, 400);
    assert!(refused.json()["remedy"].as_str().unwrap().contains("public_url"));
    for wrong in ["?host=", "?host=www.example.com", "?host=javascript://x", "?host=https://a/b", "?host=https://a%20b"]
    {
        assert_eq!(ask(admin, "POST", &format!("/warm/linked{wrong}"), &[]).status, 400, "{wrong}");
    }

    assert_eq!(ask(admin, "POST", "/warm/nothing", &[]).status, 404);
    let own = format!("http://{}", server.address);
    assert_eq!(ask(admin, "POST", &format!("/warm/linked?host={own}"), &[]).status, 202);
    until("the list is warm for that host", || hits(&server, "/linked"));

    let mut browser = Browser::start();
    browser.open(admin);
    browser.see("linked");
    assert_eq!(browser.evaluate("document.querySelector('[aria-label=\"Warm linked\"]').disabled"), true);
    browser.fill("Public host, for lists with links", "https://www.example.com");
    browser.press("Warm linked");
    browser.see("linked is being warmed.");
    assert_eq!(ask(admin, "POST", "/cut/12345", &[]).status, 404);
    assert_eq!(ask(admin, "POST", "/cut/x", &[]).status, 404);
}

#[test]
fn the_status_tells_of_databases_with_their_last_failure_and_of_what_is_in_memory() {
    let file = numbered(2_000);
    let server = file.serve("table = \"item\"");
    let admin = operate(&server, None);
    assert!(server.get("/list").whole);
    let told = status(admin);
    let list = &told["lists"][0];
    assert_eq!((&list["name"], &list["path"], &list["rows"]), (&"list".into(), &"/list".into(), &2_000.into()));
    assert!(list["chunks"].as_u64() > Some(1) && list["oldest"].as_u64() <= told["now"].as_u64());
    let database = &told["databases"][0];
    assert_eq!((&database["name"], &database["max"], &database["failure"]), (&"main".into(), &4.into(), &Value::Null));
    assert!(told["store"]["near"]["bytes"].as_u64() > Some(0) && told["store"]["far"].is_null());

    std::fs::remove_file(&file.path).unwrap();
    server.block_on(server.purge("list")).unwrap();
    assert_eq!(server.get("/list").status, 503);
    assert_eq!(server.get("/list").status, 503);
    let told = status(admin);
    let problem = &told["problems"][0];
    assert_eq!((&problem["list"], &problem["database"]), (&"list".into(), &"main".into()));
    assert!(problem["times"].as_u64() >= Some(2), "the same is told once: {problem}");
    assert_eq!(told["databases"][0]["failure"]["what"], problem["what"]);
}

#[test]
fn cutting_a_stream_over_http2_resets_that_stream_alone() {
    let source = Numbers::held_back(5_000, 200);
    let server = serve_numbers(&source);
    let admin = operate(&server, None);
    source.permits.add_permits(1);
    let url = format!("http://{}/numbers", server.address);
    let curl =
        Command::new("curl").args(["--silent", "--http2-prior-knowledge", "--output", "/dev/null", &url]).spawn();
    let mut curl = curl.unwrap();
    let mut number = Value::Null;
    until("it is under way", || {
        number = status(admin)["under_way"][0]["number"].clone();
        number.is_u64()
    });

    assert_eq!(ask(admin, "POST", &format!("/cut/{number}"), &[]).status, 204);
    assert_eq!(curl.wait().unwrap().code(), Some(92), "curl sees a reset of its stream");
    assert_eq!(ask(admin, "POST", &format!("/cut/{number}"), &[]).status, 404);
}
