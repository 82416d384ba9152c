//! Receives every webhook event Retell AI's voice agents send: proves that it came from Retell, puts it on disk before
//! it is acknowledged, and hands it to handlers until they are done with it.
//!
//! The program `retell-webhook` does this by itself. The library mounts the same receiver in an axum router of yours:
//!
//! ```no_run
//! use axum::{Router, routing::get};
//! use retell_webhook::{Outcome, Receiver};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let receiver = Receiver::builder()
//!     .api_key("key_9f27a1c4de5588b2031fa7c0") // the key with the webhook badge in Retell's dashboard
//!     .storage_url("sqlite://data/retell-webhook.db")
//!     .on_call_started(|call, _| async move {
//!         println!("ringing: {:?}", call.call_id);
//!         Outcome::Done
//!     })
//!     .on_call_ended(|call, context| async move {
//!         println!("{:?} took {:?} ms (event {})", call.call_id, call.duration_ms, context.event_id);
//!         Outcome::Done
//!     })
//!     .on_call_analyzed(|call, _| async move {
//!         match call.call_analysis {
//!             Some(analysis) => { println!("mood: {:?}", analysis.user_sentiment); Outcome::Done }
//!             None => Outcome::fail("an analyzed call without an analysis"),
//!         }
//!     })
//!     .build()
//!     .await?;
//!
//! let app = Router::new().route("/", get(|| async { "hello" })).merge(receiver.router());
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8000").await?;
//! let supervisor = receiver.supervisor().clone();
//! // With the peer's address, each sender has its own share of the memory for bodies.
//! axum::serve(listener, app.into_make_service_with_connect_info::<std::net::SocketAddr>())
//!     .with_graceful_shutdown(async move {
//!         tokio::select! {
//!             _ = tokio::signal::ctrl_c() => {}
//!             () = supervisor.wait_for_stop() => {} // a part of the receiver died: nothing could be stored any more
//!         }
//!     })
//!     .await?;
//! receiver.shutdown().await?;
//! # Ok(())
//! # }
//! ```
//!
//! | you need | look at |
//! |---|---|
//! | the routes and the handlers in one | [`Receiver`] |
//! | a handler of your own | [`EventHandler`], [`Outcome`], [`Context`] |
//! | only the signature check, in front of your own handler | [`SignatureLayer`], [`Verified`] |
//! | to check or make a signature by hand | [`Verifier`], [`Signature`] |
//! | the events as types | [`event`] |
//! | to serve with time-outs on slow senders | [`app::serve`] |
//!
//! | feature | brings |
//! |---|---|
//! | none (`default-features = false`) | [`event`], [`security`], and in [`http`] the [`SignatureLayer`]: no store, no command line |
//! | `receiver` | [`Receiver`] and what it needs: store, handlers, routes |
//! | `cli` (the default) | the program as well |

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, unreachable_pub, reason = "the modules are shared; the program uses all of them")
)]

#[cfg(feature = "receiver")]
mod app;
mod base;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "receiver")]
mod config;
#[cfg(feature = "receiver")]
mod dispatch;
#[cfg(feature = "receiver")]
mod egress;
pub mod event;
#[cfg(feature = "receiver")]
mod handlers;
mod http;
#[cfg(feature = "receiver")]
mod intake;
#[cfg(feature = "receiver")]
mod live;
mod security;
#[cfg(feature = "receiver")]
mod storage;
#[cfg(feature = "receiver")]
mod telemetry;

#[cfg(feature = "receiver")]
pub use app::{BuildError, Receiver, ReceiverBuilder, ReloadHandle};
#[cfg(feature = "receiver")]
pub use async_trait::async_trait;
pub use base::clock::Clock;
pub use base::id::{EventId, InvalidEventId};
pub use base::secret::Secret;
#[cfg(feature = "receiver")]
pub use config::{ConfigError, ConfigSources, HandlerKind, HandlerSettings, Settings};
pub use event::{Call, Chat, Event, EventKind};
#[cfg(feature = "receiver")]
pub use handlers::{Context, EventHandler, Filter, Outcome};
pub use http::budget::InflightBudget;
pub use http::layer::{SignatureLayer, SignatureRejection, UnreadableRequest};
pub use http::{ApiError, RawEvent, Verified};
#[cfg(feature = "receiver")]
pub use live::inbound::{InboundAnswer, InboundContext, InboundRequest};
#[cfg(feature = "receiver")]
pub use live::{FunctionContext, FunctionOutcome};
pub use security::keys::{ApiKey, KeyFingerprint};
pub use security::signature::{SIGNATURE_HEADER, Signature, SignatureError, Verifier};
#[cfg(feature = "receiver")]
pub use storage::StoreError;

/// What the program, the benchmarks and the tests of this package need beyond the public interface. Not covered by
/// semantic versioning.
#[doc(hidden)]
#[cfg(feature = "receiver")]
pub mod internals {
    pub use crate::app::serve;
    pub use crate::base::id::{EventIdGenerator, random_hex};
    pub use crate::base::supervise::Supervisor;
    #[cfg(feature = "cli")]
    pub use crate::cli::{Cli, report_error, run};
    pub use crate::config::{AlarmSettings, DeliverySettings, RevisionPolicy, TranscriptPolicy};
    pub use crate::handlers::RegisteredHandler;
    pub use crate::live::appointments::built_in_functions;
    pub use crate::storage::sqlite::{SqliteStore, SqliteUrl};
    pub use crate::storage::{
        BreakerState, DEFAULT_COMPANY_ID, DeliveryState, EventFilter, HandlerRow, IdentityKey, NewEvent, Store,
    };
    pub use crate::telemetry::process::ProcessStats;
}

/// The programs in docs/ are compiled with the documentation tests.
#[cfg(all(doctest, feature = "receiver"))]
#[doc = include_str!("../docs/functions.md")]
struct CustomFunctions;
#[cfg(all(doctest, feature = "receiver"))]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;
#[cfg(all(doctest, feature = "receiver"))]
#[doc = include_str!("../docs/handlers/own.md")]
struct OwnHandlers;
