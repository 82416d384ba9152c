//! Measures how fast stored events reach handlers: writes a backlog, then starts a receiver with handlers on it.
//!
//! ```text
//! cargo bench --bench dispatch -- --events 100000 --handler noop|log|call_store|forward|forward-dead [--calls 20000]
//! ```
//!
//! `forward` posts to a server in this process, `forward-dead` to three destinations, one of which refuses
//! connections.
#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, and stops where it fails")]
#![allow(clippy::cast_precision_loss, reason = "rates")]
#![allow(missing_docs, clippy::doc_markdown, reason = "a program: doc comments are its help text")]

use std::path::Path;
use std::time::{Duration, Instant};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use clap::Parser;
use retell_webhook::Filter;
use retell_webhook::Secret;
use retell_webhook::internals::EventIdGenerator;
use retell_webhook::internals::ProcessStats;
use retell_webhook::internals::Supervisor;
use retell_webhook::internals::{BreakerState, DEFAULT_COMPANY_ID, HandlerRow, NewEvent};
use retell_webhook::internals::{Role, open_store};
use retell_webhook::{Context, Event, EventHandler, Outcome, Receiver, async_trait};
use retell_webhook::{HandlerKind, HandlerSettings, Settings};

#[derive(Parser)]
struct DispatchArgs {
    /// Number of events in the backlog
    #[arg(long, default_value_t = 100_000)]
    events: i64,
    /// Number of calls to which the events belong
    #[arg(long, default_value_t = 25_000)]
    calls: i64,
    /// Handler: noop, log, call_store, forward or forward-dead
    #[arg(long, default_value = "noop")]
    handler: String,
    /// Passed by cargo to every bench target
    #[arg(long)]
    bench: bool,
}

struct NoopHandler;

#[async_trait]
impl EventHandler for NoopHandler {
    async fn handle(&self, _: &Event, _: &Context) -> Outcome {
        Outcome::Done
    }
}

#[tokio::main]
async fn main() {
    let args = DispatchArgs::parse();
    let folder = tempfile::tempdir().unwrap();
    let sink = start_destination_server().await;
    let (settings, names) = handler_settings(&args.handler, &sink);
    store_backlog(folder.path(), &args, &names).await;
    let memory_before = ProcessStats::read().resident_bytes.unwrap_or_default();
    let started_at = Instant::now();
    let mut builder = Receiver::builder().settings(settings).storage_url(database_url(folder.path()));
    builder = builder.api_key("key_9f27a1c4de5588b2031fa7c0");
    if args.handler == "noop" {
        builder = builder.handler("noop", Filter::all(), NoopHandler);
    }
    let receiver = builder.build().await.unwrap();
    let mut peak_memory = memory_before;
    let mut done: Vec<(String, Duration, Option<BreakerState>, i64)> = Vec::new();
    // A handler whose destination is down never finishes. It counts as done as soon as its circuit breaker is open.
    while done.len() < receiver.handlers().iter().count() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        peak_memory = peak_memory.max(ProcessStats::read().resident_bytes.unwrap_or_default());
        for backlog in receiver.store().overview(0).await.unwrap().backlogs {
            let breaker = Some(backlog.breaker_state).filter(|state| *state != BreakerState::Closed);
            let is_done = (backlog.behind == 0 && backlog.scheduled == 0) || breaker.is_some();
            if is_done && !done.iter().any(|(name, ..)| *name == backlog.handler) {
                done.push((backlog.handler, started_at.elapsed(), breaker, backlog.behind));
            }
        }
    }
    for (name, duration, breaker, behind) in done {
        let state = match breaker {
            Some(state) => format!(", circuit breaker {}, {behind} pending", state.as_str()),
            None => String::new(),
        };
        let seconds = duration.as_secs_f64();
        let rate = (args.events - behind) as f64 / seconds;
        println!("{name:<24} {seconds:>8.2} s  {rate:>8.0} deliveries/s{state}");
    }
    println!("resident memory: {} MB before, peak {} MB", memory_before / 1_000_000, peak_memory / 1_000_000);
    receiver.shutdown().await.unwrap();
}

fn database_url(folder: &Path) -> String {
    format!("sqlite://{}", folder.join("bench.db").display())
}

/// Starts the server to which `forward` posts, and returns its URL.
async fn start_destination_server() -> String {
    let app = Router::new().route("/", post(async |_: axum::body::Bytes| StatusCode::NO_CONTENT));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    Supervisor::default().spawn_detached(async move { axum::serve(listener, app).await.unwrap() });
    format!("http://{address}/")
}

/// The settings, and the names of the handlers that they register.
fn handler_settings(handler: &str, sink: &str) -> (Settings, Vec<String>) {
    let mut settings = Settings { handlers: Vec::new(), ..Settings::default() };
    let mut add = |name: &str, kind, url: Option<&str>| {
        let url = url.map(Secret::new);
        settings.handlers.push(HandlerSettings { url, ..HandlerSettings::new(name, kind) });
    };
    match handler {
        "log" => add("log", HandlerKind::Log, None),
        "call_store" => add("call_store", HandlerKind::CallStore, None),
        "forward" => add("forward", HandlerKind::Forward, Some(sink)),
        "forward-dead" => {
            add("forward-1", HandlerKind::Forward, Some(sink));
            add("forward-2", HandlerKind::Forward, Some(sink));
            add("forward-dead", HandlerKind::Forward, Some("http://127.0.0.1:9/"));
        }
        _ => {}
    }
    let mut names: Vec<_> = settings.handlers.iter().map(|table| table.name.clone()).collect();
    if handler == "noop" {
        names.push("noop".to_owned());
    }
    (settings, names)
}

async fn store_backlog(folder: &Path, args: &DispatchArgs, names: &[String]) {
    let supervisor = Supervisor::default();
    let store = open_store(&database_url(folder).parse().unwrap(), Role::Receiver, &supervisor).unwrap();
    for name in names {
        let row = HandlerRow { name: name.clone(), ordered: true, ordering_timeout_ms: 600_000 };
        store.register_handler(row).await.unwrap();
    }
    let ids = EventIdGenerator::default();
    for chunk in 0..=args.events / 1_000 {
        let numbers = chunk * 1_000..((chunk + 1) * 1_000).min(args.events);
        let appends = numbers.map(|number| store.append(new_event(&ids, number, args.calls)));
        for appended in futures_util::future::join_all(appends).await {
            appended.unwrap();
        }
    }
    supervisor.stop();
    supervisor.wait_for_tasks().await;
    store.close().await.unwrap();
}

fn new_event(ids: &EventIdGenerator, number: i64, calls: i64) -> NewEvent {
    let names = ["call_started", "transcript_updated", "call_ended", "call_analyzed"];
    let at = usize::try_from(number / calls).unwrap() % names.len();
    let call_id = format!("call_{:032x}", number % calls);
    let body = format!(
        "{{\"event\":\"{}\",\"n\":{number},\"call\":{{\"call_id\":\"{call_id}\",\"agent_id\":\"agent_1\",\"pad\":\"{}\"}}}}",
        names[at],
        "x".repeat(480)
    );
    NewEvent {
        kind: Some(names[at].to_owned()),
        call_id: Some(call_id),
        agent_id: Some("agent_1".to_owned()),
        content_type: Some("application/json".to_owned()),
        ..NewEvent::new(
            ids.next_id(1_790_000_000_000 + number / 100),
            DEFAULT_COMPANY_ID,
            1_790_000_000_000 + number / 100,
            body,
        )
    }
}
