//! What the latest look found, for the metrics.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use super::kind::Alarm;
use crate::telemetry::activity::Age;

#[derive(Clone, Default)]
pub(in crate::app) struct Shown(Arc<Mutex<Latest>>);

#[derive(Default)]
struct Latest {
    on: BTreeSet<Alarm>,
    freshest_ms: i64,
}

impl Shown {
    pub(super) fn set(&self, on: BTreeSet<Alarm>, ages: &[Age]) {
        let freshest_ms = ages.iter().map(|age| age.age_ms).min().unwrap_or(0);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Latest { on, freshest_ms };
    }

    pub(in crate::app) fn is_on(&self, alarm: Alarm) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).on.contains(&alarm)
    }

    /// The age of the freshest of the latest signatures, in milliseconds; negative: from the future.
    pub(in crate::app) fn freshest_ms(&self) -> i64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).freshest_ms
    }
}
