//! The layer by itself, in a plain axum router.

use std::net::IpAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use retell_webhook::base::clock::Clock;
use retell_webhook::http::budget::InflightBudget;
use retell_webhook::security::signature::Refusal;
use retell_webhook::{Event, RawEvent, SignatureLayer, Verified, Verifier};

use super::{AT, WINDOW_MS};
use crate::support::client::{Answer, Client, head, post_to, request};
use crate::support::local::Routes;
use crate::support::signing::{KEY, OTHER_KEY, key, sign_with};

const BODY: &[u8] = br#"{"event":"call_ended","call":{"call_id":"call_1"}}"#;
const UNAUTHORIZED: &str = r#"{"message":"Unauthorized"}"#;

fn layer() -> SignatureLayer {
    SignatureLayer::new(Verifier::new(vec![key(OTHER_KEY), key(KEY)])).with_clock(Clock::from_fn(|| AT))
}

/// Answers what the proof says, and whether the body can still be read behind the layer.
async fn receive(raw: Verified<RawEvent>, body: Bytes) -> String {
    let raw = raw.into_inner();
    assert_eq!(raw.body, body);
    let fingerprint = raw.key_fingerprint.map(|fingerprint| fingerprint.to_string()).unwrap_or_default();
    let (query, peer) = (raw.query.unwrap_or_default(), raw.peer.unwrap());
    format!("{} bytes by {fingerprint} at {} from {peer}?{query}", body.len(), raw.received_at_ms)
}

async fn name(event: Verified<Event>) -> String {
    event.get().name().to_owned()
}

fn routes(layer: SignatureLayer) -> Routes {
    let guarded = Router::new().route("/raw", post(receive)).route("/event", post(name)).layer(layer);
    Routes::serve(guarded.route("/bare", post(receive)))
}

fn send(routes: &Routes, signature: &str, body: &[u8]) -> Answer {
    post_to(routes.address, "/raw?a=b", body, signature)
}

#[test]
fn a_right_signature_brings_the_proof_and_leaves_the_body() {
    let routes = routes(layer());
    let answer = send(&routes, &sign_with(KEY, BODY, AT), BODY);
    let expected = format!("{} bytes by {} at {AT} from 127.0.0.1?a=b", BODY.len(), key(KEY).fingerprint());
    assert_eq!((answer.status, answer.text()), (200, expected));
    let answer = post_to(routes.address, "/event", BODY, &sign_with(OTHER_KEY, BODY, AT));
    assert_eq!((answer.status, answer.text().as_str()), (200, "call_ended"));
    let answer = post_to(routes.address, "/event", b"[1]", &sign_with(KEY, b"[1]", AT));
    assert_eq!(answer.status, 400);
}

#[test]
fn refusals_say_nothing_and_are_reported_with_their_reason() {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let noted = Arc::clone(&reasons);
    let routes = routes(layer().on_refusal(move |refused| {
        assert_eq!(refused.peer, Some(IpAddr::from([127, 0, 0, 1])));
        noted.lock().unwrap().push((refused.reason, refused.size_bytes));
    }));
    let right = sign_with(KEY, BODY, AT);
    let answers = [
        request(routes.address, "POST", "/raw", &[], BODY),
        send(&routes, "v=1,d=2", BODY),
        send(&routes, &sign_with(KEY, BODY, AT - WINDOW_MS - 1), BODY),
        send(&routes, &sign_with(KEY, BODY, AT + WINDOW_MS + 7), BODY),
        send(&routes, &right, b"{}"),
        send(&routes, &sign_with("key_third_000000000000", BODY, AT), BODY),
    ];
    for answer in answers {
        assert_eq!((answer.status, answer.text().as_str()), (401, UNAUTHORIZED));
        assert_eq!(answer.header("content-type"), Some("application/json"));
    }
    let expected = [
        (Refusal::Missing, 0),
        (Refusal::Malformed, 0),
        (Refusal::Stale(WINDOW_MS + 1), 0),
        (Refusal::Stale(-WINDOW_MS - 7), 0),
        (Refusal::NoKeyMatched, 2),
        (Refusal::NoKeyMatched, BODY.len()),
    ];
    assert_eq!(*reasons.lock().unwrap(), expected);
}

#[test]
fn a_bad_header_is_refused_before_the_body_is_read() {
    let routes = routes(layer());
    let stale = sign_with(KEY, BODY, AT - WINDOW_MS - 1);
    for signature in [&[][..], &[("X-Retell-Signature", "v=1")], &[("X-Retell-Signature", &stale)]] {
        let mut client = Client::connect(routes.address);
        client.send(head("POST", "/raw", signature, Some(BODY.len())).as_bytes()).unwrap();
        let answer = client.answer().expect("an answer although the body never came");
        assert_eq!((answer.status, answer.text().as_str()), (401, UNAUTHORIZED));
    }
}

#[test]
fn two_signature_headers_are_malformed_even_when_equal() {
    let routes = routes(layer());
    let right = sign_with(KEY, BODY, AT);
    let headers = [("X-Retell-Signature", right.as_str()), ("x-retell-signature", right.as_str())];
    assert_eq!(request(routes.address, "POST", "/raw", &headers, BODY).status, 401);
    assert_eq!(request(routes.address, "POST", "/raw", &headers[..1], BODY).status, 200);
}

#[test]
fn a_body_over_the_limit_is_413_declared_or_not() {
    let routes = routes(layer().with_body_limit_bytes(100));
    let (fits, large) = (vec![b'x'; 100], vec![b'x'; 101]);
    let signature = sign_with(KEY, &large, AT);
    assert_eq!(send(&routes, &sign_with(KEY, &fits, AT), &fits).status, 200);

    let mut declared = Client::connect(routes.address);
    declared.send(head("POST", "/raw", &[("X-Retell-Signature", &signature)], Some(101)).as_bytes()).unwrap();
    assert_eq!(declared.answer().expect("an answer before the body").status, 413);

    let headers = [("X-Retell-Signature", signature.as_str()), ("Transfer-Encoding", "chunked")];
    let mut chunked = Client::connect(routes.address);
    chunked.send(head("POST", "/raw", &headers, None).as_bytes()).unwrap();
    for piece in large.chunks(60) {
        chunked.send(format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)).as_bytes()).unwrap();
    }
    assert_eq!(chunked.answer().unwrap().status, 413);
}

#[test]
fn a_chunked_body_within_the_limit_is_taken() {
    let routes = routes(layer());
    let signature = sign_with(KEY, BODY, AT);
    let headers = [("X-Retell-Signature", signature.as_str()), ("Transfer-Encoding", "chunked")];
    let mut client = Client::connect(routes.address);
    client.send(head("POST", "/raw", &headers, None).as_bytes()).unwrap();
    for piece in BODY.chunks(7) {
        client.send(format!("{:x}\r\n{}\r\n", piece.len(), String::from_utf8_lossy(piece)).as_bytes()).unwrap();
    }
    client.send(b"0\r\n\r\n").unwrap();
    assert_eq!(client.answer().unwrap().status, 200);
}

#[test]
fn a_slow_body_is_408_and_a_cut_one_400() {
    let routes = routes(layer().with_body_timeout(Duration::from_millis(300)));
    let signature = sign_with(KEY, BODY, AT);
    let begin = || {
        let mut client = Client::connect(routes.address);
        client.send(head("POST", "/raw", &[("X-Retell-Signature", &signature)], Some(BODY.len())).as_bytes()).unwrap();
        client.send(&BODY[..10]).unwrap();
        client
    };
    assert_eq!(begin().answer().unwrap().status, 408);
    let mut cut = begin();
    cut.finish_sending();
    assert_eq!(cut.answer().unwrap().status, 400);
}

#[test]
fn without_room_in_the_budget_it_is_503_before_the_body() {
    let budget = InflightBudget::new(1_000);
    let routes = routes(layer().with_inflight_budget(budget.clone()));
    let runtime = crate::support::local::runtime();
    let held = runtime.block_on(async {
        let mut share = budget.admit(Some(IpAddr::from([127, 0, 0, 1]))).await;
        share.grow(499).await;
        share
    });
    let signature = sign_with(KEY, BODY, AT);
    let mut client = Client::connect(routes.address);
    client.send(head("POST", "/raw", &[("X-Retell-Signature", &signature)], Some(BODY.len())).as_bytes()).unwrap();
    let answer = client.answer().expect("an answer although the body never came");
    assert_eq!(answer.status, 503);
    assert!(answer.header("retry-after").is_some());
    drop(held);
    assert_eq!(send(&routes, &signature, BODY).status, 200);
}

#[test]
fn asking_for_the_proof_without_the_layer_is_500() {
    let routes = routes(layer());
    let answer = post_to(routes.address, "/bare", BODY, &sign_with(KEY, BODY, AT));
    assert_eq!((answer.status, answer.text().as_str()), (500, r#"{"message":"Internal Server Error"}"#));
}

#[test]
fn without_verification_everything_passes_without_a_fingerprint() {
    let routes = routes(SignatureLayer::without_verification().with_clock(Clock::from_fn(|| AT)));
    let answer = request(routes.address, "POST", "/raw", &[], b"x");
    assert_eq!((answer.status, answer.text()), (200, format!("1 bytes by  at {AT} from 127.0.0.1?")));
}
