//! Which events are about the person.

use std::collections::BTreeSet;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::CliError;
use crate::security::phone_number::PhoneNumber;
use crate::storage::StoreError;
use crate::storage::sqlite::{DataSubject, OperatorRemoval};

/// What was found so far.
pub(super) struct PersonSearch {
    pub(super) person: DataSubject,
    /// Events that are there and to be erased.
    pub(super) seqs: BTreeSet<i64>,
    /// Bodies that could not be looked into.
    pub(super) unreadable_bodies: u64,
    by_phone: bool,
    /// How far the journal was looked at.
    scanned_through: i64,
}

impl PersonSearch {
    pub(super) fn new(
        removal: &OperatorRemoval,
        call: Option<&str>,
        phone: Option<PhoneNumber>,
        company: Option<&str>,
    ) -> Result<Self, CliError> {
        let mut companies = removal.list_companies()?;
        if let Some(slug) = company {
            companies.retain(|(known, _)| known == slug);
            if companies.is_empty() {
                return Err(CliError::Message(format!("the store knows no company `{slug}`")));
            }
        }
        let only = company.and_then(|_| companies.first()).map(|(_, id)| *id);
        let by_number = phone.is_some();
        let mut person = DataSubject::new(phone, only);
        if let Some(call) = call.filter(|call| !call.is_empty()) {
            person.add_calls(companies.iter().map(|(_, id)| (*id, call.to_owned())));
        }
        Ok(Self { person, seqs: BTreeSet::new(), unreadable_bodies: 0, by_phone: by_number, scanned_through: 0 })
    }

    /// Looks at everything.
    pub(super) fn run(&mut self, removal: &OperatorRemoval) -> Result<(), StoreError> {
        if self.by_phone {
            let calls = removal.find_calls(&self.person)?;
            self.scan_journal(removal)?;
            self.person.add_calls(calls);
        }
        self.add_call_events(removal)
    }

    /// Looks at what came since, after what was found was erased.
    pub(super) fn run_again(&mut self, removal: &OperatorRemoval) -> Result<(), StoreError> {
        self.seqs.clear();
        if self.by_phone {
            self.scan_journal(removal)?;
        }
        self.add_call_events(removal)
    }

    /// The whole of every call, since later events carry the person's words too.
    fn add_call_events(&mut self, removal: &OperatorRemoval) -> Result<(), StoreError> {
        self.seqs.extend(removal.list_event_seqs_of_calls(self.person.calls())?);
        self.person.add_ids(removal.list_event_ids(&self.seqs)?);
        Ok(())
    }

    fn scan_journal(&mut self, removal: &OperatorRemoval) -> Result<(), StoreError> {
        let last = removal.last_seq()?;
        let progress = erase_progress_bar("looked at", last.abs_diff(self.scanned_through));
        // Without the calls found so far: those are found by their ids.
        let whose = self.person.without_calls();
        let mut next = Some(self.scanned_through);
        while let Some(after) = next {
            let found = removal.scan_journal(&whose, after)?;
            self.seqs.extend(found.matching_seqs);
            self.person.add_calls(found.matching_calls);
            self.unreadable_bodies += found.unreadable_bodies;
            next = found.next_after;
            progress.inc(next.unwrap_or(last).abs_diff(after));
        }
        progress.finish_and_clear();
        self.scanned_through = last;
        Ok(())
    }
}

/// Drawn only where somebody watches.
pub(super) fn erase_progress_bar(done: &'static str, of: u64) -> ProgressBar {
    let bar = ProgressBar::new(of);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} events {msg}, {eta} left") {
        bar.set_style(style);
    }
    bar.with_message(done)
}
