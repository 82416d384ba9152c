//! `/ping`, `/health/live`, `/health/ready`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use crate::http::company::CurrentCompanies;
use crate::http::operator::Operators;
use crate::storage::Store;

/// What readiness depends on.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) store: Arc<dyn Store>,
    pub(super) companies: CurrentCompanies,
    /// Whether `server.url` is a public https address.
    pub(super) public: bool,
    /// Who is told which part is not ready.
    pub(super) operators: Operators,
}

pub(super) fn router(health: Health) -> Router {
    Router::new()
        .route("/ping", get(ok))
        .route("/health/live", get(ok))
        .route("/health/ready", get(ready))
        .with_state(health)
}

async fn ok() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn ready(
    State(health): State<Health>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
) -> Response {
    let storage = health.store.probe().await.map_err(|error| error.to_string());
    // Without a key every real call is refused. Whoever has companies may do without the plain route.
    let key_missing = health.companies.get().iter().all(|company| company.development);
    let keys = if health.public && key_missing {
        Err("server.url is public but no API key is set".to_owned())
    } else {
        Ok(())
    };
    let ready = storage.is_ok() && keys.is_ok();
    let (code, status) = if ready { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "unavailable") };
    let mut body = json!({ "status": status });
    if health.operators.admit(peer.map(|Extension(info)| info.0), &headers) {
        let part = |state: Result<(), String>| state.map_or_else(Value::String, |()| "ok".into());
        body["parts"] = json!({ "storage": part(storage), "keys": part(keys) });
    }
    (code, Json(body)).into_response()
}
