//! Labels and values in the types that the text format takes.

use crate::telemetry::exposition::Labels;

pub(super) fn single_label(name: &'static str, value: &str) -> Labels {
    vec![(name, value.to_owned())]
}

pub(super) fn unlabelled(value: f64) -> [(Labels, f64); 1] {
    [(Vec::new(), value)]
}

pub(super) fn signed_to_f64(value: i64) -> f64 {
    to_f64(u64::try_from(value).unwrap_or(0))
}

#[allow(clippy::cast_precision_loss, reason = "the format has only floating point; exact up to 2^53")]
pub(super) fn to_f64(value: u64) -> f64 {
    value as f64
}
