//! Which events are about the person.

use std::collections::BTreeSet;

use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::output::Failure;
use crate::security::number::Number;
use crate::storage::StoreError;
use crate::storage::sqlite::{Person, Removal};

/// What was found so far.
pub(super) struct Search {
    pub(super) person: Person,
    /// Events that are there and to be erased.
    pub(super) seqs: BTreeSet<i64>,
    /// Bodies that could not be looked into.
    pub(super) unreadable: u64,
    by_number: bool,
    /// How far the journal was looked at.
    through: i64,
}

impl Search {
    pub(super) fn new(
        removal: &Removal,
        call: Option<&str>,
        phone: Option<Number>,
        company: Option<&str>,
    ) -> Result<Self, Failure> {
        let mut companies = removal.companies()?;
        if let Some(slug) = company {
            companies.retain(|(known, _)| known == slug);
            if companies.is_empty() {
                return Err(Failure::Because(format!("the store knows no company `{slug}`")));
            }
        }
        let only = company.and_then(|_| companies.first()).map(|(_, id)| *id);
        let by_number = phone.is_some();
        let mut person = Person::new(phone, only);
        if let Some(call) = call.filter(|call| !call.is_empty()) {
            person.add_calls(companies.iter().map(|(_, id)| (*id, call.to_owned())));
        }
        Ok(Self { person, seqs: BTreeSet::new(), unreadable: 0, by_number, through: 0 })
    }

    /// Looks at everything.
    pub(super) fn look(&mut self, removal: &Removal) -> Result<(), StoreError> {
        if self.by_number {
            let calls = removal.calls_with(&self.person)?;
            self.scan(removal)?;
            self.person.add_calls(calls);
        }
        self.take_calls(removal)
    }

    /// Looks at what came since, after what was found was erased.
    pub(super) fn look_again(&mut self, removal: &Removal) -> Result<(), StoreError> {
        self.seqs.clear();
        if self.by_number {
            self.scan(removal)?;
        }
        self.take_calls(removal)
    }

    /// The whole of every call, since later events carry the person's words too.
    fn take_calls(&mut self, removal: &Removal) -> Result<(), StoreError> {
        self.seqs.extend(removal.events_of(self.person.calls())?);
        self.person.add_words(removal.event_ids(&self.seqs)?);
        Ok(())
    }

    fn scan(&mut self, removal: &Removal) -> Result<(), StoreError> {
        let last = removal.last_seq()?;
        let progress = progress("looked at", last.abs_diff(self.through));
        // Without the calls found so far: those are found by their ids.
        let whose = self.person.without_calls();
        let mut next = Some(self.through);
        while let Some(after) = next {
            let found = removal.scan(&whose, after)?;
            self.seqs.extend(found.seqs);
            self.person.add_calls(found.calls);
            self.unreadable += found.unreadable;
            next = found.next;
            progress.inc(next.unwrap_or(last).abs_diff(after));
        }
        progress.finish_and_clear();
        self.through = last;
        Ok(())
    }
}

/// Drawn only where somebody watches.
pub(super) fn progress(done: &'static str, of: u64) -> ProgressBar {
    let bar = ProgressBar::new(of);
    if let Ok(style) = ProgressStyle::with_template("{bar:40} {pos} of {len} events {msg}, {eta} left") {
        bar.set_style(style);
    }
    bar.with_message(done)
}
