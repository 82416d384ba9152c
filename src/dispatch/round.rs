//! A round: what a worker asks of the store, at once, so that it shares one commit.

use std::sync::Arc;

use super::plan;
use crate::handlers::Registered;
use crate::storage::{Claim, Claimed, HandlerId, Planned, Settled, Store, StoreError};

/// Rows changed by each part of a round: few, since a transaction that a request waits for has such parts in it. More at
/// once would not be faster either: what was claimed is then worked on while the store is asked for more.
pub(super) const ROWS: usize = 64;

/// What is asked.
pub(super) struct Round {
    pub(super) store: Arc<dyn Store>,
    pub(super) registered: Arc<Registered>,
    pub(super) id: HandlerId,
    pub(super) now_ms: i64,
    /// What ended since the last round.
    pub(super) settled: Vec<Settled>,
    /// What may be taken; none while there is no room.
    pub(super) claim: Option<Claim>,
}

/// What came of it.
pub(super) struct Rounded {
    /// Taken, in this order.
    pub(super) claimed: Vec<Claimed>,
    /// Events that became no attempt.
    pub(super) skipped: u64,
    /// Whether anything was done.
    pub(super) busy: bool,
    /// What could not be written down yet.
    pub(super) unsettled: Vec<Settled>,
    pub(super) failed: Option<StoreError>,
}

impl Round {
    /// Writes down what ended, makes deliveries of the next events, and takes what is due then.
    pub(super) async fn run(mut self) -> Rounded {
        let mut unsettled = self.settled.split_off(ROWS.min(self.settled.len()));
        let (news, due_ms) = tokio::join!(self.news(), self.store.next_due(self.id));
        let mut failed = None;
        let planned = news.unwrap_or_else(|error| {
            failed = Some(error);
            None
        });
        let skipped = planned.iter().flat_map(|(planned, _)| planned).filter(|planned| planned.skipped.is_some());
        let skipped = skipped.count() as u64;
        let changes = planned.is_some() || !self.settled.is_empty();
        let claim = self.claim.clone().filter(|claim| {
            changes || due_ms.as_ref().is_ok_and(|due_ms| due_ms.is_some_and(|due_ms| due_ms <= claim.due_before_ms))
        });
        // In this order, within one transaction as a rule.
        let (settled, planned, claimed) = tokio::join!(self.settle(), self.plan(planned), self.take(claim));
        let busy = changes || claimed.as_ref().is_ok_and(|claimed| !claimed.is_empty());
        if settled.is_err() {
            unsettled.extend(self.settled);
        }
        let mut note = |error| failed = Some(error);
        settled.unwrap_or_else(&mut note);
        planned.unwrap_or_else(&mut note);
        let claimed = claimed.unwrap_or_else(|error| {
            note(error);
            Vec::new()
        });
        if let Err(error) = due_ms {
            note(error);
        }
        Rounded { claimed, skipped, busy, unsettled, failed }
    }

    /// The deliveries that the next events of the journal become, and the last of these events.
    async fn news(&self) -> Result<Option<(Vec<Planned>, i64)>, StoreError> {
        let filter = &self.registered.filter;
        let events = self.store.unplanned(self.id, ROWS, filter.needs_body()).await?;
        let Some(through) = events.last().map(|(event, _)| event.seq) else {
            return Ok(None);
        };
        let planned = events
            .iter()
            .filter_map(|(event, body)| plan::planned(&self.registered, event, filter.matches(event, body.as_ref())));
        Ok(Some((planned.collect(), through)))
    }

    async fn settle(&self) -> Result<(), StoreError> {
        if self.settled.is_empty() {
            return Ok(());
        }
        self.store.settle(self.id, self.settled.clone(), self.now_ms).await
    }

    async fn plan(&self, planned: Option<(Vec<Planned>, i64)>) -> Result<(), StoreError> {
        match planned {
            Some((planned, through)) => self.store.plan(self.id, planned, through, self.now_ms).await,
            None => Ok(()),
        }
    }

    async fn take(&self, claim: Option<Claim>) -> Result<Vec<Claimed>, StoreError> {
        match claim {
            Some(claim) => self.store.claim(self.id, claim).await,
            None => Ok(Vec::new()),
        }
    }
}
