//! What was seen, and how it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::super::output::{self, CliResult};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Answers of one connection, or of all of them.
#[derive(Default)]
pub(super) struct LoadStats {
    /// Microseconds of every answered request.
    latency: Option<Histogram<u64>>,
    accepted: u64,
    body_bytes: u64,
    /// Everything else, by status or reason.
    failures: BTreeMap<String, u64>,
}

impl LoadStats {
    pub(super) fn record_request(&mut self, outcome: Result<(u16, usize), &'static str>, took: Duration) {
        let status = match outcome {
            Ok((status, size)) => {
                self.body_bytes += size as u64;
                self.record_latency(took);
                status
            }
            Err(why) => {
                *self.failures.entry(why.to_owned()).or_default() += 1;
                return;
            }
        };
        if (200..300).contains(&status) {
            self.accepted += 1;
        } else {
            *self.failures.entry(format!("status {status}")).or_default() += 1;
        }
    }

    /// Three digits of every latency are kept, up to a minute; longer ones count as a minute.
    fn record_latency(&mut self, took: Duration) {
        if self.latency.is_none() {
            self.latency = Histogram::new_with_bounds(1, 60_000_000, 3).ok();
        }
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.body_bytes += other.body_bytes;
        for (why, count) in &other.failures {
            *self.failures.entry(why.clone()).or_default() += count;
        }
        match (&mut self.latency, &other.latency) {
            // Both have the same bounds: nothing of the other is out of range.
            (Some(all), Some(latency)) => drop(all.add(latency)),
            (None, latency) => self.latency.clone_from(latency),
            (Some(_), None) => {}
        }
    }

    /// Milliseconds, by name.
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
    /// How many requests a rate asked for.
    pub(super) requests_due: Option<u64>,
    /// Connections that had no end.
    pub(super) unfinished_connections: usize,
}

impl LoadReport<'_> {
    /// Everything that was due was sent, and accepted.
    pub(super) fn is_clean(&self) -> bool {
        self.stats.accepted > 0
            && self.stats.failures.is_empty()
            && self.unfinished_connections == 0
            && self.not_sent() == 0
    }

    /// Requests that were due and for which no connection was free until the end.
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
            "{} in {:.1} s, {} a second",
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
        for (why, count) in &self.stats.failures {
            output::print_line(format!("FAILED    {count}: {why}"))?;
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
    fn tallies_of_connections_add_up() {
        let (mut all, mut one) = (LoadStats::default(), LoadStats::default());
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
