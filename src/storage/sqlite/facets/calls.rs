//! Records of calls, and answers to inbound requests.

use async_trait::async_trait;

use crate::base::id::{CompanyId, EventId};
use crate::calls::{CallFilter, CallKind, CallRecord, CallStats, CallStatsFilter};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::sqlite::{SqliteStore, calls, inbound};
use crate::storage::{
    CallStore, CallerHistory, InboundAnswerRecord, InboundAnswerStore, StoreError, TotalsCorrection, TotalsPosition,
};

#[async_trait]
impl CallStore for SqliteStore {
    #[cfg(test)]
    async fn merge_call(&self, call: CallRecord) -> Result<(), StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        writer.write(move |state| calls::merge_call(&state.conn, &key, &mut state.call_totals, &call)).await
    }

    async fn list_calls(&self, filter: CallFilter) -> Result<Vec<CallRecord>, StoreError> {
        self.readers.read(move |reader| calls::list_calls(&reader.conn, &filter)).await
    }

    async fn get_call(&self, kind: CallKind, call_id: &str) -> Result<Option<CallRecord>, StoreError> {
        let call_id = call_id.to_owned();
        let find = move |reader: &ReaderContext| calls::find_by_id(&reader.conn, &reader.identity_key, kind, &call_id);
        self.readers.read(find).await
    }

    async fn call_stats(&self, filter: CallStatsFilter) -> Result<CallStats, StoreError> {
        self.readers.read(move |reader| calls::compute_stats(&reader.conn, &filter)).await
    }

    async fn correct_call_totals(&self, position: TotalsPosition) -> Result<TotalsCorrection, StoreError> {
        self.operator().await?.run(move |operator| operator.store.correct_call_totals(position)).await
    }

    async fn caller_history(&self, company_id: CompanyId, number: &str) -> Result<CallerHistory, StoreError> {
        let number = number.to_owned();
        self.live_readers().read(move |reader| inbound::caller_history(&reader.conn, company_id, &number)).await
    }
}

#[async_trait]
impl InboundAnswerStore for SqliteStore {
    async fn insert_inbound_answer(&self, answered: InboundAnswerRecord) -> Result<(), StoreError> {
        self.writer()?.write_background(1, move |state| inbound::insert_answer(&state.conn, &answered)).await
    }

    async fn get_inbound_answer(&self, event_id: EventId) -> Result<Option<InboundAnswerRecord>, StoreError> {
        self.live_readers().read(move |reader| inbound::get_answer(&reader.conn, event_id)).await
    }
}
