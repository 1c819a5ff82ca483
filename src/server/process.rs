//! Metrics of the process, by the names that every Prometheus client library uses.
//!
//! <https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>

use std::{fs, str::FromStr};

use crate::metrics::Exposition;

/// Ticks per second in `/proc/PID/stat`. Since 2.4 Linux reports 100 to programs, even if the
/// kernel itself ticks faster.
const TICKS: f64 = 100.0;

/// Writes the metrics of the build and the process, without those that the system does not tell.
pub(super) fn expose(to: &mut Exposition) {
    to.gauges("chunkflow_build_info", "The version that runs; always 1");
    to.sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);

    let stat = read("self/stat");
    // Reads the fields after the name, which is in parentheses and may hold anything.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or(vec![], |(_, rest)| rest.split_whitespace().collect());
    // By their numbers in proc(5); the first field after the name is number 3.
    let field = |number: usize| fields.get(number - 3).and_then(|text| f64::from_str(text).ok());

    if let (Some(user), Some(system)) = (field(14), field(15)) {
        to.counters("process_cpu_seconds_total", "Time on processors, in seconds");
        to.sample(&[], (user + system) / TICKS);
    }

    let gauges: [(&'static str, &str, Option<f64>); 5] = [
        ("process_resident_memory_bytes", "Memory that is in use", status("VmRSS:").map(|kib| kib * 1024.0)),
        ("process_virtual_memory_bytes", "Addresses that are in use, in bytes", field(23)),
        ("process_start_time_seconds", "When the process began, in seconds since 1970", began(field(22))),
        ("process_open_fds", "Open files", open_files()),
        ("process_max_fds", "Open files at once, at most", most_files()),
    ];

    for (name, help, value) in gauges {
        if let Some(value) = value {
            to.gauges(name, help);
            to.sample(&[], value);
        }
    }
}

/// A file below `/proc`; empty if there is none.
fn read(file: &str) -> String {
    fs::read_to_string(format!("/proc/{file}")).unwrap_or_default()
}

/// The number after this name in `/proc/self/status`.
fn status(name: &str) -> Option<f64> {
    let status = read("self/status");
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// When the process began, from the ticks between the system's start and its own.
fn began(ticks: Option<f64>) -> Option<f64> {
    let stat = read("stat");
    let booted: f64 = stat.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(booted + ticks? / TICKS)
}

fn open_files() -> Option<f64> {
    // Without the one for the folder that is being read.
    Some(fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as f64)
}

fn most_files() -> Option<f64> {
    use rustix::process::{Resource, getrlimit};
    getrlimit(Resource::Nofile).current.map(|files| files as f64)
}
