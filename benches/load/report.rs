//! The figures: as a table while they come in, and as JSON.

use std::fs;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::BenchError;
use crate::args::LoadBenchArgs;
use crate::closed_loop::MeasuredWindow;
use crate::process::ResidentMemory;

/// One measured round of one server.
pub struct MeasuredRound {
    pub server: &'static str,
    pub is_baseline: bool,
    pub number: u32,
    /// Events the server had accepted before this round.
    pub accepted_before: u64,
    pub window: MeasuredWindow,
    pub memory: ResidentMemory,
}

/// Everything a run found out.
pub struct BenchReport<'a> {
    args: &'a LoadBenchArgs,
    /// The server that sets the measure and the one that is judged.
    servers: [&'static str; 2],
    pub rounds: Vec<MeasuredRound>,
}

/// The columns: their titles, the names of the values in JSON, and decimals.
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
        if let Some(trouble) = self.window.stats.failure_summary() {
            println!("{:>16}{trouble}", "! ");
        }
    }

    /// In the order of `COLUMNS`.
    fn column_values(&self) -> [f64; COLUMNS.len()] {
        let tally = &self.window.stats;
        let millis = |micros: u32| f64::from(micros) / 1000.0;
        let quantile = |per_mille| millis(tally.latency.quantile(per_mille));
        let per_request = |time: Duration| time.as_secs_f64() * 1e6 / tally.accepted_in_window.max(1) as f64;
        [
            tally.accepted_in_window as f64 / self.window.elapsed.as_secs_f64(),
            quantile(500),
            quantile(900),
            quantile(990),
            quantile(999),
            millis(tally.latency.max()),
            per_request(self.window.server_cpu),
            per_request(self.window.generator_cpu),
            megabytes(self.memory.current_kb),
            megabytes(self.memory.peak_kb),
        ]
    }

    fn to_json(&self) -> Value {
        let tally = &self.window.stats;
        let mut round = values_by_name(&self.column_values());
        round.insert("server".into(), json!(self.server));
        round.insert("round".into(), json!(self.number));
        round.insert("accepted_before".into(), json!(self.accepted_before));
        round.insert("requests".into(), json!(tally.accepted_in_window));
        let seconds = self.window.elapsed.as_secs_f64();
        round.insert("measured_seconds".into(), json!(seconds));
        round.insert("errors".into(), json!(tally.errors));
        round.insert("refused_by_status".into(), json!(tally.non_2xx_by_status));
        Value::Object(round)
    }
}

impl<'a> BenchReport<'a> {
    pub fn new(args: &'a LoadBenchArgs, sides: [&'static str; 2]) -> Self {
        let rounds = Vec::new();
        Self { args, servers: sides, rounds }
    }

    /// The median over a server's rounds, value by value.
    fn medians(&self, side: &str) -> [f64; COLUMNS.len()] {
        let rounds: Vec<_> =
            self.rounds.iter().filter(|round| round.server == side).map(MeasuredRound::column_values).collect();
        std::array::from_fn(|column| median(rounds.iter().map(|values| values[column]).collect()))
    }

    /// The rate of the judged server as a part of the other's.
    fn ratio(&self) -> f64 {
        let [measure, judged] = self.servers.map(|side| self.medians(side)[0]);
        judged / measure
    }

    /// The highest peak of any receiver.
    fn peak_mb(&self) -> f64 {
        let receivers = self.rounds.iter().filter(|round| !round.is_baseline);
        megabytes(receivers.map(|round| round.memory.peak_kb).max().unwrap_or(0))
    }

    pub fn print_summary(&self) {
        println!();
        for side in self.servers {
            print_values(side, "median", &self.medians(side));
            println!();
        }
        let [measure, judged] = self.servers;
        println!("\n{judged} / {measure}: {:.3}", self.ratio());
    }

    /// Why the run counts as failed; nothing when it does not. A comparison
    /// that is not true of a ratio that is no number at all fails as well.
    pub fn failures(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        for round in &self.rounds {
            if let Some(trouble) = round.window.stats.failure_summary() {
                complaints.push(format!("{} round {}: {trouble}", round.server, round.number));
            }
            if round.window.stats.accepted_in_window == 0 {
                complaints.push(format!("{} round {}: no answers", round.server, round.number));
            }
        }
        let (ratio, peak) = (self.ratio(), self.peak_mb());
        if let Some(least) = self.args.min_ratio
            && (ratio.is_nan() || ratio < least)
        {
            complaints.push(format!("the ratio {ratio:.3} is below {least}"));
        }
        if let Some(most) = self.args.max_rss_mb
            && peak > most
        {
            complaints.push(format!("the peak memory {peak:.1} MB is above {most} MB"));
        }
        complaints
    }

    pub fn write_json(&self, path: &Path) -> Result<(), BenchError> {
        let medians: Map<String, Value> = self
            .servers
            .iter()
            .map(|side| ((*side).to_owned(), Value::Object(values_by_name(&self.medians(side)))))
            .collect();
        let rounds: Vec<Value> = self.rounds.iter().map(MeasuredRound::to_json).collect();
        let [measure, judged] = self.servers;
        let report = json!({
            "setting": self.settings_json(),
            "rounds": rounds,
            "medians": medians,
            "ratio": {"of": judged, "to": measure, "value": self.ratio()},
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
