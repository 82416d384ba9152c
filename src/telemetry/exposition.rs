//! Figures as the text Prometheus reads, in the format `OpenMetrics`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use crate::base::histogram::HistogramCounts;

/// What `GET /metrics` answers as its content type.
pub(crate) const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Before every name.
const PREFIX: &str = "retell_webhook";

/// Names and values that tell the samples of one metric apart. Values come from this program and its configuration,
/// never from a request.
pub(crate) type Labels = Vec<(&'static str, String)>;

/// A metric with its samples, read at one moment. Values that change on the path of a request are atomics elsewhere.
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
    /// A count that only grows; the format adds `_total` to its name.
    pub(crate) fn counter(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, u64)>,
    ) -> Self {
        Self { name, help, unit: None, samples: Samples::Counter(samples.into_iter().collect()) }
    }

    /// A value that goes up and down.
    pub(crate) fn gauge(
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = (Labels, f64)>,
    ) -> Self {
        Self { name, help, unit: None, samples: Samples::Gauge(samples.into_iter().collect()) }
    }

    /// A distribution; `per_unit` of what `measured` counts in make one of the metric's unit.
    #[must_use]
    pub(crate) fn histogram(name: &'static str, help: &'static str, measured: HistogramCounts, per_unit: f64) -> Self {
        Self::histograms(name, help, [(Vec::new(), measured)], per_unit)
    }

    /// Several distributions, told apart by their labels.
    pub(crate) fn histograms(
        name: &'static str,
        help: &'static str,
        measured: impl IntoIterator<Item = (Labels, HistogramCounts)>,
        per_unit: f64,
    ) -> Self {
        Self { name, help, unit: None, samples: Samples::Histogram(measured.into_iter().collect(), per_unit) }
    }

    /// Facts as labels of a constant 1; the format adds `_info` to its name.
    #[must_use]
    pub(crate) fn info(name: &'static str, help: &'static str, facts: Labels) -> Self {
        Self { name, help, unit: None, samples: Samples::Info(facts) }
    }

    /// Adds `_seconds` to the name.
    #[must_use]
    pub(crate) fn in_seconds(self) -> Self {
        Self { unit: Some(Unit::Seconds), ..self }
    }

    /// Adds `_bytes` to the name.
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
            Samples::Histogram(samples, per_unit) => samples.iter().try_for_each(|(labels, measured)| {
                encode_labelled(&mut metric, labels, |metric| encode_histogram(metric, measured, *per_unit))
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

#[allow(clippy::cast_precision_loss, reason = "the format knows floating point only")]
fn encode_histogram(metric: &mut MetricEncoder<'_>, measured: &HistogramCounts, per_unit: f64) -> fmt::Result {
    let bounded = measured.buckets.iter().map(|(bound, count)| (*bound as f64 / per_unit, *count));
    let buckets: Vec<(f64, u64)> = bounded.chain([(f64::INFINITY, measured.overflow)]).collect();
    metric.encode_histogram::<NoLabelSet>(measured.sum as f64 / per_unit, measured.total_count(), &buckets, None)
}

/// The text of `metrics`.
#[must_use]
pub(crate) fn render(metrics: Vec<Metric>) -> String {
    let mut registry = Registry::with_prefix(PREFIX);
    registry.register_collector(Box::new(MetricsCollector(metrics)));
    let mut page = String::new();
    // Writing into a text cannot fail; should it, half a page without its end mark is refused by every reader.
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
    fn each_kind_is_written_as_the_format_wants_it() {
        let label = |value: &str| vec![("handler", value.to_owned())];
        let measured = HistogramCounts { buckets: vec![(500, 2), (25_000, 1)], overflow: 1, sum: 4_000_000 };
        let page = render(vec![
            Metric::counter("events", "Events.", [(label("a"), 3), (label("b\"\\"), 0)]),
            Metric::gauge("held", "Held.", [(Vec::new(), 2.0)]).in_bytes(),
            Metric::histogram("intake", "Intake.", measured, 1e6).in_seconds(),
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
