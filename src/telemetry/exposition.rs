//! Renders metrics in the `OpenMetrics` text format, which Prometheus reads.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::base::histogram::HistogramCounts;

/// The content type of `GET /metrics`.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

const PREFIX: &str = "retell_webhook";

/// Label names and values. Values come from the program and its configuration, never from a request: a sender must
/// not be able to create new time series.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// A metric with its samples, read at one moment. The live values are atomics elsewhere.
#[derive(Debug)]
pub(crate) struct Metric {
    name: &'static str,
    help: &'static str,
    unit: Option<Unit>,
    samples: Samples,
}

#[derive(Debug)]
enum Samples {
    Counter(Vec<(Labels, u64)>),
    Gauge(Vec<(Labels, f64)>),
    Histogram(Vec<(Labels, HistogramCounts)>, f64),
    Info(Labels),
}

impl Metric {
    /// A monotonic count; the format adds `_total` to its name.
    pub(crate) fn counter(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Self {
        Self { name, help, unit: None, samples: Samples::Counter(samples.into_iter().collect()) }
    }

    /// A value that rises and falls.
    pub(crate) fn gauge(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Self {
        Self { name, help, unit: None, samples: Samples::Gauge(samples.into_iter().collect()) }
    }

    /// A distribution without labels. `per_unit` converts: that many units of `counts` are one unit of the metric, for
    /// example 1e6 for microseconds in a metric in seconds.
    #[must_use]
    pub(crate) fn histogram(name: &'static str, help: &'static str, counts: HistogramCounts, per_unit: f64) -> Self {
        Self::histograms(name, help, [(Vec::new(), counts)], per_unit)
    }

    /// One distribution per set of labels; `per_unit` as in [`Metric::histogram`].
    pub(crate) fn histograms(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, HistogramCounts)>,
        per_unit: f64,
    ) -> Self {
        Self { name, help, unit: None, samples: Samples::Histogram(samples.into_iter().collect(), per_unit) }
    }

    /// Constant facts as labels of a sample with the value 1; the format adds `_info` to its name.
    #[must_use]
    pub(crate) fn info(name: &'static str, help: &'static str, facts: Labels) -> Self {
        Self { name, help, unit: None, samples: Samples::Info(facts) }
    }

    /// Sets the unit, which adds `_seconds` to the name.
    #[must_use]
    pub(crate) fn in_seconds(self) -> Self {
        Self { unit: Some(Unit::Seconds), ..self }
    }

    /// Sets the unit, which adds `_bytes` to the name.
    #[must_use]
    pub(crate) fn in_bytes(self) -> Self {
        Self { unit: Some(Unit::Bytes), ..self }
    }

    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let kind = match self.samples {
            Samples::Counter(_) => MetricType::Counter,
            Samples::Gauge(_) => MetricType::Gauge,
            Samples::Histogram(..) => MetricType::Histogram,
            Samples::Info(_) => MetricType::Info,
        };
        let mut metric = encoder.encode_descriptor(self.name, self.help, self.unit.as_ref(), kind)?;
        match &self.samples {
            Samples::Counter(samples) => samples.iter().try_for_each(|(labels, value)| {
                encode_labelled(&mut metric, labels, |metric| metric.encode_counter::<NoLabelSet, _, u64>(value, None))
            }),
            Samples::Gauge(samples) => samples.iter().try_for_each(|(labels, value)| {
                encode_labelled(&mut metric, labels, |metric| metric.encode_gauge(value))
            }),
            Samples::Histogram(samples, per_unit) => samples.iter().try_for_each(|(labels, counts)| {
                encode_labelled(&mut metric, labels, |metric| encode_histogram(metric, counts, *per_unit))
            }),
            Samples::Info(facts) => metric.encode_info(facts),
        }
    }
}

fn encode_labelled(
    metric: &mut MetricEncoder<'_>,
    labels: &Labels,
    encode: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { encode(metric) } else { encode(&mut metric.encode_family(labels)?) }
}

#[allow(clippy::cast_precision_loss, reason = "the format has only floating point")]
fn encode_histogram(metric: &mut MetricEncoder<'_>, counts: &HistogramCounts, per_unit: f64) -> fmt::Result {
    let bounded = counts.buckets.iter().map(|(bound, count)| (*bound as f64 / per_unit, *count));
    let buckets: Vec<(f64, u64)> = bounded.chain([(f64::INFINITY, counts.overflow)]).collect();
    metric.encode_histogram::<NoLabelSet>(counts.sum as f64 / per_unit, counts.total_count(), &buckets, None)
}

/// Renders `metrics` as the body of `GET /metrics`.
#[must_use]
pub(crate) fn render(metrics: Vec<Metric>) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(MetricsCollector(metrics)));
    let mut page = String::new();
    // Writing into a `String` cannot fail. If it did, readers would reject the page, because its `# EOF` would be
    // missing.
    let _ = text::encode(&mut page, &registry);
    page
}

#[derive(Debug)]
struct MetricsCollector(Vec<Metric>);

impl Collector for MetricsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|metric| metric.encode(&mut encoder))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_metric_type_is_rendered_in_the_format() {
        let label = |value: &str| vec![("handler", value.to_owned())];
        let counts = HistogramCounts { buckets: vec![(500, 2), (25_000, 1)], overflow: 1, sum: 4_000_000 };
        let page = render(vec![
            Metric::counter("events", "Events.", [(label("a"), 3), (label("b\"\\"), 0)]),
            Metric::gauge("held", "Held.", [(Vec::new(), 2.0)]).in_bytes(),
            Metric::histogram("intake", "Intake.", counts, 1e6).in_seconds(),
            Metric::info("build", "Build.", vec![("version", "1.2.3".to_owned())]),
        ]);
        let expected = r#"# HELP retell_webhook_events Events.
# TYPE retell_webhook_events counter
retell_webhook_events_total{handler="a"} 3
retell_webhook_events_total{handler="b\"\\"} 0
# HELP retell_webhook_held_bytes Held.
# TYPE retell_webhook_held_bytes gauge
# UNIT retell_webhook_held_bytes bytes
retell_webhook_held_bytes 2.0
# HELP retell_webhook_intake_seconds Intake.
# TYPE retell_webhook_intake_seconds histogram
# UNIT retell_webhook_intake_seconds seconds
retell_webhook_intake_seconds_sum 4.0
retell_webhook_intake_seconds_count 4
retell_webhook_intake_seconds_bucket{le="0.0005"} 2
retell_webhook_intake_seconds_bucket{le="0.025"} 3
retell_webhook_intake_seconds_bucket{le="+Inf"} 4
# HELP retell_webhook_build Build.
# TYPE retell_webhook_build info
retell_webhook_build_info{version="1.2.3"} 1
# EOF
"#;
        assert_eq!(page, expected);
    }
}
