//! Appointments. A time is taken by rows under a key, so that no two calls can get the same place, whatever they looked at
//! before.

mod name_similarity;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::sync::atomic::Ordering;

use async_trait::async_trait;

use self::write::AppointmentWrite;
use super::append::{self, EventKeys};
use super::writer::WriterContext;
use super::{OperatorStore, SqliteStore};
use crate::storage::{
    Appointment, AppointmentCancellation, AppointmentChange, AppointmentFilter, AppointmentStore, BookingAction,
    BookingEventFactory, BookingOutcome, BookingRequest, StoreError,
};

#[async_trait]
impl AppointmentStore for SqliteStore {
    async fn book_appointment(&self, booking: BookingRequest) -> Result<BookingOutcome, StoreError> {
        let announce = booking.context.make_event.clone();
        self.write_with_event(announce, move |conn| write::book(conn, &booking)).await
    }

    async fn change_appointment(&self, moving: AppointmentChange) -> Result<BookingOutcome, StoreError> {
        let announce = moving.context.make_event.clone();
        self.write_with_event(announce, move |conn| write::move_appointment(conn, &moving)).await
    }

    async fn cancel_appointment(&self, cancelling: AppointmentCancellation) -> Result<BookingOutcome, StoreError> {
        let announce = cancelling.context.make_event.clone();
        self.write_with_event(announce, move |conn| {
            let asked = &cancelling.context;
            let invocation = asked.idempotency_key.as_deref();
            write::cancel(conn, (asked.company_id, cancelling.appointment_id), invocation, asked.now_ms)
        })
        .await
    }

    async fn find_invocation_outcome(
        &self,
        company_id: i64,
        invocation: String,
    ) -> Result<Option<BookingOutcome>, StoreError> {
        self.live_readers()
            .read(move |reader| read::find_invocation_outcome(&reader.conn, company_id, &invocation))
            .await
    }

    async fn list_appointments(&self, filter: AppointmentFilter) -> Result<Vec<Appointment>, StoreError> {
        self.live_readers().read(move |reader| read::list_appointments(&reader.conn, &filter)).await
    }

    async fn slot_occupancy(&self, company_id: i64, from_ms: i64, to_ms: i64) -> Result<Vec<(i64, u16)>, StoreError> {
        self.live_readers().read(move |reader| read::count_places_taken(&reader.conn, company_id, from_ms, to_ms)).await
    }
}

impl SqliteStore {
    /// The change and the event about it, in one transaction.
    async fn write_with_event(
        &self,
        announce: BookingEventFactory,
        mut work: impl FnMut(&rusqlite::Connection) -> Result<AppointmentWrite, StoreError> + Send + 'static,
    ) -> Result<BookingOutcome, StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        let (arranged, announced) = writer
            .write_live(move |state: &mut WriterContext| {
                let change = write::with_savepoint(&state.conn, &mut work)?;
                let AppointmentWrite::Applied(action, appointment) = change else {
                    return Ok((change.into_outcome(), false));
                };
                let event = announce(action, &appointment);
                let announced = append_appointment_event(state, &event, EventKeys::from_event(&event, &key))?;
                Ok((BookingOutcome::Done(action, appointment), announced))
            })
            .await?;
        if announced {
            self.appended_count.fetch_add(1, Ordering::Relaxed);
            self.append_notify.notify_waiters();
        }
        Ok(arranged)
    }
}

/// A booking does not fail because handlers cannot be told of it.
fn append_appointment_event(
    state: &mut WriterContext,
    event: &crate::storage::NewEvent,
    keys: EventKeys,
) -> Result<bool, StoreError> {
    match append::append(state, event, keys) {
        Ok(_) => Ok(true),
        // The transaction is gone, and the appointment with it.
        Err(error) if state.conn.is_autocommit() => Err(error),
        Err(error) => {
            tracing::warn!(%error, "an appointment's event was not stored; the appointment was");
            Ok(false)
        }
    }
}

impl OperatorStore {
    /// Cancels the appointment with this number, beside a running receiver, and appends the event that `announce` makes in the
    /// same transaction: the receiver's handlers come upon it within a second.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed.
    pub(crate) fn cancel_appointment(
        &mut self,
        company_id: i64,
        id: i64,
        now_ms: i64,
        announce: &BookingEventFactory,
    ) -> Result<BookingOutcome, StoreError> {
        self.write(|conn, key| {
            let change = write::cancel(conn, (company_id, id), None, now_ms)?;
            if let AppointmentWrite::Applied(action, appointment) = &change {
                let event = announce(*action, appointment);
                append::append_by_operator(conn, &event, EventKeys::from_event(&event, key))?;
            }
            Ok(change.into_outcome())
        })
    }
}

fn parse_action(text: &str) -> Option<BookingAction> {
    BookingAction::ALL.into_iter().find(|action| action.as_str() == text)
}
