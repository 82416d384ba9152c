//! Amounts of money: sums of decimal text, without the errors of binary fractions.

use std::fmt;

use serde::{Serialize, Serializer};

/// Digits kept behind the point. Retell sends more now and then; those are rounded.
const FRACTION_DIGITS: usize = 6;
/// Most digits before the point that are believed.
const MAX_WHOLE_DIGITS: i32 = 12;

/// Cents, exact to a millionth of one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(i128);

impl Cost {
    /// Reads a JSON number, such as `12.5` or `1.25e1`; `None` when it is none, or beyond all sense.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mantissa, exponent) = match text.split_once(['e', 'E']) {
            Some((mantissa, exponent)) => (mantissa, exponent.parse::<i32>().ok()?),
            None => (text, 0),
        };
        let (sign, mantissa) = mantissa.strip_prefix('-').map_or((1, mantissa), |rest| (-1, rest));
        let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
        let digits = [whole, fraction].concat();
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
        let value = to_millionths(digits.trim_start_matches('0'), point - leading_zeros(&digits)?)?;
        Some(Self(sign * value))
    }

    /// Adds another amount.
    pub fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

fn leading_zeros(digits: &str) -> Option<i32> {
    i32::try_from(digits.len() - digits.trim_start_matches('0').len()).ok()
}

/// Millionths of `0.<digits>` times ten to the `point`.
fn to_millionths(digits: &str, point: i32) -> Option<i128> {
    if digits.is_empty() {
        return Some(0);
    }
    if point > MAX_WHOLE_DIGITS {
        return None;
    }
    // How many digits stand before the place where it is cut.
    let Ok(kept) = usize::try_from(point.checked_add(i32::try_from(FRACTION_DIGITS).ok()?)?) else { return Some(0) };
    let all: String = digits.chars().chain(std::iter::repeat('0')).take(kept).collect();
    let rounds_up = digits.as_bytes().get(kept).is_some_and(|digit| *digit >= b'5');
    let value: i128 = if all.is_empty() { 0 } else { all.parse().ok()? };
    Some(value + i128::from(rounds_up))
}

/// `12.501`, without zeros at the end.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (unit, sign) = (10_u128.pow(6), if self.0 < 0 { "-" } else { "" });
        let (whole, rest) = (self.0.unsigned_abs() / unit, self.0.unsigned_abs() % unit);
        let text = format!("{sign}{whole}.{rest:06}");
        f.pad(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

impl Serialize for Cost {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_exact() {
        let mut sum = Cost::default();
        for _ in 0..1000 {
            sum.add(Cost::parse("0.1").unwrap());
            sum.add(Cost::parse("3.501").unwrap());
        }
        assert_eq!(sum.to_string(), "3601");
    }

    #[test]
    fn numbers_in_every_form_are_read() {
        let read = |text: &str| Cost::parse(text).map(|cost| cost.to_string());
        for (text, expected) in [
            ("0", "0"),
            ("12", "12"),
            ("012", "12"),
            ("0.10", "0.1"),
            ("10.7083333333333", "10.708333"),
            ("0.0000005", "0.000001"),
            ("0.0000004", "0"),
            ("-1.5", "-1.5"),
            ("1.25e1", "12.5"),
            ("125E-1", "12.5"),
            ("5e-9", "0"),
            ("1e+11", "100000000000"),
            ("9.9999999", "10"),
        ] {
            assert_eq!(read(text).as_deref(), Some(expected), "{text}");
        }
        for nonsense in ["", "-", ".", "1.2.3", "abc", "1e12", "1e400", "1e99999999999", "1,5", "NaN"] {
            assert_eq!(read(nonsense), None, "{nonsense}");
        }
    }
}
