//! Metrics as text: the Prometheus text format 0.0.4, and OpenMetrics 1.0.
//!
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>,
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

use std::fmt::{Display, Write};

use super::number::Histogram;

/// The format of the metrics' text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricsFormat {
    /// The Prometheus text format, version 0.0.4.
    Text,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl MetricsFormat {
    /// The `Content-Type` of this format.
    pub fn content_type(self) -> &'static str {
        match self {
            MetricsFormat::Text => "text/plain; version=0.0.4; charset=utf-8",
            MetricsFormat::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The format that an `Accept` header asks for; `Text` without a header, or if it names
    /// neither.
    pub fn negotiate(accept: &str) -> MetricsFormat {
        // Of formats with the same weight the first. `q=0` excludes a format.
        let mut best = (0.0, MetricsFormat::Text);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next() {
                Some(kind) if kind.eq_ignore_ascii_case("application/openmetrics-text") => MetricsFormat::OpenMetrics,
                Some(kind) if ["text/plain", "text/*", "*/*"].iter().any(|one| kind.eq_ignore_ascii_case(one)) => {
                    MetricsFormat::Text
                }
                _ => continue,
            };
            let mut weights = parts.filter_map(|part| part.strip_prefix("q=")?.parse().ok());
            let weight: f64 = weights.next().unwrap_or(1.0);
            if weight > best.0 {
                best = (weight, format);
            }
        }

        best.1
    }
}

/// A label and its value.
pub(crate) type Label<'a> = (&'static str, &'a str);

/// Metrics while they are written: one family after the other, each with its samples.
#[derive(Debug)]
pub(crate) struct Exposition {
    format: MetricsFormat,
    text: String,
    /// The family of the next samples.
    family: &'static str,
}

impl Exposition {
    pub(crate) fn new(format: MetricsFormat) -> Exposition {
        Exposition { format, text: String::new(), family: "" }
    }

    /// Begins a family of counters; its name ends in `_total`.
    pub(crate) fn counters(&mut self, name: &'static str, help: &str) {
        self.family(name, help, "counter");
    }

    /// Begins a family of gauges.
    pub(crate) fn gauges(&mut self, name: &'static str, help: &str) {
        self.family(name, help, "gauge");
    }

    /// Begins a family of histograms, in seconds.
    pub(crate) fn histograms(&mut self, name: &'static str, help: &str) {
        self.family(name, help, "histogram");
    }

    fn family(&mut self, name: &'static str, help: &str, kind: &str) {
        // In OpenMetrics a family of counters is named without the suffix `_total`.
        let family = match self.format {
            MetricsFormat::OpenMetrics if kind == "counter" => name.trim_end_matches("_total"),
            _ => name,
        };
        self.write(format_args!("# HELP {family} {help}\n# TYPE {family} {kind}\n"));
        let units = ["seconds", "bytes"];
        let unit = units.iter().find(|unit| family.ends_with(&format!("_{unit}")));
        if let Some(unit) = unit.filter(|_| self.format == MetricsFormat::OpenMetrics) {
            self.write(format_args!("# UNIT {family} {unit}\n"));
        }
        self.family = name;
    }

    /// Adds a sample to the family.
    pub(crate) fn sample(&mut self, labels: &[Label<'_>], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// Adds a histogram to the family.
    pub(crate) fn histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) {
        let mut count = 0;
        let buckets = histogram.buckets();
        let bounds = histogram.bounds().iter().map(|bound| format!("{bound:?}")).chain(["+Inf".to_owned()]);
        for (bound, bucket) in bounds.zip(buckets) {
            count += bucket;
            self.line("_bucket", labels, Some(&bound), count);
        }
        self.line("_sum", labels, None, histogram.sum());
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[Label<'_>], bound: Option<&str>, value: impl Display) {
        let family = self.family;
        self.write(format_args!("{family}{suffix}"));

        let all = labels.iter().copied().chain(bound.map(|bound| ("le", bound)));
        let mut open = '{';
        for (label, value) in all {
            self.write(format_args!("{open}{label}=\""));
            for character in value.chars() {
                match character {
                    '\\' => self.text.push_str("\\\\"),
                    '"' => self.text.push_str("\\\""),
                    '\n' => self.text.push_str("\\n"),
                    other => self.text.push(other),
                }
            }
            self.text.push('"');
            open = ',';
        }

        if open == ',' {
            self.text.push('}');
        }

        self.write(format_args!(" {value}\n"));
    }

    fn write(&mut self, arguments: std::fmt::Arguments<'_>) {
        self.text.write_fmt(arguments).expect("writing to a string does not fail");
    }

    /// The whole text.
    pub(crate) fn end(mut self) -> String {
        if self.format == MetricsFormat::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_that_is_asked_for_and_text_where_none_is() {
        let open = "application/openmetrics-text";
        for (accept, format) in [
            ("", MetricsFormat::Text),
            ("*/*", MetricsFormat::Text),
            ("text/html", MetricsFormat::Text),
            (open, MetricsFormat::OpenMetrics),
            ("application/openmetrics-text;version=1.0.0,text/plain;q=0.5", MetricsFormat::OpenMetrics),
            ("application/openmetrics-text;version=1.0.0;q=0.3,text/plain;version=0.0.4;q=0.8", MetricsFormat::Text),
            ("application/openmetrics-text;q=0", MetricsFormat::Text),
        ] {
            assert_eq!(MetricsFormat::negotiate(accept), format, "{accept}");
        }
    }

    #[test]
    fn a_label_may_hold_anything_and_counters_are_named_as_each_format_has_them() {
        let told = |format| {
            let mut exposition = Exposition::new(format);
            exposition.counters("a_total", "What it is");
            exposition.sample(&[("list", "a\"b\\c\nd")], 1);
            exposition.end()
        };
        let sample = "a_total{list=\"a\\\"b\\\\c\\nd\"} 1\n";
        let text = format!("# HELP a_total What it is\n# TYPE a_total counter\n{sample}");
        assert_eq!(told(MetricsFormat::Text), text);
        let open = format!("# HELP a What it is\n# TYPE a counter\n{sample}# EOF\n");
        assert_eq!(told(MetricsFormat::OpenMetrics), open);
    }
}
