//! Finds what is to be erased for a person: by the ids of calls, or by a phone number in whatever the store holds.

use std::collections::{BTreeSet, HashSet};

use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row, params};

use crate::security::phone_number::PhoneNumber;
use crate::storage::sqlite::bodies::{BodyFileReader, BodyLocation};
use crate::storage::{IdentityKey, StoreError};

/// Events looked at in one go; a reader that stays longer holds the log up.
const MAX_ROWS_SCANNED: usize = 2_000;
/// Bytes of bodies looked at in one go.
const MAX_BODY_BYTES_SCANNED: usize = 16 * 1024 * 1024;

/// A call or chat: the number of its company, and its id.
type CallKey = (i64, String);

/// Whose data it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct DataSubject {
    call_keys: BTreeSet<CallKey>,
    /// The ids of these calls: those that are one word, and others.
    whole_word_ids: HashSet<Vec<u8>>,
    substring_ids: HashSet<Vec<u8>>,
    /// A phone number, however it is spelled.
    phone_number: Option<PhoneNumber>,
    /// Only this company.
    company_id: Option<i64>,
}

/// What a look at a part of the journal has found.
#[derive(Debug, Default)]
pub(crate) struct JournalScanResult {
    /// Events in which the number is.
    pub matching_seqs: Vec<i64>,
    /// Their calls.
    pub matching_calls: Vec<CallKey>,
    /// Bodies that could not be read.
    pub unreadable_bodies: u64,
    /// The last event looked at; `None` at the journal's end.
    pub next_after: Option<i64>,
}

impl DataSubject {
    /// Nobody's calls yet; whoever has this number, if one is given.
    #[must_use]
    pub(crate) fn new(number: Option<PhoneNumber>, company: Option<i64>) -> Self {
        Self { phone_number: number, company_id: company, ..Self::default() }
    }

    /// Whether this text is about the person: it holds the number or the id of a call.
    #[must_use]
    pub(crate) fn matches_text(&self, text: &[u8]) -> bool {
        self.phone_number.as_ref().is_some_and(|number| number.occurs_in(text)) || self.matches_id(text)
    }

    /// There may be thousands of calls, and millions of lines to be looked at.
    fn matches_id(&self, text: &[u8]) -> bool {
        if self.whole_word_ids.is_empty() && self.substring_ids.is_empty() {
            return false;
        }
        let words = || text.split(|byte| !is_id_byte(*byte)).filter(|word| !word.is_empty());
        words().any(|word| self.whole_word_ids.contains(word))
            || self.substring_ids.iter().any(|id| contains_bytes(text, id))
    }

    /// Adds calls.
    pub(crate) fn add_calls(&mut self, calls: impl IntoIterator<Item = CallKey>) {
        for (company, call_id) in calls {
            let id = call_id.as_bytes().to_vec();
            if id.iter().copied().all(is_id_byte) {
                self.whole_word_ids.insert(id);
            } else {
                self.substring_ids.insert(id);
            }
            self.call_keys.insert((company, call_id));
        }
    }

    /// Adds words, such as the ids of events, that are about nobody else.
    pub(crate) fn add_ids(&mut self, words: impl IntoIterator<Item = String>) {
        self.whole_word_ids.extend(words.into_iter().map(String::into_bytes));
    }

    /// The same number, and no calls.
    #[must_use]
    pub(crate) fn without_calls(&self) -> Self {
        Self::new(self.phone_number.clone(), self.company_id)
    }

    /// The calls and chats that were added, with the number of their company.
    #[must_use]
    pub(crate) fn calls(&self) -> &BTreeSet<CallKey> {
        &self.call_keys
    }

    pub(super) fn includes_company(&self, company: i64) -> bool {
        self.company_id.is_none_or(|only| only == company)
    }
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn contains_bytes(text: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && text.windows(wanted.len()).any(|part| part == wanted)
}

/// Looks at the events after `after`.
pub(in crate::storage::sqlite) fn scan_journal(
    conn: &Connection,
    bodies: &BodyFileReader,
    person: &DataSubject,
    after: i64,
) -> Result<JournalScanResult, StoreError> {
    let mut rows = conn.prepare_cached(
        "SELECT seq, company_id, call_id, query, size_bytes, body_file, body_at, body FROM events
         WHERE seq > ?1 ORDER BY seq LIMIT ?2",
    )?;
    let mut rows = rows.query(params![after, MAX_ROWS_SCANNED])?;
    let (mut found, mut looked, mut bytes, mut at) = (JournalScanResult::default(), 0, 0, after);
    while let Some(row) = rows.next()? {
        let (seq, company): (i64, i64) = (row.get(0)?, row.get(1)?);
        (looked, at) = (looked + 1, seq);
        if person.includes_company(company) {
            bytes += row.get::<_, usize>(4)?;
            match event_matches(row, bodies, person)? {
                None => found.unreadable_bodies += 1,
                Some(false) => {}
                Some(true) => {
                    found.matching_seqs.push(seq);
                    found.matching_calls.extend(row.get::<_, Option<String>>(2)?.map(|call_id| (company, call_id)));
                }
            }
        }
        if bytes > MAX_BODY_BYTES_SCANNED {
            break;
        }
    }
    found.next_after = (looked == MAX_ROWS_SCANNED || bytes > MAX_BODY_BYTES_SCANNED).then_some(at);
    Ok(found)
}

/// `None` when the body cannot be read.
fn event_matches(row: &Row, bodies: &BodyFileReader, person: &DataSubject) -> rusqlite::Result<Option<bool>> {
    for column in [2, 3] {
        if row.get_ref(column)?.as_bytes_or_null()?.is_some_and(|text| person.matches_text(text)) {
            return Ok(Some(true));
        }
    }
    Ok(match row.get(5)? {
        Some(file) => {
            let body = bodies.read(BodyLocation { file_number: file, offset: row.get(6)? }, row.get(4)?);
            body.ok().map(|body| person.matches_text(&body))
        }
        None => Some(person.matches_text(row.get_ref(7)?.as_blob()?)),
    })
}

/// The events of the calls: older ones through the index, the tail it does not cover yet by looking at each.
pub(in crate::storage::sqlite) fn list_event_seqs_of_calls(
    conn: &Connection,
    key: &IdentityKey,
    calls: &BTreeSet<CallKey>,
) -> Result<BTreeSet<i64>, StoreError> {
    let mut seqs = BTreeSet::new();
    let mut indexed = conn.prepare_cached(
        "SELECT seq FROM events WHERE company_id = ?1 AND call_id = ?2
         AND seq IN (SELECT seq FROM event_keys WHERE key BETWEEN ?3 AND ?4)",
    )?;
    for (company, call_id) in calls {
        let (first, last) = key.call_key_range(call_id).into_inner();
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
pub(super) const CALL_TABLES: [&str; 4] =
    ["calls WHERE 1", "chats WHERE 1", "call_texts WHERE kind = 'call'", "call_texts WHERE kind = 'chat'"];

/// Calls and chats whose rows hold the number, whatever became of their events; and where to go on.
pub(super) fn find_calls_in_table(
    conn: &Connection,
    person: &DataSubject,
    rows: &str,
    (company, call_id): &CallKey,
) -> Result<(Vec<CallKey>, Option<CallKey>), StoreError> {
    let sql = format!(
        "SELECT company_id, call_id, * FROM {rows} AND (company_id, call_id) > (?1, ?2)
         ORDER BY company_id, call_id LIMIT ?3"
    );
    let mut statement = conn.prepare_cached(&sql)?;
    let columns = statement.column_count();
    let mut rows = statement.query(params![company, call_id, MAX_ROWS_SCANNED])?;
    let (mut found, mut looked, mut at) = (Vec::new(), 0, None);
    while let Some(row) = rows.next()? {
        let call = (row.get(0)?, row.get(1)?);
        if person.includes_company(call.0) && row_matches(row, columns, person)? {
            found.push(call.clone());
        }
        (looked, at) = (looked + 1, Some(call));
    }
    Ok((found, at.filter(|_| looked == MAX_ROWS_SCANNED)))
}

/// Whether any text or bytes of a row are about the person.
pub(super) fn row_matches(row: &Row, columns: usize, person: &DataSubject) -> rusqlite::Result<bool> {
    for column in 0..columns {
        if let ValueRef::Text(bytes) | ValueRef::Blob(bytes) = row.get_ref(column)?
            && person.matches_text(bytes)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
