//! What the library logs, for Python's logger `chunkflow`.

use std::{
    fmt::{self, Write},
    sync::{Arc, Once},
};

use arc_swap::ArcSwapOption;
use pyo3::prelude::*;
use tracing::{
    Event, Level, Metadata, Subscriber,
    field::{Field, Visit},
    span,
};

use crate::live::Threads;

/// Who writes the log: the flow that was opened last in this process.
static WRITER: ArcSwapOption<(u32, Arc<Threads>)> = ArcSwapOption::const_empty();

/// Has these threads write the log.
pub(crate) fn write_to(threads: &Arc<Threads>) {
    static ONCE: Once = Once::new();
    WRITER.store(Some(Arc::new((std::process::id(), Arc::clone(threads)))));
    // A program in Rust within this process may log in its own way.
    ONCE.call_once(|| drop(tracing::subscriber::set_global_default(Log)));
}

struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        let target = metadata.target();
        let is_ours = target.starts_with("chunkflow") && !target.starts_with("chunkflow::trace");
        metadata.is_event() && is_ours && *metadata.level() <= Level::INFO
    }

    fn new_span(&self, _span: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _span: &span::Id, _values: &span::Record<'_>) {}

    fn record_follows_from(&self, _span: &span::Id, _follows: &span::Id) {}

    fn event(&self, event: &Event<'_>) {
        let Some(writer) = WRITER.load_full() else { return };
        // The threads of a process are not in those that it forks.
        if writer.0 != std::process::id() {
            return;
        }

        let mut line = Line::default();
        event.record(&mut line);
        let text = format!("{}{}", line.message, line.fields);
        let level = match *event.metadata().level() {
            Level::ERROR => 40,
            Level::WARN => 30,
            _ => 20,
        };
        let threads = Arc::clone(&writer.1);
        writer.1.log(Box::new(move |py| (threads.function(py, "log")?, level, text).into_pyobject(py)));
    }

    fn enter(&self, _span: &span::Id) {}

    fn exit(&self, _span: &span::Id) {}
}

/// An event as a line: its message, then its fields.
#[derive(Default)]
struct Line {
    message: String,
    fields: String,
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let written = if field.name() == "message" {
            write!(self.message, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
        written.expect("a text takes all");
    }
}
