//! Connections that are slow, stop halfway, send too many headers, or do not speak HTTP.

use std::time::{Duration, Instant};

use super::IntakeFixture;
use crate::support::bodies::event_body;
use crate::support::client::{RawClient, WEBHOOK_PATH, request_head};
use crate::support::signing::sign;

#[test]
fn an_incomplete_body_is_not_stored() {
    let mut bench = IntakeFixture::new();
    let body = event_body("call_ended", "call_truncated");
    let head = request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(&body))], Some(body.len()));
    for length in [0, 1, body.len() - 1] {
        let mut client = RawClient::connect(bench.server.address());
        client.send(head.as_bytes()).unwrap();
        client.send(&body[..length]).unwrap();
        drop(client);
    }
    bench.assert_accepts("afterwards", &event_body("call_ended", "call_whole"));
    bench.assert_clean_shutdown();
}

#[test]
fn a_slow_body_is_408_within_six_seconds() {
    let mut bench = IntakeFixture::new();
    let body = event_body("call_ended", "call_slow");
    let mut client = RawClient::connect(bench.server.address());
    let started = Instant::now();
    client
        .send(request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(&body))], Some(body.len())).as_bytes())
        .unwrap();
    client.send(&body[..5]).unwrap();
    assert_eq!(client.read_response().expect("an answer").status, 408);
    assert!((3..6).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    bench.assert_clean_shutdown();
}

#[test]
fn a_slow_head_ends_the_connection_within_nine_seconds() {
    let mut bench = IntakeFixture::new();
    let started = Instant::now();
    let mut silent = RawClient::connect(bench.server.address());
    let mut dripping = RawClient::connect(bench.server.address());
    for byte in b"POST /webh" {
        dripping.send(&[*byte]).unwrap();
        std::thread::sleep(Duration::from_millis(100));
    }
    for client in [&mut dripping, &mut silent] {
        assert!(client.is_closed_within(Duration::from_secs(10)));
        assert!((4..9).contains(&started.elapsed().as_secs()), "{:?}", started.elapsed());
    }
    bench.assert_clean_shutdown();
}

#[test]
fn too_many_or_too_large_headers_get_431() {
    let mut bench = IntakeFixture::new();
    let body = event_body("call_ended", "call_flood");
    let signature = sign(&body);
    let names: Vec<_> = (0..200).map(|number| format!("X-Flood-{number}")).collect();
    let mut many: Vec<_> = names.iter().map(|name| (name.as_str(), "1")).collect();
    many.push(("X-Retell-Signature", &signature));
    let long = "x".repeat(100 * 1024);
    let one = [("X-Flood", long.as_str()), ("X-Retell-Signature", &signature)];
    for (what, headers) in [("200 headers", &many[..]), ("a header of 100 KB", &one)] {
        let answer = RawClient::connect(bench.server.address()).request("POST", WEBHOOK_PATH, headers, &body);
        assert!(answer.as_ref().is_none_or(|answer| answer.status == 431), "{what}: {answer:?}");
    }
    bench.assert_accepts("afterwards", &body);
    bench.assert_clean_shutdown();
}

#[test]
fn invalid_http_does_not_affect_other_requests() {
    let mut bench = IntakeFixture::new();
    for bytes in
        [&b"\0\0\0\0\r\n\r\n"[..], b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"\r\n\r\n\r\n"]
    {
        let mut client = RawClient::connect(bench.server.address());
        client.send(bytes).unwrap();
        client.shutdown_write();
        assert!(client.read_response().is_none_or(|answer| answer.status == 400));
    }
    let length = |value: &str| {
        let headers = [("Content-Length", value), ("X-Retell-Signature", &sign(b"{}"))];
        let mut client = RawClient::connect(bench.server.address());
        client.send(format!("{}{{}}", request_head("POST", WEBHOOK_PATH, &headers, None)).as_bytes()).unwrap();
        client.read_response().map(|answer| answer.status)
    };
    for value in ["-1", "2, 3", "99999999999999999999", "two"] {
        assert!(length(value).is_none_or(|status| matches!(status, 400 | 413)), "{value}");
    }
    bench.assert_accepts("afterwards", &event_body("call_ended", "call_after"));
    bench.assert_clean_shutdown();
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut bench = IntakeFixture::new();
    let bodies = ["call_1", "call_2", "call_3"].map(|call_id| event_body("call_ended", call_id));
    let mut packet = Vec::new();
    for body in &bodies {
        packet.extend(
            request_head("POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(body))], Some(body.len())).bytes(),
        );
        packet.extend(body);
    }
    let mut client = RawClient::connect(bench.server.address());
    client.send(&packet).unwrap();
    for body in &bodies {
        let answer = client.read_response().expect("an answer");
        bench.assert_accepted("pipelined", body, &answer);
    }
    drop(client);
    bench.assert_clean_shutdown();
}

#[test]
fn expect_100_continue_is_answered_with_100_or_401() {
    let mut bench = IntakeFixture::new();
    let body = event_body("call_ended", "call_asked");
    let ask = |signature: &str| {
        let headers = [("Expect", "100-continue"), ("X-Retell-Signature", signature)];
        let mut client = RawClient::connect(bench.server.address());
        client.send(request_head("POST", WEBHOOK_PATH, &headers, Some(body.len())).as_bytes()).unwrap();
        let answer = client.read_response().expect("an answer");
        (client, answer)
    };
    assert_eq!(ask("v=1,d=2").1.status, 401);
    let (mut client, interim) = ask(&sign(&body));
    assert_eq!(interim.status, 100);
    client.send(&body).unwrap();
    let answer = client.read_response().expect("an answer");
    bench.assert_accepted("after 100 Continue", &body, &answer);
    drop(client);
    bench.assert_clean_shutdown();
}
