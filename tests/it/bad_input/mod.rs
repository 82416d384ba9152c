//! Malformed and forged requests: the response to each, and what is stored. Exactly the acknowledged bodies are stored,
//! byte for byte.

mod connections;

use serde_json::{Value, json};

use crate::support::bodies::{event_body, gzip};
use crate::support::client::{HttpResponse, WEBHOOK_PATH, post, post_to, request};
use crate::support::server::ReceiverProcess;
use crate::support::signing::{KEY, OTHER_KEY, now_ms, sign, sign_with};
use crate::support::test_env::TestEnv;

const MIB: usize = 1024 * 1024;

/// A receiver, and the bodies that it acknowledged as new events.
pub struct IntakeFixture {
    home: TestEnv,
    server: ReceiverProcess,
    acknowledged: Vec<Vec<u8>>,
}

impl IntakeFixture {
    fn new() -> Self {
        let home = TestEnv::new();
        let server = home.start_server();
        Self { home, server, acknowledged: Vec::new() }
    }

    /// Sends `body`, signed, and checks that it is acknowledged as a new event.
    fn assert_accepts(&mut self, what: &str, body: &[u8]) {
        let answer = self.server.post_signed(body);
        self.assert_accepted(what, body, &answer);
    }

    fn assert_accepted(&mut self, what: &str, body: &[u8], answer: &HttpResponse) {
        assert_eq!((answer.status, answer.json()), (200, json!({ "received": true })), "{what}");
        self.acknowledged.push(body.to_vec());
    }

    /// The row of `events list` for the event with this body.
    fn find_event_row(&self, body: &[u8]) -> Value {
        let export = self.home.export_events();
        let event = export.iter().find(|event| event.body == body).expect("the body is in the export");
        let rows = self.home.list_events(&["--limit", "1000"]);
        rows.into_iter().find(|row| row["id"] == event.json["id"]).expect("the event is in the list")
    }

    fn is_stored_as_unparsed(&self, body: &[u8]) -> bool {
        self.find_event_row(body)["state"] == "unparsed"
    }

    /// Checks that the receiver still works and shuts down cleanly, and that the export holds exactly the
    /// acknowledged bodies, in order.
    fn assert_clean_shutdown(&mut self) {
        assert!(self.server.is_ready());
        assert_eq!(self.server.stop(), Some(0), "{}", self.server.output());
        let stored: Vec<_> = self.home.export_events().into_iter().map(|event| event.body).collect();
        assert_eq!(stored.len(), self.acknowledged.len());
        let first_difference = stored.iter().zip(&self.acknowledged).position(|(stored, sent)| stored != sent);
        assert_eq!(first_difference, None, "a stored body differs from the one that was sent");
    }
}

fn assert_rejected(what: &str, status: u16, answer: &HttpResponse) {
    assert_eq!(answer.status, status, "{what}: {}", answer.text());
    if status == 401 {
        assert_eq!(answer.text(), r#"{"message":"Unauthorized"}"#, "{what}");
    }
}

#[test]
fn invalid_signatures_get_401() {
    let mut bench = IntakeFixture::new();
    let address = bench.server.address();
    let now = now_ms();
    let body = event_body("call_ended", "call_forged");
    assert_rejected("no header", 401, &request(address, "POST", WEBHOOK_PATH, &[], &body));
    assert_rejected("wrong key", 401, &post(address, &body, &sign_with(OTHER_KEY, &body, now)));
    assert_rejected("stale", 401, &post(address, &body, &sign_with(KEY, &body, now - 301_000)));
    assert_rejected("from the future", 401, &post(address, &body, &sign_with(KEY, &body, now + 301_000)));
    let spaced = serde_json::to_vec_pretty(&serde_json::from_slice::<Value>(&body).unwrap()).unwrap();
    assert_rejected("re-encoded", 401, &post(address, &spaced, &sign(&body)));
    assert_rejected("signature of another body", 401, &post(address, &body, &sign(b"{}")));
    bench.assert_accepts("valid signature", &body);
    bench.assert_clean_shutdown();
    let log = bench.server.output();
    assert_eq!(log.matches("webhook request rejected").count(), 6);
    for reason in ["header is missing", "stale: signed 301", "ms ago", "ms in the future", "no configured key"] {
        assert!(log.contains(reason), "{reason}");
    }
    for count in
        ["\"missing\": 1", "\"stale_past\": 1", "\"stale_future\": 1", "\"no_key_matched\": 3", "\"stored\": 1"]
    {
        assert!(log.contains(count), "{count}: {log}");
    }
}

#[test]
fn a_replayed_request_is_one_event() {
    let mut bench = IntakeFixture::new();
    let body = event_body("call_ended", "call_replayed");
    let signature = sign(&body);
    let first = post(bench.server.address(), &body, &signature);
    bench.assert_accepted("first", &body, &first);
    for (what, signature) in [("replayed", signature), ("signed again", sign_with(KEY, &body, now_ms() - 1_000))] {
        let answer = post(bench.server.address(), &body, &signature);
        assert_eq!((answer.status, answer.json()), (200, json!({ "received": true, "duplicate": true })), "{what}");
    }
    assert_eq!(bench.find_event_row(&body)["duplicates"], 2);
    bench.assert_clean_shutdown();
}

#[test]
fn compressed_bodies_are_stored_as_sent() {
    let mut bench = IntakeFixture::new();
    let plain = event_body("call_ended", "call_gzip");
    let packed = gzip(&plain);
    let send = |signature: &str| {
        let headers =
            [("Content-Type", "application/json"), ("Content-Encoding", "gzip"), ("X-Retell-Signature", signature)];
        request(bench.server.address(), "POST", WEBHOOK_PATH, &headers, &packed)
    };
    assert_rejected("signed over the plain bytes", 401, &send(&sign(&plain)));
    let answer = send(&sign(&packed));
    bench.assert_accepted("signed over the compressed bytes", &packed, &answer);
    assert!(bench.is_stored_as_unparsed(&packed));
    bench.assert_clean_shutdown();
}

#[test]
fn only_bodies_above_the_limit_get_413() {
    let mut bench = IntakeFixture::new();
    let padded = |length: usize| {
        let mut body = event_body("call_ended", "call_large");
        body.resize(length, b' ');
        body
    };
    let large = padded(15 * MIB);
    let too_large = padded(17 * MIB);
    assert_rejected("17 MiB", 413, &post(bench.server.address(), &too_large, &sign(&too_large)));
    bench.assert_accepts("15 MiB", &large);
    let mut longest = event_body("call_ended", &"x".repeat(10 * 1024));
    bench.assert_accepts("call_id of 10 KB", &longest);
    assert_eq!(bench.find_event_row(&longest)["call_id"], "x".repeat(256));
    longest.push(b' ');
    bench.assert_accepts("the same call, other bytes", &longest);
    assert!(bench.find_event_row(&longest)["revision_of"].is_string());
    bench.assert_clean_shutdown();
}

#[test]
fn only_method_and_path_decide_and_the_content_type_does_not() {
    let mut bench = IntakeFixture::new();
    let address = bench.server.address();
    for method in ["PUT", "PATCH", "DELETE"] {
        let answer = request(address, method, WEBHOOK_PATH, &[("X-Retell-Signature", &sign(b"{}"))], b"{}");
        assert_rejected(method, 405, &answer);
    }
    for path in ["/", "/api/v1/webhook", "/api/v1/webhook/other", "/webhook/retell/x/y", "/..%2f"] {
        assert_rejected(path, 404, &post_to(address, path, b"{}", &sign(b"{}")));
    }
    for (number, target) in ["/", "?a=b&c=%7B%7Bd%7D%7D", "/?e"].iter().enumerate() {
        let body = event_body("call_started", &format!("call_path_{number}"));
        let answer = post_to(address, &format!("{WEBHOOK_PATH}{target}"), &body, &sign(&body));
        bench.assert_accepted(target, &body, &answer);
    }
    assert_eq!(bench.find_event_row(&bench.acknowledged[1])["query"], "a=b&c=%7B%7Bd%7D%7D");
    let odd_types = ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "nonsense", "\u{e9}"];
    for (number, content_type) in odd_types.iter().enumerate() {
        let body = event_body("call_ended", &format!("call_type_{number}"));
        let headers = [("Content-Type", *content_type), ("X-Retell-Signature", &sign(&body))];
        let answer = request(address, "POST", WEBHOOK_PATH, &headers, &body);
        bench.assert_accepted(content_type, &body, &answer);
    }
    let body = event_body("call_ended", "call_type_none");
    let answer = request(address, "POST", WEBHOOK_PATH, &[("X-Retell-Signature", &sign(&body))], &body);
    bench.assert_accepted("no content type", &body, &answer);
    assert!(bench.find_event_row(&body)["content_type"].is_null());
    bench.assert_clean_shutdown();
}

#[test]
fn bodies_that_are_not_json_objects_are_stored_as_unparsed() {
    let mut bench = IntakeFixture::new();
    let table: [(&str, &[u8]); 10] = [
        ("empty", b""),
        ("array", b"[]"),
        ("number", b"5"),
        ("text", b"\"x\""),
        ("null", b"null"),
        ("NUL bytes", b"{\"event\":\0\"call_ended\"}"),
        ("only NUL", b"\0\0\0"),
        ("invalid UTF-8", b"{\"event\":\"call_ended\",\"call\":{\"call_id\":\"\xff\xfe\"}}"),
        ("cut short", b"{\"event\":\"call_ended\",\"call\":{"),
        ("binary", &[0x80; 64]),
    ];
    for (what, body) in table {
        bench.assert_accepts(what, body);
        assert!(bench.is_stored_as_unparsed(body), "{what}");
    }
    assert_eq!(bench.home.list_events(&["--unparsed"]).len(), table.len());
    bench.assert_clean_shutdown();
}

#[test]
fn odd_json_objects_are_stored_as_events() {
    let mut bench = IntakeFixture::new();
    let deep = |open: &str, close: &str| {
        let nest = format!("{}{}", open.repeat(100_000), close.repeat(100_000));
        format!(r#"{{"event":"call_ended","call":{{"call_id":"call_deep","metadata":{nest}}}}}"#).into_bytes()
    };
    let table: [(&str, &[u8], &str); 7] = [
        ("NUL in the id", br#"{"event":"call_ended","call":{"call_id":"nul_\u0000_id"}}"#, "nul__id"),
        (
            "duplicate keys",
            br#"{"event":"call_ended","event":"call_ended","call":{"call_id":"twice","call_id":"twice"}}"#,
            "twice",
        ),
        (
            "1e400",
            br#"{"event":"call_ended","call":{"call_id":"huge","duration_ms":1e400,"start_timestamp":-1E999}}"#,
            "huge",
        ),
        ("unknown name", br#"{"event":"call_teleported","call":{"call_id":"call_new"},"more":[1]}"#, "call_new"),
        (
            "wrong types",
            br#"{"event":"call_ended","call":{"call_id":"odd","transcript":7,"call_cost":[],"agent_id":{}}}"#,
            "odd",
        ),
        ("byte order mark", b"\xef\xbb\xbf{\"event\":\"call_ended\",\"call\":{\"call_id\":\"marked\"}}", "marked"),
        ("lone surrogate", br#"{"event":"call_ended","call":{"call_id":"lone","agent_name":"\ud800"}}"#, "lone"),
    ];
    for (what, body, call_id) in table {
        bench.assert_accepts(what, body);
        let row = bench.find_event_row(body);
        assert_eq!((&row["state"], &row["call_id"]), (&json!("stored"), &json!(call_id)), "{what}");
    }
    assert_eq!(bench.home.list_events(&["--event", "call_teleported"]).len(), 1);
    bench.assert_accepts("100,000 arrays deep", &deep("[", "]"));
    bench.assert_accepts("100,000 objects deep", &deep("{\"a\":", "}"));
    bench.assert_accepts("deep and never closed", &deep("[", ""));
    // Handlers parse the same bodies.
    assert!(bench.server.wait_for_output("call_deep") && bench.server.wait_for_output("webhook event unparsed"));
    bench.assert_clean_shutdown();
}
