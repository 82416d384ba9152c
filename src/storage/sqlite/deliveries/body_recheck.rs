//! Dead deliveries whose body could not be read: looked at again, and resumed when it can be read, for example because
//! the folder was mounted again or restored from a backup.

use rusqlite::{Connection, params};

use super::bulk_operation::apply_bulk_operation;
use super::claim::read_deliverable_event;
use crate::storage::sqlite::events::{BODY_COLUMNS, FROM_EVENTS, SELECT_SUMMARY};
use crate::storage::sqlite::readers::ReaderContext;
use crate::storage::{DeliveryBatch, DeliveryChange, HandlerId, IdentityKey, Seq, StoreError};

/// Deliveries examined in one go, and bytes of bodies read for them.
pub(in crate::storage::sqlite) const MAX_ROWS_RECHECKED: usize = 500;
const MAX_BYTES_RECHECKED: usize = 16 * 1024 * 1024;

/// Dead deliveries whose bodies can be read now.
pub(in crate::storage::sqlite) struct ReadableDeliveries {
    pub(in crate::storage::sqlite) seqs: Vec<Seq>,
    /// Where to continue; `None` after the last delivery.
    pub(in crate::storage::sqlite) next_after: Option<Seq>,
}

/// Reads the bodies of the next dead deliveries that lack them.
pub(in crate::storage::sqlite) fn find_readable(
    reader: &ReaderContext,
    handler: HandlerId,
    after: Seq,
) -> Result<ReadableDeliveries, StoreError> {
    // Nearly always none: this index is empty then, and nothing else is read.
    let sql = format!(
        "{SELECT_SUMMARY}{BODY_COLUMNS}{FROM_EVENTS}
         JOIN deliveries d INDEXED BY deliveries_body_unread ON d.event_seq = e.seq
         WHERE d.handler_id = ?1 AND d.state = 4 AND d.body_unread = 1 AND d.event_seq > ?2
         ORDER BY d.event_seq LIMIT ?3"
    );
    let mut statement = reader.conn.prepare_cached(&sql)?;
    let mut rows = statement.query(params![handler, after, MAX_ROWS_RECHECKED])?;
    let mut readable = ReadableDeliveries { seqs: Vec::new(), next_after: None };
    let (mut examined, mut read_bytes) = (0, 0);
    while let Some(row) = rows.next()? {
        let event = read_deliverable_event(row, reader)?;
        if let Ok(body) = &event.body {
            readable.seqs.push(event.summary.seq);
            read_bytes += body.len();
        }
        examined += 1;
        if examined == MAX_ROWS_RECHECKED || read_bytes > MAX_BYTES_RECHECKED {
            readable.next_after = Some(event.summary.seq);
            break;
        }
    }
    Ok(readable)
}

/// Attempts these deliveries again, as an operator's retry does, and returns their number. One that an operator has
/// changed since it was found stays as it is.
pub(in crate::storage::sqlite) fn resume(
    conn: &mut Connection,
    key: &IdentityKey,
    handler: HandlerId,
    seqs: &[Seq],
    now_ms: i64,
) -> Result<u64, StoreError> {
    let savepoint = conn.savepoint()?;
    let mut unchanged = Vec::new();
    {
        let mut is_unchanged = savepoint.prepare_cached(
            "SELECT 1 FROM deliveries WHERE handler_id = ?1 AND event_seq = ?2 AND state = 4 AND body_unread = 1",
        )?;
        for seq in seqs {
            if is_unchanged.exists(params![handler, *seq])? {
                unchanged.push(*seq);
            }
        }
    }
    let batch = DeliveryBatch { handler_id: handler, seqs: unchanged };
    let resumed = apply_bulk_operation(&savepoint, key, &batch, DeliveryChange::Retry, now_ms)?;
    savepoint.commit()?;
    Ok(resumed)
}
