//! Numbers of events in the journal, and positions of readers.

use std::fmt;
use std::str::FromStr;

/// The number of an event in the journal, in the order of commit. Deliveries and erasures refer to events by it. Never
/// reused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Seq(pub(crate) i64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A position between two events of the journal, or before the first one. Opaque: only the store that returned it can
/// say which events come after it, and a store that takes its place has other positions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position(i64);

/// The text is not a position.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a position in the journal; use one that a command has printed for this store")]
pub struct InvalidPosition(String);

impl Position {
    /// Before the first event.
    pub(crate) const START: Self = Self(0);

    /// The position after the event with this sequence number.
    pub(in crate::storage) const fn after(seq: Seq) -> Self {
        Self(seq.0)
    }

    /// The sequence number of the event before this position.
    pub(in crate::storage) const fn seq(self) -> Seq {
        Seq(self.0)
    }

    /// Approximate number of events between two positions, to show progress.
    #[must_use]
    pub(crate) fn distance(self, other: Self) -> u64 {
        self.0.abs_diff(other.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pos_{}", self.0)
    }
}

impl FromStr for Position {
    type Err = InvalidPosition;

    fn from_str(text: &str) -> Result<Self, InvalidPosition> {
        let number = text.strip_prefix("pos_").filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
        number.and_then(|digits| digits.parse().ok()).map(Self).ok_or_else(|| InvalidPosition(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_back_from_its_text() {
        for position in [Position::START, Position::after(Seq(7)), Position::after(Seq(i64::MAX))] {
            assert_eq!(position.to_string().parse(), Ok(position));
        }
        for text in ["", "7", "pos_", "pos_-1", "pos_+1", "pos_9223372036854775808", "evt_1"] {
            assert_eq!(text.parse::<Position>(), Err(InvalidPosition(text.to_owned())), "{text}");
        }
    }
}
