//! Spans on their way to a collector, over OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/>).
//!
//! They wait in a queue with a bound for a thread of their own, which sends them in batches: a
//! collector that is away, slow or silent costs spans, and nobody's time. The SDK reads
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

/// That a collector takes no spans is told so often at most.
const TELL: Duration = Duration::from_secs(300);

/// How long the last spans may take at the end.
const LAST: Duration = Duration::from_secs(2);

/// Sends spans, once it is told where; until then none is made.
#[derive(Clone, Debug)]
pub struct Traces(Arc<Later>);

/// A tracer that is there before it is known where its spans go.
struct Later {
    sending: OnceLock<(SdkTracerProvider, SdkTracer)>,
    idle: SdkTracer,
}

impl fmt::Debug for Later {
    /// Without what is sent along, which may be a secret.
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
    /// The layer that takes spans out of a program's subscriber.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a> + Send + Sync,
    {
        let layer = OpenTelemetryLayer::new(self.clone());
        // Of a span it is told when it was left last; where in the source it began and on which
        // thread is noise.
        let layer = layer.with_tracked_inactivity(false).with_context_activation(false);
        let layer = layer.with_location(false).with_threads(false).with_target(false);
        layer.with_filter(Wanted(self.clone()))
    }

    /// From now on spans are made, and go to the collector at this URL, the first that is given.
    ///
    /// # Errors
    /// What the SDK says of the URL, or of its variables.
    pub(super) fn send_to(&self, url: &str, names_service: bool) -> Result<(), String> {
        // What sends over TLS takes the process's own.
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

    /// Sends what is left, as far as there is time.
    pub(in crate::command) async fn end(&self) {
        let Some((provider, _)) = self.0.sending.get().cloned() else { return };
        let last = tokio::task::spawn_blocking(move || provider.shutdown_with_timeout(LAST));
        // Where it does not come to its end, the process has one.
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

/// Lets this program's spans through, once they go somewhere, and nothing else.
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

/// Scheme, host and port of a URL: what may be told of it.
fn place(url: &str) -> String {
    let uri = url.parse::<http::Uri>().unwrap_or_default();
    format!("{}://{}", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or_default())
        + &uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default()
}

/// An exporter that says in the log when its collector takes nothing, and when it does again.
#[derive(Debug)]
struct Telling {
    exporter: opentelemetry_otlp::SpanExporter,
    to: String,
    /// Since when it takes nothing, as far as that was told.
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
