//! Lists and shows rejected requests.

use bytes::Bytes;

use super::{ItemKind, OperationError, Principal};
use crate::storage::{RejectedFilter, RejectedId, RejectedStore, StoredRejectedRequest};
use crate::view::RejectedRequestView;

/// The latest rejected requests, newest first.
pub(crate) async fn list_rejected_requests(
    store: &dyn RejectedStore,
    _principal: &Principal,
    filter: RejectedFilter,
    limit: usize,
) -> Result<Vec<RejectedRequestView>, OperationError> {
    Ok(store.list_rejected(filter, limit).await?.into_iter().map(rejected_view).collect())
}

/// One rejected request; [`OperationError::NotFound`] when none has the id.
pub(crate) async fn show_rejected_request(
    store: &dyn RejectedStore,
    _principal: &Principal,
    id: RejectedId,
) -> Result<RejectedRequestView, OperationError> {
    Ok(rejected_view(find_rejected(store, id).await?))
}

/// The body of a rejected request; [`OperationError::NotFound`] when it was not stored.
pub(crate) async fn rejected_request_body(
    store: &dyn RejectedStore,
    _principal: &Principal,
    id: RejectedId,
) -> Result<Bytes, OperationError> {
    find_rejected(store, id).await?.request.body.ok_or_else(|| {
        let message = format!(
            "the body of {id} was not stored; set security.keep_rejected_bodies = true to store the bodies of future \
             rejected requests (up to 64 KiB each)"
        );
        OperationError::not_found(ItemKind::Body, message)
    })
}

async fn find_rejected(store: &dyn RejectedStore, id: RejectedId) -> Result<StoredRejectedRequest, OperationError> {
    store.get_rejected(id).await?.ok_or_else(|| {
        OperationError::not_found(ItemKind::RejectedRequest, format!("no rejected request has the id {id}"))
    })
}

fn rejected_view(StoredRejectedRequest { id, request, has_body }: StoredRejectedRequest) -> RejectedRequestView {
    RejectedRequestView {
        id: id.to_string(),
        company: request.company,
        received_at_ms: request.received_at_ms,
        source: request.source,
        method: request.method,
        path: request.path,
        headers: request.headers,
        size_bytes: request.size_bytes,
        reason: request.reason,
        diagnosis: request.diagnosis,
        has_body,
    }
}
