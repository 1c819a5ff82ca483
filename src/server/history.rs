//! The last minutes, for the operator's small charts.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::Serialize;

use crate::metrics::{Histogram, Metrics};

/// How many samples are kept: one every two seconds for five minutes.
const SAMPLES: usize = 150;
/// The shortest time between two samples.
const APART: Duration = Duration::from_secs(1);

/// The counters at one moment.
#[derive(Debug)]
struct Counted {
    at: Instant,
    first_bytes: Vec<u64>,
    bytes: u64,
    found: u64,
    asked: u64,
}

/// What happened between two moments.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Sample {
    /// Streams under way at its end.
    streams: u64,
    /// Seconds to the first byte: the median and the 99th percentile of the requests.
    p50: Option<f64>,
    p99: Option<f64>,
    /// Bytes sent per second.
    bytes: f64,
    /// The share of chunks that were at hand; `None` if none was asked for.
    hits: Option<f64>,
}

/// Samples, the oldest first.
#[derive(Debug, Default)]
pub(super) struct History {
    samples: VecDeque<Sample>,
    last: Option<Counted>,
}

impl History {
    /// Takes a sample of what happened since the last one.
    pub(super) fn sample(&mut self, metrics: &Metrics) {
        let found = metrics.hits() + metrics.stale();
        let now = Counted {
            at: Instant::now(),
            first_bytes: metrics.first_byte.buckets(),
            bytes: metrics.sent_bytes(),
            found,
            asked: found + metrics.misses(),
        };

        let Some(before) = self.last.as_ref() else {
            self.last = Some(now);
            return;
        };

        let passed = now.at - before.at;
        if passed < APART {
            return;
        }

        let buckets: Vec<u64> =
            now.first_bytes.iter().zip(&before.first_bytes).map(|(now, before)| now.saturating_sub(*before)).collect();
        let asked = now.asked.saturating_sub(before.asked);
        let found = now.found.saturating_sub(before.found);
        let sample = Sample {
            streams: metrics.streams(),
            p50: metrics.first_byte.quantile(&buckets, 0.5),
            p99: metrics.first_byte.quantile(&buckets, 0.99),
            bytes: now.bytes.saturating_sub(before.bytes) as f64 / passed.as_secs_f64(),
            hits: (asked > 0).then(|| found as f64 / asked as f64),
        };

        self.samples.truncate(SAMPLES);
        if self.samples.len() == SAMPLES {
            self.samples.pop_front();
        }

        self.samples.push_back(sample);
        self.last = Some(now);
    }

    pub(super) fn samples(&self) -> Vec<Sample> {
        self.samples.iter().copied().collect()
    }
}

/// The median and the 99th percentile of a histogram, in seconds.
pub(super) fn halves_and_most(histogram: &Histogram) -> (Option<f64>, Option<f64>) {
    let buckets = histogram.buckets();
    (histogram.quantile(&buckets, 0.5), histogram.quantile(&buckets, 0.99))
}
