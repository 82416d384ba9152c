//! What was seen, and how it is told.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::super::output::{self, Done};

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

/// Answers of one connection, or of all of them.
#[derive(Default)]
pub(super) struct Tally {
    /// Microseconds of every answered request.
    latency: Option<Histogram<u64>>,
    accepted: u64,
    bytes: u64,
    /// Everything else, by status or reason.
    failed: BTreeMap<String, u64>,
}

impl Tally {
    pub(super) fn note(&mut self, outcome: Result<(u16, usize), &'static str>, took: Duration) {
        let status = match outcome {
            Ok((status, size)) => {
                self.bytes += size as u64;
                self.record(took);
                status
            }
            Err(why) => {
                *self.failed.entry(why.to_owned()).or_default() += 1;
                return;
            }
        };
        if (200..300).contains(&status) {
            self.accepted += 1;
        } else {
            *self.failed.entry(format!("status {status}")).or_default() += 1;
        }
    }

    /// Three digits of every latency are kept, up to a minute; longer ones count as a minute.
    fn record(&mut self, took: Duration) {
        if self.latency.is_none() {
            self.latency = Histogram::new_with_bounds(1, 60_000_000, 3).ok();
        }
        if let Some(latency) = &mut self.latency {
            latency.saturating_record(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        }
    }

    pub(super) fn add(&mut self, other: &Self) {
        self.accepted += other.accepted;
        self.bytes += other.bytes;
        for (why, count) in &other.failed {
            *self.failed.entry(why.clone()).or_default() += count;
        }
        match (&mut self.latency, &other.latency) {
            // Both have the same bounds: nothing of the other is out of range.
            (Some(all), Some(latency)) => drop(all.add(latency)),
            (None, latency) => self.latency.clone_from(latency),
            (Some(_), None) => {}
        }
    }

    /// Milliseconds, by name.
    fn latencies(&self) -> Vec<(&'static str, f64)> {
        let Some(latency) = &self.latency else { return Vec::new() };
        let quantiles = QUANTILES.iter().map(|(name, at)| (*name, latency.value_at_quantile(*at)));
        quantiles.chain([("max", latency.max())]).map(|(name, micros)| (name, milliseconds(micros))).collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a minute of microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

pub(super) struct Report<'a> {
    pub(super) tally: &'a Tally,
    pub(super) took: Duration,
    /// How many requests a rate asked for.
    pub(super) due: Option<u64>,
    /// Connections that had no end.
    pub(super) cut_off: usize,
}

impl Report<'_> {
    /// Everything that was due was sent, and accepted.
    pub(super) fn is_clean(&self) -> bool {
        self.tally.accepted > 0 && self.tally.failed.is_empty() && self.cut_off == 0 && self.not_sent() == 0
    }

    /// Requests that were due and for which no connection was free until the end.
    fn not_sent(&self) -> u64 {
        let answered = self.tally.accepted + self.tally.failed.values().sum::<u64>();
        self.due.map_or(0, |due| due.saturating_sub(answered))
    }

    #[allow(clippy::cast_precision_loss, reason = "rounded when it is shown")]
    fn per_second(&self, count: u64) -> f64 {
        (count as f64 / self.took.as_secs_f64() * 10.0).round() / 10.0
    }

    pub(super) fn text(&self) -> Done {
        let rate = format!(
            "{} in {:.1} s, {} a second",
            self.tally.accepted,
            self.took.as_secs_f64(),
            self.per_second(self.tally.accepted)
        );
        output::fields(&[("accepted", Some(rate)), ("bodies", Some(output::size(self.tally.bytes)))])?;
        for (name, ms) in self.tally.latencies() {
            output::line(format!("{name:<8}  {ms:.2} ms"))?;
        }
        for (why, count) in &self.tally.failed {
            output::line(format!("FAILED    {count}: {why}"))?;
        }
        if self.not_sent() > 0 {
            output::line(format!("NOT SENT  {}: every connection was busy", self.not_sent()))?;
        }
        Ok(())
    }

    pub(super) fn json(&self) -> Done {
        let latency: BTreeMap<_, Value> =
            self.tally.latencies().into_iter().map(|(name, ms)| (name, ms.into())).collect();
        output::json(&json!({
            "accepted": self.tally.accepted,
            "per_second": self.per_second(self.tally.accepted),
            "seconds": self.took.as_secs_f64(),
            "body_bytes": self.tally.bytes,
            "latency_ms": latency,
            "failed": self.tally.failed,
            "not_sent": self.not_sent(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_of_connections_add_up() {
        let (mut all, mut one) = (Tally::default(), Tally::default());
        (1..=100).for_each(|ms| one.note(Ok((200, 10)), Duration::from_millis(ms)));
        one.note(Ok((503, 10)), Duration::from_secs(100));
        one.note(Err("no connection"), Duration::ZERO);
        all.add(&one);
        all.add(&one);
        assert_eq!((all.accepted, all.bytes), (200, 2_020));
        assert_eq!(all.failed, BTreeMap::from([("no connection".to_owned(), 2), ("status 503".to_owned(), 2)]));
        let latencies: BTreeMap<_, _> = all.latencies().into_iter().collect();
        assert!((50.0..52.0).contains(&latencies["p50"]) && latencies["max"] >= 59_000.0, "{latencies:?}");
        let report = Report { tally: &all, took: Duration::from_secs(2), due: Some(300), cut_off: 0 };
        assert_eq!((report.not_sent(), report.is_clean()), (96, false));
    }
}
