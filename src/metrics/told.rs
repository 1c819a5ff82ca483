//! The name and help text of each metric.

use super::{
    Call, Exposition, FoundBy, ListCounts, Metrics, Outcome, Refused,
    labels::{CLASSES, FAILURES},
};
use crate::unpoisoned::Unpoisoned;

impl Metrics {
    /// Writes these metrics. Known values of labels have a sample from the start.
    pub(crate) fn write(&self, to: &mut Exposition) {
        self.write_lists(to);
        self.write_streams(to);
        self.write_loads(to);
        self.write_store(to);

        to.counters("chunkflow_reloads_total", "Reloads of the configuration, by how they went");
        to.sample(&[("result", "taken")], self.problems.reloads.get());
        to.sample(&[("result", "refused")], self.problems.refused_reloads.get());

        if self.certificate.get() != 0 {
            let help = "When the certificate expires, in seconds since 1970";
            to.gauges("chunkflow_certificate_expiry_timestamp_seconds", help);
            to.sample(&[], self.certificate.get());
        }
    }

    fn write_lists(&self, to: &mut Exposition) {
        let lists = self.lists.lock().unpoisoned().clone();

        to.counters("chunkflow_requests_total", "Requests that were answered, by list, format and class of status");
        for list in lists.iter().map(|list| &**list).chain([&self.no_list]) {
            for (format, classes) in list.formats.iter().zip(&list.requests) {
                for (class, counter) in CLASSES.iter().zip(classes) {
                    let labels = [("resource", &*list.name), ("format", format), ("status", class)];
                    to.sample(&labels, counter.get());
                }
            }
        }

        let help = "Chunks that streams asked for, by where they were found: near and far are fresh, in this process's \
                    memory and in a shared store";
        to.counters("chunkflow_chunks_total", help);
        for list in &lists {
            for by in FoundBy::ALL {
                to.sample(&[("resource", &list.name), ("found", by.name())], list.found(by).get());
            }
        }

        type Of = fn(&ListCounts) -> u64;
        let each: [(&'static str, &str, Of); 4] = [
            ("chunkflow_sent_bytes_total", "Bytes of lists handed to clients", |list| list.sent.get()),
            ("chunkflow_loads_total", "Chunks loaded from a source", |list| list.loads.get()),
            ("chunkflow_source_reads_total", "Reads of a source, one for each run of rows", |list| list.reads.get()),
            ("chunkflow_source_rows_total", "Rows read from a source", |list| list.rows_read.get()),
        ];

        for (name, help, of) in each {
            to.counters(name, help);
            for list in &lists {
                to.sample(&[("resource", &list.name)], of(list));
            }
        }
    }

    fn write_streams(&self, to: &mut Exposition) {
        to.gauges("chunkflow_connections", "Connections of clients");
        to.sample(&[], self.connections.get());
        to.gauges("chunkflow_streams", "Streams under way");
        to.sample(&[], self.streams.get());

        to.counters("chunkflow_streams_ended_total", "Streams that ended, by how");
        for outcome in Outcome::ALL {
            to.sample(&[("how", outcome.name())], self.ended[outcome as usize].get());
        }

        to.counters("chunkflow_refused_total", "Requests and connections that were refused, by which bound");
        for why in Refused::ALL {
            to.sample(&[("reason", why.name())], self.refused[why as usize].get());
        }

        let help = "From a request for a list until its first bytes are in hand";
        to.histograms("chunkflow_first_byte_seconds", help);
        to.histogram(&[], &self.first_byte);
        to.histograms("chunkflow_stream_seconds", "From a request for a list until its stream ended");
        to.histogram(&[], &self.stream);
    }

    fn write_loads(&self, to: &mut Exposition) {
        let databases = self.databases.lock().unpoisoned().clone();

        to.histograms("chunkflow_load_seconds", "Loads of a chunk from a database, the wait for a turn included");
        for database in &databases {
            to.histogram(&[("database", &database.name)], &database.loads);
        }

        to.counters("chunkflow_load_failures_total", "Loads that failed, by the kind of failure");
        for database in &databases {
            for ((_, kind), counter) in FAILURES.iter().zip(&database.failures) {
                to.sample(&[("database", &database.name), ("kind", kind)], counter.get());
            }
        }

        for (name, help, counter) in [
            ("chunkflow_loads_abandoned_total", "Loads given up because nobody waited", &self.abandoned),
            ("chunkflow_compressed_chunks_total", "Chunks compressed", &self.compressed),
            ("chunkflow_mended_text_total", "Values with text that was not UTF-8", &self.replaced_utf8),
            (
                "chunkflow_values_without_form_total",
                "Values shown as text or null for want of a form",
                &self.values_without_form,
            ),
        ] {
            to.counters(name, help);
            to.sample(&[], counter.get());
        }
    }

    fn write_store(&self, to: &mut Exposition) {
        to.histograms("chunkflow_store_seconds", "Calls to the store, by what was asked");
        for call in Call::ALL {
            to.histogram(&[("op", call.name())], &self.store.0[call as usize].0);
        }

        to.counters("chunkflow_store_errors_total", "Calls to the store that failed, by what was asked");
        for call in Call::ALL {
            to.sample(&[("op", call.name())], self.store.0[call as usize].1.get());
        }

        for (name, help, counter) in [
            ("chunkflow_damaged_chunks_total", "Stored chunks that were refused", &self.damaged),
            (
                "chunkflow_unwritten_chunks_total",
                "Chunks not written to a store that is slower than the database",
                &self.unwritten,
            ),
            ("chunkflow_other_clock_chunks_total", "Stored chunks of a server whose clock is ahead", &self.other_clock),
            ("chunkflow_changes_total", "Rows that this server heard to have changed", &self.changes),
            (
                "chunkflow_touched_chunks_total",
                "Times that a chunk was not served since a change touched it",
                &self.touched,
            ),
            (
                "chunkflow_change_questions_total",
                "Times that a database was asked whether a changed row belongs in a chunk",
                &self.questions,
            ),
            (
                "chunkflow_touched_lists_total",
                "Times that a change touched every chunk of a list, since it is not known which show the row",
                &self.touched_whole,
            ),
        ] {
            to.counters(name, help);
            to.sample(&[], counter.get());
        }
    }
}
