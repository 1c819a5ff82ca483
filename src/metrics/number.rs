//! Numbers that many threads add to. Each is a few atomic words, without a lock.

use std::{
    sync::atomic::{AtomicI64, AtomicU64, Ordering},
    time::Duration,
};

/// A number that only grows.
#[derive(Debug, Default)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn inc(&self) {
        self.add(1);
    }

    pub(crate) fn add(&self, by: u64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A number that rises and falls.
#[derive(Debug, Default)]
pub(crate) struct Gauge(AtomicI64);

impl Gauge {
    pub(crate) fn add(&self, by: i64) {
        self.0.fetch_add(by, Ordering::Relaxed);
    }

    #[cfg(feature = "server")]
    pub(crate) fn set(&self, value: i64) {
        self.0.store(value, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A histogram of durations, with counts for each of some bounds.
///
/// An observation is two atomic additions. The total count is the sum of the buckets, so that the
/// numbers read at one moment agree.
#[derive(Debug)]
pub(crate) struct Histogram {
    /// In seconds, ascending.
    bounds: &'static [f64],
    /// Observations above the last bound and up to this one; the last bucket is beyond all bounds.
    buckets: Box<[AtomicU64]>,
    nanoseconds: AtomicU64,
}

impl Histogram {
    pub(crate) fn new(bounds: &'static [f64]) -> Histogram {
        let buckets = (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { bounds, buckets, nanoseconds: AtomicU64::new(0) }
    }

    pub(crate) fn observe(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let at = self.bounds.iter().position(|bound| seconds <= *bound).unwrap_or(self.bounds.len());
        self.buckets[at].fetch_add(1, Ordering::Relaxed);

        let nanoseconds = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanoseconds, Ordering::Relaxed);
    }

    /// The bounds, in seconds.
    pub(crate) fn bounds(&self) -> &'static [f64] {
        self.bounds
    }

    /// The observations of each bucket alone; the last bucket is beyond all bounds.
    pub(crate) fn buckets(&self) -> Vec<u64> {
        self.buckets.iter().map(|bucket| bucket.load(Ordering::Relaxed)).collect()
    }

    /// The quantile of these buckets in seconds, computed as in Prometheus: evenly within a bucket.
    /// `None` if they are empty.
    #[cfg(feature = "server")]
    pub(crate) fn quantile(&self, buckets: &[u64], share: f64) -> Option<f64> {
        let all: u64 = buckets.iter().sum();
        let rank = share * all as f64;
        let mut below = 0;
        let mut lower = 0.0;
        for (bound, bucket) in self.bounds.iter().zip(buckets) {
            if *bucket > 0 && (below + bucket) as f64 >= rank {
                let within = (rank - below as f64) / *bucket as f64;
                return Some(lower + (bound - lower) * within);
            }
            below += bucket;
            lower = *bound;
        }
        (all > 0).then_some(lower)
    }

    /// The sum of all observations, in seconds.
    pub(crate) fn sum(&self) -> f64 {
        self.nanoseconds.load(Ordering::Relaxed) as f64 / 1e9
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_is_in_the_first_bucket_that_holds_it() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for milliseconds in [50, 100, 101, 1_000, 5_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        assert_eq!(histogram.buckets(), [2, 2, 1], "a bound belongs to its bucket");
        assert!((histogram.sum() - 6.251).abs() < 1e-9);
    }

    #[test]
    #[cfg(feature = "server")]
    fn a_quantile_lies_within_its_bucket_and_not_beyond_the_last_bound() {
        let histogram = Histogram::new(&[0.1, 1.0]);
        for milliseconds in [50, 100, 101, 1_000, 5_000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }

        let quantile = |share| histogram.quantile(&histogram.buckets(), share).unwrap();
        assert!((quantile(0.4) - 0.1).abs() < 1e-9, "all of the first bucket");
        assert!((quantile(0.6) - 0.55).abs() < 1e-9, "half of the second");
        assert!((quantile(0.99) - 1.0).abs() < 1e-9, "beyond all bounds nothing more is known");
        assert_eq!(histogram.quantile(&[0, 0, 0], 0.5), None);
    }
}
