//! Finds the events that are about the person.

use std::collections::BTreeSet;

use super::{ErasableStore, ErasureRequest, ErasureSubject};
use crate::base::escape::escape_text;
use crate::operations::{ItemKind, OperationError, Progress, ProgressCallback};
use crate::storage::{DataSubject, Position, Seq, StoreError};

/// The person's identifiers and events found so far.
pub(super) struct PersonSearch {
    pub(super) person: DataSubject,
    /// Sequence numbers of the events to erase.
    pub(super) seqs: BTreeSet<Seq>,
    /// Bodies that could not be read.
    pub(super) unreadable_bodies: u64,
    /// Position up to which the journal was scanned.
    scanned_through: Position,
}

impl PersonSearch {
    pub(super) async fn new(
        store: &(impl ErasableStore + ?Sized),
        ErasureRequest { subject, company, .. }: &ErasureRequest,
    ) -> Result<Self, OperationError> {
        let mut companies = store.list_companies().await?;
        if let Some(slug) = company {
            companies.retain(|(known, _)| known == slug);
            if companies.is_empty() {
                let message = format!("no company `{}` in the store; check the slug", escape_text(slug));
                return Err(OperationError::not_found(ItemKind::Company, message));
            }
        }
        let company_id = if company.is_some() { companies.first().map(|(_, id)| *id) } else { None };
        let person = match subject {
            ErasureSubject::Phone(number) => DataSubject::new(Some(number.clone()), company_id),
            ErasureSubject::Call(call) if call.is_empty() => {
                let message = "the id of the call is empty; give the id of a call or chat";
                return Err(OperationError::InvalidInput(message.to_owned()));
            }
            ErasureSubject::Call(call) => {
                let mut person = DataSubject::new(None, company_id);
                person.add_calls(companies.iter().map(|(_, id)| (*id, call.clone())));
                person
            }
        };
        Ok(Self::of_person(person))
    }

    pub(super) fn of_person(person: DataSubject) -> Self {
        Self { person, seqs: BTreeSet::new(), unreadable_bodies: 0, scanned_through: Position::START }
    }

    /// Searches the whole store. The calls with the number are found in the table of calls as well as in event bodies:
    /// either may have been deleted by retention while the other is still there.
    pub(super) async fn run(
        &mut self,
        store: &(impl ErasableStore + ?Sized),
        progress: ProgressCallback<'_>,
    ) -> Result<(), StoreError> {
        let total = store.last_position().await?.distance(Position::START);
        progress(Progress { step: "searched", done: 0, total });
        if self.person.has_number() {
            let calls = store.find_calls(self.person.clone()).await?;
            self.scan_journal(store, progress).await?;
            self.person.add_calls(calls);
        }
        self.add_call_events(store).await
    }

    /// Searches for what was stored since the previous search, whose events have been erased.
    pub(super) async fn run_again(
        &mut self,
        store: &(impl ErasableStore + ?Sized),
        progress: ProgressCallback<'_>,
    ) -> Result<(), StoreError> {
        self.seqs.clear();
        if self.person.has_number() {
            self.scan_journal(store, progress).await?;
        }
        self.add_call_events(store).await
    }

    /// Adds all events of the calls found: also events without the number contain what the person said.
    async fn add_call_events(&mut self, store: &(impl ErasableStore + ?Sized)) -> Result<(), StoreError> {
        self.seqs.extend(store.list_event_seqs_of_calls(self.person.calls().clone()).await?);
        self.person.add_ids(store.list_event_ids(self.seqs.clone()).await?);
        Ok(())
    }

    async fn scan_journal(
        &mut self,
        store: &(impl ErasableStore + ?Sized),
        progress: ProgressCallback<'_>,
    ) -> Result<(), StoreError> {
        let last = store.last_position().await?;
        let start = self.scanned_through;
        // Events of the calls found so far are selected by their ids afterwards; comparing every body with every id
        // would be slow.
        let number_only = self.person.without_calls();
        let mut next = Some(self.scanned_through);
        while let Some(after) = next {
            let batch = store.scan_journal(number_only.clone(), after).await?;
            self.seqs.extend(batch.matching_seqs);
            self.person.add_calls(batch.matching_calls);
            self.unreadable_bodies += batch.unreadable_bodies;
            next = batch.next_after;
            let done = next.unwrap_or(last).distance(start);
            progress(Progress { step: "searched", done, total: last.distance(start) });
        }
        self.scanned_through = last;
        Ok(())
    }
}
