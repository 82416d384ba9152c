//! `/ping`, `/health/live`, `/health/ready`.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use serde_json::{Value, json};

use crate::http::company::CurrentCompanies;
use crate::storage::Store;

/// What readiness depends on.
#[derive(Clone)]
pub(super) struct Health {
    pub(super) store: Arc<dyn Store>,
    pub(super) companies: CurrentCompanies,
    /// Whether `server.url` is a public https address.
    pub(super) public: bool,
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
    if is_operator(peer.map(|Extension(info)| info.0), &headers) {
        let part = |state: Result<(), String>| state.map_or_else(Value::String, |()| "ok".into());
        body["parts"] = json!({ "storage": part(storage), "keys": part(keys) });
    }
    (code, Json(body)).into_response()
}

/// Details are for whoever sits at the machine. A tunnel connects from loopback too, but adds a forwarding header or
/// keeps the public Host.
fn is_operator(peer: Option<SocketAddr>, headers: &HeaderMap) -> bool {
    let forwarded = ["forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip", "via"];
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let name = host.rsplit_once(':').map_or(
        host,
        |(name, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) { name } else { host }
        },
    );
    peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback())
        && !forwarded.iter().any(|name| headers.contains_key(*name))
        && matches!(name, "localhost" | "127.0.0.1" | "[::1]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tunnel_is_no_operator() {
        let loopback: Option<SocketAddr> = "127.0.0.1:5000".parse().ok();
        let headers = |pairs: &[(&'static str, &str)]| {
            pairs
                .iter()
                .map(|(name, value)| (header::HeaderName::from_static(name), value.parse().unwrap()))
                .collect::<HeaderMap>()
        };
        assert!(is_operator(loopback, &headers(&[("host", "localhost:8000")])));
        assert!(is_operator("[::ffff:127.0.0.1]:1".parse().ok(), &headers(&[("host", "[::1]:8000")])));
        assert!(!is_operator(loopback, &headers(&[("host", "localhost:8000"), ("x-forwarded-for", "192.0.2.1")])));
        assert!(!is_operator(loopback, &headers(&[("host", "example.ngrok.app")])));
        assert!(!is_operator("192.0.2.1:80".parse().ok(), &headers(&[("host", "localhost")])));
        assert!(!is_operator(None, &headers(&[("host", "localhost")])));
    }
}
