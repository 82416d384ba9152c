//! Retell's signature: vectors made with its SDKs, malformed headers, several keys, properties.

mod layer;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use proptest::prelude::*;
use retell_webhook::SignatureError;
use retell_webhook::{Signature, Verifier};
use serde_json::Value;

use crate::support::signing::{KEY, OTHER_KEY, api_key, sign_with};

const SIGNED_AT_MS: i64 = 1_790_000_000_000;
const WINDOW_MS: i64 = 300_000;

fn read_test_vectors(list: &str) -> Vec<Value> {
    let text = include_str!("../../fixtures/signature-vectors.json");
    let file: Value = serde_json::from_str(text).unwrap();
    file[list].as_array().unwrap().clone()
}

fn vector_text<'v>(vector: &'v Value, field: &str) -> &'v str {
    vector[field].as_str().unwrap_or_else(|| panic!("{}: no {field}", vector["name"]))
}

fn vector_body(vector: &Value) -> Vec<u8> {
    match vector["body_base64"].as_str() {
        Some(base64) => BASE64_STANDARD.decode(base64).unwrap(),
        None => vector_text(vector, "body").into(),
    }
}

#[test]
fn positive_vectors_sign_and_verify_at_both_limits() {
    let vectors = read_test_vectors("vectors");
    assert!(vectors.len() >= 8);
    for vector in &vectors {
        let (name, header, body) = (vector_text(vector, "name"), vector_text(vector, "header"), vector_body(vector));
        let (signer, at) = (api_key(vector_text(vector, "key")), vector["valid_at_ms"].as_i64().unwrap());
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
            assert_eq!(verifier.verify(Some(header), &body, now), Err(SignatureError::Stale(age)), "{name} at {now}");
        }
    }
}

#[test]
fn negative_vectors_get_the_recommended_result() {
    let vectors = read_test_vectors("negative_and_edge_vectors");
    assert!(vectors.len() >= 16);
    for vector in &vectors {
        let verifier = Verifier::new(vec![api_key(vector_text(vector, "key"))]);
        let now = vector["verify_at_ms"].as_i64().unwrap();
        let result = verifier.verify(Some(vector_text(vector, "header")), &vector_body(vector), now);
        assert_eq!(result.is_ok(), vector["recommended_for_receiver"] == true, "{}: {result:?}", vector["name"]);
    }
}

#[test]
fn malformed_headers_are_rejected_as_malformed() {
    let valid = sign_with(KEY, b"{}", SIGNED_AT_MS);
    let (v, d) = valid.split_once(",d=").unwrap();
    let table = [
        format!("v=0{SIGNED_AT_MS},d={d}"),
        format!("{v},d={}", d.to_uppercase()),
        format!("{v},d={}", &d[..63]),
        format!("{v},d={d}0"),
        format!(" {valid}"),
        format!("{valid} "),
        format!("{v}, d={d}"),
        format!("v= {SIGNED_AT_MS},d={d}"),
        format!("v=١٧٩٠٠٠٠٠٠٠٠٠٠,d={d}"),
        format!("{v},d={}é", &d[..62]),
        format!("v=+{SIGNED_AT_MS},d={d}"),
        format!("v=-{SIGNED_AT_MS},d={d}"),
        format!("v=17900000000000000000,d={d}"),
        format!("v=9999999999999999999,d={d}"),
        format!("v=,d={d}"),
        v.to_owned(),
        format!("d={d}"),
        format!("{v},d="),
        format!("d={d},{v}"),
        format!("{valid},e=1"),
        format!("{valid}\n"),
        format!("{valid};{valid}"),
        format!("{v},d={}", "g".repeat(64)),
        format!("V={SIGNED_AT_MS},D={d}"),
        "v=0x10,d=".to_owned() + d,
        String::new(),
    ];
    let verifier = Verifier::new(vec![api_key(KEY)]);
    assert!(verifier.verify(Some(&valid), b"{}", SIGNED_AT_MS).is_ok());
    for header in &table {
        assert_eq!(
            verifier.verify(Some(header), b"{}", SIGNED_AT_MS),
            Err(SignatureError::MalformedHeader),
            "{header:?}"
        );
    }
    assert_eq!(verifier.verify(None, b"{}", SIGNED_AT_MS), Err(SignatureError::MissingHeader));
}

#[test]
fn every_key_is_tried_and_the_matching_one_is_returned() {
    let (first, second) = (api_key(KEY), api_key(OTHER_KEY));
    let verifier = Verifier::new(vec![first.clone(), second.clone()]);
    let verify = |by: &str| verifier.verify(Some(&sign_with(by, b"body", SIGNED_AT_MS)), b"body", SIGNED_AT_MS);
    assert_eq!(verify(KEY), Ok(first.fingerprint()));
    assert_eq!(verify(OTHER_KEY), Ok(second.fingerprint()));
    assert_eq!(verify("key_third_000000000000"), Err(SignatureError::NoKeyMatched));
    let header = sign_with(KEY, b"body", SIGNED_AT_MS);
    assert_eq!(
        Verifier::new(Vec::new()).verify(Some(&header), b"body", SIGNED_AT_MS),
        Err(SignatureError::NoKeyMatched)
    );
}

#[test]
fn the_tolerance_can_be_set() {
    let verifier = Verifier::new(vec![api_key(KEY)]).with_tolerance_ms(1_000);
    let header = sign_with(KEY, b"", SIGNED_AT_MS);
    assert!(verifier.verify(Some(&header), b"", SIGNED_AT_MS + 1_000).is_ok());
    assert_eq!(verifier.verify(Some(&header), b"", SIGNED_AT_MS + 1_001), Err(SignatureError::Stale(1_001)));
    assert_eq!(verifier.verify(Some(&header), b"", SIGNED_AT_MS - 1_001), Err(SignatureError::Stale(-1_001)));
}

/// XORs the byte at `at` (modulo the length) with `by`, which must not be 0.
fn with_changed_byte(bytes: &[u8], at: usize, by: u8) -> Vec<u8> {
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
        let signer = api_key(&key_text);
        let header = Signature::sign(&signer, &body, at).to_string();
        let result = Verifier::new(vec![signer.clone()]).verify(Some(&header), &body, at.saturating_add(skew));
        prop_assert_eq!(result, Ok(signer.fingerprint()));
        prop_assert_eq!(header.parse::<Signature>().map(|read| read.to_string()), Ok(header));
    }

    #[test]
    fn any_changed_byte_is_rejected(
        body in prop::collection::vec(any::<u8>(), 1..500), at in any::<usize>(), by in 1..=u8::MAX,
        digit in 0..64_usize,
    ) {
        let verifier = Verifier::new(vec![api_key(KEY)]);
        let header = sign_with(KEY, &body, SIGNED_AT_MS);
        let rejected = Err(SignatureError::NoKeyMatched);
        prop_assert_eq!(verifier.verify(Some(&header), &with_changed_byte(&body, at, by), SIGNED_AT_MS), rejected);
        let digit = header.len() - 64 + digit;
        let other = if &header[digit..=digit] == "0" { "1" } else { "0" };
        let forged = format!("{}{other}{}", &header[..digit], &header[digit + 1..]);
        prop_assert_eq!(verifier.verify(Some(&forged), &body, SIGNED_AT_MS), rejected);
        let later = header.replace(&SIGNED_AT_MS.to_string(), &(SIGNED_AT_MS + 1).to_string());
        prop_assert_eq!(verifier.verify(Some(&later), &body, SIGNED_AT_MS), rejected);
    }

    #[test]
    fn arbitrary_headers_are_rejected_without_a_panic(
        text in any::<String>(), near in "v=[0-9]{0,21},d=[0-9a-fA-F]{60,68}", now in any::<i64>(),
    ) {
        let verifier = Verifier::new(vec![api_key(KEY)]);
        for header in [text, near] {
            let result = verifier.verify(Some(&header), b"{}", now);
            prop_assert!(result.is_err());
        }
    }
}
