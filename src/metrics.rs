//! Counters. They are made by whoever runs the machine and passed in; there is no global one.

use prometheus_client::{
    encoding::text::encode,
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use crate::flaw::{Flaw, FlawCount};

/// What the machine counts. Cheap to share: every counter is one atomic number.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Chunks that were found fresh.
    pub hits: Counter,
    /// Chunks that were found stale and sent while they were refreshed.
    pub stale: Counter,
    /// Chunks that were asked for and not found.
    pub misses: Counter,
    /// Requests for a missing chunk that joined a load already under way.
    pub joined: Counter,
    /// Chunks loaded from a source.
    pub loads: Counter,
    /// Chunks compressed: each once for each encoding that is asked for.
    pub compressed: Counter,
    /// Loads that failed.
    pub failures: Counter,
    /// Loads given up because nobody waited any more.
    pub abandoned: Counter,
    /// Reads of a source: one for each run of rows.
    pub reads: Counter,
    /// Rows read from sources.
    pub rows_read: Counter,
    /// Stored chunks that were cut, altered or foreign, and so were treated as missing.
    pub damaged: Counter,
    /// Store calls that failed.
    pub store_errors: Counter,
    /// Chunks that were not written to a shared store, for want of room for what is on its way to it.
    pub unwritten: Counter,
    /// Chunks in a shared store that were of no use, since by this server's clock they were loaded in the future.
    pub other_clock: Counter,
    /// Values of text that were not UTF-8 and got U+FFFD.
    pub mended_text: Counter,
    /// Values that have no form here, and stand as text or NULL.
    pub values_without_form: Counter,
    /// Streams under way.
    pub streams: Gauge,
    /// Streams that ended whole.
    pub complete: Counter,
    /// Streams cut by a failure.
    pub cut: Counter,
    /// Streams whose client left or took nothing for too long.
    pub gone: Counter,
}

impl Metrics {
    /// Counts values that stand otherwise than they were.
    pub(crate) fn note_flaw(&self, count: &FlawCount) {
        let counter = match count.flaw {
            Flaw::NotUtf8 => &self.mended_text,
            _ => &self.values_without_form,
        };
        counter.inc_by(count.values);
    }

    /// The counters in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut registry = Registry::with_prefix("chunkflow");
        let counters = [
            ("hits", "Chunks found fresh", &self.hits),
            ("stale_hits", "Chunks found stale and sent while refreshed", &self.stale),
            ("misses", "Chunks not found", &self.misses),
            ("joined", "Requests that joined a load under way", &self.joined),
            ("loads", "Chunks loaded from a source", &self.loads),
            ("compressed_chunks", "Chunks compressed", &self.compressed),
            ("load_failures", "Loads that failed", &self.failures),
            ("loads_abandoned", "Loads given up because nobody waited", &self.abandoned),
            ("source_reads", "Reads of a source, one for each run of rows", &self.reads),
            ("source_rows", "Rows read from sources", &self.rows_read),
            ("damaged_chunks", "Stored chunks that were refused", &self.damaged),
            ("store_errors", "Store calls that failed", &self.store_errors),
            ("unwritten_chunks", "Chunks not written to a store that is slower than the database", &self.unwritten),
            ("other_clock_chunks", "Stored chunks of a server whose clock is ahead", &self.other_clock),
            ("mended_text", "Values with text that was not UTF-8", &self.mended_text),
            ("values_without_form", "Values shown as text or null for want of a form", &self.values_without_form),
            ("streams_complete", "Streams that ended whole", &self.complete),
            ("streams_cut", "Streams cut by a failure", &self.cut),
            ("streams_gone", "Streams whose client left", &self.gone),
        ];
        for (name, help, counter) in counters {
            registry.register(name, help, counter.clone());
        }
        registry.register("streams", "Streams under way", self.streams.clone());
        let mut text = String::new();
        encode(&mut text, &registry).expect("writing to a string does not fail");
        text
    }
}
