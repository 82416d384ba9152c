//! Pins the names that the crate exports: adding or removing one has to be done here as well.

use std::collections::BTreeSet;

// Each import fails to compile when the name is gone.
#[allow(unused_imports, reason = "the imports are the test")]
use retell_webhook::{
    ApiError, ApiKey, BuildError, Call, Chat, Clock, CompanyId, ConfigSources, Context, Event, EventHandler, EventId,
    EventKind, FieldError, Filter, Function, FunctionContext, FunctionOutcome, HandlerKind, HandlerSettings,
    InboundAnswer, InboundContext, InboundRequest, InflightBudget, KeyFingerprint, Outcome, RawEvent, Receiver,
    ReceiverBuilder, ReloadHandle, SIGNATURE_HEADER, Secret, ServeError, Settings, Signature, SignatureError,
    SignatureLayer, SignatureRejection, StoreError, UnreadableRequest, Verified, Verifier, async_trait, event, testing,
};

const NAMES: [&str; 46] = [
    "ApiError",
    "ApiKey",
    "BuildError",
    "Call",
    "Chat",
    "Clock",
    "CompanyId",
    "FieldError",
    "ConfigSources",
    "Context",
    "Event",
    "EventHandler",
    "EventId",
    "EventKind",
    "Filter",
    "Function",
    "FunctionContext",
    "FunctionOutcome",
    "HandlerKind",
    "HandlerSettings",
    "InboundAnswer",
    "InboundContext",
    "InboundRequest",
    "InflightBudget",
    "KeyFingerprint",
    "Outcome",
    "RawEvent",
    "Receiver",
    "ReceiverBuilder",
    "ReloadHandle",
    "SIGNATURE_HEADER",
    "Secret",
    "ServeError",
    "Settings",
    "Signature",
    "SignatureError",
    "SignatureLayer",
    "SignatureRejection",
    "StoreError",
    "StoreErrorKind",
    "UnreadableRequest",
    "Verified",
    "Verifier",
    "async_trait",
    "event",
    "testing",
];

/// The names that `pub use` and `pub mod` export at the root of the crate, without the hidden `internals`.
fn exported_names(source: &str) -> BTreeSet<String> {
    let root_items = source.lines().filter(|line| !line.starts_with(' '));
    let mut names = BTreeSet::new();
    for line in root_items {
        if let Some(module) = line.strip_prefix("pub mod ") {
            names.insert(module.trim_end_matches([';', '{', ' ']).to_owned());
        } else if let Some(path) = line.strip_prefix("pub use ") {
            let path = path.trim_end_matches(';');
            let list = path.split_once('{').map_or(path.rsplit("::").next(), |(_, list)| Some(list));
            let list = list.unwrap_or_default().trim_end_matches('}');
            names.extend(list.split(", ").map(str::to_owned));
        }
    }
    names.remove("internals");
    names
}

#[test]
fn the_crate_exports_these_names_and_no_others() {
    let source = include_str!("../../src/lib.rs");
    let expected: BTreeSet<String> = NAMES.into_iter().map(str::to_owned).collect();
    assert_eq!(exported_names(source), expected);
}

#[tokio::test]
async fn an_embedder_needs_no_other_names() {
    use axum::Router;
    use axum::routing::post;
    use tower::ServiceExt;

    async fn receive(event: Verified<Event>) -> String {
        event.get().name().to_owned()
    }

    let app: Router =
        Router::new().route(testing::WEBHOOK_PATH, post(receive)).layer(SignatureLayer::new(testing::API_KEY));
    let signed = testing::signed_request(r#"{"event":"call_ended","call":{"call_id":"call_1"}}"#);
    assert_eq!(app.clone().oneshot(signed).await.unwrap().status(), 200);

    let mut changed = testing::signed_request(r#"{"event":"call_ended"}"#);
    *changed.body_mut() = axum::body::Body::from(r#"{"event":"call_started"}"#);
    assert_eq!(app.oneshot(changed).await.unwrap().status(), 401);
}

#[tokio::test]
async fn a_receiver_serves_until_it_is_told_to_stop() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::builder()
        .api_key(testing::API_KEY)
        .storage_url(format!("sqlite://{}", folder.path().join("events.db").display()))
        .build()
        .await
        .unwrap();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let client = async move {
        let response = tokio::task::spawn_blocking(move || {
            crate::support::client::request(address, "GET", "/ping", &[], b"").status
        });
        let status = response.await.unwrap();
        stop.send(()).unwrap();
        status
    };
    let stopped = async move { stopped.await.unwrap_or_default() };
    let (served, status) = tokio::join!(receiver.serve_until(listener, stopped), client);
    assert_eq!(status, 200);
    served.unwrap();
}
