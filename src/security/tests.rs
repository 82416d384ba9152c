//! Tests of the diagnosis, with signatures that the library itself makes.

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
    let own_keys = [key("key_old_0123456789abcdef"), key(KEY)];
    let others = other_company_keys();
    let keys = CandidateKeys { own_keys: &own_keys, other_company_keys: &others };
    let findings = diagnose(&evidence, keys, DEFAULT_TOLERANCE_MS, NOW);
    assert_reveals_no_secret(&evidence, &format_diagnosis(&findings));
    findings
}

/// The text must contain neither the received digest, nor the correct one, nor the body, nor a key.
fn assert_reveals_no_secret(evidence: &DiagnosisInput, text: &str) {
    let mut secrets = vec!["key_own".to_owned(), "key_acme".into(), "call_ended".into(), "Zoë".into(), "call_1".into()];
    if let Some(signature) = evidence.signature_header.and_then(|header| header.parse::<Signature>().ok()) {
        let correct = Signature::sign(&key(KEY), evidence.body.unwrap_or_default(), signature.timestamp_ms());
        secrets.extend([signature, correct].map(|s| s.to_string().rsplit_once("d=").unwrap().1[..12].to_owned()));
    }
    let revealed: Vec<_> = secrets.iter().filter(|secret| text.contains(secret.as_str())).collect();
    assert!(revealed.is_empty(), "{revealed:?} in {text}");
    assert!(text.contains(": ") && text.len() < 500, "{text}");
}

/// The diagnosis when `signed` was signed correctly and `received` arrives.
fn diagnose_changed_body(signed: &[u8], received: &[u8]) -> Diagnosis {
    diagnose_signed_body(&Signature::sign(&key(KEY), signed, NOW).to_string(), received)
}

fn diagnose_signed_body(header: &str, received: &[u8]) -> Diagnosis {
    let findings = diagnose_input(DiagnosisInput {
        body: Some(received),
        signature_header: Some(header),
        ..DiagnosisInput::default()
    });
    assert_eq!(findings.len(), 1, "{findings:?}");
    findings[0].clone()
}

/// Signs any bytes and writes any text as the timestamp.
fn signature_header(message: &[u8], time: &str) -> String {
    let mac = key(KEY).keyed_mac.chain_update(message).finalize().into_bytes();
    format!("v={time},d={}", hex::encode(mac))
}

#[test]
fn missing_and_malformed_headers_are_reported() {
    assert_eq!(diagnose_input(DiagnosisInput::default()), [Diagnosis::MissingHeader]);
    let other = DiagnosisInput { other_signature_header: Some("webhook-signature"), ..DiagnosisInput::default() };
    assert_eq!(diagnose_input(other), [Diagnosis::OtherSignatureHeader("webhook-signature")]);
    let twice = DiagnosisInput { repeated_signature_header: true, ..DiagnosisInput::default() };
    assert_eq!(diagnose_input(twice), [Diagnosis::MalformedHeader(MalformedHeaderReason::Repeated)]);
    let malformed = DiagnosisInput { signature_header: Some("d=00,v=1"), ..DiagnosisInput::default() };
    assert_eq!(diagnose_input(malformed), [Diagnosis::MalformedHeader(MalformedHeaderReason::FieldsSwapped)]);
}

#[test]
fn a_stale_signature_is_reported_with_its_digest_check() {
    let stale = |key_text: &str, at_ms: i64, body: Option<&[u8]>| {
        let header = Signature::sign(&key(key_text), BODY.as_bytes(), at_ms).to_string();
        diagnose_input(DiagnosisInput { body, signature_header: Some(&header), ..DiagnosisInput::default() })
    };
    let body = Some(BODY.as_bytes());
    let expected = |age_ms, digest| Diagnosis::Stale { age_ms, digest };
    assert_eq!(stale(KEY, NOW - 400_000, body), [expected(400_000, DigestCheck::Matches)]);
    assert_eq!(stale(KEY, NOW + 400_000, body), [expected(-400_000, DigestCheck::Matches)]);
    assert_eq!(stale(KEY, NOW - 400_000, None), [expected(400_000, DigestCheck::NotChecked)]);
    assert_eq!(stale("key_unknown_0123456789", NOW - 400_000, body), [expected(400_000, DigestCheck::Mismatch)]);
    assert_eq!(
        stale("key_acme_0123456789abcdef", NOW - 400_000, body),
        [Diagnosis::OtherCompanyKey("acme".into()), expected(400_000, DigestCheck::ExplainedMismatch)]
    );
}

#[test]
fn other_keys_and_other_signed_messages_are_recognized() {
    let signed = |key_text: &str| Signature::sign(&key(key_text), BODY.as_bytes(), NOW).to_string();
    let found = diagnose_signed_body(&signed("key_globex_0123456789abcdef"), BODY.as_bytes());
    assert_eq!(found, Diagnosis::OtherCompanyKey("globex".into()));
    assert_eq!(diagnose_signed_body(&signed("key_unknown_0123456789"), BODY.as_bytes()), Diagnosis::NoKeyMatched);
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
fn reserialized_bodies_are_recognized() {
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
    for (signed, received, style) in table {
        assert_eq!(
            diagnose_changed_body(signed.as_bytes(), received.as_bytes()),
            Diagnosis::Reserialized(style),
            "{received}"
        );
    }
    // The original order of keys cannot be restored.
    assert_eq!(diagnose_changed_body(BODY.as_bytes(), pretty_signed.as_bytes()), Diagnosis::NoKeyMatched);
}

#[test]
fn changes_of_the_body_are_recognized() {
    let lines = "{\n\"event\": \"x\",\n\"a\": 1}";
    let crlf = lines.replace('\n', "\r\n");
    let indented = "{\n  \"event\": \"x\",\n  \"call\": {\n    \"call_id\": \"1, 2\"\n  }\n}";
    let table = [
        (BODY.to_owned(), format!("{BODY}\n"), BodyChange::NewlineAdded),
        (BODY.to_owned(), format!("{BODY}\r\n"), BodyChange::NewlineAdded),
        (format!("{BODY}\n"), format!("{BODY}\n\n"), BodyChange::NewlineAdded),
        (format!("{BODY}\n"), BODY.to_owned(), BodyChange::NewlineRemoved),
        (format!("{lines}\n"), crlf.clone(), BodyChange::LfToCrlf),
        (lines.to_owned(), format!("{crlf}\r\n"), BodyChange::LfToCrlf),
        (indented.to_owned(), indented.replace('\n', ""), BodyChange::LineBreaksRemoved),
        (format!("{indented}\n"), indented.replace('\n', ""), BodyChange::LineBreaksRemoved),
        (indented.replace('\n', "\r\n"), indented.replace('\n', ""), BodyChange::LineBreaksRemoved),
        (indented.to_owned(), indented.replace('\n', " "), BodyChange::LineBreaksRemoved),
        (BODY.to_owned(), format!("\u{feff}{BODY}"), BodyChange::BomAdded),
        (format!("\u{feff}{BODY}"), BODY.to_owned(), BodyChange::BomRemoved),
        (lines.to_owned(), crlf.clone(), BodyChange::LfToCrlf),
        (crlf, lines.to_owned(), BodyChange::CrlfToLf),
        (BODY.to_owned(), BODY.replace('ë', "\\u00eb"), BodyChange::Escaped),
        (BODY.to_owned(), BODY.replace('/', "\\/"), BodyChange::Escaped),
        (BODY.replace('ë', "\\u00eb"), BODY.to_owned(), BodyChange::Unescaped),
    ];
    for (signed, received, change) in table {
        assert_eq!(
            diagnose_changed_body(signed.as_bytes(), received.as_bytes()),
            Diagnosis::BodyChanged(change),
            "{received:?}"
        );
    }
}

#[test]
fn the_form_of_the_body_is_reported_when_no_digest_matches() {
    let signed = signature_header(b"something else", &NOW.to_string());
    let diagnose_form = |body: &[u8], coding: Option<&str>, kind: Option<&str>| {
        diagnose_input(DiagnosisInput {
            body: Some(body),
            signature_header: Some(&signed),
            content_encoding: coding,
            content_type: kind,
            ..DiagnosisInput::default()
        })
    };
    assert_eq!(diagnose_form(BODY.as_bytes(), Some("gzip"), None), [Diagnosis::BodyDecompressed]);
    assert_eq!(diagnose_form(BODY.as_bytes(), Some("identity"), None), [Diagnosis::NoKeyMatched]);
    assert_eq!(diagnose_form(b"\x1f\x8b\x08abc", None, None), [Diagnosis::BodyCompressed]);
    assert_eq!(diagnose_form(b"\xce\xb2abc", Some("br"), None), [Diagnosis::BodyCompressed]);
    assert_eq!(diagnose_form(b"event=x", None, Some("application/x-www-form-urlencoded")), [Diagnosis::FormBody]);
    assert_eq!(diagnose_form(b"", None, None), [Diagnosis::EmptyBody]);
    assert_eq!(diagnose_form(b"\xff\xfe", None, Some("application/json")), [Diagnosis::NoKeyMatched]);
}

#[test]
fn large_bodies_are_not_diagnosed() {
    let body = vec![b'1'; MAX_DIAGNOSED_BODY_BYTES];
    assert_eq!(diagnose_changed_body(&body, &[&body[..], b"\n"].concat()), Diagnosis::NoKeyMatched);
    assert_eq!(
        diagnose_changed_body(&body[1..], &[&body[1..], b"\n"].concat()),
        Diagnosis::BodyChanged(BodyChange::NewlineAdded)
    );
}
