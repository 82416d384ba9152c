//! Typed events: no data is lost, no input panics, and the quick scan agrees with the full parser.
#![allow(clippy::unwrap_used)] // helpers of tests may panic

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use proptest::prelude::*;
use retell_webhook::event::{
    CallStatus, DisconnectionReason, Event, EventIdentifiers, EventKind, EventParseError, LazyJson, TranscriptItem,
    sample_body,
};
use serde_json::value::RawValue;

/// File name and bytes of every sample payload.
fn read_payload_fixtures() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/payloads"));
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let json = files.filter(|path| path.extension().is_some_and(|end| end == "json"));
    json.map(|path| (path.display().to_string(), fs::read(&path).unwrap())).collect()
}

fn parse_payload_fixture(prefix: &str) -> Event {
    let name = |path: &str| Path::new(path).file_name().unwrap().to_string_lossy().starts_with(prefix);
    let (_, body) = read_payload_fixtures().into_iter().find(|(path, _)| name(path)).unwrap();
    Event::parse(&body).unwrap()
}

fn parse_event(body: &str) -> Event {
    Event::parse(body.as_bytes()).unwrap()
}

/// JSON with sorted keys, the last of duplicate keys, decoded strings (U+FFFD for an unpaired surrogate), and numbers
/// as their text.
fn canonical_json(json: &str) -> String {
    let json = json.trim();
    match json.as_bytes()[0] {
        b'{' => {
            let members: BTreeMap<String, Box<RawValue>> = serde_json::from_str(json).unwrap();
            let pairs = members.iter().map(|(key, raw)| format!("{key:?}:{}", canonical_json(raw.get())));
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        b'[' => {
            let items: Vec<Box<RawValue>> = serde_json::from_str(json).unwrap();
            let items = items.iter().map(|raw| canonical_json(raw.get()));
            format!("[{}]", items.collect::<Vec<_>>().join(","))
        }
        b'"' => {
            let readable = json.replace(r"\ud800", r"\ufffd").replace(r"\udc00", r"\ufffd");
            format!("{:?}", serde_json::from_str::<String>(&readable).unwrap())
        }
        _ => json.into(),
    }
}

fn assert_round_trip(body: &str) -> Event {
    let event = parse_event(body);
    assert_eq!(canonical_json(&event.to_json()), canonical_json(body));
    assert_eq!(EventIdentifiers::scan(body.as_bytes()).unwrap(), event.identifiers());
    event
}

fn parse_items(list: Option<&LazyJson<Vec<TranscriptItem>>>) -> Vec<TranscriptItem> {
    let list = list.unwrap();
    let items = list.parse().unwrap();
    assert_eq!(canonical_json(&serde_json::to_string(&items).unwrap()), canonical_json(list.as_str()));
    items
}

#[test]
fn every_payload_round_trips() {
    let payloads = read_payload_fixtures();
    assert!(payloads.len() > 20);
    for (_, body) in payloads {
        assert_round_trip(std::str::from_utf8(&body).unwrap());
    }
}

#[test]
fn documented_fields_are_typed() {
    let ended = parse_payload_fixture("03_");
    let call = ended.call().unwrap();
    assert_eq!(call.disconnection_reason, Some(DisconnectionReason::AgentHangup));
    let cost = call.call_cost.as_ref().unwrap();
    assert_eq!(cost.combined_cost.as_ref().unwrap().as_f64(), Some(6.46));
    assert_eq!(cost.product_costs.as_ref().unwrap().len(), 4);
    let latency = call.latency.as_ref().unwrap().parse().unwrap();
    assert_eq!(latency.e2e.unwrap().values.unwrap().parse().unwrap()[0].as_str(), "722.933");
    assert!(call.extra.is_empty());

    let analyzed = parse_payload_fixture("05_");
    let analysis = analyzed.call().unwrap().call_analysis.as_ref().unwrap();
    assert_eq!(analysis.call_successful, Some(true));

    let Event::AlertResolved(alert) = parse_payload_fixture("16b_") else { panic!("not an alert") };
    assert_eq!(alert.alert.resolved_timestamp, Some(1_790_158_205_000));

    let unknown = parse_payload_fixture("07_");
    assert_eq!((unknown.kind(), unknown.name()), (EventKind::Unknown, "call_compliance_hold"));
    assert_eq!(unknown.identifiers().call_id.as_deref(), Some("call_future000000000000000001"));
}

#[test]
fn every_transcript_role_is_typed() {
    let long = parse_payload_fixture("04_");
    let voice = parse_items(long.call().unwrap().transcript_with_tool_calls.as_ref());
    let chat = parse_payload_fixture("14b_");
    let text = parse_items(chat.chat().unwrap().message_with_tool_calls.as_ref());
    let roles: std::collections::BTreeSet<_> = voice.iter().chain(&text).map(TranscriptItem::role).collect();
    for role in ["agent", "user", "dtmf", "sms", "injected", "node_transition", "state_transition"] {
        assert!(roles.contains(role), "{role}");
    }
    assert!(roles.contains("tool_call_invocation") && roles.contains("tool_call_result"));
    assert!(!roles.contains(""));
}

#[test]
fn an_invalid_item_does_not_invalidate_its_list() {
    let event = assert_round_trip(
        r#"{"event":"transcript_updated","call":{},"transcript_with_tool_calls":
        [7,{"role":"agent","content":5,"words":[{"word":"a","start":0.10}]},{"role":"alien","x":1e400},{"role":null}]}"#,
    );
    let Event::TranscriptUpdated(update) = event else { panic!("another kind") };
    let roles: Vec<_> = parse_items(update.transcript()).iter().map(TranscriptItem::role).collect();
    assert_eq!(roles, ["", "agent", "", ""]);
}

#[test]
fn transcript_updated_can_be_about_a_chat() {
    let body = r#"{"event":"transcript_updated","chat":{"chat_id":"h","agent_id":"a","message_with_tool_calls":[]}}"#;
    let event = assert_round_trip(body);
    assert!(event.call().is_none());
    assert_eq!(event.chat().and_then(|chat| chat.chat_id.as_deref()), Some("h"));
    let Event::TranscriptUpdated(update) = event else { panic!("another kind") };
    assert!(parse_items(update.transcript()).is_empty());
}

#[test]
fn data_is_the_call_when_call_is_not_an_object() {
    let legacy = r#"{"event":"call_ended","data":{"call_id":"d"}}"#;
    let both = r#"{"event":"call_ended","data":{"call_id":"d"},"call":{"call_id":"c"}}"#;
    let null = r#"{"event":"call_ended","data":{"call_id":"d"},"call":null}"#;
    for (body, id) in [(legacy, "d"), (both, "c"), (null, "d")] {
        assert_eq!(assert_round_trip(body).call().unwrap().call_id.as_deref(), Some(id));
    }
}

#[test]
fn an_event_without_its_object_keeps_its_kind() {
    for kind in EventKind::ALL {
        for rest in ["", r#","call":7,"chat":[],"alert":null,"call_inbound":"x","chat_inbound":1.0"#] {
            let event = assert_round_trip(&format!(r#"{{"event":"{kind}"{rest}}}"#));
            assert_eq!(event.kind(), kind);
        }
        let empty = r#""call":{},"chat":{},"alert":{},"call_inbound":{},"chat_inbound":{}"#;
        assert_round_trip(&format!(r#"{{"event":"{kind}",{empty}}}"#));
    }
}

#[test]
fn an_object_without_a_name_is_unknown() {
    for body in ["{}", r#"{"event":null}"#, r#"{"event":""}"#, r#"{"event":["call_ended"],"x":1}"#] {
        let event = assert_round_trip(body);
        assert_eq!((event.kind(), event.name()), (EventKind::Unknown, ""));
    }
}

#[test]
fn an_invalid_value_affects_only_its_field() {
    let event = assert_round_trip(
        r#"{"event":"call_ended","event_timestamp":1e400,"call":{"call_id":"c","agent_name":"Ana \ud800",
        "duration_ms":"long","agent_version":-0,"call_status":"ended","opt_in_signed_url":1,"call_cost":[],
        "transcript_object":"none","end_timestamp":99999999999999999999,"metadata":{"n":1e400,"s":"\udc00"}}}"#,
    );
    let call = event.call().unwrap();
    assert_eq!(call.call_status, Some(CallStatus::Ended));
    assert_eq!(call.extra.len(), 5);
    assert!(call.agent_name.as_deref() == Some("Ana \u{fffd}") && call.end_timestamp.is_none());
    assert!(call.transcript_object.as_ref().unwrap().parse().is_err());
}

#[test]
fn the_last_duplicate_wins() {
    let body =
        r#"{"event":"x","event":"call_ended","call":{"call_id":"1"},"call":{"call_id":"2","call_id":"3"},"z":1,"z":2}"#;
    assert_eq!(assert_round_trip(body).call().unwrap().call_id.as_deref(), Some("3"));
    let body = r#"{"event":"call_ended","call":{"call_id":"1"},"call":7}"#;
    assert_eq!(assert_round_trip(body).call().unwrap().call_id, None);
}

#[test]
fn deep_nesting_is_accepted() {
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for place in ["call", "event", "other"] {
        let body = format!(r#"{{"event":"call_ended","{place}":{deep}}}"#);
        assert_eq!(EventIdentifiers::scan(body.as_bytes()).unwrap(), parse_event(&body).identifiers());
    }
    let body = format!(r#"{{"event":"call_ended","call":{{"call_id":{deep},"metadata":{deep},"latency":{deep}}}}}"#);
    let event = parse_event(&body);
    assert!(event.to_json().contains(&deep) && event.call().unwrap().metadata.is_some());
}

#[test]
fn bodies_that_are_not_objects_are_errors() {
    let parse_error = |body: &[u8]| {
        let error = Event::parse(body).unwrap_err();
        assert_eq!(EventIdentifiers::scan(body), Err(error));
        error
    };
    assert_eq!(parse_error(b"[1]"), EventParseError::NotObject);
    assert_eq!(parse_error(b"\"call_ended\""), EventParseError::NotObject);
    assert_eq!(parse_error(b"{\"event\":\"\xff\"}"), EventParseError::InvalidUtf8);
    for body in ["", " ", "{", "[1", "call", "{\"a\":01}", "{}{}", "{\"event\":\"a\nb\"}", "\u{feff}"] {
        assert!(matches!(parse_error(body.as_bytes()), EventParseError::InvalidJson { .. }), "{body:?}");
    }
    assert!(!parse_error(b"{\"+12025550100\"}").to_string().contains("555"));
}

#[test]
fn debug_output_contains_nothing_private() {
    for (name, body) in read_payload_fixtures() {
        let debug = format!("{:?}", Event::parse(&body).unwrap());
        for private in ["555", "Northwind", "Nora", "eyJ", "Friday", "@example", "Zürich"] {
            assert!(!debug.contains(private), "{name}: {private}");
        }
    }
}

#[test]
fn every_sample_body_has_its_kind() {
    for kind in EventKind::ALL {
        let body = sample_body(kind, "id \"7\" @now", 1_790_000_000_000).unwrap();
        let event = assert_round_trip(&body);
        assert_eq!(event.kind(), kind);
        let compact = serde_json::from_str::<serde_json::Value>(&body).unwrap().to_string();
        assert_eq!(compact.len(), body.len());
        let head = event.identifiers();
        let id = head.call_id.or(head.chat_id);
        let alert = matches!(kind, EventKind::AlertTriggered | EventKind::AlertResolved);
        assert_eq!(id.as_deref(), (!alert).then_some("id \"7\" @now"));
        assert!(event.call().is_none_or(|call| call.extra.is_empty()));
    }
    assert_eq!(sample_body(EventKind::Unknown, "x", 0), None);
}

/// Known keys are frequent, so that random objects reach the typed fields.
fn arbitrary_key() -> impl Strategy<Value = String> {
    let known = vec![
        "event",
        "call",
        "data",
        "chat",
        "call_inbound",
        "chat_inbound",
        "alert",
        "call_id",
        "chat_id",
        "agent_id",
        "transcript_with_tool_calls",
        "event_timestamp",
        "latency",
        "role",
        "x",
    ];
    prop_oneof![8 => prop::sample::select(known).prop_map(str::to_owned), 1 => "[a-z\"\\\\é]{0,3}"]
}

fn arbitrary_value() -> impl Strategy<Value = String> {
    let texts = prop::sample::select(&EventKind::ALL[..]).prop_map(|kind| format!("\"{kind}\""));
    let odd = vec!["null", "true", "7", "-0", "1.50", "1e400", r#""\ud800""#, r#""a\u0062""#, r#""""#, "[]", "{}"];
    let leaf = prop_oneof![texts, prop::sample::select(odd).prop_map(str::to_owned)];
    leaf.prop_recursive(4, 40, 6, |inner| {
        let list = prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" ,")));
        prop_oneof![1 => list, 3 => arbitrary_object(inner)]
    })
}

fn arbitrary_object(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let member = (arbitrary_key(), value).prop_map(|(key, value)| format!("{} : {value}", serde_json::json!(key)));
    prop::collection::vec(member, 0..6).prop_map(|members| format!("{{{}}}", members.join(",\n")))
}

proptest! {
    #[test]
    fn any_bytes(body in prop::collection::vec(any::<u8>(), 0..200)) {
        let parsed = Event::parse(&body).map(|event| event.identifiers());
        prop_assert_eq!(EventIdentifiers::scan(&body), parsed);
    }

    #[test]
    fn any_object_survives(body in arbitrary_object(arbitrary_value())) {
        assert_round_trip(&body);
    }

    /// One byte of a valid body is changed, or its end is cut off: scan and parser agree, whether they accept it or
    /// not.
    #[test]
    fn damaged_bodies(body in arbitrary_object(arbitrary_value()), at in any::<prop::sample::Index>(), byte in any::<u8>(), cut: bool) {
        let mut bytes = body.into_bytes();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(if cut { at } else { bytes.len() });
        let parsed = Event::parse(&bytes).map(|event| event.identifiers());
        prop_assert_eq!(EventIdentifiers::scan(&bytes), parsed);
    }
}
