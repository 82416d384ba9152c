//! Receives every webhook event Retell AI's voice agents send: proves that it came from Retell, puts it on disk before
//! it is acknowledged, and hands it to handlers until they are done with it.
#![allow(missing_docs)]

pub mod app;
pub mod base;
pub mod cli;
pub mod config;
pub mod dispatch;
pub mod egress;
pub mod event;
pub mod handlers;
pub mod http;
pub mod intake;
pub mod security;
pub mod storage;
pub mod telemetry;

pub use app::{Receiver, ReceiverBuilder};
pub use async_trait::async_trait;
pub use base::secret::Secret;
pub use event::{Call, Event};
pub use handlers::{Context, EventHandler, Outcome};
pub use http::layer::SignatureLayer;
pub use http::{RawEvent, Verified};
pub use security::keys::ApiKey;
pub use security::signature::{Signature, Verifier};
