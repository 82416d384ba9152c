//! Appointments. An appointment occupies one row of `appointment_slots` per step of its time, under a unique key. Two
//! callers can be offered the same time, but the database lets only one of them have it.

mod name_similarity;
mod read;
#[cfg(test)]
mod tests;
mod write;

use async_trait::async_trait;

use self::write::AppointmentWrite;
use super::SqliteStore;
use super::operator::{OperatorRemoval, OperatorStore};
use super::writer::WriterContext;
use super::writer::append::{self, EventKeys};
use crate::base::id::CompanyId;
use crate::storage::appointment::booking_event;
use crate::storage::{
    Appointment, AppointmentCancellation, AppointmentChange, AppointmentFilter, AppointmentStore, BookingEventData,
    BookingOutcome, BookingRequest, StoreError,
};

#[async_trait]
impl AppointmentStore for SqliteStore {
    async fn book_appointment(&self, booking: BookingRequest) -> Result<BookingOutcome, StoreError> {
        let event = booking.context.event.clone();
        self.write_with_event(event, move |conn| write::book(conn, &booking)).await
    }

    async fn change_appointment(&self, moving: AppointmentChange) -> Result<BookingOutcome, StoreError> {
        let event = moving.context.event.clone();
        self.write_with_event(event, move |conn| write::move_appointment(conn, &moving)).await
    }

    async fn cancel_appointment(&self, cancelling: AppointmentCancellation) -> Result<BookingOutcome, StoreError> {
        if self.writer.is_none() {
            let cancel = move |operator: &mut OperatorRemoval| operator.store.cancel_appointment(&cancelling);
            return self.operator().await?.run(cancel).await;
        }
        let event = cancelling.context.event.clone();
        self.write_with_event(event, move |conn| {
            let context = &cancelling.context;
            let invocation = context.idempotency_key.as_deref();
            write::cancel(conn, context.company_id, cancelling.appointment_id, invocation, context.now_ms)
        })
        .await
    }

    async fn find_invocation_outcome(
        &self,
        company_id: CompanyId,
        invocation: String,
    ) -> Result<Option<BookingOutcome>, StoreError> {
        self.live_readers()
            .read(move |reader| read::find_invocation_outcome(&reader.conn, company_id, &invocation))
            .await
    }

    async fn list_appointments(&self, filter: AppointmentFilter) -> Result<Vec<Appointment>, StoreError> {
        self.live_readers().read(move |reader| read::list_appointments(&reader.conn, &filter)).await
    }

    async fn slot_occupancy(
        &self,
        company_id: CompanyId,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Vec<(i64, u16)>, StoreError> {
        self.live_readers().read(move |reader| read::count_places_taken(&reader.conn, company_id, from_ms, to_ms)).await
    }
}

impl SqliteStore {
    /// Writes a change and appends the event about it in one step: neither a crash nor an error can lose one of them.
    async fn write_with_event(
        &self,
        event_data: BookingEventData,
        mut work: impl FnMut(&rusqlite::Connection) -> Result<AppointmentWrite, StoreError> + Send + 'static,
    ) -> Result<BookingOutcome, StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        // Live priority: a caller is waiting for the answer.
        writer
            .write_live(move |state: &mut WriterContext| {
                write::with_savepoint(state, |state| {
                    let change = work(&state.conn)?;
                    if let AppointmentWrite::Applied(action, appointment) = &change {
                        let event = booking_event(*action, appointment, &event_data);
                        append::append(state, &event, EventKeys::from_event(&event, &key))?;
                    }
                    Ok(change.into_outcome())
                })
            })
            .await
    }
}

impl OperatorStore {
    /// Cancels an appointment while a receiver may be running, and appends the event about it in the same
    /// transaction. The receiver's handlers find the event within a second.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed.
    pub(super) fn cancel_appointment(
        &mut self,
        cancelling: &AppointmentCancellation,
    ) -> Result<BookingOutcome, StoreError> {
        let AppointmentCancellation { context, appointment_id } = cancelling;
        self.write(|conn, key| {
            let change = write::cancel(conn, context.company_id, *appointment_id, None, context.now_ms)?;
            if let AppointmentWrite::Applied(action, appointment) = &change {
                let event = booking_event(*action, appointment, &context.event);
                append::append_by_operator(conn, &event, EventKeys::from_event(&event, key))?;
            }
            Ok(change.into_outcome())
        })
    }
}
