//! The receiver inside another axum application.

use axum::Router;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use axum::routing::get;
use retell_webhook::{ApiKey, Clock, Receiver, Secret, Signature};
use tower::ServiceExt;

use crate::support::signing::KEY;

const NOW_MS: i64 = 1_790_000_000_000;

async fn build_receiver(folder: &std::path::Path) -> Receiver {
    Receiver::builder()
        .api_key(KEY)
        .storage_url(format!("sqlite://{}", folder.join("store.db").display()))
        .clock(Clock::from_fn(|| NOW_MS))
        .build()
        .await
        .unwrap()
}

async fn response_status(app: &Router, request: Request<Body>) -> StatusCode {
    app.clone().oneshot(request).await.unwrap().status()
}

fn signed_request(body: &'static str) -> Request<Body> {
    let signature = Signature::sign(&ApiKey::new(&Secret::new(KEY)), body.as_bytes(), NOW_MS).to_string();
    Request::post("/webhook").header("x-retell-signature", signature).body(Body::from(body)).unwrap()
}

#[tokio::test]
async fn the_routes_merge_into_a_router_that_has_a_fallback() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = build_receiver(folder.path()).await;
    let app = Router::new()
        .route("/app", get(|| async { "app" }))
        .fallback(|| async { (StatusCode::IM_A_TEAPOT, "fallback of the app") })
        .merge(receiver.webhook_router());
    let plain = |path: &str| Request::get(path).body(Body::empty()).unwrap();
    assert_eq!(response_status(&app, plain("/app")).await, StatusCode::OK);
    assert_eq!(response_status(&app, plain("/nowhere")).await, StatusCode::IM_A_TEAPOT);
    assert_eq!(response_status(&app, plain("/webhook")).await, StatusCode::OK, "a page for people");
    assert_eq!(
        response_status(&app, signed_request(r#"{"event":"call_ended","call":{"call_id":"call_1"}}"#)).await,
        StatusCode::OK
    );
    receiver.shutdown().await.unwrap();
}

#[tokio::test]
async fn two_receivers_in_one_process_share_nothing() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let one = build_receiver(folders[0].path()).await;
    let two = build_receiver(folders[1].path()).await;
    let body = r#"{"event":"call_ended","call":{"call_id":"call_1"}}"#;
    for receiver in [&one, &two] {
        assert_eq!(response_status(&receiver.webhook_router(), signed_request(body)).await, StatusCode::OK);
        assert_eq!(receiver.counters().snapshot()["stored"], 1);
        assert_eq!(receiver.counters().snapshot()["duplicate"], 0);
    }
    one.shutdown().await.unwrap();
    two.shutdown().await.unwrap();
}
