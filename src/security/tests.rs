//! What the signature doctor finds, on signatures made by the library's own hand.

use hmac::Mac;

use super::diagnose::{CandidateKeys, DiagnosisInput, MAX_DIAGNOSED_BODY_BYTES, diagnose, format_diagnosis};
use super::diagnosis::{BodyChange, Diagnosis, DigestCheck, JsonSerializerStyle};
use super::keys::ApiKey;
use super::malformed_header::MalformedHeaderReason;
use super::signature::{DEFAULT_TOLERANCE_MS, Signature};
use crate::base::secret::Secret;

const NOW: i64 = 1_790_000_000_000;
const KEY: &str = "key_own_0123456789abcdef";
const BODY: &str = r#"{"event":"call_ended","call":{"call_id":"call_1","cost":1.50,"agent_name":"Zoë / \"N\""}}"#;

fn key(text: &str) -> ApiKey {
    ApiKey::new(&Secret::new(text))
}

fn other_company_keys() -> Vec<(String, ApiKey)> {
    vec![("acme".into(), key("key_acme_0123456789abcdef")), ("globex".into(), key("key_globex_0123456789abcdef"))]
}

fn diagnose_input(evidence: DiagnosisInput) -> Vec<Diagnosis> {
    let (own, others) = ([key("key_old_0123456789abcdef"), key(KEY)], other_company_keys());
    let found =
        diagnose(&evidence, CandidateKeys { own_keys: &own, other_company_keys: &others }, DEFAULT_TOLERANCE_MS, NOW);
    assert_reveals_no_secret(&evidence, &format_diagnosis(&found));
    found
}

/// Neither the digest that came, nor the one that would be right, nor the body, nor a key.
fn assert_reveals_no_secret(evidence: &DiagnosisInput, text: &str) {
    let mut secrets = vec!["key_own".to_owned(), "key_acme".into(), "call_ended".into(), "Zoë".into(), "call_1".into()];
    if let Some(signature) = evidence.signature_header.and_then(|header| header.parse::<Signature>().ok()) {
        let right = Signature::sign(&key(KEY), evidence.body.unwrap_or_default(), signature.timestamp_ms());
        secrets.extend([signature, right].map(|s| s.to_string().rsplit_once("d=").unwrap().1[..12].to_owned()));
    }
    let told: Vec<_> = secrets.iter().filter(|secret| text.contains(secret.as_str())).collect();
    assert!(told.is_empty(), "{told:?} in {text}");
    assert!(text.contains(": ") && text.len() < 500, "{text}");
}

/// What is found when `signed` was signed rightly and `came` arrives.
fn diagnose_changed_body(signed: &[u8], came: &[u8]) -> Diagnosis {
    diagnose_signed_body(&Signature::sign(&key(KEY), signed, NOW).to_string(), came)
}

fn diagnose_signed_body(header: &str, came: &[u8]) -> Diagnosis {
    let found = diagnose_input(DiagnosisInput {
        body: Some(came),
        signature_header: Some(header),
        ..DiagnosisInput::default()
    });
    assert_eq!(found.len(), 1, "{found:?}");
    found[0].clone()
}

/// Signs by hand: any bytes, any time.
fn signature_header(message: &[u8], time: &str) -> String {
    let mac = key(KEY).keyed_mac.chain_update(message).finalize().into_bytes();
    format!("v={time},d={}", hex::encode(mac))
}

#[test]
fn without_a_usable_header() {
    assert_eq!(diagnose_input(DiagnosisInput::default()), [Diagnosis::MissingHeader]);
    let other = DiagnosisInput { other_signature_header: Some("webhook-signature"), ..DiagnosisInput::default() };
    assert_eq!(diagnose_input(other), [Diagnosis::OtherSignatureHeader("webhook-signature")]);
    let twice = DiagnosisInput { repeated_signature_header: true, ..DiagnosisInput::default() };
    assert_eq!(diagnose_input(twice), [Diagnosis::MalformedHeader(MalformedHeaderReason::Repeated)]);
    let malformed = DiagnosisInput { signature_header: Some("d=00,v=1"), ..DiagnosisInput::default() };
    assert_eq!(diagnose_input(malformed), [Diagnosis::MalformedHeader(MalformedHeaderReason::FieldsSwapped)]);
}

#[test]
fn a_stale_signature_is_judged_by_its_digest() {
    let stale = |key_text: &str, at_ms: i64, body: Option<&[u8]>| {
        let header = Signature::sign(&key(key_text), BODY.as_bytes(), at_ms).to_string();
        diagnose_input(DiagnosisInput { body, signature_header: Some(&header), ..DiagnosisInput::default() })
    };
    let body = Some(BODY.as_bytes());
    let found = |age_ms, digest| Diagnosis::Stale { age_ms, digest };
    assert_eq!(stale(KEY, NOW - 400_000, body), [found(400_000, DigestCheck::Matches)]);
    assert_eq!(stale(KEY, NOW + 400_000, body), [found(-400_000, DigestCheck::Matches)]);
    assert_eq!(stale(KEY, NOW - 400_000, None), [found(400_000, DigestCheck::NotChecked)]);
    assert_eq!(stale("key_nobody_0123456789", NOW - 400_000, body), [found(400_000, DigestCheck::Mismatch)]);
    assert_eq!(
        stale("key_acme_0123456789abcdef", NOW - 400_000, body),
        [Diagnosis::OtherCompanyKey("acme".into()), found(400_000, DigestCheck::ExplainedMismatch)]
    );
}

#[test]
fn other_keys_and_other_messages() {
    let signed = |key_text: &str| Signature::sign(&key(key_text), BODY.as_bytes(), NOW).to_string();
    let found = diagnose_signed_body(&signed("key_globex_0123456789abcdef"), BODY.as_bytes());
    assert_eq!(found, Diagnosis::OtherCompanyKey("globex".into()));
    assert_eq!(diagnose_signed_body(&signed("key_nobody_0123456789"), BODY.as_bytes()), Diagnosis::NoKeyMatched);
    assert_eq!(
        diagnose_signed_body(&signature_header(BODY.as_bytes(), &NOW.to_string()), BODY.as_bytes()),
        Diagnosis::TimestampNotSigned
    );
    let seconds = (NOW / 1000).to_string();
    let message = format!("{BODY}{seconds}");
    assert_eq!(
        diagnose_signed_body(&signature_header(message.as_bytes(), &seconds), BODY.as_bytes()),
        Diagnosis::TimestampInSeconds
    );
    assert_eq!(
        diagnose_signed_body(&signature_header(message.as_bytes(), &NOW.to_string()), BODY.as_bytes()),
        Diagnosis::TimestampInSeconds
    );
}

#[test]
fn bodies_written_anew() {
    let pretty = serde_json::to_string_pretty(&serde_json::from_str::<serde_json::Value>(BODY).unwrap()).unwrap();
    let pretty_signed = pretty.replace("1.5", "1.50");
    let table = [
        (BODY, BODY.replace(',', ", "), JsonSerializerStyle::JavaScript),
        (
            r#"{"b": 1, "a": ["Zo\u00eb", {}], "c": 1.0}"#,
            r#"{"b":1,"a":["Zoë",{}],"c":1.0}"#.to_owned(),
            JsonSerializerStyle::Python,
        ),
        (r#"{"b": 1, "a": ["Zoë"]}"#, r#"{"b":1,"a":["Zo\u00eb"]}"#.to_owned(), JsonSerializerStyle::PythonUnicode),
        (r#"{"b":1,"a":["Zo\u00eb"]}"#, r#"{"b": 1, "a": ["Zoë"]}"#.to_owned(), JsonSerializerStyle::CompactAscii),
    ];
    for (signed, came, writer) in table {
        assert_eq!(
            diagnose_changed_body(signed.as_bytes(), came.as_bytes()),
            Diagnosis::Reserialised(writer),
            "{came}"
        );
    }
    // Keys in another order cannot be put back.
    assert_eq!(diagnose_changed_body(BODY.as_bytes(), pretty_signed.as_bytes()), Diagnosis::NoKeyMatched);
}

#[test]
fn changed_bytes() {
    let lines = "{\n\"event\": \"x\",\n\"a\": 1}";
    let crlf = lines.replace('\n', "\r\n");
    let table = [
        (BODY.to_owned(), format!("{BODY}\n"), BodyChange::NewlineAdded),
        (BODY.to_owned(), format!("{BODY}\r\n"), BodyChange::NewlineAdded),
        (format!("{BODY}\n"), format!("{BODY}\n\n"), BodyChange::NewlineAdded),
        (format!("{BODY}\n"), BODY.to_owned(), BodyChange::NewlineRemoved),
        (BODY.to_owned(), format!("\u{feff}{BODY}"), BodyChange::BomAdded),
        (format!("\u{feff}{BODY}"), BODY.to_owned(), BodyChange::BomRemoved),
        (lines.to_owned(), crlf.clone(), BodyChange::LfToCrlf),
        (crlf, lines.to_owned(), BodyChange::CrlfToLf),
        (BODY.to_owned(), BODY.replace('ë', "\\u00eb"), BodyChange::Escaped),
        (BODY.to_owned(), BODY.replace('/', "\\/"), BodyChange::Escaped),
        (BODY.replace('ë', "\\u00eb"), BODY.to_owned(), BodyChange::Unescaped),
    ];
    for (signed, came, change) in table {
        assert_eq!(
            diagnose_changed_body(signed.as_bytes(), came.as_bytes()),
            Diagnosis::BodyChanged(change),
            "{came:?}"
        );
    }
}

#[test]
fn what_only_the_look_tells() {
    let signed = signature_header(b"something else", &NOW.to_string());
    let look = |body: &[u8], coding: Option<&str>, kind: Option<&str>| {
        diagnose_input(DiagnosisInput {
            body: Some(body),
            signature_header: Some(&signed),
            content_encoding: coding,
            content_type: kind,
            ..DiagnosisInput::default()
        })
    };
    assert_eq!(look(BODY.as_bytes(), Some("gzip"), None), [Diagnosis::BodyDecompressed]);
    assert_eq!(look(BODY.as_bytes(), Some("identity"), None), [Diagnosis::NoKeyMatched]);
    assert_eq!(look(b"\x1f\x8b\x08abc", None, None), [Diagnosis::BodyCompressed]);
    assert_eq!(look(b"\xce\xb2abc", Some("br"), None), [Diagnosis::BodyCompressed]);
    assert_eq!(look(b"event=x", None, Some("application/x-www-form-urlencoded")), [Diagnosis::FormBody]);
    assert_eq!(look(b"", None, None), [Diagnosis::EmptyBody]);
    assert_eq!(look(b"\xff\xfe", None, Some("application/json")), [Diagnosis::NoKeyMatched]);
}

#[test]
fn large_bodies_are_not_tried() {
    let body = vec![b'1'; MAX_DIAGNOSED_BODY_BYTES];
    assert_eq!(diagnose_changed_body(&body, &[&body[..], b"\n"].concat()), Diagnosis::NoKeyMatched);
    assert_eq!(
        diagnose_changed_body(&body[1..], &[&body[1..], b"\n"].concat()),
        Diagnosis::BodyChanged(BodyChange::NewlineAdded)
    );
}
