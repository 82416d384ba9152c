//! Statistics of a load run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::view::LoadReportView;

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

    /// The report of all connections. `requests_due` is the number of requests that the rate requires, `None` in the
    /// closed loop; `unfinished_connections` is the number of connections that did not end in time.
    pub(super) fn report(
        &self,
        duration: Duration,
        requests_due: Option<u64>,
        unfinished_connections: usize,
    ) -> LoadReportView {
        let answered = self.accepted + self.failures.values().sum::<u64>();
        let not_sent = requests_due.map_or(0, |due| due.saturating_sub(answered));
        LoadReportView {
            accepted: self.accepted,
            per_second: per_second(self.accepted, duration),
            seconds: duration.as_secs_f64(),
            body_bytes: self.body_bytes,
            latency_ms: self.latency_quantiles_ms(),
            failed: self.failures.clone(),
            not_sent,
            ok: self.accepted > 0 && self.failures.is_empty() && unfinished_connections == 0 && not_sent == 0,
        }
    }

    /// Quantiles and maximum in milliseconds by their names.
    fn latency_quantiles_ms(&self) -> BTreeMap<&'static str, f64> {
        let Some(latency) = &self.latency else { return BTreeMap::new() };
        let quantiles = QUANTILES.iter().map(|(name, at)| (*name, latency.value_at_quantile(*at)));
        quantiles.chain([("max", latency.max())]).map(|(name, micros)| (name, milliseconds(micros))).collect()
    }
}

#[allow(clippy::cast_precision_loss, reason = "a minute of microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

#[allow(clippy::cast_precision_loss, reason = "rounded when it is shown")]
fn per_second(count: u64, duration: Duration) -> f64 {
    (count as f64 / duration.as_secs_f64() * 10.0).round() / 10.0
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
        let report = all.report(Duration::from_secs(2), Some(300), 0);
        let latencies = &report.latency_ms;
        assert!((50.0..52.0).contains(&latencies["p50"]) && latencies["max"] >= 59_000.0, "{latencies:?}");
        assert_eq!((report.accepted, report.not_sent, report.ok), (200, 96, false));
    }

    #[test]
    fn a_report_is_ok_when_every_due_request_was_accepted() {
        let mut stats = LoadStats::default();
        stats.record_request(Ok((200, 10)), Duration::from_millis(1));
        let is_ok = |due, unfinished| stats.report(Duration::from_secs(1), due, unfinished).ok;
        assert!(is_ok(None, 0) && is_ok(Some(1), 0));
        assert!(!is_ok(Some(2), 0) && !is_ok(None, 1));
        assert!(!LoadStats::default().report(Duration::from_secs(1), None, 0).ok);
    }
}
