//! Statistics of a load run, and the report as text and as JSON.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::super::output::{self, CliResult};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Responses of one connection, or of all connections together.
#[derive(Default)]
pub(super) struct LoadStats {
    /// Latency of every answered request, in microseconds.
    latency: Option<Histogram<u64>>,
    accepted: u64,
    body_bytes: u64,
    /// Number of requests that were not accepted, by status or reason.
    failures: BTreeMap<String, u64>,
}

impl LoadStats {
    pub(super) fn record_request(&mut self, outcome: Result<(u16, usize), &'static str>, latency: Duration) {
        let status = match outcome {
            Ok((status, size)) => {
                self.body_bytes += size as u64;
                self.record_latency(latency);
                status
            }
            Err(reason) => {
                *self.failures.entry(reason.to_owned()).or_default() += 1;
                return;
            }
        };
        if (200..300).contains(&status) {
            self.accepted += 1;
        } else {
            *self.failures.entry(format!("status {status}")).or_default() += 1;
        }
    }

    /// Records the latency with three significant digits. Latencies above one minute count as one minute.
    fn record_latency(&mut self, latency: Duration) {
        if self.latency.is_none() {
            self.latency = Histogram::new_with_bounds(1, 60_000_000, 3).ok();
        }
        if let Some(histogram) = &mut self.latency {
            histogram.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.body_bytes += other.body_bytes;
        for (reason, count) in &other.failures {
            *self.failures.entry(reason.clone()).or_default() += count;
        }
        match (&mut self.latency, &other.latency) {
            // The result can be ignored: both histograms have the same bounds, so no value is out of range.
            (Some(all), Some(latency)) => drop(all.add(latency)),
            (None, latency) => self.latency.clone_from(latency),
            (Some(_), None) => {}
        }
    }

    /// Quantiles and maximum in milliseconds, each with its name.
    fn latency_quantiles_ms(&self) -> Vec<(&'static str, f64)> {
        let Some(latency) = &self.latency else { return Vec::new() };
        let quantiles = QUANTILES.iter().map(|(name, at)| (*name, latency.value_at_quantile(*at)));
        quantiles.chain([("max", latency.max())]).map(|(name, micros)| (name, milliseconds(micros))).collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a minute of microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

pub(super) struct LoadReport<'a> {
    pub(super) stats: &'a LoadStats,
    pub(super) duration: Duration,
    /// Number of requests that `--rate` requires; `None` in the closed loop.
    pub(super) requests_due: Option<u64>,
    /// Number of connections that did not end in time.
    pub(super) unfinished_connections: usize,
}

impl LoadReport<'_> {
    /// Whether every due request was sent and accepted.
    pub(super) fn is_clean(&self) -> bool {
        self.stats.accepted > 0
            && self.stats.failures.is_empty()
            && self.unfinished_connections == 0
            && self.not_sent() == 0
    }

    /// Number of due requests that were not sent, because no connection was free until the end.
    fn not_sent(&self) -> u64 {
        let answered = self.stats.accepted + self.stats.failures.values().sum::<u64>();
        self.requests_due.map_or(0, |due| due.saturating_sub(answered))
    }

    #[allow(clippy::cast_precision_loss, reason = "rounded when it is shown")]
    fn per_second(&self, count: u64) -> f64 {
        (count as f64 / self.duration.as_secs_f64() * 10.0).round() / 10.0
    }

    pub(super) fn print_text(&self) -> CliResult {
        let rate = format!(
            "{} in {:.1} s, {} per second",
            self.stats.accepted,
            self.duration.as_secs_f64(),
            self.per_second(self.stats.accepted)
        );
        output::print_fields(&[
            ("accepted", Some(rate)),
            ("bodies", Some(output::format_bytes(self.stats.body_bytes))),
        ])?;
        for (name, ms) in self.stats.latency_quantiles_ms() {
            output::print_line(format!("{name:<8}  {ms:.2} ms"))?;
        }
        for (reason, count) in &self.stats.failures {
            output::print_line(format!("FAILED    {count}: {reason}"))?;
        }
        if self.not_sent() > 0 {
            output::print_line(format!("NOT SENT  {}: every connection was busy", self.not_sent()))?;
        }
        Ok(())
    }

    pub(super) fn print_json(&self) -> CliResult {
        let latency: BTreeMap<_, Value> =
            self.stats.latency_quantiles_ms().into_iter().map(|(name, ms)| (name, ms.into())).collect();
        output::print_json(&json!({
            "accepted": self.stats.accepted,
            "per_second": self.per_second(self.stats.accepted),
            "seconds": self.duration.as_secs_f64(),
            "body_bytes": self.stats.body_bytes,
            "latency_ms": latency,
            "failed": self.stats.failures,
            "not_sent": self.not_sent(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_of_connections_add_up() {
        let mut all = LoadStats::default();
        let mut one = LoadStats::default();
        (1..=100).for_each(|ms| one.record_request(Ok((200, 10)), Duration::from_millis(ms)));
        one.record_request(Ok((503, 10)), Duration::from_secs(100));
        one.record_request(Err("no connection"), Duration::ZERO);
        all.merge(&one);
        all.merge(&one);
        assert_eq!((all.accepted, all.body_bytes), (200, 2_020));
        assert_eq!(all.failures, BTreeMap::from([("no connection".to_owned(), 2), ("status 503".to_owned(), 2)]));
        let latencies: BTreeMap<_, _> = all.latency_quantiles_ms().into_iter().collect();
        assert!((50.0..52.0).contains(&latencies["p50"]) && latencies["max"] >= 59_000.0, "{latencies:?}");
        let report = LoadReport {
            stats: &all,
            duration: Duration::from_secs(2),
            requests_due: Some(300),
            unfinished_connections: 0,
        };
        assert_eq!((report.not_sent(), report.is_clean()), (96, false));
    }
}
