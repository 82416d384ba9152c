//! Appointments. A time is taken by rows under a key, so that no two calls can get the same place, whatever they looked at
//! before.

mod look;
mod spelling;
#[cfg(test)]
mod tests;
mod write;

use std::sync::atomic::Ordering;

use async_trait::async_trait;

use self::write::Change;
use super::append::{self, Keys};
use super::writer::WriteState;
use super::{Beside, SqliteStore};
use crate::storage::{
    Announce, Appointment, AppointmentFilter, AppointmentStore, Arranged, Booking, Cancelling, Deed, Moving, StoreError,
};

#[async_trait]
impl AppointmentStore for SqliteStore {
    async fn book_appointment(&self, booking: Booking) -> Result<Arranged, StoreError> {
        let announce = booking.asked.announce.clone();
        self.keep(announce, move |conn| write::book(conn, &booking)).await
    }

    async fn move_appointment(&self, moving: Moving) -> Result<Arranged, StoreError> {
        let announce = moving.asked.announce.clone();
        self.keep(announce, move |conn| write::move_to(conn, &moving)).await
    }

    async fn cancel_appointment(&self, cancelling: Cancelling) -> Result<Arranged, StoreError> {
        let announce = cancelling.asked.announce.clone();
        self.keep(announce, move |conn| {
            let asked = &cancelling.asked;
            let invocation = asked.invocation.as_deref();
            write::cancel(conn, (asked.company_id, cancelling.id), invocation, asked.now_ms)
        })
        .await
    }

    async fn appointment_invocation(
        &self,
        company_id: i64,
        invocation: String,
    ) -> Result<Option<Arranged>, StoreError> {
        self.lane().read(move |reader| look::invocation(&reader.conn, company_id, &invocation)).await
    }

    async fn appointments(&self, filter: AppointmentFilter) -> Result<Vec<Appointment>, StoreError> {
        self.lane().read(move |reader| look::list(&reader.conn, &filter)).await
    }

    async fn places_taken(&self, company_id: i64, from_ms: i64, to_ms: i64) -> Result<Vec<(i64, u16)>, StoreError> {
        self.lane().read(move |reader| look::taken(&reader.conn, company_id, from_ms, to_ms)).await
    }
}

impl SqliteStore {
    /// The change and the event about it, in one transaction.
    async fn keep(
        &self,
        announce: Announce,
        mut work: impl FnMut(&rusqlite::Connection) -> Result<Change, StoreError> + Send + 'static,
    ) -> Result<Arranged, StoreError> {
        let writer = self.writer()?;
        let key = writer.identity_key.clone();
        let (arranged, announced) = writer
            .write_now(move |state: &mut WriteState| {
                let change = write::whole(&state.conn, &mut work)?;
                let Change::New(deed, appointment) = change else { return Ok((change.into_arranged(), false)) };
                let event = announce(deed, &appointment);
                let announced = tell(state, &event, Keys::of(&event, &key))?;
                Ok((Arranged::Done(deed, appointment), announced))
            })
            .await?;
        if announced {
            self.appended.fetch_add(1, Ordering::Relaxed);
            self.news.notify_waiters();
        }
        Ok(arranged)
    }
}

/// A booking does not fail because handlers cannot be told of it.
fn tell(state: &mut WriteState, event: &crate::storage::NewEvent, keys: Keys) -> Result<bool, StoreError> {
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

impl Beside {
    /// Cancels the appointment with this number, beside a running receiver, and appends the event that `announce` makes in the
    /// same transaction: the receiver's handlers come upon it within a second.
    ///
    /// # Errors
    /// [`StoreError`]: nothing was changed.
    pub fn cancel_appointment(
        &mut self,
        company_id: i64,
        id: i64,
        now_ms: i64,
        announce: &Announce,
    ) -> Result<Arranged, StoreError> {
        self.write(|conn, key| {
            let change = write::cancel(conn, (company_id, id), None, now_ms)?;
            if let Change::New(deed, appointment) = &change {
                let event = announce(*deed, appointment);
                append::append_beside(conn, &event, Keys::of(&event, key))?;
            }
            Ok(change.into_arranged())
        })
    }
}

fn deed(text: &str) -> Option<Deed> {
    Deed::ALL.into_iter().find(|deed| deed.as_str() == text)
}
