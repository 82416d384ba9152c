//! Finds what is to be erased for a person: by the ids of calls, or by a phone number in whatever the store holds.

use std::collections::{BTreeSet, HashSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use crate::security::number::Number;
use crate::storage::sqlite::bodies::{BodyFiles, Place};
use crate::storage::{IdentityKey, StoreError};

/// Events looked at in one go; a reader that stays longer holds the log up.
const LOOKED_AT: usize = 2_000;
/// Bytes of bodies looked at in one go.
const LOOKED_BYTES: usize = 16 * 1024 * 1024;

/// A call or chat: the number of its company, and its id.
type Call = (i64, String);

/// Whose data it is.
#[derive(Clone, Debug, Default)]
pub struct Person {
    calls: BTreeSet<Call>,
    /// The ids of these calls: those that are one word, and others.
    ids: HashSet<Vec<u8>>,
    odd_ids: HashSet<Vec<u8>>,
    /// A phone number, however it is spelled.
    number: Option<Number>,
    /// Only this company.
    company: Option<i64>,
}

/// What a look at a part of the journal has found.
#[derive(Debug, Default)]
pub struct Found {
    /// Events in which the number is.
    pub seqs: Vec<i64>,
    /// Their calls.
    pub calls: Vec<Call>,
    /// Bodies that could not be read.
    pub unreadable: u64,
    /// The last event looked at; `None` at the journal's end.
    pub next: Option<i64>,
}

impl Person {
    /// Nobody's calls yet; whoever has this number, if one is given.
    #[must_use]
    pub fn new(number: Option<Number>, company: Option<i64>) -> Self {
        Self { number, company, ..Self::default() }
    }

    /// Whether this text is about the person: it holds the number or the id of a call.
    #[must_use]
    pub fn is_in(&self, text: &[u8]) -> bool {
        self.number.as_ref().is_some_and(|number| number.is_in(text)) || self.has_call_in(text)
    }

    /// There may be thousands of calls, and millions of lines to be looked at.
    fn has_call_in(&self, text: &[u8]) -> bool {
        if self.ids.is_empty() && self.odd_ids.is_empty() {
            return false;
        }
        let words = || text.split(|byte| !in_id(*byte)).filter(|word| !word.is_empty());
        words().any(|word| self.ids.contains(word)) || self.odd_ids.iter().any(|id| holds(text, id))
    }

    /// Adds calls.
    pub fn add_calls(&mut self, calls: impl IntoIterator<Item = Call>) {
        for (company, call_id) in calls {
            let id = call_id.as_bytes().to_vec();
            if id.iter().copied().all(in_id) {
                self.ids.insert(id);
            } else {
                self.odd_ids.insert(id);
            }
            self.calls.insert((company, call_id));
        }
    }

    /// Adds words, such as the ids of events, that are about nobody else.
    pub fn add_words(&mut self, words: impl IntoIterator<Item = String>) {
        self.ids.extend(words.into_iter().map(String::into_bytes));
    }

    /// The same number, and no calls.
    #[must_use]
    pub fn without_calls(&self) -> Self {
        Self::new(self.number.clone(), self.company)
    }

    /// The calls and chats that were added, with the number of their company.
    #[must_use]
    pub fn calls(&self) -> &BTreeSet<Call> {
        &self.calls
    }

    pub(super) fn is_of(&self, company: i64) -> bool {
        self.company.is_none_or(|only| only == company)
    }
}

fn in_id(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn holds(text: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && text.windows(wanted.len()).any(|part| part == wanted)
}

/// Looks at the events after `after`.
pub(in crate::storage::sqlite) fn scan(
    conn: &Connection,
    bodies: &BodyFiles,
    person: &Person,
    after: i64,
) -> Result<Found, StoreError> {
    let mut rows = conn.prepare_cached(
        "SELECT seq, company_id, call_id, query, size_bytes, body_file, body_at, body FROM events
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = rows.query(params![after, LOOKED_AT])?;
    let (mut found, mut looked, mut bytes, mut at) = (Found::default(), 0, 0, after);
    while let Some(row) = rows.next()? {
        let (seq, company): (i64, i64) = (row.get(0)?, row.get(1)?);
        (looked, at) = (looked + 1, seq);
        if person.is_of(company) {
            bytes += row.get::<_, usize>(4)?;
            match is_in_event(row, bodies, person)? {
                None => found.unreadable += 1,
                Some(false) => {}
                Some(true) => {
                    found.seqs.push(seq);
                    found.calls.extend(row.get::<_, Option<String>>(2)?.map(|call_id| (company, call_id)));
                }
            }
        }
        if bytes > LOOKED_BYTES {
            break;
        }
    }
    found.next = (looked == LOOKED_AT || bytes > LOOKED_BYTES).then_some(at);
    Ok(found)
}

/// `None` when the body cannot be read.
fn is_in_event(row: &Row, bodies: &BodyFiles, person: &Person) -> rusqlite::Result<Option<bool>> {
    for column in [2, 3] {
        if row.get_ref(column)?.as_bytes_or_null()?.is_some_and(|text| person.is_in(text)) {
            return Ok(Some(true));
        }
    }
    Ok(match row.get(5)? {
        Some(file) => {
            let body = bodies.read(Place { file, at: row.get(6)? }, row.get(4)?);
            body.ok().map(|body| person.is_in(&body))
        }
        None => Some(person.is_in(row.get_ref(7)?.as_blob()?)),
    })
}

/// The events of the calls: older ones through the index, the tail it does not cover yet by looking at each.
pub(in crate::storage::sqlite) fn events_of(
    conn: &Connection,
    key: &IdentityKey,
    calls: &BTreeSet<Call>,
) -> Result<BTreeSet<i64>, StoreError> {
    let mut seqs = BTreeSet::new();
    let mut indexed = conn.prepare_cached(
        "SELECT seq FROM events WHERE company_id = ?1 AND call_id = ?2
         AND seq IN (SELECT seq FROM event_keys WHERE key BETWEEN ?3 AND ?4)",
    )?;
    for (company, call_id) in calls {
        let (first, last) = key.call_range(call_id).into_inner();
        let rows = indexed.query_map(params![company, call_id, first, last], |row| row.get::<_, i64>(0))?;
        for seq in rows {
            seqs.insert(seq?);
        }
    }
    let mut tail = conn.prepare_cached(
        "SELECT seq, company_id, call_id FROM events WHERE call_id IS NOT NULL
         AND seq > (SELECT value FROM progress WHERE name = 'indexed_through')",
    )?;
    let mut rows = tail.query([])?;
    while let Some(row) = rows.next()? {
        if calls.contains(&(row.get(1)?, row.get(2)?)) {
            seqs.insert(row.get(0)?);
        }
    }
    Ok(seqs)
}

/// The rows a call or chat has, each in the order of its key.
pub(super) const CALL_ROWS: [&str; 4] =
    ["calls WHERE 1", "chats WHERE 1", "call_texts WHERE kind = 'call'", "call_texts WHERE kind = 'chat'"];

/// Calls and chats whose rows hold the number, whatever became of their events; and where to go on.
pub(super) fn calls_with(
    conn: &Connection,
    person: &Person,
    rows: &str,
    (company, call_id): &Call,
) -> Result<(Vec<Call>, Option<Call>), StoreError> {
    let sql = format!(
        "SELECT company_id, call_id, * FROM {rows} AND (company_id, call_id) > (?1, ?2)
         ORDER BY company_id, call_id LIMIT ?3"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query(params![company, call_id, LOOKED_AT])?;
    let (mut found, mut looked, mut at) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let call = (row.get(0)?, row.get(1)?);
        if person.is_of(call.0) && is_in_row(row, columns, person)? {
            found.push(call.clone());
        }
        (looked, at) = (looked + 1, Some(call));
    }
    Ok((found, at.filter(|_| looked == LOOKED_AT)))
}

/// Whether any text or bytes of a row are about the person.
pub(super) fn is_in_row(row: &Row, columns: usize, person: &Person) -> rusqlite::Result<bool> {
    for column in 0..columns {
        if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(column)?
            && person.is_in(bytes)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
