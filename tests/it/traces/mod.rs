//! Traces: which trace a request belongs to, as the log tells, and its spans at a collector.

#[cfg(feature = "otlp")]
mod collector;
#[cfg(feature = "otlp")]
mod sent;

use serde_json::Value;

use crate::{
    logs::Logged,
    support::{checked, numbered},
};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// The access log's line for the request with this id.
fn line(logged: &Logged, id: &str) -> Value {
    serde_json::from_str(&logged.line(&format!("\"id\":\"{id}\""))).unwrap()
}

#[test]
fn the_trace_that_a_request_carries_stands_in_its_lines_of_the_log() {
    let logged = Logged::with("log_format = \"json\"", &[], &[]);
    let reply = logged.get("/list", &[("traceparent", PARENT), ("x-request-id", "mine")]);
    assert_eq!(line(&logged, "mine")["trace_id"], TRACE);
    for name in ["traceparent", "tracestate", "traceresponse"] {
        assert_eq!(reply.header(name), "", "an answer tells nobody of its trace");
    }

    std::fs::remove_file(&logged.file.path).unwrap();
    assert_eq!(logged.get("/list?id=eq.1", &[("traceparent", PARENT), ("x-request-id", "bad")]).status, 503);
    let warning: Value = serde_json::from_str(&logged.line("a load failed")).unwrap();
    assert_eq!((&warning["trace_id"], &warning["id"]), (&TRACE.into(), &"bad".into()));
}

#[test]
fn a_trace_that_breaks_the_rules_is_as_if_it_were_not_there() {
    let logged = Logged::with("log_format = \"json\"", &[], &[]);
    for (id, wrong) in
        [("upper", PARENT.to_uppercase()), ("ff", PARENT.replacen("00", "ff", 1)), ("cut", PARENT[..54].to_owned())]
    {
        assert_eq!(logged.get("/list", &[("traceparent", &wrong), ("x-request-id", id)]).status, 200);
        assert_eq!(line(&logged, id)["trace_id"], Value::Null, "{wrong}");
    }
    let twice = [("traceparent", PARENT), ("traceparent", PARENT), ("x-request-id", "twice")];
    assert_eq!(logged.get("/list", &twice).status, 200);
    assert_eq!(line(&logged, "twice")["trace_id"], Value::Null);
}

#[cfg(not(feature = "otlp"))]
#[test]
fn a_build_that_sends_no_spans_says_so_to_a_configuration_that_asks_for_them() {
    let file = numbered(1);
    let asks = format!("[server]\ntraces = \"http://localhost:4318\"\n\n{}", file.config("table = \"item\""));
    let told = checked(&asks);
    assert!(told.contains("this build sends no spans") && told.contains("--features otlp"), "{told}");
    assert!(told.contains("chunkflow.toml:2:"), "{told}");

    let logged = Logged::with("", &[], &[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://localhost:4318")]);
    assert!(logged.line("OTEL_EXPORTER_OTLP_ENDPOINT").contains("--features otlp"));
    assert_eq!(logged.get("/list", &[]).status, 200);
}

#[cfg(feature = "otlp")]
#[test]
fn a_collector_that_is_none_is_told_of_and_no_secret_with_it() {
    let file = numbered(1);
    for wrong in
        ["localhost:4318", "http://", "grpc://localhost:4317", "http://user:hunter2@localhost", "http://a?k=hunter2"]
    {
        let told = checked(&format!("[server]\ntraces = \"{wrong}\"\n\n{}", file.config("table = \"item\"")));
        assert!(told.contains("`traces` is no URL of a collector") && told.contains("localhost:4318"), "{told}");
        assert!(!told.contains("hunter2"), "{told}");
    }
}
