//! Leading a duty: which of the receivers of a store removes old data and checks the alarms.

use std::sync::Arc;

use super::{Leadership, StoreError};
use crate::base::id::InstanceId;

/// Work that one receiver at a time does for all receivers of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Removing data that is past its retention.
    Retention,
    Alarms,
    /// Answering requests. A receiver leads it from its start on, so that commands know which one has the store open.
    Requests,
}

impl Duty {
    /// The name in the store.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Retention => "retention",
            Self::Alarms => "alarms",
            Self::Requests => "requests",
        }
    }
}

/// A receiver as the leader of a duty, or as a candidate.
pub(crate) struct DutyLeader {
    leadership: Arc<dyn Leadership>,
    duty: Duty,
    holder: InstanceId,
    /// The end of the current term.
    leads_until_ms: Option<i64>,
}

impl DutyLeader {
    pub(crate) fn new(leadership: Arc<dyn Leadership>, duty: Duty, holder: InstanceId) -> Self {
        Self { leadership, duty, holder, leads_until_ms: None }
    }

    /// Whether this receiver leads now. Asks the store only when no more than half of the term is left, so that a caller
    /// can ask at each step of its work.
    ///
    /// # Errors
    /// The store cannot tell; the current term has not changed.
    pub(crate) async fn leads(&mut self, term_ms: i64, now_ms: i64) -> Result<bool, StoreError> {
        let left_ms = self.leads_until_ms.map_or(0, |until_ms| until_ms.saturating_sub(now_ms));
        // Longer than a term: the clock was set back, and the other receivers know nothing of it.
        if (term_ms / 2 + 1..=term_ms).contains(&left_ms) {
            return Ok(true);
        }
        let until_ms = now_ms.saturating_add(term_ms);
        let leads = self.leadership.try_lead(self.duty, &self.holder, until_ms, now_ms).await?;
        self.leads_until_ms = leads.then_some(until_ms);
        Ok(leads)
    }

    /// Leaves the duty to another receiver.
    pub(crate) async fn resign(&mut self) {
        if self.leads_until_ms.take().is_some()
            && let Err(error) = self.leadership.resign(self.duty, &self.holder).await
        {
            // The term ends by itself.
            tracing::debug!(%error, duty = self.duty.as_str(), "resignation not stored");
        }
    }
}

/// A store with other receivers, as a test decides: each request to lead waits for the answer of the test.
#[cfg(test)]
pub(crate) struct ScriptedLeadership {
    requests: tokio::sync::mpsc::UnboundedSender<tokio::sync::oneshot::Sender<bool>>,
}

#[cfg(test)]
impl ScriptedLeadership {
    /// The store, and the requests to lead, each with the channel for its answer.
    pub(crate) fn new() -> (Arc<Self>, tokio::sync::mpsc::UnboundedReceiver<tokio::sync::oneshot::Sender<bool>>) {
        let (requests, received) = tokio::sync::mpsc::unbounded_channel();
        (Arc::new(Self { requests }), received)
    }
}

#[cfg(test)]
#[async_trait::async_trait]
impl Leadership for ScriptedLeadership {
    async fn try_lead(&self, _: Duty, _: &InstanceId, _: i64, _: i64) -> Result<bool, StoreError> {
        let (answer, answered) = tokio::sync::oneshot::channel();
        let _ = self.requests.send(answer);
        answered.await.map_err(|_| StoreError::unavailable("the test has ended"))
    }

    async fn find_leader(&self, _: Duty) -> Result<Option<String>, StoreError> {
        Ok(None)
    }

    async fn resign(&self, _: Duty, _: &InstanceId) -> Result<(), StoreError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use async_trait::async_trait;

    use super::*;

    const TERM_MS: i64 = 1_000;

    /// Records the ends of the terms that were requested; refuses them after `refuse` was set.
    #[derive(Default)]
    struct RecordedLeadership {
        terms: Mutex<Vec<i64>>,
        refuse: Mutex<bool>,
        resigned: Mutex<u32>,
    }

    #[async_trait]
    impl Leadership for RecordedLeadership {
        async fn try_lead(&self, _: Duty, _: &InstanceId, until_ms: i64, _: i64) -> Result<bool, StoreError> {
            self.terms.lock().unwrap().push(until_ms);
            Ok(!*self.refuse.lock().unwrap())
        }

        async fn find_leader(&self, _: Duty) -> Result<Option<String>, StoreError> {
            Ok(None)
        }

        async fn resign(&self, _: Duty, _: &InstanceId) -> Result<(), StoreError> {
            *self.resigned.lock().unwrap() += 1;
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_term_is_extended_in_its_second_half() {
        let store = Arc::new(RecordedLeadership::default());
        let mut leader = DutyLeader::new(store.clone(), Duty::Alarms, InstanceId::random());
        for now_ms in [0, 100, 499, 500, 900, 1_100, 0] {
            assert!(leader.leads(TERM_MS, now_ms).await.unwrap());
        }
        assert_eq!(
            *store.terms.lock().unwrap(),
            [1_000, 1_500, 2_100, 1_000],
            "the last one after the clock was set back"
        );
        leader.resign().await;
        leader.resign().await;
        assert_eq!(*store.resigned.lock().unwrap(), 1);
        *store.refuse.lock().unwrap() = true;
        assert!(!leader.leads(TERM_MS, 0).await.unwrap());
        assert!(!leader.leads(TERM_MS, 1).await.unwrap());
        leader.resign().await;
        assert_eq!((store.terms.lock().unwrap().len(), *store.resigned.lock().unwrap()), (6, 1));
    }
}
