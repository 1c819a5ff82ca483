//! What an operator sees: metrics, as read by Prometheus and its tools, and the files for them in
//! `deploy/`.

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
};

use chunkflow::{
    Kind as Failure, ResourceOptions,
    metrics::MetricsFormat,
    server::{AdminConfig, Server, ServerConfig, Shutdown},
};
use serde_json::Value;

use crate::{
    servers::{self, Kind},
    support::{Client, Numbers, Running, ask, numbered, numbers_app, serve_numbers, until},
    tls::{certificate, curl},
};

/// The operator's listener of a server, without a token.
fn operate(server: &Running) -> SocketAddr {
    let config = AdminConfig::at(SocketAddr::from(([127, 0, 0, 1], 0)));
    server.block_on(async {
        let admin = Server::bind_admin(config, server.chunkflow.clone()).unwrap();
        let address = admin.address().unwrap();
        tokio::spawn(admin.run(Shutdown::default()));
        address
    })
}

/// All metrics, in the text format.
pub fn metrics(admin: SocketAddr) -> String {
    let reply = ask(admin, "GET", "/metrics", &[]);
    assert_eq!(reply.status, 200);
    String::from_utf8(reply.body).unwrap()
}

/// The value of a sample, by its name and labels as written.
pub fn value(text: &str, sample: &str) -> f64 {
    let found = text.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
    found.unwrap_or_else(|| panic!("no `{sample}` in {text}")).parse().unwrap()
}

/// A program's output for its input; panics if it complains.
fn fed(program: &mut Command, input: &str) -> String {
    let mut child = program.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success(), "{program:?}: {said}");
    said
}

#[test]
fn metrics_keep_the_conventions_and_what_can_be_counted_is_there_at_0_from_the_start() {
    let file = numbered(10);
    let server = file.serve("table = \"item\"");
    let admin = operate(&server);
    let text = metrics(admin);
    assert_eq!(fed(Command::new("promtool").args(["check", "metrics"]), &text), "", "promtool has nothing to say");

    for sample in [
        "chunkflow_requests_total{resource=\"list\",format=\"json\",status=\"2xx\"}",
        "chunkflow_requests_total{resource=\"list\",format=\"sse\",status=\"5xx\"}",
        "chunkflow_requests_total{resource=\"\",format=\"\",status=\"4xx\"}",
        "chunkflow_chunks_total{resource=\"list\",found=\"joined\"}",
        "chunkflow_sent_bytes_total{resource=\"list\"}",
        "chunkflow_streams_ended_total{how=\"operator\"}",
        "chunkflow_streams_ended_total{how=\"shutdown\"}",
        "chunkflow_refused_total{reason=\"address_streams\"}",
        "chunkflow_first_byte_seconds_bucket{le=\"+Inf\"}",
        "chunkflow_load_seconds_bucket{database=\"main\",le=\"0.001\"}",
        "chunkflow_load_failures_total{database=\"main\",kind=\"timeout\"}",
        "chunkflow_store_seconds_bucket{op=\"lease\",le=\"+Inf\"}",
        "chunkflow_pool_waiting{database=\"main\"}",
        "chunkflow_retries_total{database=\"main\"}",
        "chunkflow_reloads_total{result=\"refused\"}",
    ] {
        assert_eq!(value(&text, sample), 0.0, "{sample}");
    }

    assert_eq!(value(&text, "chunkflow_pool_max{database=\"main\"}"), 4.0);
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(value(&text, &format!("chunkflow_build_info{{version=\"{version}\"}}")), 1.0);
    for process in ["process_resident_memory_bytes", "process_start_time_seconds", "process_max_fds"] {
        assert!(value(&text, process) > 0.0, "{process}");
    }

    let open = ask(admin, "GET", "/metrics", &[("accept", "application/openmetrics-text;version=1.0.0")]);
    assert_eq!(open.header("content-type"), MetricsFormat::OpenMetrics.content_type());
    let open = String::from_utf8(open.body).unwrap();
    assert!(open.ends_with("\n# EOF\n") && open.contains("# TYPE chunkflow_requests counter\n"));
}

#[test]
fn labels_are_of_the_configuration_and_not_of_requests() {
    let server = serve_numbers(&Numbers::new(10, 10));
    let admin = operate(&server);
    let series = || metrics(admin).lines().filter(|line| !line.starts_with('#')).count();
    let before = series();
    for target in ["/numbers", "/numbers.csv?id=1", "/numbers?limit=x", "/nothing", "/numbers.xml", "/a%22b", "/"] {
        server.get(target);
    }

    assert_eq!(series(), before);

    let text = metrics(admin);
    let requests = |labels: &str| value(&text, &format!("chunkflow_requests_total{{{labels}}}"));
    assert_eq!(requests("resource=\"numbers\",format=\"json\",status=\"2xx\""), 1.0);
    assert_eq!(requests("resource=\"numbers\",format=\"csv\",status=\"4xx\""), 1.0);
    assert_eq!(requests("resource=\"numbers\",format=\"\",status=\"4xx\""), 1.0);
    assert_eq!(requests("resource=\"\",format=\"\",status=\"4xx\""), 3.0);
}

#[test]
fn each_chunk_is_counted_once_by_where_it_was_found() {
    let source = Numbers::new(2_000, 200);
    let server = serve_numbers(&source);
    let admin = operate(&server);
    let found =
        |by: &str| value(&metrics(admin), &format!("chunkflow_chunks_total{{resource=\"numbers\",found=\"{by}\"}}"));
    assert!(server.get("/numbers").whole);
    let chunks = found("miss");
    assert!(chunks > 1.0 && found("near") == 0.0);
    for lists in 1..=3 {
        assert!(server.get("/numbers").whole);
        assert_eq!((found("near"), found("miss")), (f64::from(lists) * chunks, chunks));
    }

    let text = metrics(admin);
    assert_eq!(value(&text, "chunkflow_loads_total{resource=\"numbers\"}"), chunks);
    let bytes = server.get("/numbers").body.len() as f64;
    until("all that was sent is counted", || {
        value(&metrics(admin), "chunkflow_sent_bytes_total{resource=\"numbers\"}") == 5.0 * bytes
    });

    assert_eq!(value(&text, "chunkflow_first_byte_seconds_count"), 4.0);
    assert_eq!(value(&text, "chunkflow_load_failures_total{database=\"\",kind=\"unavailable\"}"), 0.0);
}

#[test]
fn streams_are_counted_by_how_they_ended_and_so_are_refusals() {
    let source = Numbers::held_back(5_000, 200);
    source.fail_behind(3_000, Failure::Unavailable);
    let app = numbers_app(&source, ResourceOptions::default(), crate::support::system_clock());
    let server = Running::start(ServerConfig::default().with(|server| server.max_streams = 1), app);
    let admin = operate(&server);
    let ended = |how: &str| value(&metrics(admin), &format!("chunkflow_streams_ended_total{{how=\"{how}\"}}"));

    source.permits.add_permits(1);
    let client = Client::get(server.address, "/numbers");
    until("it is under way", || value(&metrics(admin), "chunkflow_streams") == 1.0);
    assert_eq!(server.get("/numbers").status, 503);
    assert_eq!(server.get("/numbers").status, 503);
    assert_eq!(value(&metrics(admin), "chunkflow_refused_total{reason=\"streams\"}"), 2.0);
    drop(client);
    until("its client has left", || ended("left") == 1.0);

    source.permits.add_permits(10_000);
    until("there is room again", || !server.get("/numbers").whole);
    until("it was cut", || ended("cut") >= 1.0);
    let text = metrics(admin);
    assert!(value(&text, "chunkflow_load_failures_total{database=\"\",kind=\"unavailable\"}") >= 1.0);

    source.permits.forget_permits(10_000);
    *source.fails_behind.lock().unwrap() = None;
    server.block_on(server.purge("numbers")).unwrap();
    source.permits.add_permits(1);
    let _client = Client::get(server.address, "/numbers");
    until("one is under way", || server.chunkflow.metrics().streams() == 1);
    server.shutdown.stop();
    until("the end of the server has cut it", || server.chunkflow.metrics().shutdown() == 1);
    assert_eq!(server.chunkflow.metrics().left(), 1, "and it is nothing else");
}

/// The names of metrics in any text.
fn names(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    let families = words.filter(|word| word.starts_with("chunkflow_") || word.starts_with("process_"));
    let plain = |word: &str| {
        let suffix = ["_bucket", "_sum", "_count"].iter().find_map(|suffix| word.strip_suffix(suffix));
        suffix.filter(|family| family.ends_with("_seconds")).unwrap_or(word).to_owned()
    };
    families.map(plain).collect()
}

/// The metrics that exist.
fn families(text: &str) -> BTreeSet<String> {
    let named = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    named.map(str::to_owned).collect()
}

/// The queries of the dashboard, with its variables filled in for these instances (a regular
/// expression).
pub fn dashboard_of(instances: &str) -> Vec<String> {
    let dashboard: Value = serde_json::from_str(&deployed("grafana-dashboard.json")).unwrap();
    let mut queries = vec![];
    for target in dashboard["panels"].as_array().unwrap().iter().flat_map(|panel| panel["targets"].as_array()) {
        queries.extend(target.iter().map(|target| target["expr"].as_str().unwrap().to_owned()));
    }
    let filled = |query: String| {
        query.replace("$__rate_interval", "1m").replace("$job", "chunkflow").replace("$instance", instances)
    };
    queries.into_iter().map(filled).collect()
}

fn deployed(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy").join(file)).unwrap()
}

/// The queries of the alerts, as Prometheus itself parsed them.
fn alerts(prometheus: SocketAddr) -> Vec<(String, String)> {
    let rules = ask(prometheus, "GET", "/api/v1/rules", &[]).json();
    let rules = rules["data"]["groups"][0]["rules"].as_array().unwrap().clone();
    let text = |rule: &Value, member: &str| rule[member].as_str().unwrap().to_owned();
    rules.iter().map(|rule| (text(rule, "name"), text(rule, "query"))).collect()
}

#[test]
fn prometheus_reads_all_metrics_and_each_query_of_the_dashboard_and_the_alerts_answers() {
    // With everything that can be shown: a shared store behind memory, and a certificate.
    let redis = servers::Server::start(Kind::Redis);
    let file = numbered(3_000);
    let folder = tempfile::TempDir::new().unwrap();
    certificate(folder.path(), "localhost");
    let at = folder.path().display();
    let server = Running::config(&format!(
        "[server]\ntls = {{ cert = \"{at}/cert.pem\", key = \"{at}/key.pem\" }}\n\n[store]\nurl = \"redis://127.0.0.1:{}\"\n\n{}",
        redis.port,
        file.config("table = \"item\"")
    ));
    let admin = operate(&server);
    let scraper = servers::Server::start_with(Kind::Prometheus, &[&admin.to_string()]);
    let prometheus = SocketAddr::from(([127, 0, 0, 1], scraper.port));

    let url = format!("https://localhost:{}/list", server.address.port());
    let query = |query: &str| {
        assert!(curl(&["--compressed", &url], folder.path()).status.success(), "there is traffic");
        let encoded = percent_encoding::utf8_percent_encode(query, percent_encoding::NON_ALPHANUMERIC);
        let reply = ask(prometheus, "GET", &format!("/api/v1/query?query={encoded}"), &[]).json();
        assert_eq!(reply["status"], "success", "{query}: {reply}");
        reply["data"]["result"].as_array().unwrap().clone()
    };

    until("it was scraped", || query("up{job=\"chunkflow\"} == 1").len() == 1);

    let queries = dashboard_of(".*");
    assert!(queries.len() > 40, "the dashboard was read");
    for one in &queries {
        until(one, || !query(one).is_empty());
    }

    let alerts = alerts(prometheus);
    assert_eq!(alerts.len(), deployed("alerts.yml").matches("- alert:").count());
    let mut fires = vec![];
    for (name, one) in &alerts {
        if !query(one).is_empty() {
            fires.push(name.clone());
        }
    }

    // This test's certificate is valid for two days.
    assert_eq!(fires, ["ChunkflowCertificateExpires"]);

    // Each metric in the queries exists, and each existing metric is in a query.
    let there = families(&metrics(admin));
    let asked: String = queries.iter().cloned().chain(alerts.into_iter().map(|(_, query)| query + "\n")).collect();
    let asked = names(&asked);
    assert_eq!(asked.difference(&there).collect::<Vec<_>>(), Vec::<&String>::new());
    let unasked: Vec<&String> = there.difference(&asked).collect();
    assert_eq!(unasked, ["process_virtual_memory_bytes"]);

    let documented =
        names(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/operating.md")).unwrap());
    let undocumented: Vec<&String> = there.difference(&documented).collect();
    assert_eq!(undocumented, Vec::<&String>::new(), "docs/operating.md names each metric");
    for document in ["docs/operating.md", "docs/runbook.md"] {
        let named = names(&fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(document)).unwrap());
        // `process_…` does not count.
        let gone: Vec<&String> = named.difference(&there).filter(|name| !name.ends_with('_')).collect();
        assert_eq!(gone, Vec::<&String>::new(), "{document} names no other");
    }

    // The other format has the same.
    let accept = [("accept", "application/openmetrics-text")];
    let open = String::from_utf8(ask(admin, "GET", "/metrics", &accept).body).unwrap();
    let samples = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(samples(&open), samples(&metrics(admin)));
}

#[test]
fn the_rules_and_the_scrape_configuration_of_deploy_pass_their_checker() {
    for arguments in [["check", "rules", "deploy/alerts.yml"], ["check", "config", "deploy/prometheus.yml"]] {
        fed(Command::new("promtool").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")), "");
    }
}
