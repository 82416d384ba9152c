//! The health routes: `/ping`, `/health/live` and `/health/ready`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::http::operator::OperatorAuth;
use crate::live::INSTANCE_HEADER;
use crate::storage::Maintenance;
use crate::telemetry::functions::FunctionMetrics;
use crate::tenants::CurrentCompanyDirectory;

/// What the readiness check needs.
#[derive(Clone)]
pub(super) struct HealthState {
    pub(super) store: Arc<dyn Maintenance>,
    pub(super) companies: CurrentCompanyDirectory,
    /// Whether `server.url` is a public https address.
    pub(super) has_public_url: bool,
    /// Identifies the process, as on the test route.
    pub(super) instance: Option<HeaderValue>,
    pub(super) functions: FunctionMetrics,
    /// Decides who sees the result of each check.
    pub(super) operator_auth: OperatorAuth,
}

pub(super) fn router(health: HealthState) -> Router {
    Router::new()
        .route("/ping", get(alive))
        .route("/health/live", get(alive))
        .route("/health/ready", get(readiness))
        .with_state(health)
}

async fn alive() -> Json<Value> {
    Json(json!({ "status": "ok" }))
}

async fn readiness(State(health): State<HealthState>, headers: HeaderMap) -> Response {
    let (storage, invocations) = tokio::join!(health.store.probe(), health.store.probe_invocations());
    let (storage, invocations) = (storage.map_err(|e| e.to_string()), invocations.map_err(|e| e.to_string()));
    // Without an API key every request of Retell is rejected. One company with a key is enough: the default route may
    // stay unused.
    let no_api_key = health.companies.get().iter().all(|company| company.has_development_key_only);
    let keys = if health.has_public_url && no_api_key {
        Err("server.url is public but no API key is set".to_owned())
    } else {
        Ok(())
    };
    let ready = storage.is_ok() && invocations.is_ok() && keys.is_ok();
    let (status_code, status) =
        if ready { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "unavailable") };
    let mut body = json!({ "status": status });
    if health.operator_auth.is_authorized(&headers) {
        let check = |result: Result<(), String>| result.map_or_else(Value::String, |()| "ok".into());
        body["checks"] = json!({ "storage": check(storage), "invocations": check(invocations), "keys": check(keys) });
        let notes = health.store.notes().await;
        if !notes.is_empty() {
            body["notes"] = notes.into();
        }
        if let Some(warning) = health.functions.address_warning() {
            body["warnings"] = vec![warning].into();
        }
    }
    let mut response = (status_code, Json(body)).into_response();
    response.headers_mut().extend(health.instance.map(|instance| (INSTANCE_HEADER, instance)));
    response
}
