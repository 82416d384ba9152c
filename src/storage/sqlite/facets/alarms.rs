//! Alarms, activity and rejected requests.

use async_trait::async_trait;

use crate::storage::sqlite::{SqliteStore, alarms, rejected};
use crate::storage::{
    ActivityRow, AlarmKind, AlarmRow, AlarmStore, RejectedFilter, RejectedId, RejectedRequest, RejectedStore,
    StoreError, StoredRejectedRequest,
};

#[async_trait]
impl AlarmStore for SqliteStore {
    async fn raise_alarm(&self, alarm: AlarmRow) -> Result<(), StoreError> {
        self.writer()?.write_background(1, move |state| alarms::raise_alarm(&state.conn, &alarm)).await
    }

    async fn resolve_alarm(&self, kind: AlarmKind, subject: String) -> Result<(), StoreError> {
        self.writer()?.write_background(1, move |state| alarms::resolve_alarm(&state.conn, kind, &subject)).await
    }

    async fn list_alarms(&self) -> Result<Vec<AlarmRow>, StoreError> {
        self.readers.read(|reader| alarms::list_alarms(&reader.conn)).await
    }

    async fn add_activity(&self, counts: Vec<ActivityRow>, forget_before: Option<i64>) -> Result<(), StoreError> {
        self.writer()?
            .write_background(64, move |state| alarms::add_activity(&mut state.conn, &counts, forget_before))
            .await
    }

    async fn list_activity(&self) -> Result<Vec<ActivityRow>, StoreError> {
        self.readers.read(|reader| alarms::list_activity(&reader.conn)).await
    }
}

#[async_trait]
impl RejectedStore for SqliteStore {
    async fn insert_rejected(&self, request: RejectedRequest) -> Result<RejectedId, StoreError> {
        self.writer()?.write_background(1, move |state| rejected::insert(&state.conn, &request)).await
    }

    async fn list_rejected(
        &self,
        filter: RejectedFilter,
        limit: usize,
    ) -> Result<Vec<StoredRejectedRequest>, StoreError> {
        self.readers.read(move |reader| rejected::list(&reader.conn, &filter, limit)).await
    }

    async fn get_rejected(&self, id: RejectedId) -> Result<Option<StoredRejectedRequest>, StoreError> {
        self.readers.read(move |reader| rejected::get(&reader.conn, id)).await
    }
}
