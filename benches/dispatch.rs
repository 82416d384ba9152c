//! Measures how fast stored events reach handlers: writes a backlog, then starts a receiver with handlers on it.
//!
//! ```text
//! cargo bench --bench dispatch -- --events 100000 --handler noop|log|call_store|default|forward|forward-dead
//! cargo bench --bench dispatch -- --events 100000 --calls 100000 --handler default --intake 1000
//! ```
//!
//! `default` has both handlers of a receiver without settings. With `--intake`, further events are stored meanwhile, and their
//! latency is measured. `forward` posts to a server in this process, whose processor time is stated separately, `forward-dead` to three destinations, one of which refuses
//! connections.
#![allow(unreachable_pub, reason = "no other crate uses this one")]
#![allow(clippy::print_stdout, clippy::unwrap_used, reason = "a measurement prints, and stops where it fails")]
#![allow(clippy::cast_precision_loss, reason = "rates")]
#![allow(missing_docs, clippy::doc_markdown, reason = "a program: doc comments are its help text")]

use std::path::Path;
use std::sync::{Arc, Mutex};
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
use retell_webhook::internals::build_runtime;
use retell_webhook::internals::{BreakerState, DEFAULT_COMPANY_ID, HandlerRow, NewEvent};
use retell_webhook::internals::{Role, Store, open_store};
use retell_webhook::{Context, Event, EventHandler, Outcome, Receiver, async_trait};
use retell_webhook::{HandlerKind, HandlerSettings, Settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SINK_THREAD: &str = "sink";

#[derive(Parser)]
struct DispatchArgs {
    /// Number of events in the backlog
    #[arg(long, default_value_t = 100_000)]
    events: i64,
    /// Number of calls to which the events belong
    #[arg(long, default_value_t = 25_000)]
    calls: i64,
    /// Handler: noop, log, call_store, default, forward or forward-dead
    #[arg(long, default_value = "noop")]
    handler: String,
    /// Number of events per second to store during the delivery of the backlog
    #[arg(long, default_value_t = 0)]
    intake: u32,
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

fn main() {
    build_runtime().unwrap().block_on(measure(DispatchArgs::parse()));
}

async fn measure(args: DispatchArgs) {
    let folder = tempfile::tempdir().unwrap();
    let sink = start_destination_server();
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
    let stop_intake = Supervisor::default();
    let latencies = start_intake(receiver.store().clone(), &args, &stop_intake);
    let mut done: Vec<(String, Duration, Option<BreakerState>, i64)> = Vec::new();
    // A handler whose destination is down never finishes. It counts as done as soon as its circuit breaker is open.
    while done.len() < receiver.handlers().iter().count() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        peak_memory = peak_memory.max(ProcessStats::read().resident_bytes.unwrap_or_default());
        for backlog in receiver.store().overview(0).await.unwrap().backlogs {
            let breaker = Some(backlog.breaker_state).filter(|state| *state != BreakerState::Closed);
            // Events that arrive meanwhile are never all delivered.
            let is_drained = backlog.behind <= i64::from(args.intake) / 4;
            let is_done = (is_drained && backlog.scheduled == 0) || breaker.is_some();
            if is_done && !done.iter().any(|(name, ..)| *name == backlog.handler) {
                done.push((backlog.handler, started_at.elapsed(), breaker, backlog.behind));
            }
        }
    }
    stop_intake.stop();
    stop_intake.wait_for_tasks().await;
    print_latencies(&latencies);
    println!("processor time of the destination: {} ms", sink_cpu_ms());
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
fn start_destination_server() -> String {
    let app = Router::new().route("/", post(async |_: axum::body::Bytes| StatusCode::NO_CONTENT));
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let address = listener.local_addr().unwrap();
    // On a separate thread, whose processor time is known.
    let serve = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            axum::serve(listener, app).await.unwrap();
        });
    };
    Supervisor::default().spawn_thread(SINK_THREAD, serve).unwrap();
    format!("http://{address}/")
}

/// User and system time of the thread of the destination.
fn sink_cpu_ms() -> u64 {
    let threads = std::fs::read_dir("/proc/self/task").unwrap().flatten().map(|thread| thread.path());
    let is_sink = |thread: &std::path::PathBuf| {
        std::fs::read_to_string(thread.join("comm")).is_ok_and(|name| name.trim() == SINK_THREAD)
    };
    let stat = threads.filter(is_sink).find_map(|thread| std::fs::read_to_string(thread.join("stat")).ok());
    let fields = stat.as_deref().and_then(|stat| stat.rsplit_once(')')).map_or("", |(_, fields)| fields);
    let ticks: u64 = fields.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    ticks * 10
}

/// Stores events at a fixed rate until `stop` stops, and collects how long each takes.
fn start_intake(store: Arc<dyn Store>, args: &DispatchArgs, stop: &Supervisor) -> Arc<Mutex<Vec<Duration>>> {
    let latencies = Arc::new(Mutex::new(Vec::new()));
    if args.intake == 0 {
        return latencies;
    }
    let (collected, supervisor, first_number) = (Arc::clone(&latencies), stop.clone(), args.events);
    let interval = Duration::from_secs(1) / args.intake;
    stop.spawn("intake", async move {
        let ids = EventIdGenerator::default();
        let mut due_at = tokio::time::Instant::now();
        for number in first_number.. {
            due_at += interval;
            tokio::time::sleep_until(due_at).await;
            if supervisor.is_stopping() {
                break;
            }
            let event = new_event(&ids, number, i64::MAX);
            let (store, collected) = (Arc::clone(&store), Arc::clone(&collected));
            supervisor.spawn_detached(async move {
                store.append(event).await.unwrap();
                collected.lock().unwrap().push(due_at.elapsed());
            });
        }
    });
    latencies
}

fn print_latencies(latencies: &Mutex<Vec<Duration>>) {
    let mut latencies = latencies.lock().unwrap();
    latencies.sort_unstable();
    if let Some(last) = latencies.len().checked_sub(1) {
        let quantile_ms = |percent: usize| latencies[last * percent / 100].as_secs_f64() * 1e3;
        println!("intake: {} events, p50 {:.2} ms, p99 {:.2} ms", last + 1, quantile_ms(50), quantile_ms(99));
    }
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
        "default" => {
            add("log", HandlerKind::Log, None);
            add("call_store", HandlerKind::CallStore, None);
        }
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
