//! The signature layer alone, in a plain axum router.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use retell_webhook::Clock;
use retell_webhook::InflightBudget;
use retell_webhook::SignatureError;
use retell_webhook::{Event, RawEvent, SignatureLayer, Verified, Verifier};

use super::{SIGNED_AT_MS, WINDOW_MS};
use crate::support::client::{HttpResponse, RawClient, post_to, request, request_head};
use crate::support::local::RouterServer;
use crate::support::signing::{KEY, OTHER_KEY, api_key, sign_with};

const CALL_ENDED_BODY: &[u8] = br#"{"event":"call_ended","call":{"call_id":"call_1"}}"#;
const UNAUTHORIZED: &str = r#"{"message":"Unauthorized"}"#;

fn signature_layer() -> SignatureLayer {
    SignatureLayer::new(Verifier::new(vec![api_key(OTHER_KEY), api_key(KEY)]))
        .with_clock(Clock::from_fn(|| SIGNED_AT_MS))
}

/// Responds with the metadata of the request, and asserts that the body can be read again behind the layer.
async fn receive_raw_event(raw: Verified<RawEvent>, body: Bytes) -> String {
    let raw = raw.into_inner();
    assert_eq!(raw.body, body);
    let fingerprint = raw.key_fingerprint.map(|fingerprint| fingerprint.to_string()).unwrap_or_default();
    let (query, peer) = (raw.query.unwrap_or_default(), raw.client_ip.unwrap());
    format!("{} bytes by {fingerprint} at {} from {peer}?{query}", body.len(), raw.received_at_ms)
}

async fn event_name(event: Verified<Event>) -> String {
    event.get().name().to_owned()
}

fn serve_with_layer(layer: SignatureLayer) -> RouterServer {
    let guarded = Router::new().route("/raw", post(receive_raw_event)).route("/event", post(event_name)).layer(layer);
    RouterServer::start(guarded.route("/bare", post(receive_raw_event)))
}

fn post_with_signature(routes: &RouterServer, signature: &str, body: &[u8]) -> HttpResponse {
    post_to(routes.address, "/raw?a=b", body, signature)
}

#[test]
fn a_valid_signature_provides_metadata_and_keeps_the_body() {
    let routes = serve_with_layer(signature_layer());
    let answer = post_with_signature(&routes, &sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS), CALL_ENDED_BODY);
    let expected = format!(
        "{} bytes by {} at {SIGNED_AT_MS} from 127.0.0.1?a=b",
        CALL_ENDED_BODY.len(),
        api_key(KEY).fingerprint()
    );
    assert_eq!((answer.status, answer.text()), (200, expected));
    let answer =
        post_to(routes.address, "/event", CALL_ENDED_BODY, &sign_with(OTHER_KEY, CALL_ENDED_BODY, SIGNED_AT_MS));
    assert_eq!((answer.status, answer.text().as_str()), (200, "call_ended"));
    let answer = post_to(routes.address, "/event", b"[1]", &sign_with(KEY, b"[1]", SIGNED_AT_MS));
    assert_eq!(answer.status, 400);
}

#[test]
fn rejections_have_one_body_and_are_reported_with_their_reason() {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let recorded = Arc::clone(&reasons);
    let routes = serve_with_layer(signature_layer().on_rejected(move |rejection| {
        assert_eq!(rejection.client_ip, Some(IpAddr::from([127, 0, 0, 1])));
        recorded.lock().unwrap().push((rejection.reason, rejection.size_bytes));
    }));
    let valid = sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS);
    let answers = [
        request(routes.address, "POST", "/raw", &[], CALL_ENDED_BODY),
        post_with_signature(&routes, "v=1,d=2", CALL_ENDED_BODY),
        post_with_signature(&routes, &sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS - WINDOW_MS - 1), CALL_ENDED_BODY),
        post_with_signature(&routes, &sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS + WINDOW_MS + 7), CALL_ENDED_BODY),
        post_with_signature(&routes, &valid, b"{}"),
        post_with_signature(
            &routes,
            &sign_with("key_third_000000000000", CALL_ENDED_BODY, SIGNED_AT_MS),
            CALL_ENDED_BODY,
        ),
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.text().as_str()), (401, UNAUTHORIZED));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let expected = [
        (SignatureError::MissingHeader, 0),
        (SignatureError::MalformedHeader, 0),
        (SignatureError::Stale(WINDOW_MS + 1), 0),
        (SignatureError::Stale(-WINDOW_MS - 7), 0),
        (SignatureError::NoKeyMatched, 2),
        (SignatureError::NoKeyMatched, CALL_ENDED_BODY.len()),
    ];
    assert_eq!(*reasons.lock().unwrap(), expected);
}

#[test]
fn an_invalid_header_is_rejected_before_the_body_is_read() {
    let routes = serve_with_layer(signature_layer());
    let stale = sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS - WINDOW_MS - 1);
    for signature in [&[][..], &[("X-Retell-Signature", "v=1")], &[("X-Retell-Signature", &stale)]] {
        let mut client = RawClient::connect(routes.address);
        client.send(request_head("POST", "/raw", signature, Some(CALL_ENDED_BODY.len())).as_bytes()).unwrap();
        let answer = client.read_response().expect("a response although the body never arrived");
        assert_eq!((answer.status, answer.text().as_str()), (401, UNAUTHORIZED));
    }
}

#[test]
fn two_signature_headers_are_malformed_even_when_equal() {
    let routes = serve_with_layer(signature_layer());
    let valid = sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS);
    let headers = [("X-Retell-Signature", valid.as_str()), ("x-retell-signature", valid.as_str())];
    assert_eq!(request(routes.address, "POST", "/raw", &headers, CALL_ENDED_BODY).status, 401);
    assert_eq!(request(routes.address, "POST", "/raw", &headers[..1], CALL_ENDED_BODY).status, 200);
}

#[test]
fn a_body_over_the_limit_is_413_declared_or_not() {
    let routes = serve_with_layer(signature_layer().with_body_limit_bytes(100));
    let (fits, large) = (vec![b'x'; 100], vec![b'x'; 101]);
    let signature = sign_with(KEY, &large, SIGNED_AT_MS);
    assert_eq!(post_with_signature(&routes, &sign_with(KEY, &fits, SIGNED_AT_MS), &fits).status, 200);

    let mut declared = RawClient::connect(routes.address);
    declared.send(request_head("POST", "/raw", &[("X-Retell-Signature", &signature)], Some(101)).as_bytes()).unwrap();
    assert_eq!(declared.read_response().expect("a response before the body").status, 413);

    let headers = [("X-Retell-Signature", signature.as_str()), ("Transfer-Encoding", "chunked")];
    let mut chunked = RawClient::connect(routes.address);
    chunked.send(request_head("POST", "/raw", &headers, None).as_bytes()).unwrap();
    for piece in large.chunks(60) {
        chunked.send(format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)).as_bytes()).unwrap();
    }
    assert_eq!(chunked.read_response().unwrap().status, 413);
}

#[test]
fn a_chunked_body_within_the_limit_is_accepted() {
    let routes = serve_with_layer(signature_layer());
    let signature = sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS);
    let headers = [("X-Retell-Signature", signature.as_str()), ("Transfer-Encoding", "chunked")];
    let mut client = RawClient::connect(routes.address);
    client.send(request_head("POST", "/raw", &headers, None).as_bytes()).unwrap();
    for piece in CALL_ENDED_BODY.chunks(7) {
        client.send(format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)).as_bytes()).unwrap();
    }
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.read_response().unwrap().status, 200);
}

#[test]
fn a_slow_body_is_408_and_a_truncated_one_400() {
    let routes = serve_with_layer(signature_layer().with_body_timeout(Duration::from_millis(300)));
    let signature = sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS);
    let begin = || {
        let mut client = RawClient::connect(routes.address);
        client
            .send(
                request_head("POST", "/raw", &[("X-Retell-Signature", &signature)], Some(CALL_ENDED_BODY.len()))
                    .as_bytes(),
            )
            .unwrap();
        client.send(&CALL_ENDED_BODY[..10]).unwrap();
        client
    };
    assert_eq!(begin().read_response().unwrap().status, 408);
    let mut truncated = begin();
    truncated.shutdown_write();
    assert_eq!(truncated.read_response().unwrap().status, 400);
}

#[test]
fn a_full_budget_is_503_before_the_body_is_read() {
    let budget = InflightBudget::new(1_000);
    let routes = serve_with_layer(signature_layer().with_inflight_budget(budget.clone()));
    let runtime = crate::support::local::new_runtime();
    let held = runtime.block_on(async {
        let mut share = budget.acquire(Some(IpAddr::from([127, 0, 0, 1]))).await;
        share.acquire_more(499).await;
        share
    });
    let signature = sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS);
    let mut client = RawClient::connect(routes.address);
    client
        .send(
            request_head("POST", "/raw", &[("X-Retell-Signature", &signature)], Some(CALL_ENDED_BODY.len())).as_bytes(),
        )
        .unwrap();
    let answer = client.read_response().expect("a response although the body never arrived");
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    drop(held);
    assert_eq!(post_with_signature(&routes, &signature, CALL_ENDED_BODY).status, 200);
}

#[test]
fn the_extractor_without_the_layer_is_500() {
    let routes = serve_with_layer(signature_layer());
    let answer = post_to(routes.address, "/bare", CALL_ENDED_BODY, &sign_with(KEY, CALL_ENDED_BODY, SIGNED_AT_MS));
    assert_eq!((answer.status, answer.text().as_str()), (500, r#"{"message":"Internal Server Error"}"#));
}

#[test]
fn without_verification_everything_passes_without_a_fingerprint() {
    let routes = serve_with_layer(SignatureLayer::without_verification().with_clock(Clock::from_fn(|| SIGNED_AT_MS)));
    let answer = request(routes.address, "POST", "/raw", &[], b"x");
    assert_eq!((answer.status, answer.text()), (200, format!("1 bytes by  at {SIGNED_AT_MS} from 127.0.0.1?")));
}
