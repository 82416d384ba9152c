//! The result of the latest alarm check, for the metrics.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::storage::AlarmKind;
use crate::telemetry::activity::SignatureAge;

#[derive(Clone, Default)]
pub(crate) struct AlarmStatus(Arc<Mutex<AlarmStatusInner>>);

#[derive(Default)]
struct AlarmStatusInner {
    raised: BTreeSet<AlarmKind>,
    min_signature_age_ms: i64,
}

impl AlarmStatus {
    pub(super) fn update(&self, raised: BTreeSet<AlarmKind>, ages: &[SignatureAge]) {
        let min_signature_age_ms = ages.iter().map(|age| age.age_ms).min().unwrap_or(0);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = AlarmStatusInner { raised, min_signature_age_ms };
    }

    pub(crate) fn is_raised(&self, alarm: AlarmKind) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).raised.contains(&alarm)
    }

    /// The smallest age of the latest 16 valid signatures, in milliseconds; negative for one from the future.
    pub(crate) fn min_signature_age_ms(&self) -> i64 {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).min_signature_age_ms
    }
}
