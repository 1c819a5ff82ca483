//! Spans on their way to a collector, over OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! Spans wait in a bounded queue for a thread of their own, which sends them in batches. If a
//! collector is away, slow or silent, spans are lost, but nothing waits. The SDK reads
//! OpenTelemetry's standard variables itself: `OTEL_EXPORTER_OTLP_HEADERS`, `OTEL_TRACES_SAMPLER`,
//! `OTEL_BSP_*` and so on.

use std::{
    fmt,
    sync::{Arc, Mutex, OnceLock},
    time::{Duration, Instant},
};

use opentelemetry::{
    Context,
    trace::{SpanBuilder, Tracer, TracerProvider},
};
use opentelemetry_otlp::{Protocol, WithExportConfig};
use opentelemetry_sdk::{
    Resource,
    error::OTelSdkResult,
    trace::{Sampler, SdkTracer, SdkTracerProvider, Span as OtelSpan, SpanData, SpanExporter},
};
use tracing::{Level, Metadata, Subscriber, level_filters::LevelFilter, subscriber::Interest};
use tracing_opentelemetry::OpenTelemetryLayer;
use tracing_subscriber::{
    Layer,
    layer::{Context as LayerContext, Filter},
    registry::LookupSpan,
};

use crate::{trace::TARGET, unpoisoned::Unpoisoned};

/// How often the log may say that a collector takes no spans.
const TELL: Duration = Duration::from_secs(300);

/// How long sending the last spans may take at the end.
const LAST: Duration = Duration::from_secs(2);

/// Sends spans once the collector is known; until then no span is made.
#[derive(Clone, Debug)]
pub struct Traces(Arc<Later>);

/// A tracer that exists before its collector is known.
struct Later {
    sending: OnceLock<(SdkTracerProvider, SdkTracer)>,
    idle: SdkTracer,
}

impl fmt::Debug for Later {
    /// Without the headers, which may be secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Traces").field("sends", &self.sending.get().is_some()).finish()
    }
}

impl Default for Traces {
    fn default() -> Traces {
        let nowhere = SdkTracerProvider::builder().with_sampler(Sampler::AlwaysOff).build();
        Traces(Arc::new(Later { sending: OnceLock::new(), idle: nowhere.tracer(TARGET) }))
    }
}

impl Traces {
    /// The layer that takes spans from a program's subscriber.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let layer = OpenTelemetryLayer::new(self.clone());
        // A span's last exit is recorded at its end; its source location and thread are noise.
        let layer = layer.with_tracked_inactivity(false).with_context_activation(false);
        let layer = layer.with_location(false).with_threads(false).with_target(false);
        layer.with_filter(Wanted(self.clone()))
    }

    /// From now on makes spans and sends them to the collector at this URL. Only the first URL
    /// counts.
    ///
    /// # Errors
    /// The SDK's message about the URL, or about its variables.
    pub(super) fn send_to(&self, url: &str, names_service: bool) -> Result<(), String> {
        // The TLS sender uses the process's default provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let exporter = opentelemetry_otlp::SpanExporter::builder().with_http();
        let exporter = exporter.with_protocol(Protocol::HttpBinary).with_endpoint(url).build();
        let exporter = exporter.map_err(|error| error.to_string())?;
        let resource = Resource::builder();
        let resource = if names_service { resource } else { resource.with_service_name("chunkflow") };
        let exporter = Telling { exporter, to: place(url), told: Mutex::default() };

        self.0.sending.get_or_init(|| {
            let provider = SdkTracerProvider::builder().with_resource(resource.build()).with_batch_exporter(exporter);
            let provider = provider.build();
            let tracer = provider.tracer("chunkflow");
            (provider, tracer)
        });

        tracing::callsite::rebuild_interest_cache();
        Ok(())
    }

    /// Sends the remaining spans, within a time limit.
    pub(in crate::command) async fn end(&self) {
        let Some((provider, _)) = self.0.sending.get().cloned() else { return };
        let last = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST));
        // If it does not finish, the process exits anyway.
        let _ = tokio::time::timeout(LAST, last).await;
    }
}

impl Tracer for Traces {
    type Span = OtelSpan;

    fn build_with_context(&self, builder: SpanBuilder, parent: &Context) -> OtelSpan {
        let tracer = self.0.sending.get().map_or(&self.0.idle, |(_, tracer)| tracer);
        tracer.build_with_context(builder, parent)
    }
}

/// Lets only this program's spans through, and these only once they are sent.
struct Wanted(Traces);

impl Wanted {
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == TARGET && self.0.0.sending.get().is_some()
    }
}

impl<S> Filter<S> for Wanted {
    fn enabled(&self, metadata: &Metadata<'_>, _: &LayerContext<'_, S>) -> bool {
        self.wants(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let sends = self.0.0.sending.get().is_some();
        Some(if sends { LevelFilter::from_level(Level::DEBUG) } else { LevelFilter::OFF })
    }
}

/// Scheme, host and port of a URL: the part that messages may show.
fn place(url: &str) -> String {
    let uri = url.parse::<http::Uri>().unwrap_or_default();
    format!("{}://{}", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or_default())
        + &uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default()
}

/// An exporter that logs when its collector takes no spans, and when it takes them again.
#[derive(Debug)]
struct Telling {
    exporter: opentelemetry_otlp::SpanExporter,
    to: String,
    /// Since when the log has said that it takes none.
    told: Mutex<Option<Instant>>,
}

impl Telling {
    fn tell(&self, spans: usize, sent: &OTelSdkResult) {
        let to = &*self.to;
        let mut told = self.told.lock().unpoisoned();
        match sent {
            Ok(()) => {
                if told.take().is_some() {
                    tracing::info!(to, "spans are sent again");
                }
            }
            Err(error) if told.is_none_or(|told| told.elapsed() >= TELL) => {
                *told = Some(Instant::now());
                tracing::warn!(
                    to,
                    spans,
                    %error,
                    "spans are lost: see that a collector takes OTLP over HTTP there, at port 4318 by default; lists are \
                     served all the same"
                );
            }
            Err(_) => {}
        }
    }
}

impl SpanExporter for Telling {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        self.tell(spans, &sent);
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_url_its_place_alone_is_told() {
        assert_eq!(place("https://collector.example:4318/secret/v1/traces"), "https://collector.example:4318");
        assert_eq!(place("http://user:password@[::1]/v1/traces"), "http://[::1]");
    }
}
