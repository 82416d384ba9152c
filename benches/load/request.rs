//! Unique requests with valid signatures, generated at low cost.
//!
//! Hashing 40 kB per request would take the generator longer than sending the request, on cores that the server
//! needs. Requests from one template differ only in the last bytes of the body and in the timestamp. Therefore the
//! state of the HMAC after the common part is computed once and cloned. The result is the same signature that hashing
//! the whole body gives.
#![allow(clippy::disallowed_methods, reason = "a load generator signs for the real time")]

use std::io::IoSlice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use crate::BenchError;
use crate::args::RequestSize;
use crate::body::{self, BODY_SUFFIX, RandomWords, UNIQUE_DIGITS};
use crate::client::WEBHOOK_PATH;

/// The key of the measured receiver. It is invented and gives access to nothing.
pub const API_KEY: &str = "key_load_measurement_only_not_a_secret";

/// Number of templates per size. They differ in words and times.
const VARIANTS_PER_SIZE: u64 = 16;

/// Length of `v=<13 digits>,d=<64 hex digits>` and of the end of the head, in bytes.
const SIGNATURE_BYTES: usize = 2 + 13 + 3 + 64 + 4;

/// The common part of all requests from one template.
struct RequestTemplate {
    /// The head up to the value of the signature header.
    head: Vec<u8>,
    /// The body up to the unique part of the call id.
    body_prefix: Vec<u8>,
    /// State of the HMAC after `body_prefix`.
    prefix_hmac: Hmac<Sha256>,
}

/// Generates the requests of all connections.
pub struct RequestGenerator {
    /// The templates by size, in the order of their use.
    templates: Vec<Vec<RequestTemplate>>,
    sequence: AtomicU64,
    /// Makes call ids differ from those of other generators and earlier runs.
    run_id: [u8; UNIQUE_DIGITS - 16],
}

/// One request as the pieces in which it is sent.
pub struct SignedRequest<'a> {
    template: &'a RequestTemplate,
    signature: [u8; SIGNATURE_BYTES],
    tail: [u8; UNIQUE_DIGITS + BODY_SUFFIX.len()],
}

impl RequestGenerator {
    pub fn new(size: RequestSize) -> Result<Self, BenchError> {
        let now = u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_nanos())?;
        let mut random = RandomWords::new(0x5eed); // the same texts in every run
        let templates = size
            .rotation()
            .iter()
            .map(|size| size_templates(*size, now / 1_000_000, &mut random))
            .collect::<Result<_, _>>()?;
        let mut run_id = [0; UNIQUE_DIGITS - 16];
        let unique = format!("{:016x}", body::splitmix64(now));
        run_id.copy_from_slice(&unique.as_bytes()[..UNIQUE_DIGITS - 16]);
        Ok(Self { templates, sequence: AtomicU64::new(0), run_id })
    }

    /// Generates and signs the next request.
    pub fn next_request(&self) -> Result<SignedRequest<'_>, BenchError> {
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let sizes = self.templates.len() as u64;
        let variants = &self.templates[usize::try_from(sequence % sizes)?];
        let template = &variants[usize::try_from(sequence / sizes % VARIANTS_PER_SIZE)?];
        let tail = self.unique_tail(sequence)?;
        let millis = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
        Ok(SignedRequest { template, signature: template.sign(&tail, u64::try_from(millis)?)?, tail })
    }

    /// The unique part of the call id and the end of the body. The scrambled number comes first, so that ids are
    /// unordered as in production: an index behaves differently with sorted keys.
    fn unique_tail(&self, sequence: u64) -> Result<[u8; UNIQUE_DIGITS + BODY_SUFFIX.len()], BenchError> {
        let mut tail = [0; UNIQUE_DIGITS + BODY_SUFFIX.len()];
        let scrambled = body::splitmix64(sequence).to_be_bytes();
        hex::encode_to_slice(scrambled, &mut tail[..16])?;
        tail[16..UNIQUE_DIGITS].copy_from_slice(&self.run_id);
        tail[UNIQUE_DIGITS..].copy_from_slice(BODY_SUFFIX);
        Ok(tail)
    }
}

impl RequestTemplate {
    fn new(text: String) -> Result<Self, BenchError> {
        let length = text.len() + UNIQUE_DIGITS + BODY_SUFFIX.len();
        let head = format!(
            "POST {WEBHOOK_PATH} HTTP/1.1\r\n\
             host: 127.0.0.1\r\n\
             accept: application/json, text/plain, */*\r\n\
             content-type: application/json\r\n\
             content-length: {length}\r\n\
             user-agent: retell-webhook-load\r\n\
             x-retell-signature: "
        );
        let mut hashed = Hmac::<Sha256>::new_from_slice(API_KEY.as_bytes())?;
        hashed.update(text.as_bytes());
        Ok(Self { head: head.into_bytes(), body_prefix: text.into_bytes(), prefix_hmac: hashed })
    }

    /// Value of the signature header and the end of the head.
    fn sign(&self, tail: &[u8], millis: u64) -> Result<[u8; SIGNATURE_BYTES], BenchError> {
        let mut value = [0; SIGNATURE_BYTES];
        value[..2].copy_from_slice(b"v=");
        write_decimal(millis, &mut value[2..15]);
        value[15..18].copy_from_slice(b",d=");
        let mut hmac = self.prefix_hmac.clone();
        hmac.update(tail);
        hmac.update(&value[2..15]);
        hex::encode_to_slice(hmac.finalize().into_bytes(), &mut value[18..82])?;
        value[82..].copy_from_slice(b"\r\n\r\n");
        Ok(value)
    }
}

impl SignedRequest<'_> {
    /// The pieces in the order of sending. They are not copied into one buffer: the kernel gathers them.
    pub fn io_slices(&self) -> [IoSlice<'_>; 4] {
        [
            IoSlice::new(&self.template.head),
            IoSlice::new(&self.signature),
            IoSlice::new(&self.template.body_prefix),
            IoSlice::new(&self.tail),
        ]
    }
}

fn size_templates(size: RequestSize, now: u64, random: &mut RandomWords) -> Result<Vec<RequestTemplate>, BenchError> {
    (0..VARIANTS_PER_SIZE)
        .map(|variant| RequestTemplate::new(body::event_template(size, variant, now, random)?))
        .collect()
}

/// Fills `digits` with the decimal digits of `number`, with leading zeros.
fn write_decimal(mut number: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
}
