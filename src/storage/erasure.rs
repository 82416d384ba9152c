//! What an erasure looks for and what it reports.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::backup::ErasedNumbers;

use super::Position;
use crate::base::escape::{escape_json, escape_text};
use crate::base::id::CompanyId;
use crate::privacy::phone_number::PhoneNumber;
use crate::storage::Seq;

/// A call or chat: the id of its company, and its own id. Call ids are unique within a company only.
pub(crate) type CallKey = (CompanyId, String);

/// The person whose data is searched: a phone number, calls, or both.
#[derive(Clone, Debug, Default)]
pub struct DataSubject {
    call_keys: BTreeSet<CallKey>,
    /// Ids that consist of word characters; see [`is_id_byte`]. Found by hashing each word of a text.
    whole_word_ids: HashSet<Vec<u8>>,
    /// Other ids, found by a substring search each.
    substring_ids: HashSet<Vec<u8>>,
    /// Matches in all usual spellings.
    phone_number: Option<PhoneNumber>,
    /// Numbers of which only digests are known.
    erased_numbers: Option<Arc<ErasedNumbers>>,
    /// Limits the search to one company.
    company_id: Option<CompanyId>,
}

/// The result of a search in one part of the journal.
#[derive(Debug, Default)]
pub struct JournalScanResult {
    pub matching_seqs: Vec<Seq>,
    /// The calls of these events: all their events belong to the person.
    pub matching_calls: Vec<CallKey>,
    pub unreadable_bodies: u64,
    /// The position after the last event searched; `None` at the end of the journal.
    pub next_after: Option<Position>,
}

impl DataSubject {
    /// A data subject without calls; [`Self::add_calls`] adds them.
    #[must_use]
    pub(crate) fn new(number: Option<PhoneNumber>, company: Option<CompanyId>) -> Self {
        Self { phone_number: number, company_id: company, ..Self::default() }
    }

    /// Persons of whom the erasure log has the numbers.
    pub(super) fn of_erased_numbers(numbers: Arc<ErasedNumbers>, company: Option<CompanyId>) -> Self {
        let erased_numbers = Some(numbers).filter(|numbers| !numbers.is_empty());
        Self { erased_numbers, company_id: company, ..Self::default() }
    }

    /// Whether a text contains a phone number or one of the ids.
    #[must_use]
    pub(crate) fn matches_text(&self, text: &[u8]) -> bool {
        self.phone_number.as_ref().is_some_and(|number| number.occurs_in(text))
            || self.erased_numbers.as_ref().is_some_and(|numbers| numbers.occur_in(text))
            || self.matches_id(text)
    }

    pub(super) fn phone_number(&self) -> Option<&PhoneNumber> {
        self.phone_number.as_ref()
    }

    /// The only company whose data is searched.
    pub(super) fn company_id(&self) -> Option<CompanyId> {
        self.company_id
    }

    /// Whether a phone number is searched, which means reading every body.
    pub(crate) fn has_number(&self) -> bool {
        self.phone_number.is_some() || self.erased_numbers.is_some()
    }

    fn matches_id(&self, text: &[u8]) -> bool {
        // There may be thousands of ids and millions of log lines. Looking up each word takes the same time for any
        // number of ids; the substring search is only for the rare ids that are not words.
        if self.whole_word_ids.is_empty() && self.substring_ids.is_empty() {
            return false;
        }
        let words = || text.split(|byte| !is_id_byte(*byte)).filter(|word| !word.is_empty());
        words().any(|word| self.whole_word_ids.contains(word))
            || self.substring_ids.iter().any(|id| contains_bytes(text, id))
    }

    pub(crate) fn add_calls(&mut self, calls: impl IntoIterator<Item = CallKey>) {
        for (company, call_id) in calls {
            let id = call_id.as_bytes().to_vec();
            if id.iter().copied().all(is_id_byte) {
                self.whole_word_ids.insert(id);
            } else {
                self.substring_ids.insert(id);
                self.substring_ids.extend(escaped_forms(&call_id).map(String::into_bytes));
            }
            self.call_keys.insert((company, call_id));
        }
    }

    /// Adds other words that identify the person, such as the ids of the person's events.
    pub(crate) fn add_ids(&mut self, words: impl IntoIterator<Item = String>) {
        self.whole_word_ids.extend(words.into_iter().map(String::into_bytes));
    }

    /// The same phone number and company, without calls and ids.
    #[must_use]
    pub(crate) fn without_calls(&self) -> Self {
        let erased_numbers = self.erased_numbers.clone();
        Self { erased_numbers, ..Self::new(self.phone_number.clone(), self.company_id) }
    }

    /// All calls and chats added so far.
    #[must_use]
    pub(crate) fn calls(&self) -> &BTreeSet<CallKey> {
        &self.call_keys
    }

    pub(crate) fn includes_company(&self, company: CompanyId) -> bool {
        self.company_id.is_none_or(|only| only == company)
    }
}

/// An id as text logs show it, with and without quotes, and as JSON logs do.
fn escaped_forms(id: &str) -> impl Iterator<Item = String> {
    let quoted = [format!("{id:?}"), escape_json(&Value::from(id).to_string()).into_owned()];
    let inner = quoted.map(|quoted| escape_text(&quoted[1..quoted.len() - 1]).into_owned());
    inner.into_iter().chain([escape_text(id).into_owned()])
}

fn is_id_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-')
}

fn contains_bytes(text: &[u8], wanted: &[u8]) -> bool {
    !wanted.is_empty() && text.windows(wanted.len()).any(|part| part == wanted)
}

/// Numbers of rows that an erasure deleted or would delete.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ErasureCounts {
    pub events: u64,
    /// Sum of the sizes of the events' bodies.
    pub body_bytes: u64,
    /// Unfinished or dead deliveries of the events: they are not attempted any more.
    pub cancelled_deliveries: u64,
    pub attempts: u64,
    /// Rows of calls and of chats.
    pub calls: u64,
    pub rejected: u64,
    /// Invocations of custom functions, from the ledger database.
    pub invocations: u64,
    pub appointments: u64,
}

impl std::ops::AddAssign for ErasureCounts {
    fn add_assign(&mut self, other: Self) {
        self.events += other.events;
        self.body_bytes += other.body_bytes;
        self.cancelled_deliveries += other.cancelled_deliveries;
        self.attempts += other.attempts;
        self.calls += other.calls;
        self.rejected += other.rejected;
        self.invocations += other.invocations;
        self.appointments += other.appointments;
    }
}

/// The events that each handler received, by handler name. What a handler did with them is beyond the reach of an
/// erasure.
pub(crate) type EventsByHandler = BTreeMap<String, BTreeSet<Seq>>;
