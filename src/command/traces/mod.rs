//! Decides whether and where spans are sent: by OpenTelemetry's own variables
//! (<https://opentelemetry.io/docs/specs/otel/protocol/exporter/>), else by the configuration.

#[cfg(feature = "otlp")]
mod otlp;
#[cfg(not(feature = "otlp"))]
#[path = "unsent.rs"]
mod otlp;

pub use self::otlp::Traces;
use super::Process;
use crate::{
    error::{Error, Kind, Result},
    trace::SENDS,
};

/// Appended to a collector's URL that is for all signals.
const SIGNAL: &str = "v1/traces";

/// Begins to send spans, if a configuration or the environment asks for it.
///
/// # Errors
/// When they cannot be sent in the way asked for.
pub(super) fn begin(process: &Process<'_>, configured: Option<&str>) -> Result<()> {
    let Some((url, by)) = collector(process.environment, configured) else { return Ok(()) };
    if !SENDS {
        tracing::info!("{by} is set, but this build sends no spans: build it with `cargo build --features otlp`");
        return Ok(());
    }

    let set = |name: &str| (process.environment)(name).unwrap_or_default();
    let protocols = ["OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"];
    let protocol = protocols.into_iter().map(set).find(|protocol| !protocol.is_empty()).unwrap_or_default();
    if !["", "http/protobuf"].contains(&&*protocol) {
        tracing::warn!(
            protocol,
            "spans are sent as http/protobuf all the same: name a collector that takes it, at port 4318 by default"
        );
    }

    let names_service =
        !set("OTEL_SERVICE_NAME").is_empty() || set("OTEL_RESOURCE_ATTRIBUTES").contains("service.name=");
    process.traces.send_to(&url, names_service).map_err(|error| {
        // The SDK's message may repeat its variables, and this one may be a secret.
        let error = if error.contains("OTEL_EXPORTER_OTLP_HEADERS") { String::new() } else { format!(": {error}") };
        Error::new(Kind::Config, format!("no spans can be sent to what {by} names{error}"))
            .remedy("name a collector, for instance http://localhost:4318")
    })
}

/// The collector's URL, and the setting that names it; `None` if none does, or sending is turned
/// off.
fn collector(environment: &dyn Fn(&str) -> Option<String>, configured: Option<&str>) -> Option<(String, &'static str)> {
    const OF_SPANS: &str = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
    const OF_ALL: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";
    let set = |name: &str| environment(name).filter(|value| !value.is_empty());
    let is = |name: &str, value: &str| set(name).is_some_and(|set| set.eq_ignore_ascii_case(value));
    if is("OTEL_SDK_DISABLED", "true") || is("OTEL_TRACES_EXPORTER", "none") {
        return None;
    }

    let whole = |url: String| format!("{}/{SIGNAL}", url.trim_end_matches('/'));
    set(OF_SPANS)
        .map(|url| (url, OF_SPANS))
        .or_else(|| set(OF_ALL).map(|url| (whole(url), OF_ALL)))
        .or_else(|| configured.map(|url| (whole(url.to_owned()), "`traces` of [server]")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_wins_over_the_configuration_and_turns_everything_off() {
        let to = |variables: &[(&str, &str)], configured| {
            let find =
                |name: &str| variables.iter().find(|(one, _)| *one == name).map(|(_, value)| (*value).to_owned());
            collector(&find, configured).map(|(url, _)| url)
        };

        let all = "OTEL_EXPORTER_OTLP_ENDPOINT";
        let spans = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT";
        let some = |url: &str| Some(url.to_owned());
        assert_eq!(to(&[], None), None);
        assert_eq!(to(&[(all, "")], None), None);
        assert_eq!(to(&[], Some("http://a:4318")), some("http://a:4318/v1/traces"));
        assert_eq!(to(&[(all, "http://b/otlp/")], Some("http://a")), some("http://b/otlp/v1/traces"));
        assert_eq!(to(&[(all, "http://b"), (spans, "http://c/x")], Some("http://a")), some("http://c/x"));
        assert_eq!(to(&[("OTEL_SDK_DISABLED", "True")], Some("http://a")), None);
        assert_eq!(to(&[("OTEL_TRACES_EXPORTER", "none"), (all, "http://b")], None), None);
    }
}
