//! The outcomes of the requests of a round.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::histogram::Histogram;

/// Every connection has its own statistics, so that counting needs no shared memory.
#[derive(Clone, Debug, Default)]
pub struct RequestStats {
    /// Number of 2xx responses within the measured window.
    pub accepted_in_window: u64,
    /// Number of 2xx responses at any time, including the warm-up.
    pub accepted: u64,
    /// Number of requests without a response.
    pub errors: u64,
    /// Text of one of these errors, as an example.
    pub example_error: Option<String>,
    /// Number of responses other than 2xx, by status.
    pub non_2xx_by_status: BTreeMap<u16, u64>,
    pub latency: Histogram,
}

impl RequestStats {
    pub fn record_response(&mut self, status: u16, latency: Duration, is_in_window: bool) {
        if !(200..300).contains(&status) {
            *self.non_2xx_by_status.entry(status).or_default() += 1;
            return;
        }
        self.accepted += 1;
        if is_in_window {
            self.accepted_in_window += 1;
            let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
            self.latency.record(micros);
        }
    }

    pub fn record_error(&mut self, text: &impl ToString) {
        self.errors += 1;
        self.example_error.get_or_insert_with(|| text.to_string());
    }

    pub fn merge(&mut self, other: Self) {
        self.accepted_in_window += other.accepted_in_window;
        self.accepted += other.accepted;
        self.errors += other.errors;
        self.example_error = self.example_error.take().or(other.example_error);
        for (status, count) in other.non_2xx_by_status {
            *self.non_2xx_by_status.entry(status).or_default() += count;
        }
        self.latency.merge(&other.latency);
    }

    /// A summary of all failures; `None` when every request was accepted.
    pub fn failure_summary(&self) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        if self.errors > 0 {
            let example = self.example_error.as_deref().unwrap_or("unknown");
            parts.push(format!("{} without a response ({example})", self.errors));
        }
        for (status, count) in &self.non_2xx_by_status {
            parts.push(format!("{count} with status {status}"));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
