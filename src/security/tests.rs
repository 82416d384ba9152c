//! What the signature doctor finds, on signatures made by the library's own hand.

use hmac::Mac;

use super::diagnose::{Evidence, Keys, MAX_BODY_BYTES, diagnose, text};
use super::finding::{Change, Digest, Finding, Writer};
use super::flaw::Flaw;
use super::keys::ApiKey;
use super::signature::{DEFAULT_WINDOW_MS, Signature};
use crate::base::secret::Secret;

const NOW: i64 = 1_790_000_000_000;
const KEY: &str = "key_own_0123456789abcdef";
const BODY: &str = r#"{"event":"call_ended","call":{"call_id":"call_1","cost":1.50,"agent_name":"Zoë / \"N\""}}"#;

fn key(text: &str) -> ApiKey {
    ApiKey::new(&Secret::new(text))
}

fn others() -> Vec<(String, ApiKey)> {
    vec![("acme".into(), key("key_acme_0123456789abcdef")), ("globex".into(), key("key_globex_0123456789abcdef"))]
}

fn find_with(evidence: Evidence) -> Vec<Finding> {
    let (own, others) = ([key("key_old_0123456789abcdef"), key(KEY)], others());
    let found = diagnose(&evidence, Keys { own: &own, others: &others }, DEFAULT_WINDOW_MS, NOW);
    assert_tells_nothing(&evidence, &text(&found));
    found
}

/// Neither the digest that came, nor the one that would be right, nor the body, nor a key.
fn assert_tells_nothing(evidence: &Evidence, text: &str) {
    let mut secrets = vec!["key_own".to_owned(), "key_acme".into(), "call_ended".into(), "Zoë".into(), "call_1".into()];
    if let Some(signature) = evidence.header.and_then(|header| header.parse::<Signature>().ok()) {
        let right = Signature::sign(&key(KEY), evidence.body.unwrap_or_default(), signature.timestamp_ms());
        secrets.extend([signature, right].map(|s| s.to_string().rsplit_once("d=").unwrap().1[..12].to_owned()));
    }
    let told: Vec<_> = secrets.iter().filter(|secret| text.contains(secret.as_str())).collect();
    assert!(told.is_empty(), "{told:?} in {text}");
    assert!(text.contains(": ") && text.len() < 500, "{text}");
}

/// What is found when `signed` was signed rightly and `came` arrives.
fn find(signed: &[u8], came: &[u8]) -> Finding {
    find_signed(&Signature::sign(&key(KEY), signed, NOW).to_string(), came)
}

fn find_signed(header: &str, came: &[u8]) -> Finding {
    let found = find_with(Evidence { body: Some(came), header: Some(header), ..Evidence::default() });
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Signs by hand: any bytes, any time.
fn header(message: &[u8], time: &str) -> String {
    let mac = key(KEY).keyed.chain_update(message).finalize().into_bytes();
    format!("v={time},d={}", hex::encode(mac))
}

#[test]
fn without_a_usable_header() {
    assert_eq!(find_with(Evidence::default()), [Finding::Missing]);
    let other = Evidence { other_header: Some("webhook-signature"), ..Evidence::default() };
    assert_eq!(find_with(other), [Finding::MissingButOther("webhook-signature")]);
    let twice = Evidence { repeated: true, ..Evidence::default() };
    assert_eq!(find_with(twice), [Finding::Malformed(Flaw::Repeated)]);
    let malformed = Evidence { header: Some("d=00,v=1"), ..Evidence::default() };
    assert_eq!(find_with(malformed), [Finding::Malformed(Flaw::Swapped)]);
}

#[test]
fn a_stale_signature_is_judged_by_its_digest() {
    let stale = |key_text: &str, at_ms: i64, body: Option<&[u8]>| {
        let header = Signature::sign(&key(key_text), BODY.as_bytes(), at_ms).to_string();
        find_with(Evidence { body, header: Some(&header), ..Evidence::default() })
    };
    let body = Some(BODY.as_bytes());
    let found = |age_ms, digest| Finding::Stale { age_ms, digest };
    assert_eq!(stale(KEY, NOW - 400_000, body), [found(400_000, Digest::Fits)]);
    assert_eq!(stale(KEY, NOW + 400_000, body), [found(-400_000, Digest::Fits)]);
    assert_eq!(stale(KEY, NOW - 400_000, None), [found(400_000, Digest::Unknown)]);
    assert_eq!(stale("key_nobody_0123456789", NOW - 400_000, body), [found(400_000, Digest::Differs)]);
    assert_eq!(
        stale("key_acme_0123456789abcdef", NOW - 400_000, body),
        [Finding::OtherCompany("acme".into()), found(400_000, Digest::Explained)]
    );
}

#[test]
fn other_keys_and_other_messages() {
    let signed = |key_text: &str| Signature::sign(&key(key_text), BODY.as_bytes(), NOW).to_string();
    let found = find_signed(&signed("key_globex_0123456789abcdef"), BODY.as_bytes());
    assert_eq!(found, Finding::OtherCompany("globex".into()));
    assert_eq!(find_signed(&signed("key_nobody_0123456789"), BODY.as_bytes()), Finding::NoKey);
    assert_eq!(find_signed(&header(BODY.as_bytes(), &NOW.to_string()), BODY.as_bytes()), Finding::BodyAlone);
    let seconds = (NOW / 1000).to_string();
    let message = format!("{BODY}{seconds}");
    assert_eq!(find_signed(&header(message.as_bytes(), &seconds), BODY.as_bytes()), Finding::Seconds);
    assert_eq!(find_signed(&header(message.as_bytes(), &NOW.to_string()), BODY.as_bytes()), Finding::Seconds);
}

#[test]
fn bodies_written_anew() {
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(BODY).unwrap()).unwrap();
    let pretty_signed = pretty.replace("1.5", "1.50");
    let table = [
        (BODY, BODY.replace(',', ", "), Writer::JavaScript),
        (
            r#"{"b": 1, "a": ["Zo\u00eb", {}], "c": 1.0}"#,
            r#"{"b":1,"a":["Zoë",{}],"c":1.0}"#.to_owned(),
            Writer::Python,
        ),
        (r#"{"b": 1, "a": ["Zoë"]}"#, r#"{"b":1,"a":["Zo\u00eb"]}"#.to_owned(), Writer::PythonUnicode),
        (r#"{"b":1,"a":["Zo\u00eb"]}"#, r#"{"b": 1, "a": ["Zoë"]}"#.to_owned(), Writer::CompactAscii),
    ];
    for (signed, came, writer) in table {
        assert_eq!(find(signed.as_bytes(), came.as_bytes()), Finding::Reserialised(writer), "{came}");
    }
    // Keys in another order cannot be put back.
    assert_eq!(find(BODY.as_bytes(), pretty_signed.as_bytes()), Finding::NoKey);
}

#[test]
fn changed_bytes() {
    let lines = "{\n\"event\": \"x\",\n\"a\": 1}";
    let crlf = lines.replace('\n', "\r\n");
    let table = [
        (BODY.to_owned(), format!("{BODY}\n"), Change::NewlineAdded),
        (BODY.to_owned(), format!("{BODY}\r\n"), Change::NewlineAdded),
        (format!("{BODY}\n"), format!("{BODY}\n\n"), Change::NewlineAdded),
        (format!("{BODY}\n"), BODY.to_owned(), Change::NewlineRemoved),
        (BODY.to_owned(), format!("\u{feff}{BODY}"), Change::BomAdded),
        (format!("\u{feff}{BODY}"), BODY.to_owned(), Change::BomRemoved),
        (lines.to_owned(), crlf.clone(), Change::LfToCrlf),
        (crlf, lines.to_owned(), Change::CrlfToLf),
        (BODY.to_owned(), BODY.replace('ë', "\\u00eb"), Change::Escaped),
        (BODY.to_owned(), BODY.replace('/', "\\/"), Change::Escaped),
        (BODY.replace('ë', "\\u00eb"), BODY.to_owned(), Change::Unescaped),
    ];
    for (signed, came, change) in table {
        assert_eq!(find(signed.as_bytes(), came.as_bytes()), Finding::Changed(change), "{came:?}");
    }
}

#[test]
fn what_only_the_look_tells() {
    let signed = header(b"something else", &NOW.to_string());
    let look = |body: &[u8], coding: Option<&str>, kind: Option<&str>| {
        find_with(Evidence {
            body: Some(body),
            header: Some(&signed),
            content_encoding: coding,
            content_type: kind,
            ..Evidence::default()
        })
    };
    assert_eq!(look(BODY.as_bytes(), Some("gzip"), None), [Finding::Decompressed]);
    assert_eq!(look(BODY.as_bytes(), Some("identity"), None), [Finding::NoKey]);
    assert_eq!(look(b"\x1f\x8b\x08abc", None, None), [Finding::Compressed]);
    assert_eq!(look(b"\xce\xb2abc", Some("br"), None), [Finding::Compressed]);
    assert_eq!(look(b"event=x", None, Some("application/x-www-form-urlencoded")), [Finding::Form]);
    assert_eq!(look(b"", None, None), [Finding::Empty]);
    assert_eq!(look(b"\xff\xfe", None, Some("application/json")), [Finding::NoKey]);
}

#[test]
fn large_bodies_are_not_tried() {
    let body = vec![b'1'; MAX_BODY_BYTES];
    assert_eq!(find(&body, &[&body[..], b"\n"].concat()), Finding::NoKey);
    assert_eq!(find(&body[1..], &[&body[1..], b"\n"].concat()), Finding::Changed(Change::NewlineAdded));
}
