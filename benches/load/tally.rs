//! What became of the requests of a round.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::histogram::Histogram;

/// Each connection keeps its own, so counting needs no shared memory.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Answered with 2xx inside the measured window.
    pub measured: u64,
    /// Answered with 2xx at any time, the warm-up included.
    pub accepted: u64,
    /// Requests that got no answer.
    pub errors: u64,
    /// The text of one of these errors.
    pub example: Option<String>,
    /// Answers other than 2xx, by status.
    pub refused: BTreeMap<u16, u64>,
    pub latency: Histogram,
}

impl Tally {
    pub fn answer(&mut self, status: u16, latency: Duration, measured: bool) {
        if !(200..300).contains(&status) {
            *self.refused.entry(status).or_default() += 1;
            return;
        }
        self.accepted += 1;
        if measured {
            self.measured += 1;
            let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
            self.latency.record(micros);
        }
    }

    pub fn error(&mut self, text: &impl ToString) {
        self.errors += 1;
        self.example.get_or_insert_with(|| text.to_string());
    }

    pub fn merge(&mut self, other: Self) {
        self.measured += other.measured;
        self.accepted += other.accepted;
        self.errors += other.errors;
        self.example = self.example.take().or(other.example);
        for (status, count) in other.refused {
            *self.refused.entry(status).or_default() += count;
        }
        self.latency.merge(&other.latency);
    }

    /// What went wrong, in words; nothing when every request was accepted.
    pub fn trouble(&self) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        if self.errors > 0 {
            let example = self.example.as_deref().unwrap_or("unknown");
            parts.push(format!("{} without an answer ({example})", self.errors));
        }
        for (status, count) in &self.refused {
            parts.push(format!("{count} answered {status}"));
        }
        (!parts.is_empty()).then(|| parts.join(", "))
    }
}
