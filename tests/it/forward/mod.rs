//! `forward`: the original bytes arrive at another server with signatures, retries and redirects.

mod blocked;

use axum::http::HeaderMap;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use retell_webhook::Verifier;
use sha2::Sha256;

use crate::support::bodies::{event_body, sample_payload};
use crate::support::client::{WEBHOOK_PATH, post_to, request};
use crate::support::destination::{DestinationServer, ReceivedRequest, header_response, status_response};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, OTHER_KEY, api_key, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;

const WEBHOOK_SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw3f1kq0hZ7vE=";

/// Starts a receiver whose only handler is `forward` with these lines.
fn start_with_forward_handler(lines: &str) -> (TestEnv, ReceiverProcess) {
    let home = TestEnv::new();
    home.write_config(&forward_handler_config(lines));
    let server = home.start_server();
    (home, server)
}

fn forward_handler_config(lines: &str) -> String {
    format!(
        "[[handlers]]\nname = \"crm\"\nkind = \"forward\"\nretry_schedule = [\"100ms\", \"100ms\", \"100ms\"]\n{lines}\n"
    )
}

/// The signature as standardwebhooks.com defines it, computed from the received request.
fn standard_webhooks_signature(got: &ReceivedRequest) -> String {
    let key = BASE64_STANDARD.decode(&WEBHOOK_SECRET["whsec_".len()..]).unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).unwrap();
    mac.update(got.header("webhook-id").unwrap().as_bytes());
    mac.update(b".");
    mac.update(got.header("webhook-timestamp").unwrap().as_bytes());
    mac.update(b".");
    mac.update(&got.body);
    format!("v1,{}", BASE64_STANDARD.encode(mac.finalize().into_bytes()))
}

fn is_accepted_by_verifier(by: &str, headers: &HeaderMap, body: &[u8]) -> bool {
    let header = headers.get("x-retell-signature").map(|value| value.to_str().unwrap());
    Verifier::new(vec![api_key(by)]).verify(header, body, now_ms()).is_ok()
}

#[test]
fn the_exact_bytes_arrive_with_content_type_and_signature() {
    let sink = DestinationServer::start();
    let url = format!("{}/hook?token=abc", sink.url());
    let (home, server) = start_with_forward_handler(&format!(
        "url = \"{url}\"\nsecret = \"{WEBHOOK_SECRET}\"\nheaders = {{ X-Team = \"blue\" }}"
    ));
    let bodies = [sample_payload("04_"), b"\xff not JSON, \x00 not text".to_vec(), " {\"event\" : \"é🎉\"}\r\n".into()];
    for (number, body) in bodies.iter().enumerate() {
        let content_type = ["application/json", "application/octet-stream", "application/json; charset=utf-8"][number];
        let headers = [("Content-Type", content_type), ("X-Retell-Signature", &*sign(body))];
        assert_eq!(request(server.address(), "POST", WEBHOOK_PATH, &headers, body).status, 200);
        let got = sink.wait_for(number + 1).pop().unwrap();
        assert_eq!((got.body.as_ref(), got.path.as_str()), (&body[..], "/hook?token=abc"));
        assert_eq!(got.header("content-type"), Some(content_type));
        assert_eq!(got.header("webhook-signature"), Some(&*standard_webhooks_signature(&got)));
        assert_eq!(got.header("webhook-id"), home.list_events(&[])[0]["id"].as_str());
        let seconds: i64 = got.header("webhook-timestamp").unwrap().parse().unwrap();
        assert!((now_ms() / 1000 - seconds).abs() < 60, "{seconds}");
        assert_eq!(got.header("x-team"), Some("blue"));
        assert_eq!(got.header("x-retell-webhook-attempt"), Some("1"));
        assert_eq!(got.header("x-retell-webhook-company"), Some("default"));
        for absent in ["x-retell-signature", "x-retell-webhook-revision", "x-retell-webhook-replay"] {
            assert_eq!(got.header(absent), None, "{absent}");
        }
    }
    assert!(!server.output().contains("abc"), "the query of the URL is not logged");
}

/// Sends `call_ended` for calls with these ids.
fn post_calls(server: &ReceiverProcess, ids: &[&str]) {
    for id in ids {
        assert_eq!(server.post_signed(&event_body("call_ended", id)).status, 200);
    }
}

#[test]
fn a_destination_that_refuses_events_is_not_paused_and_one_that_fails_is() {
    let calls = ["call_1", "call_2", "call_3", "call_4", "call_5", "call_6"];
    for (status, pauses) in
        [(400, false), (409, false), (422, false), (401, true), (404, true), (410, true), (500, true)]
    {
        let sink = DestinationServer::start_with(move |_, request| {
            let is_accepted = request.body.windows(6).any(|part| part == b"call_9");
            status_response(if is_accepted { 200 } else { status })
        });
        let (_home, server) = start_with_forward_handler(&format!("url = \"{}\"", sink.url()));
        post_calls(&server, &calls);
        if pauses {
            assert!(server.wait_for_output("circuit breaker opened"), "{status}: {}", server.output());
            continue;
        }
        // Every attempt of every call, and none of them delays the next call.
        sink.wait_for(4 * calls.len());
        post_calls(&server, &["call_9"]);
        sink.wait_for(4 * calls.len() + 1);
        assert!(!server.output().contains("circuit breaker"), "{status}: {}", server.output());
    }
}

#[test]
fn a_revision_names_the_event_it_revises() {
    let sink = DestinationServer::start();
    let (_home, server) = start_with_forward_handler(&format!("url = \"{}\"", sink.url()));
    server.post_signed(&event_body("call_ended", "call_1"));
    let changed = String::from_utf8(event_body("call_ended", "call_1")).unwrap().replace("agent_1", "agent_2");
    server.post_signed(changed.as_bytes());
    let got = sink.wait_for(2);
    assert_eq!(got[0].header("webhook-signature"), None, "no secret, no signature");
    assert_eq!(got[1].header("x-retell-webhook-revision"), got[0].header("webhook-id"));
    assert_eq!(got[0].header("x-retell-webhook-revision"), None);
}

#[test]
fn a_fresh_signature_uses_the_companys_key_and_an_original_one_is_unchanged() {
    let (fresh, original) = (DestinationServer::start(), DestinationServer::start());
    let home = TestEnv::new();
    let others = format!(
        "[[handlers]]\nname = \"second\"\nkind = \"forward\"\nurl = \"{}\"\nretell_signature = \"original\"\n\
         [[companies]]\nslug = \"acme\"\nkeys = [\"{OTHER_KEY}\", \"key_second_of_acme_5f60718293\"]\n",
        original.url()
    );
    home.write_config(
        &(forward_handler_config(&format!("url = \"{}\"\nretell_signature = \"fresh\"", fresh.url())) + &others),
    );
    let server = home.start_server();
    let body = sample_payload("05_");
    let signature = sign(&body);
    let headers = [("Content-Type", "application/json"), ("X-Retell-Signature", signature.as_str())];
    request(server.address(), "POST", WEBHOOK_PATH, &headers, &body);
    let got = fresh.wait_for(1).remove(0);
    assert!(
        is_accepted_by_verifier(KEY, &got.headers, &got.body)
            && !is_accepted_by_verifier(OTHER_KEY, &got.headers, &got.body)
    );
    assert_eq!(original.wait_for(1)[0].header("x-retell-signature"), Some(&*signature));
    let theirs = event_body("call_ended", "call_acme");
    // The event is signed with the second key; the forwarded request is signed with the first.
    let by_second = sign_with("key_second_of_acme_5f60718293", &theirs, now_ms());
    assert_eq!(post_to(server.address(), &format!("{WEBHOOK_PATH}/acme"), &theirs, &by_second).status, 200);
    let got = fresh.wait_for(2).remove(1);
    assert!(is_accepted_by_verifier(OTHER_KEY, &got.headers, &got.body));
    assert_eq!(got.header("x-retell-webhook-company"), Some("acme"));
}

#[test]
fn retries_have_the_same_id_and_new_signatures() {
    let sink = DestinationServer::start_with(|before, _| status_response([503, 404, 200][before.min(2)]));
    let (_home, server) = start_with_forward_handler(&format!(
        "url = \"{}\"\nretell_signature = \"fresh\"\nsecret = \"{WEBHOOK_SECRET}\"",
        sink.url()
    ));
    server.post_signed(&event_body("call_ended", "call_1"));
    let got = sink.wait_for(3);
    let attempts: Vec<_> = got.iter().map(|got| got.header("x-retell-webhook-attempt").unwrap()).collect();
    assert_eq!(attempts, ["1", "2", "3"]);
    assert!(got.iter().all(|each| each.header("webhook-id") == got[0].header("webhook-id")));
    for each in &got {
        assert!(is_accepted_by_verifier(KEY, &each.headers, &each.body), "each attempt has a valid signature");
        assert_eq!(each.header("webhook-signature"), Some(&*standard_webhooks_signature(each)));
    }
}

#[test]
fn retry_after_delays_the_next_attempt() {
    let sink = DestinationServer::start_with(|before, _| {
        if before == 0 { header_response(429, "retry-after", "2") } else { status_response(200) }
    });
    let (_home, server) = start_with_forward_handler(&format!("url = \"{}\"", sink.url()));
    server.post_signed(&event_body("call_ended", "call_1"));
    let got = sink.wait_for(2);
    let at = |got: &ReceivedRequest| got.header("webhook-timestamp").unwrap().parse::<i64>().unwrap();
    assert!(at(&got[1]) - at(&got[0]) >= 2, "later than the 100 ms of the schedule");
}

#[test]
fn destinations_are_independent_of_each_other() {
    let (healthy, failing) = (DestinationServer::start(), DestinationServer::start_with(|_, _| status_response(500)));
    let (home, server) = start_with_forward_handler(&format!(
        "urls = [\"{}\", \"{}\"]\nsuccess_statuses = [200]",
        failing.url(),
        healthy.url()
    ));
    for number in 0..3 {
        server.post_signed(&event_body("call_ended", &format!("call_{number}")));
    }
    let got = healthy.wait_for(3);
    assert!(got.iter().all(|got| got.header("x-retell-webhook-attempt") == Some("1")));
    failing.wait_for(6);
    assert_eq!(healthy.received().len(), 3, "a retry for one destination is not sent to another");
    // Another order, and another URL instead of the failing one: the healthy destination keeps its name and position.
    let new = DestinationServer::start();
    home.write_config(&forward_handler_config(&format!("urls = [\"{}\", \"{}\"]", healthy.url(), new.url())));
    server.send_signal("-HUP");
    assert!(server.wait_for_output("settings reloaded"), "{}", server.output());
    server.post_signed(&event_body("call_ended", "call_later"));
    healthy.wait_for(4);
    let calls = |sink: &DestinationServer| {
        sink.received().iter().filter(|got| got.body.as_ref() == event_body("call_ended", "call_later")).count()
    };
    assert!(crate::support::wait_until(std::time::Duration::from_secs(30), || calls(&new) == 1));
    assert_eq!((calls(&healthy), calls(&failing)), (1, 0), "the removed destination receives nothing");
}

/// The example of docs/handlers/forward.md, posting to the test's server.
#[test]
fn the_example_of_the_page_works() {
    let sink = DestinationServer::start();
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/handlers/forward.md")).unwrap();
    let example = page.split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    assert!(example.contains("https://crm.example.com/retell"), "{example}");
    let home = TestEnv::new();
    home.write_config(&example.replace("https://crm.example.com", &sink.url()));
    let server = home.start_server();
    server.post_signed(&sample_payload("05_"));
    let got = sink.wait_for(1).remove(0);
    assert_eq!((got.path.as_str(), got.body.as_ref()), ("/retell", &*sample_payload("05_")));
    assert!(is_accepted_by_verifier(KEY, &got.headers, &got.body));
}
