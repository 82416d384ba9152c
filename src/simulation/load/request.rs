//! Unique signed requests, generated at low cost: hashing 40 kB for each would take longer than sending them, on cores
//! that the receiver needs. The requests from one template differ only at the end of the body and in the timestamp, so
//! everything before is hashed once.

use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use hyper::Request;
use hyper::header::{HeaderName, HeaderValue};

use super::LoadError;
use super::body::{BODY_SUFFIX, LoadBodySize, UNIQUE_DIGITS, body_prefixes};
use crate::base::clock::Clock;
use crate::base::id::random_hex;
use crate::egress::{RequestTarget, SplitBody};
use crate::security::keys::ApiKey;
use crate::security::signature::{PrefixSigner, SIGNATURE_HEADER};
use crate::simulation::random::SeededRandom;

const SIGNATURE_HEADER_NAME: HeaderName = HeaderName::from_static(SIGNATURE_HEADER);
/// Number of hex digits of a call id that count the requests of a run.
const NUMBER_DIGITS: usize = 16;

/// What all requests with the same start of the body have in common.
struct RequestTemplate {
    body_prefix: Bytes,
    /// `None` if the requests are sent unsigned.
    signer: Option<PrefixSigner>,
}

pub(super) struct RequestGenerator {
    target: RequestTarget,
    templates: Vec<RequestTemplate>,
    next_number: AtomicU64,
    /// Makes call ids differ from those of other runs.
    run_id: [u8; UNIQUE_DIGITS - NUMBER_DIGITS],
    clock: Clock,
}

/// A request with the size of its body.
pub(super) struct LoadRequestBody {
    pub(super) request: Request<SplitBody>,
    pub(super) body_bytes: usize,
}

impl RequestGenerator {
    pub(super) fn new(
        target: RequestTarget,
        key: Option<&ApiKey>,
        size: LoadBodySize,
        clock: &Clock,
    ) -> Result<Self, LoadError> {
        let template = |prefix: String| RequestTemplate {
            signer: key.map(|key| PrefixSigner::new(key, prefix.as_bytes())),
            body_prefix: prefix.into(),
        };
        let templates = body_prefixes(size, clock.now_ms())?.into_iter().map(template).collect();
        let mut run_id = [0; UNIQUE_DIGITS - NUMBER_DIGITS];
        run_id.iter_mut().zip(random_hex().bytes()).for_each(|(digit, random)| *digit = random);
        Ok(Self { target, templates, next_number: AtomicU64::new(0), run_id, clock: clock.clone() })
    }

    pub(super) fn target(&self) -> &RequestTarget {
        &self.target
    }

    /// Takes the number of the next request.
    pub(super) fn next_number(&self) -> u64 {
        self.next_number.fetch_add(1, Ordering::Relaxed)
    }

    /// Generates and signs request `number`.
    pub(super) fn generate(&self, number: u64) -> LoadRequestBody {
        let index = usize::try_from(number % self.templates.len() as u64).unwrap_or(0);
        let template = &self.templates[index];
        let tail = self.body_tail(number);
        let body_bytes = template.body_prefix.len() + tail.len();
        let mut request = self.target.post(template.body_prefix.clone(), Bytes::copy_from_slice(&tail));
        if let Some(signer) = &template.signer {
            let signature = signer.sign(&tail, self.clock.now_ms()).to_string();
            // The text of a signature is always a valid value.
            let value = HeaderValue::try_from(signature).ok();
            request.headers_mut().extend(value.map(|value| (SIGNATURE_HEADER_NAME, value)));
        }
        LoadRequestBody { request, body_bytes }
    }

    /// The unique part of the call id and the end of the body. The number is scrambled, so that ids are unordered as in
    /// production: an index behaves differently with sorted keys. Different numbers give different ids.
    fn body_tail(&self, number: u64) -> [u8; UNIQUE_DIGITS + BODY_SUFFIX.len()] {
        let mut tail = [0; UNIQUE_DIGITS + BODY_SUFFIX.len()];
        let scrambled = SeededRandom::new(0, number).next_u64();
        for (digit, shift) in tail.iter_mut().zip((0..NUMBER_DIGITS).rev()) {
            *digit = b"0123456789abcdef"[(scrambled >> (4 * shift) & 0xf) as usize];
        }
        tail[NUMBER_DIGITS..UNIQUE_DIGITS].copy_from_slice(&self.run_id);
        tail[UNIQUE_DIGITS..].copy_from_slice(BODY_SUFFIX);
        tail
    }
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt;
    use serde_json::Value;

    use super::*;
    use crate::base::secret::Secret;
    use crate::security::signature::Verifier;

    #[tokio::test]
    async fn requests_are_unique_and_validly_signed() {
        let target = RequestTarget::new(&"http://localhost:8000/hook".parse().unwrap()).unwrap();
        let key = ApiKey::new(&Secret::new("key_9f27a1c4de5588b2031fa7c0"));
        let clock = Clock::from_fn(|| 1_790_000_000_000);
        let generator = RequestGenerator::new(target, Some(&key), LoadBodySize::Mix, &clock).unwrap();
        let verifier = Verifier::from(key);
        let mut ids = std::collections::BTreeSet::new();
        for _ in 0..100 {
            let LoadRequestBody { request, body_bytes } = generator.generate(generator.next_number());
            let (parts, body) = request.into_parts();
            let body = body.collect().await.unwrap().to_bytes();
            assert_eq!(body.len(), body_bytes);
            let header = parts.headers["x-retell-signature"].to_str().unwrap();
            verifier.verify(Some(header), &body, clock.now_ms()).unwrap();
            let event: Value = serde_json::from_slice(&body).unwrap();
            assert!(ids.insert(event["call"]["call_id"].to_string()));
        }
    }
}
