//! Times on the command line.

use std::str::FromStr;

use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::terminal;
use crate::base::clock::Clock;

/// `2026-11-21T10:00:00Z`, `2026-11-21` or `2026-11-21T10:00` (in UTC or, with `--local`, local time), or a duration before
/// now (`90m`, `2h`, `1d`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimeArg {
    Instant(i64),
    /// Without a zone: clap parses it possibly before it knows whether `--local` is given.
    Civil(DateTime),
}

impl TimeArg {
    /// Milliseconds since the Unix epoch.
    pub(super) fn ms(self) -> i64 {
        self.ms_in(terminal::time_zone())
    }

    fn ms_in(self, zone: TimeZone) -> i64 {
        match self {
            Self::Instant(ms) => ms,
            Self::Civil(time) => {
                let far = if time.year() < 1970 { Timestamp::MIN } else { Timestamp::MAX };
                time.to_zoned(zone).map_or(far, |time| time.timestamp()).as_millisecond()
            }
        }
    }

    fn parse(text: &str, now_ms: i64) -> Result<Self, String> {
        if let Ok(time) = text.parse::<Timestamp>() {
            return Ok(Self::Instant(time.as_millisecond()));
        }
        // A date alone is its start.
        if let Ok(time) = text.parse() {
            return Ok(Self::Civil(time));
        }
        // `SignedDuration` has no unit for days.
        let ago = match text.strip_suffix('d').and_then(|days| days.parse::<i64>().ok()) {
            Some(days) => Some(SignedDuration::from_hours(days.saturating_mul(24))),
            None => text.parse().ok(),
        };
        match ago {
            Some(ago) if !ago.is_negative() => {
                let ago_ms = i64::try_from(ago.as_millis()).unwrap_or(i64::MAX);
                Ok(Self::Instant(now_ms.saturating_sub(ago_ms)))
            }
            _ => {
                Err("not a time: use 2026-11-21T10:00:00Z, 2026-11-21, or a duration before now such as 90m, 2h or 1d"
                    .to_owned())
            }
        }
    }
}

impl FromStr for TimeArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text, Clock::system().now_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_or_relative() {
        let now_ms = 1_800_000_000_000;
        let parse = |text| TimeArg::parse(text, now_ms).map(|time| time.ms_in(TimeZone::UTC));
        assert_eq!(parse("90m").unwrap(), now_ms - 5_400_000);
        assert_eq!(parse("1d").unwrap(), now_ms - 86_400_000);
        assert_eq!(parse("2026-11-21T10:00:00Z").unwrap(), 1_795_255_200_000);
        assert_eq!(parse("2026-11-21").unwrap(), 1_795_219_200_000);
        assert_eq!(parse("2026-11-21 10:00").unwrap(), 1_795_255_200_000);
        assert_eq!(parse("2026-11-21 11:00:00+01:00").unwrap(), 1_795_255_200_000);
        assert!(parse("yesterday").is_err() && parse("-2h").is_err() && parse("2026-02-30").is_err());
        let civil = TimeArg::parse("2026-11-21 11:00", now_ms).unwrap();
        assert_eq!(civil.ms_in(TimeZone::get("Europe/Berlin").unwrap()), 1_795_255_200_000);
    }
}
