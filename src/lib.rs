//! Receives every webhook event that Retell AI's voice agents send: verifies that it came from Retell, stores it on disk
//! before acknowledging it, and delivers it to handlers until they have handled it.
//!
//! The program `retell-webhook` does this without any code. With the library, the same receiver becomes part of your own
//! service:
//!
//! ```no_run
//! use retell_webhook::{Outcome, Receiver};
//!
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let receiver = Receiver::builder()
//!     .api_key("key_9f27a1c4de5588b2031fa7c0") // the key with the webhook badge in Retell's dashboard
//!     .storage_url("sqlite://data/retell-webhook.db")
//!     .on_call_ended(|call, context| async move {
//!         println!("{:?} took {:?} ms (event {})", call.call_id, call.duration_ms, context.event_id);
//!         Outcome::Done
//!     })
//!     .on_call_analyzed(|call, _| async move {
//!         match call.call_analysis {
//!             Some(analysis) => { println!("sentiment: {:?}", analysis.user_sentiment); Outcome::Done }
//!             None => Outcome::fail("the analyzed call has no analysis"),
//!         }
//!     })
//!     .build()
//!     .await?;
//!
//! let listener = tokio::net::TcpListener::bind("0.0.0.0:8000").await?;
//! // Serves until Ctrl-C or SIGTERM, then finishes accepted requests and closes the store.
//! receiver.serve(listener).await?;
//! # Ok(())
//! # }
//! ```
//!
//! | to | use |
//! |---|---|
//! | run a receiver with routes, store and handlers | [`Receiver`] |
//! | mount its routes in your own router | [`Receiver::webhook_router`] |
//! | write a handler | [`EventHandler`], [`Outcome`], [`Context`] |
//! | check signatures in front of your own handler, without a store | [`SignatureLayer`], [`Verified`] |
//! | check or make a signature by hand | [`Verifier`], [`Signature`] |
//! | read events as types | [`event`] |
//! | send signed requests in tests | [`testing`] |
//!
//! | feature | adds |
//! |---|---|
//! | none (`default-features = false`) | typed events, signatures, and the [`SignatureLayer`] |
//! | `receiver` | `Receiver`: store, handlers and routes |
//! | `cli` (default) | the program |

#![cfg_attr(
    not(feature = "cli"),
    allow(dead_code, unused_imports, unreachable_pub, reason = "the modules are shared; the program uses all of them")
)]

#[cfg(feature = "receiver")]
mod alarms;
#[cfg(feature = "receiver")]
mod app;
mod base;
#[cfg(feature = "receiver")]
mod calls;
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
#[cfg(feature = "receiver")]
mod operations;
#[cfg(feature = "receiver")]
mod outbound;
mod privacy;
#[cfg(feature = "receiver")]
mod rejections;
#[cfg(feature = "receiver")]
mod retell;
mod security;
#[cfg(feature = "receiver")]
mod simulation;
#[cfg(feature = "receiver")]
mod storage;
#[cfg(feature = "receiver")]
mod telemetry;
mod tenants;
pub mod testing;
#[cfg(feature = "receiver")]
mod view;

#[cfg(feature = "receiver")]
pub use app::{BuildError, Receiver, ReceiverBuilder, ReloadHandle, ServeError};
#[cfg(feature = "receiver")]
pub use async_trait::async_trait;
pub use base::clock::Clock;
pub use base::id::{CompanyId, EventId};
pub use base::secret::Secret;
#[cfg(feature = "receiver")]
pub use config::{ConfigSources, FieldError, HandlerKind, HandlerSettings, Settings};
pub use event::{Call, Chat, Event, EventKind};
#[cfg(feature = "receiver")]
pub use handlers::{Context, EventHandler, Filter, Outcome};
pub use http::budget::InflightBudget;
pub use http::layer::{SignatureLayer, SignatureRejection, UnreadableRequest};
pub use http::{ApiError, RawEvent, Verified};
#[cfg(feature = "receiver")]
pub use live::inbound::{InboundAnswer, InboundContext, InboundRequest};
#[cfg(feature = "receiver")]
pub use live::{Function, FunctionContext, FunctionOutcome};
pub use security::keys::{ApiKey, KeyFingerprint};
pub use security::signature::{SIGNATURE_HEADER, Signature, SignatureError, Verifier};
#[cfg(feature = "receiver")]
pub use storage::{StoreError, StoreErrorKind};

/// What the program, the benchmarks and the tests of this package need beyond the public interface. Not covered by
/// semantic versioning.
#[doc(hidden)]
#[cfg(feature = "receiver")]
pub mod internals {
    pub use crate::app::{ConnectionPolicy, build_runtime, serve};
    pub use crate::base::id::{EventIdGenerator, random_hex};
    pub use crate::base::supervise::Supervisor;
    #[cfg(feature = "cli")]
    pub use crate::cli::{Cli, report_error, run};
    pub use crate::config::{AlarmSettings, DeliverySettings, Origins, RevisionPolicy, TranscriptPolicy};
    pub use crate::egress::{ConnectionError, HttpConnection, RequestTarget, SplitBody};
    pub use crate::handlers::RegisteredHandler;
    pub use crate::live::appointments::built_in_functions;
    pub use crate::simulation::load::{
        LatencyHistogram, LoadBodySize, LoadError, LoadExtent, LoadOptions, LoadProgress, LoadResult, LoadStats,
        run as run_load,
    };
    pub use crate::storage::{
        BreakerState, DEFAULT_COMPANY_ID, DeliveryState, EventFilter, EventOrigin, HandlerRow, IdentityKey, NewEvent,
        Role, Store, open as open_store,
    };
    pub use crate::telemetry::process::ProcessStats;
}

/// The programs in docs/ are compiled by the documentation tests.
#[cfg(all(doctest, feature = "receiver"))]
#[doc = include_str!("../docs/functions.md")]
struct CustomFunctions;
#[cfg(all(doctest, feature = "receiver"))]
#[doc = include_str!("../docs/embedding.md")]
struct Embedding;
#[cfg(all(doctest, feature = "receiver"))]
#[doc = include_str!("../docs/handlers/own.md")]
struct OwnHandlers;
