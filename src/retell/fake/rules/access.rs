//! Rules about keys, ids and routes.

use axum::http::StatusCode;

use crate::retell::fake::answer::ApiRefusal;
use crate::retell::fake::workspace::{Workspace, Workspaces};

/// A request without a key, or with a key of no workspace, gets 401 with this text.
/// Source: live probe of August 2026.
pub(in crate::retell::fake) fn workspace_of_key<'a>(
    workspaces: &'a mut Workspaces,
    key: Option<&str>,
) -> Result<&'a mut Workspace, ApiRefusal> {
    let refusal = || ApiRefusal::new(StatusCode::UNAUTHORIZED, "API key is missing or invalid.");
    workspaces.with_key(key.ok_or_else(refusal)?).ok_or_else(refusal)
}

/// An id that is unknown under the key gets 422, not 404. This includes ids of other workspaces.
/// Source: Retell's OpenAPI text of April 2026, which lists 422 and no 404 for reading and updating by id.
pub(in crate::retell::fake) fn unknown_id(kind: &str, id: &str) -> ApiRefusal {
    ApiRefusal::new(StatusCode::UNPROCESSABLE_ENTITY, format!("Item {id} not found from {kind}"))
}

/// An unknown route gets 404 in plain text, before the key is checked. Removed endpoints are unknown routes.
/// Source: live probe of August 2026 (text); live report of September 2026 (`get-agent-versions` is gone).
pub(in crate::retell::fake) fn unknown_route(method: &str, path: &str) -> ApiRefusal {
    ApiRefusal::plain_text(StatusCode::NOT_FOUND, format!("Cannot {method} {path}"))
}

/// A phone call without a payment card on file gets 402. Web calls need no card.
/// Source: live probe of August 2026.
pub(in crate::retell::fake) fn phone_calls_need_a_card(workspace: &Workspace) -> Result<(), ApiRefusal> {
    if workspace.has_card {
        return Ok(());
    }
    Err(ApiRefusal::new(StatusCode::PAYMENT_REQUIRED, "Payment method required: add a card to make phone calls"))
}
