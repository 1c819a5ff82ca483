//! The format of log lines: text for people, JSON for programs.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use jiff::Timestamp;
use serde_json::{Map, Value};
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields,
        format::{Format, Full, Writer},
    },
    registry::LookupSpan,
};

use crate::config::LogFormat;

/// Writes log lines in the current format, which a configuration may change.
#[derive(Clone, Debug)]
pub struct Logs {
    /// The format of the option, which wins over the configuration.
    option: Option<LogFormat>,
    is_json: Arc<AtomicBool>,
    text: Format<Full>,
}

impl Logs {
    /// In the format of the option; else as text until a configuration names another.
    pub fn new(option: Option<LogFormat>) -> Logs {
        let is_json = AtomicBool::new(option == Some(LogFormat::Json));
        Logs { option, is_json: Arc::new(is_json), text: tracing_subscriber::fmt::format() }
    }

    /// Switches to the format of a configuration, unless the option names one.
    pub(super) fn go_on_as(&self, format: LogFormat) {
        let format = self.option.unwrap_or(format);
        self.is_json.store(format == LogFormat::Json, Ordering::Relaxed);
    }
}

impl<S, N> FormatEvent<S, N> for Logs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, context: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> fmt::Result {
        if !self.is_json.load(Ordering::Relaxed) {
            return self.text.format_event(context, writer, event);
        }

        let mut line = Members(Map::new());
        let metadata = event.metadata();
        line.put("timestamp", Timestamp::now().to_string());
        line.put("level", metadata.level().as_str());
        line.put("target", metadata.target());
        event.record(&mut line);
        let text = serde_json::to_string(&line.0).map_err(|_| fmt::Error)?;
        writeln!(writer, "{text}")
    }
}

/// The members of a JSON line.
struct Members(Map<String, Value>);

impl Members {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Members {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}
