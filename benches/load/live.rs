//! What somebody on the line waits beyond the function's own time, while events come in beside.
//!
//! The target of a function, and of an inbound rule that asks, is a server in this process that answers after [`OWN`].
//! Requests for these take turns with requests straight to the target, by the same client over the same kind of
//! connection: the machine is busy with the load as well, and only the difference between the two is the receiver's.

use std::fs;
use std::io::IoSlice;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::routing::post;
use retell_webhook::Clock;
use retell_webhook::{ApiKey, Secret, Signature};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::BenchError;
use crate::args::LoadBenchArgs;
use crate::client::Connection;
use crate::histogram::Histogram;
use crate::process::{self, MeasuredServer};
use crate::request::API_KEY;

/// How long the target takes.
const TARGET_DELAY: Duration = Duration::from_millis(20);
/// Between a caller's two requests.
const REQUEST_PAUSE: Duration = Duration::from_millis(10);
/// Callers at the same time, each with one request under way.
const CALLER_COUNT: u64 = 4;
/// Until load that has begun is in full swing.
const WARM_UP: Duration = Duration::from_secs(1);
/// A backlog for the handlers, before anything is measured beside it.
const BACKLOG_SECONDS: u64 = 8;

/// What is measured beside: a name, and the load's rate; `None` for as much as is answered.
const LOAD_PHASES: [(&str, Option<&str>); 4] =
    [("idle", Some("0")), ("full load", None), ("2,000/s", Some("2000")), ("handlers drain", Some("0"))];

const FUNCTION_PATH: &str = "/api/v1/function/lookup";
const INBOUND_PATH: &str = "/api/v1/webhook/retell/inbound";

/// Latencies in microseconds: straight to the target, of the function, of the inbound request.
type LiveLatencies = [Histogram; 3];

/// Measures and prints; `false` when a limit was missed.
pub async fn run_live(args: &LoadBenchArgs) -> Result<bool, BenchError> {
    let hits = Arc::new(AtomicU64::new(0));
    let target = start_target(Arc::clone(&hits))?;
    let folder = write_settings(target)?;
    let server = MeasuredServer::start_receiver(args, None, Some(folder.path())).await?;
    println!("milliseconds; the target takes {} by itself", TARGET_DELAY.as_millis());
    println!("{:<25}{:>24}{:>32}{:>32}", "", "target", "function", "inbound");
    let columns = format!("{:>8}{:>8}{:>8}", "p50", "p99", "max");
    println!("{:<16}{:>9}{columns}{columns}{:>8}{columns}{:>8}", "beside", "waiting", "more", "more");
    let mut most = 0.0_f64;
    for (number, (name, rate)) in (0..).zip(LOAD_PHASES) {
        if number == 1 {
            spawn_load(args, &server, None, BACKLOG_SECONDS)?.wait()?;
        }
        let waiting = server.pending_deliveries(args)?;
        let beside = match rate {
            Some("0") => None,
            _ => Some(BackgroundLoad(spawn_load(args, &server, rate, args.seconds + WARM_UP.as_secs() + 1)?)),
        };
        sleep(WARM_UP).await;
        let measured = run_callers(server.process().port, target, args.measured_time(), number).await?;
        drop(beside);
        most = most.max(print_phase(name, waiting, &measured));
    }
    let (asked, reached) = (TARGET_REQUESTS.load(Ordering::Relaxed), hits.load(Ordering::Relaxed));
    if asked != reached {
        return Err(format!("{asked} requests, and the target saw {reached}: fallbacks{}", server.log_tail()).into());
    }
    Ok(args.max_live_ms.is_none_or(|limit| most <= limit))
}

/// Requests that were to reach the target, on either way.
static TARGET_REQUESTS: AtomicU64 = AtomicU64::new(0);

/// The load; it ends with this.
struct BackgroundLoad(Child);

impl Drop for BackgroundLoad {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Serves on a thread of its own, as a service of its own would.
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

/// One caller: the target, the function, an inbound call, and again.
async fn run_caller(receiver: u16, target: u16, window: Duration, caller: u64) -> Result<LiveLatencies, BenchError> {
    let (mut to_lane, mut to_target) = (Connection::open(receiver).await?, Connection::open(target).await?);
    let (key, clock) = (ApiKey::new(&Secret::new(API_KEY)), Clock::default());
    let mut measured = LiveLatencies::default();
    let began = Instant::now();
    let mut number = 0_u64;
    while began.elapsed() < window {
        number += 1;
        let function = format!(
            r#"{{"name":"lookup","call":{{"call_id":"call_lane_{caller}_{number}","agent_id":"agent_1"}},"args":{{"at":{number}}}}}"#
        );
        let inbound = format!(
            r#"{{"event":"call_inbound","call_inbound":{{"from_number":"+12025550143","to_number":"+12025550178","call_id":"call_in_{caller}_{number}"}}}}"#
        );
        for (histogram, (path, body)) in
            measured.iter_mut().zip([("/", &function), (FUNCTION_PATH, &function), (INBOUND_PATH, &inbound)])
        {
            let connection = if path == "/" { &mut to_target } else { &mut to_lane };
            let signature = Signature::sign(&key, body.as_bytes(), clock.now_ms()).to_string();
            histogram.record(send_signed(connection, path, body, &signature).await?);
            sleep(REQUEST_PAUSE).await;
        }
    }
    Ok(measured)
}

/// Sends one request and gives the microseconds until its answer was there.
async fn send_signed(connection: &mut Connection, path: &str, body: &str, signature: &str) -> Result<u32, BenchError> {
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\
         x-retell-signature: {signature}\r\n\r\n"
    );
    TARGET_REQUESTS.fetch_add(1, Ordering::Relaxed);
    let began = Instant::now();
    let answer = connection.send_request(&mut [IoSlice::new(head.as_bytes()), IoSlice::new(body.as_bytes())]).await?;
    let micros = u32::try_from(began.elapsed().as_micros())?;
    if answer.status == 200 { Ok(micros) } else { Err(format!("{path} was answered {}", answer.status).into()) }
}

/// Prints a line, and gives the most that the lane adds at p99, in milliseconds.
fn print_phase(name: &str, waiting: u64, [target, function, inbound]: &LiveLatencies) -> f64 {
    let ms = |micros: u32| f64::from(micros) / 1_000.0;
    let three = |h: &Histogram| format!("{:>8.1}{:>8.1}{:>8.1}", ms(h.quantile(500)), ms(h.quantile(990)), ms(h.max()));
    let more = [function, inbound].map(|measured| ms(measured.quantile(990)) - ms(target.quantile(990)));
    let shown = |of: &Histogram, more: f64| format!("{}{more:>8.1}", three(of));
    println!("{name:<16}{waiting:>9}{}{}{}", three(target), shown(function, more[0]), shown(inbound, more[1]));
    more[0].max(more[1])
}
