//! Short forms of columns of `events` whose texts are the same for nearly all events, or long: together they would take
//! a hundred bytes per event.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, Value, ValueRef};
use rusqlite::{Row, ToSql};

use crate::storage::{EventOrigin, EventState};

/// The content type of nearly every request, stored as the number 1.
const JSON_CONTENT_TYPE: &str = "application/json";
const JSON_CONTENT_TYPE_CODE: i64 = 1;
/// A signature as Retell sends it, `v=<unix ms>,d=<64 lower-case hex digits>`, is stored as the 32 bytes of its digest
/// and 6 bytes of its time.
const SIGNATURE_BYTES: usize = 38;

const ORIGINS: [EventOrigin; 4] =
    [EventOrigin::Retell, EventOrigin::Internal, EventOrigin::Import, EventOrigin::Backfill];
const STATES: [EventState; 2] = [EventState::Stored, EventState::Unparsed];

/// A value that is stored as its position in a list.
pub(super) trait EventCode: Copy + PartialEq + 'static {
    const ALL: &'static [Self];

    fn from_row(row: &Row, index: usize) -> rusqlite::Result<Result<Self, i64>> {
        let code = row.get(index)?;
        Ok(usize::try_from(code).ok().and_then(|at| Self::ALL.get(at)).copied().ok_or(code))
    }

    fn code(self) -> i64 {
        let at = Self::ALL.iter().position(|value| *value == self);
        at.and_then(|at| i64::try_from(at).ok()).unwrap_or(-1)
    }
}

impl EventCode for EventOrigin {
    const ALL: &'static [Self] = &ORIGINS;
}

impl EventCode for EventState {
    const ALL: &'static [Self] = &STATES;
}

pub(super) struct ContentTypeColumn<'a>(pub(super) &'a str);

impl ToSql for ContentTypeColumn<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match self.0 {
            JSON_CONTENT_TYPE => ToSqlOutput::from(JSON_CONTENT_TYPE_CODE),
            other => ToSqlOutput::from(other),
        })
    }
}

/// A text that was stored in its short form.
pub(super) struct ShortenedText(pub(super) String);

impl FromSql for ShortenedText {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        match value {
            ValueRef::Integer(JSON_CONTENT_TYPE_CODE) => Ok(Self(JSON_CONTENT_TYPE.to_owned())),
            ValueRef::Blob(bytes) => decode_signature(bytes).map(Self).ok_or(FromSqlError::InvalidType),
            other => String::column_result(other).map(Self),
        }
    }
}

pub(super) struct SignatureColumn<'a>(pub(super) &'a str);

impl ToSql for SignatureColumn<'_> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(match encode_signature(self.0) {
            Some(bytes) => ToSqlOutput::Owned(Value::Blob(bytes.to_vec())),
            None => ToSqlOutput::from(self.0),
        })
    }
}

/// The short form, if it gives exactly this text again.
fn encode_signature(header: &str) -> Option<[u8; SIGNATURE_BYTES]> {
    let (time, digest) = header.strip_prefix("v=")?.split_once(",d=")?;
    let mut bytes = [0; SIGNATURE_BYTES];
    let (digest_bytes, time_bytes) = bytes.split_at_mut(32);
    hex::decode_to_slice(digest, digest_bytes).ok()?;
    let [0, 0, time @ ..] = time.parse::<u64>().ok()?.to_be_bytes() else { return None };
    time_bytes.copy_from_slice(&time);
    (decode_signature(&bytes)? == header).then_some(bytes)
}

fn decode_signature(bytes: &[u8]) -> Option<String> {
    let (digest, time) = bytes.split_at_checked(32)?;
    let mut time_bytes = [0; 8];
    time_bytes.get_mut(2..).filter(|bytes| bytes.len() == time.len())?.copy_from_slice(time);
    Some(format!("v={},d={}", u64::from_be_bytes(time_bytes), hex::encode(digest)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read_back<T: ToSql>(column: T) -> String {
        let conn = rusqlite::Connection::open_in_memory().unwrap();
        conn.query_row("SELECT ?1", [column], |row| row.get(0).map(|ShortenedText(text)| text)).unwrap()
    }

    #[test]
    fn every_origin_and_state_has_its_own_code() {
        assert_eq!(ORIGINS.map(EventCode::code), [0, 1, 2, 3]);
        assert_eq!(STATES.map(EventCode::code), [0, 1]);
    }

    #[test]
    fn only_a_signature_that_reads_back_as_it_was_is_shortened() {
        let digest = "0123456789abcdef".repeat(4);
        assert!(encode_signature(&format!("v=1790000000000,d={digest}")).is_some());
        let upper_case = digest.to_uppercase();
        for other in [
            format!("v=01790000000000,d={digest}"),
            format!("v=1790000000000,d={upper_case}"),
            format!("v=281474976710656,d={digest}"),
            format!("v=+1,d={digest}"),
            format!("v=1,d={digest}0"),
            String::new(),
        ] {
            assert_eq!(encode_signature(&other), None, "{other}");
            assert_eq!(read_back(SignatureColumn(&other)), other);
        }
    }

    proptest! {
        #[test]
        fn texts_read_back_as_they_were(time: u64, digest: [u8; 32], text in ".{0,40}") {
            let signature = format!("v={time},d={}", hex::encode(digest));
            for header in [&signature, &text] {
                prop_assert_eq!(&read_back(SignatureColumn(header)), header);
            }
            for content_type in [JSON_CONTENT_TYPE, "application/json; charset=utf-8", &text] {
                prop_assert_eq!(&read_back(ContentTypeColumn(content_type)), content_type);
            }
        }
    }
}
