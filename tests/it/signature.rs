//! Retell's signature: the vectors made with its SDKs, odd headers, several keys, properties.

mod layer;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use retell_webhook::security::signature::Refusal;
use retell_webhook::{Signature, Verifier};
use serde_json::Value;

use crate::support::signing::{KEY, OTHER_KEY, key, sign_with};

const AT: i64 = 1_790_000_000_000;
const WINDOW_MS: i64 = 300_000;

fn vectors(list: &str) -> Vec<Value> {
    let text = include_str!("../fixtures/signature-vectors.json");
    let file: Value = serde_json::from_str(text).unwrap();
    file[list].as_array().unwrap().clone()
}

fn text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("{}: no {field}", vector["name"]))
}

fn body(vector: &Value) -> Vec<u8> {
    match vector["body_base64"].as_str() {
        Some(base64) => BASE64_STANDARD.decode(base64).unwrap(),
        None => text(vector, "body").into(),
    }
}

#[test]
fn positive_vectors_sign_and_verify_at_both_edges() {
    let vectors = vectors("vectors");
    assert!(vectors.len() >= 8);
    for vector in &vectors {
        let (name, header, body) = (text(vector, "name"), text(vector, "header"), body(vector));
        let (signer, at) = (key(text(vector, "key")), vector["valid_at_ms"].as_i64().unwrap());
        assert_eq!(
            Signature::sign(&signer, &body, vector["timestamp_ms"].as_i64().unwrap()).to_string(),
            header,
            "{name}"
        );
        let verifier = Verifier::new(vec![signer.clone()]);
        for now in [at, at - WINDOW_MS, at + WINDOW_MS] {
            assert_eq!(verifier.verify(Some(header), &body, now), Ok(signer.fingerprint()), "{name} at {now}");
        }
        for (now, age) in [(at + WINDOW_MS + 1, WINDOW_MS + 1), (at - WINDOW_MS - 1, -WINDOW_MS - 1)] {
            assert_eq!(verifier.verify(Some(header), &body, now), Err(Refusal::Stale(age)), "{name} at {now}");
        }
    }
}

#[test]
fn negative_vectors_get_the_recommended_verdict() {
    let vectors = vectors("negative_and_edge_vectors");
    assert!(vectors.len() >= 16);
    for vector in &vectors {
        let verifier = Verifier::new(vec![key(text(vector, "key"))]);
        let now = vector["verify_at_ms"].as_i64().unwrap();
        let verdict = verifier.verify(Some(text(vector, "header")), &body(vector), now);
        assert_eq!(verdict.is_ok(), vector["recommended_for_receiver"] == true, "{}: {verdict:?}", vector["name"]);
    }
}

#[test]
fn malformed_headers_are_refused_as_such() {
    let right = sign_with(KEY, b"{}", AT);
    let (v, d) = right.split_once(",d=").unwrap();
    let table = [
        format!("v=0{AT},d={d}"),
        format!("{v},d={}", d.to_uppercase()),
        format!("{v},d={}", &d[..63]),
        format!("{v},d={d}0"),
        format!(" {right}"),
        format!("{right} "),
        format!("{v}, d={d}"),
        format!("v= {AT},d={d}"),
        format!("v=١٧٩٠٠٠٠٠٠٠٠٠٠,d={d}"),
        format!("{v},d={}é", &d[..62]),
        format!("v=+{AT},d={d}"),
        format!("v=-{AT},d={d}"),
        format!("v=17900000000000000000,d={d}"),
        format!("v=9999999999999999999,d={d}"),
        format!("v=,d={d}"),
        v.to_owned(),
        format!("d={d}"),
        format!("{v},d="),
        format!("d={d},{v}"),
        format!("{right},e=1"),
        format!("{right}\n"),
        format!("{right};{right}"),
        format!("{v},d={}", "g".repeat(64)),
        format!("V={AT},D={d}"),
        "v=0x10,d=".to_owned() + d,
        String::new(),
    ];
    let verifier = Verifier::new(vec![key(KEY)]);
    assert!(verifier.verify(Some(&right), b"{}", AT).is_ok());
    for header in &table {
        assert_eq!(verifier.verify(Some(header), b"{}", AT), Err(Refusal::Malformed), "{header:?}");
    }
    assert_eq!(verifier.verify(None, b"{}", AT), Err(Refusal::Missing));
}

#[test]
fn each_key_is_tried_and_the_one_that_matched_is_named() {
    let (first, second) = (key(KEY), key(OTHER_KEY));
    let verifier = Verifier::new(vec![first.clone(), second.clone()]);
    let verify = |by: &str| verifier.verify(Some(&sign_with(by, b"body", AT)), b"body", AT);
    assert_eq!(verify(KEY), Ok(first.fingerprint()));
    assert_eq!(verify(OTHER_KEY), Ok(second.fingerprint()));
    assert_eq!(verify("key_third_000000000000"), Err(Refusal::NoKeyMatched));
    let header = sign_with(KEY, b"body", AT);
    assert_eq!(Verifier::new(Vec::new()).verify(Some(&header), b"body", AT), Err(Refusal::NoKeyMatched));
}

#[test]
fn the_window_can_be_set() {
    let verifier = Verifier::new(vec![key(KEY)]).with_window_ms(1_000);
    let header = sign_with(KEY, b"", AT);
    assert!(verifier.verify(Some(&header), b"", AT + 1_000).is_ok());
    assert_eq!(verifier.verify(Some(&header), b"", AT + 1_001), Err(Refusal::Stale(1_001)));
    assert_eq!(verifier.verify(Some(&header), b"", AT - 1_001), Err(Refusal::Stale(-1_001)));
}

/// Changes byte `at` (counted round) to another value.
fn changed(bytes: &[u8], at: usize, by: u8) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    let at = at % bytes.len();
    bytes[at] ^= by;
    bytes
}

proptest! {
    #[test]
    fn sign_then_verify_always_holds(
        key_text in any::<String>(), body in prop::collection::vec(any::<u8>(), 0..2_000), at in 0..i64::MAX,
        skew in -WINDOW_MS..=WINDOW_MS,
    ) {
        let signer = key(&key_text);
        let header = Signature::sign(&signer, &body, at).to_string();
        let verdict = Verifier::new(vec![signer.clone()]).verify(Some(&header), &body, at.saturating_add(skew));
        prop_assert_eq!(verdict, Ok(signer.fingerprint()));
        prop_assert_eq!(header.parse::<Signature>().map(|read| read.to_string()), Ok(header));
    }

    #[test]
    fn any_changed_byte_is_refused(
        body in prop::collection::vec(any::<u8>(), 1..500), at in any::<usize>(), by in 1..=u8::MAX,
        digit in 0..64_usize,
    ) {
        let verifier = Verifier::new(vec![key(KEY)]);
        let header = sign_with(KEY, &body, AT);
        let refused = Err(Refusal::NoKeyMatched);
        prop_assert_eq!(verifier.verify(Some(&header), &changed(&body, at, by), AT), refused);
        let digit = header.len() - 64 + digit;
        let other = if &header[digit..=digit] == "0" { "1" } else { "0" };
        let forged = format!("{}{other}{}", &header[..digit], &header[digit + 1..]);
        prop_assert_eq!(verifier.verify(Some(&forged), &body, AT), refused);
        let later = header.replace(&AT.to_string(), &(AT + 1).to_string());
        prop_assert_eq!(verifier.verify(Some(&later), &body, AT), refused);
    }

    #[test]
    fn arbitrary_headers_are_refused_without_a_panic(
        text in any::<String>(), near in "v=[0-9]{0,21},d=[0-9a-fA-F]{60,68}", now in any::<i64>(),
    ) {
        let verifier = Verifier::new(vec![key(KEY)]);
        for header in [text, near] {
            let verdict = verifier.verify(Some(&header), b"{}", now);
            prop_assert!(verdict.is_err());
        }
    }
}
