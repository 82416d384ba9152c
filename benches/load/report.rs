//! The results: a table that is printed during the run, and a JSON file.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::BenchError;
use crate::args::LoadBenchArgs;
use crate::process::ResidentMemory;
use crate::window::{MeasuredWindow, failure_summary};

/// One measured round of one server.
pub struct MeasuredRound {
    pub server: &'static str,
    pub is_baseline: bool,
    pub number: u32,
    /// Number of events that the server had accepted before this round.
    pub accepted_before: u64,
    pub window: MeasuredWindow,
    pub memory: ResidentMemory,
}

/// The results of a run.
pub struct BenchReport<'a> {
    args: &'a LoadBenchArgs,
    /// The reference server and the server that is compared with it.
    servers: [&'static str; 2],
    pub rounds: Vec<MeasuredRound>,
}

/// The columns: title, key in the JSON file, number of decimals.
const COLUMNS: [(&str, &str, usize); 10] = [
    ("req/s", "requests_per_second", 0),
    ("p50 ms", "p50_ms", 2),
    ("p90 ms", "p90_ms", 2),
    ("p99 ms", "p99_ms", 2),
    ("p99.9 ms", "p99_9_ms", 2),
    ("max ms", "max_ms", 1),
    ("cpu us/req", "server_cpu_us_per_request", 1),
    ("gen us/req", "generator_cpu_us_per_request", 1),
    ("rss MB", "rss_mb", 1),
    ("peak MB", "peak_rss_mb", 1),
];

pub fn print_header(args: &LoadBenchArgs) {
    println!(
        "{} bodies, {} connections, {} s per round after {} s of warm-up, {} cores\n",
        args.size.name(),
        args.connections,
        args.seconds,
        args.warm_up,
        core_count(),
    );
    print!("{:<10}{:>6}", "server", "round");
    for (title, _, _) in COLUMNS {
        print!("{title:>11}");
    }
    println!("{:>11}", "accepted");
}

fn print_values(side: &str, round: &str, values: &[f64; COLUMNS.len()]) {
    print!("{side:<10}{round:>6}");
    for ((_, _, decimals), value) in COLUMNS.iter().zip(values) {
        print!("{value:>11.decimals$}");
    }
}

impl MeasuredRound {
    pub fn print(&self) {
        print_values(self.server, &self.number.to_string(), &self.column_values());
        println!("{:>11}", self.accepted_before);
        if let Some(summary) = failure_summary(&self.window.stats) {
            println!("{:>16}{summary}", "! ");
        }
    }

    /// The values in the order of `COLUMNS`.
    fn column_values(&self) -> [f64; COLUMNS.len()] {
        let stats = &self.window.stats;
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / stats.accepted_in_window.max(1) as f64;
        [
            stats.accepted_in_window as f64 / self.window.elapsed.as_secs_f64(),
            stats.latency.quantile_ms(0.5),
            stats.latency.quantile_ms(0.9),
            stats.latency.quantile_ms(0.99),
            stats.latency.quantile_ms(0.999),
            stats.latency.max_ms(),
            per_request(self.window.server_cpu),
            per_request(self.window.generator_cpu),
            megabytes(self.memory.current_kb),
            megabytes(self.memory.peak_kb),
        ]
    }

    fn to_json(&self) -> Value {
        let stats = &self.window.stats;
        let mut round = values_by_name(&self.column_values());
        round.insert("server".into(), json!(self.server));
        round.insert("round".into(), json!(self.number));
        round.insert("accepted_before".into(), json!(self.accepted_before));
        round.insert("requests".into(), json!(stats.accepted_in_window));
        let seconds = self.window.elapsed.as_secs_f64();
        round.insert("measured_seconds".into(), json!(seconds));
        round.insert("failures".into(), json!(stats.failures));
        Value::Object(round)
    }
}

impl<'a> BenchReport<'a> {
    pub fn new(args: &'a LoadBenchArgs, servers: [&'static str; 2]) -> Self {
        Self { args, servers, rounds: Vec::new() }
    }

    /// The median of every column over the rounds of a server.
    fn medians(&self, server: &str) -> [f64; COLUMNS.len()] {
        let rounds: Vec<_> =
            self.rounds.iter().filter(|round| round.server == server).map(MeasuredRound::column_values).collect();
        std::array::from_fn(|column| median(rounds.iter().map(|values| values[column]).collect()))
    }

    /// The rate of the compared server divided by that of the reference server.
    fn ratio(&self) -> f64 {
        let [reference, compared] = self.servers.map(|server| self.medians(server)[0]);
        compared / reference
    }

    /// Largest peak of the resident memory of a receiver, in MB.
    fn peak_mb(&self) -> f64 {
        let receivers = self.rounds.iter().filter(|round| !round.is_baseline);
        megabytes(receivers.map(|round| round.memory.peak_kb).max().unwrap_or(0))
    }

    pub fn print_summary(&self) {
        println!();
        for server in self.servers {
            print_values(server, "median", &self.medians(server));
            println!();
        }
        let [reference, compared] = self.servers;
        println!("\n{compared} / {reference}: {:.3}", self.ratio());
    }

    /// The reasons why the run failed; empty when it did not. A ratio that is not a number is a failure as well.
    pub fn failures(&self) -> Vec<String> {
        let mut failures = Vec::new();
        for round in &self.rounds {
            if let Some(summary) = failure_summary(&round.window.stats) {
                failures.push(format!("{} round {}: {summary}", round.server, round.number));
            }
            if round.window.stats.accepted_in_window == 0 {
                failures.push(format!("{} round {}: no responses", round.server, round.number));
            }
        }
        let ratio = self.ratio();
        let peak_mb = self.peak_mb();
        if let Some(min_ratio) = self.args.min_ratio
            && (ratio.is_nan() || ratio < min_ratio)
        {
            failures.push(format!("the ratio {ratio:.3} is below {min_ratio}"));
        }
        if let Some(max_mb) = self.args.max_rss_mb
            && peak_mb > max_mb
        {
            failures.push(format!("the peak memory {peak_mb:.1} MB is above {max_mb} MB"));
        }
        failures
    }

    pub fn write_json(&self, path: &Path) -> Result<(), BenchError> {
        let medians: Map<String, Value> = self
            .servers
            .iter()
            .map(|server| ((*server).to_owned(), Value::Object(values_by_name(&self.medians(server)))))
            .collect();
        let rounds: Vec<Value> = self.rounds.iter().map(MeasuredRound::to_json).collect();
        let [reference, compared] = self.servers;
        let report = json!({
            "settings": self.settings_json(),
            "rounds": rounds,
            "medians": medians,
            "ratio": {"of": compared, "to": reference, "value": self.ratio()},
            "receiver_peak_rss_mb": self.peak_mb(),
        });
        let text = serde_json::to_string_pretty(&report)? + "\n";
        fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()).into())
    }

    fn settings_json(&self) -> Value {
        let args = self.args;
        json!({
            "cores": core_count(),
            "size": args.size.name(),
            "rounds": args.rounds,
            "seconds": args.seconds,
            "warm_up_seconds": args.warm_up,
            "connections": args.connections,
            "generator_threads": args.generator_threads,
            "preload": args.preload.or(args.compare_preload).unwrap_or(0),
            "compares_preload": args.compare_preload.is_some(),
            "compares_builds": args.compare_bin.is_some(),
        })
    }
}

fn values_by_name(values: &[f64; COLUMNS.len()]) -> Map<String, Value> {
    let names = COLUMNS.iter().map(|(_, name, _)| (*name).to_owned());
    names.zip(values.iter().map(|value| json!(value))).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => f64::NAN,
        length if length % 2 == 1 => values[middle],
        _ => f64::midpoint(values[middle - 1], values[middle]),
    }
}

fn megabytes(kilobytes: u64) -> f64 {
    kilobytes as f64 / 1024.0
}

fn core_count() -> usize {
    available_parallelism().map_or(0, usize::from)
}
