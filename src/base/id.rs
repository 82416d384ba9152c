//! Ids that the receiver generates.

use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex};

use uuid::{ContextV7, Timestamp, Uuid};

/// The id of a stored event: `evt_` followed by a UUIDv7, so that ids sort by the time of receipt.
///
/// It is the same for all retries and replays of the event. Use it as the idempotency key in handlers.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(Uuid);

/// The text is not an event id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an event id: expected `evt_` followed by a UUID, as `events list` prints it")]
pub struct InvalidEventId;

impl EventId {
    /// The 16 bytes of the UUID, as stored in the database.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id with these 16 bytes, as returned by [`as_bytes`](Self::as_bytes).
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }

    /// When the id was made, in milliseconds since the Unix epoch; `None` for a foreign id that is not a UUIDv7.
    #[must_use]
    pub fn created_at_ms(&self) -> Option<i64> {
        let ms = i64::try_from(self.0.as_u128() >> 80).ok()?;
        (self.0.get_version_num() == 7).then_some(ms)
    }

    /// The smallest id of an event received at `ms` (milliseconds since the Unix epoch). It bounds time ranges of
    /// ids.
    #[must_use]
    pub fn lower_bound_at(ms: i64) -> Self {
        // A UUIDv7 begins with 48 bits of milliseconds.
        let ms = u64::try_from(ms).unwrap_or(0).min((1 << 48) - 1);
        Self(Uuid::from_u128(u128::from(ms) << 80))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "evt_{}", self.0)
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = InvalidEventId;

    fn from_str(text: &str) -> Result<Self, InvalidEventId> {
        let uuid = text.strip_prefix("evt_").ok_or(InvalidEventId)?;
        Uuid::try_parse(uuid).map(Self).map_err(|_| InvalidEventId)
    }
}

/// The id of a company in the store. It never changes, and is not used again after the company has left the settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(transparent)]
pub struct CompanyId(i64);

impl CompanyId {
    /// The id with this number, as the store has it.
    #[must_use]
    pub const fn new(number: i64) -> Self {
        Self(number)
    }

    /// The number, as the store has it.
    #[must_use]
    pub const fn get(self) -> i64 {
        self.0
    }
}

impl fmt::Display for CompanyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// Generates event ids that ascend within one process, even when the clock goes backwards.
///
/// With ascending ids the store appends to its id index and does not rewrite random pages.
#[derive(Default)]
pub struct EventIdGenerator(Mutex<EventIdGeneratorState>);

#[derive(Default)]
struct EventIdGeneratorState {
    context: ContextV7,
    last_ms: u64,
}

impl EventIdGenerator {
    /// The next id for an event received at `now_ms` (milliseconds since the Unix epoch).
    pub fn next_id(&self, now_ms: i64) -> EventId {
        // The lock guards plain assignments only, so a poisoned one still holds a valid state.
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        state.last_ms = state.last_ms.max(u64::try_from(now_ms).unwrap_or(0));
        let nanos = u32::try_from(state.last_ms % 1000).unwrap_or(0) * 1_000_000;
        let time = Timestamp::from_unix(&state.context, state.last_ms / 1000, nanos);
        EventId(Uuid::new_v7(time))
    }
}

/// 32 hexadecimal digits with 122 random bits from the operating system, suitable for secrets.
#[must_use]
pub fn random_hex() -> String {
    Uuid::new_v4().simple().to_string()
}

/// The id of a running receiver. It is new after each start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceId(Arc<str>);

impl InstanceId {
    #[must_use]
    pub fn random() -> Self {
        Self(random_hex().into())
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Letters and digits that are not confused with one another: without 0, O, 1 and I.
const UNAMBIGUOUS_CHARACTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";

/// Number of characters of a [`random_spoken_code`].
pub(crate) const SPOKEN_CODE_LENGTH: usize = 6;

/// A code of six characters (30 random bits from the operating system) that is short enough to be read out on the
/// phone.
#[must_use]
pub(crate) fn random_spoken_code() -> String {
    // The version and variant bits of a UUIDv4 are above the lowest 62 bits, so all 30 bits used here are random.
    let bits = Uuid::new_v4().as_u128();
    (0..SPOKEN_CODE_LENGTH)
        .map(|place| char::from(UNAMBIGUOUS_CHARACTERS[usize::try_from((bits >> (place * 5)) & 31).unwrap_or(0)]))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_ascend_when_the_clock_goes_backwards() {
        let ids = EventIdGenerator::default();
        let made: Vec<_> =
            [5_000, 5_000, 4_000, 9_000, 1].into_iter().cycle().take(500).map(|now_ms| ids.next_id(now_ms)).collect();
        assert!(made.windows(2).all(|pair| pair[0] < pair[1]));
    }

    #[test]
    fn ids_are_parsed_from_their_text() {
        let id = EventIdGenerator::default().next_id(1_790_000_000_000);
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(id.created_at_ms(), Some(1_790_000_000_000));
        assert_eq!(EventId::lower_bound_at(7).created_at_ms(), None);
        assert_eq!("evt_12".parse::<EventId>(), Err(InvalidEventId));
        assert_eq!(id.to_string()[4..].parse::<EventId>(), Err(InvalidEventId));
    }

    #[test]
    fn the_lower_bound_includes_the_ids_of_its_millisecond() {
        let ids = EventIdGenerator::default();
        let id = ids.next_id(1_790_000_000_000);
        assert!(EventId::lower_bound_at(1_790_000_000_000) <= id);
        assert!(id < EventId::lower_bound_at(1_790_000_000_001));
    }

    #[test]
    fn spoken_codes_are_short_unambiguous_and_random() {
        let codes: std::collections::BTreeSet<_> = (0..1_000).map(|_| random_spoken_code()).collect();
        assert!(codes.len() > 990, "{}", codes.len());
        assert!(codes.iter().all(|code| code.len() == 6 && !code.contains(['0', 'O', '1', 'I'])));
    }
}
