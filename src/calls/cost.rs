//! Costs: sums of decimal numbers without the rounding errors of binary fractions.

use std::fmt;
use std::ops::Neg;

use serde::{Serialize, Serializer};

/// Digits after the decimal point. Retell sometimes sends more; the value is rounded then.
const FRACTION_DIGITS: usize = 6;
/// Maximum number of digits before the decimal point. A larger number is an error of the sender and would spoil every
/// sum.
const MAX_WHOLE_DIGITS: i32 = 12;
const MILLION: i128 = 1_000_000;

/// An amount in cents, in units of a millionth of a cent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Cost(i128);

impl Cost {
    /// Parses a JSON number such as `12.5` or `1.25e1`. Returns `None` for any other text and for numbers of more
    /// than 12 digits before the decimal point.
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
        // `0.<digits>` times ten to the `point`, so that an exponent needs no separate case.
        let point = i32::try_from(whole.len()).ok()?.checked_add(exponent)?;
        let value = to_millionths(digits.trim_start_matches('0'), point - leading_zeros(&digits)?)?;
        Some(Self(sign * value))
    }

    /// The sum of whole cents and millionths of a cent.
    #[must_use]
    pub fn from_parts(cents: i64, millionths: i64) -> Self {
        Self(i128::from(cents) * MILLION + i128::from(millionths))
    }

    /// Whole cents and the rest in millionths of a cent, both with the sign of the cost. Sums of each fit into 64 bits.
    #[must_use]
    pub fn to_parts(self) -> (i64, i64) {
        let part = |number| i64::try_from(number).unwrap_or(i64::MAX);
        (part(self.0 / MILLION), part(self.0 % MILLION))
    }

    pub fn add(&mut self, other: Self) {
        self.0 = self.0.saturating_add(other.0);
    }
}

impl Neg for Cost {
    type Output = Self;

    fn neg(self) -> Self {
        Self(-self.0)
    }
}

fn leading_zeros(digits: &str) -> Option<i32> {
    i32::try_from(digits.len() - digits.trim_start_matches('0').len()).ok()
}

/// `0.<digits>` times ten to the `point`, in millionths. `digits` must not begin with a zero.
fn to_millionths(digits: &str, point: i32) -> Option<i128> {
    if digits.is_empty() {
        return Some(0);
    }
    if point > MAX_WHOLE_DIGITS {
        return None;
    }
    // Number of digits that remain after rounding. A negative number means that the value is too small to count.
    let remaining = point.checked_add(i32::try_from(FRACTION_DIGITS).ok()?)?;
    let Ok(remaining) = usize::try_from(remaining) else { return Some(0) };
    let padded: String = digits.chars().chain(std::iter::repeat('0')).take(remaining).collect();
    let value: i128 = if padded.is_empty() { 0 } else { padded.parse().ok()? };
    let rounds_up = digits.as_bytes().get(remaining).is_some_and(|digit| *digit >= b'5');
    Some(value + i128::from(rounds_up))
}

/// Decimal text without trailing zeros, such as `12.501`.
impl fmt::Display for Cost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = 10_u128.pow(6);
        let sign = if self.0 < 0 { "-" } else { "" };
        let amount = self.0.unsigned_abs();
        let text = format!("{sign}{}.{:06}", amount / unit, amount % unit);
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
    fn numbers_are_parsed_in_every_form() {
        let parse = |text: &str| Cost::parse(text).map(|cost| cost.to_string());
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
            assert_eq!(parse(text).as_deref(), Some(expected), "{text}");
        }
        for nonsense in ["", "-", ".", "1.2.3", "abc", "1e12", "1e400", "1e99999999999", "1,5", "NaN"] {
            assert_eq!(parse(nonsense), None, "{nonsense}");
        }
    }
}
