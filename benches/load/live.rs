//! The latency that the receiver adds to live requests, also while it receives events and delivers them.
//!
//! The target of a function, and of an inbound rule with `ask`, is a server in this process that answers after
//! [`TARGET_DELAY`]. Requests through the receiver alternate with requests directly to the target, by the same client
//! over the same kind of connection. The load slows down both, so only the difference is caused by the receiver.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue};
use axum::routing::post;
use retell_webhook::internals::{HttpConnection, LatencyHistogram, RequestTarget};
use retell_webhook::{ApiKey, Clock, SIGNATURE_HEADER, Secret, Signature};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::BenchError;
use crate::args::LoadBenchArgs;
use crate::process::{self, MeasuredServer};
use crate::window::API_KEY;

/// Time that the target takes to answer.
const TARGET_DELAY: Duration = Duration::from_millis(20);
/// Pause of a caller between two requests.
const REQUEST_PAUSE: Duration = Duration::from_millis(10);
/// Number of concurrent callers, each with one request in flight.
const CALLER_COUNT: u64 = 4;
/// Time after which a started load has reached its full rate.
const WARM_UP: Duration = Duration::from_secs(1);
/// Duration of the load that builds a backlog of deliveries before the second phase, in seconds.
const BACKLOG_SECONDS: u64 = 8;

/// The phases: the name, and the rate of the load; `None` for a closed loop at full rate.
const LOAD_PHASES: [(&str, Option<&str>); 4] =
    [("idle", Some("0")), ("full load", None), ("2,000/s", Some("2000")), ("handlers drain", Some("0"))];

const FUNCTION_PATH: &str = "/api/v1/function/lookup";
const INBOUND_PATH: &str = "/api/v1/webhook/retell/inbound";

/// Latencies: directly to the target, of the function, of the inbound request.
type LiveLatencies = [LatencyHistogram; 3];

/// Measures and prints; `false` when `--max-live-ms` is exceeded.
pub async fn run_live(args: &LoadBenchArgs) -> Result<bool, BenchError> {
    let hits = Arc::new(AtomicU64::new(0));
    let target = start_target(Arc::clone(&hits))?;
    let folder = write_settings(target)?;
    let server = MeasuredServer::start_receiver(args, None, Some(folder.path())).await?;
    println!("milliseconds; the target itself takes {}", TARGET_DELAY.as_millis());
    println!("{:<25}{:>24}{:>32}{:>32}", "", "target", "function", "inbound");
    let columns = format!("{:>8}{:>8}{:>8}", "p50", "p99", "max");
    println!("{:<16}{:>9}{columns}{columns}{:>8}{columns}{:>8}", "phase", "pending", "added", "added");
    let mut max_added_ms = 0.0_f64;
    for (number, (name, rate)) in (0..).zip(LOAD_PHASES) {
        // The first phase measures an idle receiver, so the backlog is built only after it.
        if number == 1 {
            spawn_load(args, &server, None, BACKLOG_SECONDS)?.wait()?;
        }
        let pending = server.pending_deliveries(args)?;
        let background_load = match rate {
            Some("0") => None,
            _ => Some(BackgroundLoad(spawn_load(args, &server, rate, args.seconds + WARM_UP.as_secs() + 1)?)),
        };
        sleep(WARM_UP).await;
        let measured = run_callers(server.process().port, target, args.measured_time(), number).await?;
        drop(background_load);
        max_added_ms = max_added_ms.max(print_phase(name, pending, &measured));
    }
    // A fallback answers without the target and would make the receiver look faster than it is.
    let sent = TARGET_REQUESTS.load(Ordering::Relaxed);
    let reached = hits.load(Ordering::Relaxed);
    if sent != reached {
        let log = server.log_tail();
        return Err(format!("{sent} requests were sent, but {reached} reached the target (fallbacks){log}").into());
    }
    Ok(args.max_live_ms.is_none_or(|limit| max_added_ms <= limit))
}

/// Number of requests that must reach the target, directly or through the receiver.
static TARGET_REQUESTS: AtomicU64 = AtomicU64::new(0);

/// A running load generator. It is stopped on drop.
struct BackgroundLoad(Child);

impl Drop for BackgroundLoad {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts the target on a separate thread, so that it is independent of the load generator.
fn start_target(hits: Arc<AtomicU64>) -> Result<u16, BenchError> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
    listener.set_nonblocking(true)?;
    let port = listener.local_addr()?.port();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let answer = move |_: Bytes| {
        hits.fetch_add(1, Ordering::Relaxed);
        async {
            sleep(TARGET_DELAY).await;
            ([("content-type", "application/json")], r#"{"call_inbound":{"metadata":{"ok":true}}}"#)
        }
    };
    std::thread::Builder::new().name("target".into()).spawn(move || {
        runtime.block_on(async move {
            match TcpListener::from_std(listener) {
                Ok(listener) => drop(axum::serve(listener, Router::new().route("/", post(answer))).await),
                Err(error) => eprintln!("load: the target cannot serve: {error}"),
            }
        });
    })?;
    Ok(port)
}

fn write_settings(target: u16) -> Result<tempfile::TempDir, BenchError> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("config"))?;
    let table = format!(
        "[[functions]]\nname = \"lookup\"\ndescription = \"looks something up\"\nurl = \"http://127.0.0.1:{target}/\"\n\
         parameters = {{ type = \"object\", properties = {{ at = {{ type = \"integer\" }} }} }}\n\
         [[inbound.rules]]\nname = \"ask\"\nask = {{ url = \"http://127.0.0.1:{target}/\" }}\n"
    );
    fs::write(folder.path().join("config/local.toml"), table)?;
    Ok(folder)
}

fn spawn_load(
    args: &LoadBenchArgs,
    server: &MeasuredServer,
    rate: Option<&str>,
    seconds: u64,
) -> Result<Child, BenchError> {
    let mut command = Command::new(process::receiver_path(args, None)?);
    command.args(["load", "--to", &format!("http://127.0.0.1:{}", server.process().port), "--json"]);
    command.args(["--seconds", &seconds.to_string()]);
    command.args(rate.iter().flat_map(|rate| ["--rate", rate]));
    command.env("RETELL_API_KEY", API_KEY).stdin(Stdio::null()).stdout(Stdio::null());
    Ok(command.spawn()?)
}

async fn run_callers(receiver: u16, target: u16, window: Duration, phase: u64) -> Result<LiveLatencies, BenchError> {
    let mut callers = JoinSet::new();
    for caller in 0..CALLER_COUNT {
        callers.spawn(run_caller(receiver, target, window, phase * CALLER_COUNT + caller));
    }
    let mut all = LiveLatencies::default();
    while let Some(measured) = callers.join_next().await {
        for (all, more) in all.iter_mut().zip(&measured??) {
            all.merge(more);
        }
    }
    Ok(all)
}

/// One caller: requests the target, the function and an inbound answer in turn.
async fn run_caller(receiver: u16, target: u16, window: Duration, caller: u64) -> Result<LiveLatencies, BenchError> {
    let [direct, function, inbound] = [(target, "/"), (receiver, FUNCTION_PATH), (receiver, INBOUND_PATH)]
        .map(|(port, path)| request_target(port, path));
    let (direct, function, inbound) = (direct?, function?, inbound?);
    let mut to_receiver = function.connect().await?;
    let mut to_target = direct.connect().await?;
    let key = ApiKey::new(&Secret::new(API_KEY));
    let mut measured = LiveLatencies::default();
    let started_at = Instant::now();
    let mut number = 0_u64;
    while started_at.elapsed() < window {
        number += 1;
        let function_body = format!(
            r#"{{"name":"lookup","call":{{"call_id":"call_live_{caller}_{number}","agent_id":"agent_1"}},"args":{{"at":{number}}}}}"#
        );
        let inbound_body = format!(
            r#"{{"event":"call_inbound","call_inbound":{{"from_number":"+12025550143","to_number":"+12025550178","call_id":"call_in_{caller}_{number}"}}}}"#
        );
        let requests = [(&direct, &function_body), (&function, &function_body), (&inbound, &inbound_body)];
        for (index, (url, body)) in requests.into_iter().enumerate() {
            let connection = if index == 0 { &mut to_target } else { &mut to_receiver };
            measured[index].record(send_signed(connection, url, body, &key).await?);
            sleep(REQUEST_PAUSE).await;
        }
    }
    Ok(measured)
}

fn request_target(port: u16, path: &str) -> Result<RequestTarget, BenchError> {
    Ok(RequestTarget::new(&format!("http://127.0.0.1:{port}{path}").parse()?)?)
}

/// Sends one request and returns the time until the response.
async fn send_signed(
    connection: &mut HttpConnection,
    target: &RequestTarget,
    body: &str,
    key: &ApiKey,
) -> Result<Duration, BenchError> {
    let signature = Signature::sign(key, body.as_bytes(), Clock::default().now_ms()).to_string();
    let mut request = target.post(Bytes::from(body.to_owned()), Bytes::new());
    request.headers_mut().insert(HeaderName::from_static(SIGNATURE_HEADER), HeaderValue::try_from(signature)?);
    let path = request.uri().path().to_owned();
    if !connection.is_ready().await {
        return Err(format!("{path}: the connection was closed").into());
    }
    TARGET_REQUESTS.fetch_add(1, Ordering::Relaxed);
    let sent_at = Instant::now();
    let status = connection.send(request).await?;
    let latency = sent_at.elapsed();
    match status {
        200 => Ok(latency),
        status => Err(format!("{path}: status {status} instead of 200").into()),
    }
}

/// Prints one line. Returns the largest latency that the receiver adds at p99, in milliseconds.
fn print_phase(name: &str, pending: u64, [target, function, inbound]: &LiveLatencies) -> f64 {
    let quantiles = |latency: &LatencyHistogram| {
        let [p50, p99, max] = [latency.quantile_ms(0.5), latency.quantile_ms(0.99), latency.max_ms()];
        format!("{p50:>8.1}{p99:>8.1}{max:>8.1}")
    };
    let added_ms = |latency: &LatencyHistogram| latency.quantile_ms(0.99) - target.quantile_ms(0.99);
    let [function_added, inbound_added] = [function, inbound].map(added_ms);
    print!("{name:<16}{pending:>9}{}", quantiles(target));
    println!("{}{function_added:>8.1}{}{inbound_added:>8.1}", quantiles(function), quantiles(inbound));
    function_added.max(inbound_added)
}
