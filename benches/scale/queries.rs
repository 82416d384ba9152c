//! The commands that are timed: each with its common values, with values that occur once, and with values that occur
//! never, because a query without a suitable index is slow for rare values only.

use serde_json::{Value, json};

use crate::BenchError;
use crate::receiver::Receiver;

const QUERIES: &[&str] = &[
    "status",
    "calls stats",
    "calls stats --by day",
    "calls stats --by agent",
    "calls stats --since 90m",
    "calls stats --since 36h --company acme",
    "calls stats --agent agent_rare",
    "chats stats",
    "calls list",
    "calls list --since 10m",
    "calls list --until 50d",
    "calls list --company acme --no-tests",
    "calls list --company rare",
    "calls list --agent agent_07",
    "calls list --agent agent_rare",
    "calls list --agent agent_none",
    "calls list --agent agent_rare --company acme",
    "calls list --agent agent_07 --company acme --since 20d --until 10d",
    "calls show CALL",
    "events list",
    "events list --event call_ended",
    "events list --event call_ended --since 10m",
    "events list --event call_ended --until 50d",
    "events list --event alert_triggered",
    "events list --event alert_resolved",
    "events list --event alert_triggered --event alert_resolved --since 10m",
    "events list --company acme --since 10m",
    "events list --company rare",
    "events list --company rare --event call_ended",
    "events list --company rare --event transfer_started",
    "events list --company acme --event alert_triggered",
    "events list --unparsed",
    "events list --unparsed --company rare",
    "events list --unparsed --event call_ended --since 10m",
    "events list --call CALL",
    "events list --call call_none",
    "deliveries list",
    "deliveries list --state succeeded",
    "deliveries list --state dead",
    "deliveries list --state skipped",
    "deliveries list --state scheduled --handler log",
    "deliveries list --event alert_triggered",
    "deliveries list --event alert_resolved",
    "deliveries list --company rare",
    "deliveries list --company rare --state succeeded --event call_ended",
    "deliveries list --company acme --event alert_triggered --handler call_store",
    "deliveries list --since 10m --handler log",
    "deliveries list --until 50d --state dead",
    "deliveries list --call CALL",
    "deliveries stats",
    "deliveries stats --since 36h --handler log",
    "dead list",
    "dead list --event call_ended --company rare",
    "functions list",
    "functions calls",
    "functions stats",
    "rejected list",
    "appointments list",
    "companies list",
    "replay --handler call_store --since 6h --dry-run",
    "replay --all --dry-run",
    "erase --call CALL --dry-run",
];

/// The median times of a command.
pub struct QueryTime {
    pub command: &'static str,
    pub first_output_ms: f64,
    pub total_ms: f64,
}

impl QueryTime {
    pub fn to_json(&self) -> Value {
        json!({"command": self.command, "first_output_ms": self.first_output_ms, "total_ms": self.total_ms})
    }
}

pub fn run_all(receiver: &Receiver, runs: u64) -> Result<Vec<QueryTime>, BenchError> {
    let listed: Value = serde_json::from_slice(&receiver.output(&["events", "list", "--limit", "1", "--json"])?)?;
    let call_id = listed[0]["call_id"].as_str().ok_or("`events list` shows no call")?.to_owned();
    let mut times = Vec::new();
    for command in QUERIES {
        let args: Vec<&str> =
            command.split(' ').map(|arg| if arg == "CALL" { call_id.as_str() } else { arg }).collect();
        let (mut first, mut total) = (Vec::new(), Vec::new());
        for _ in 0..runs {
            let Some(time) = receiver.time(&args)? else {
                eprintln!("scale: this build has no `{command}`");
                break;
            };
            first.push(time.first_output.as_secs_f64() * 1e3);
            total.push(time.total.as_secs_f64() * 1e3);
        }
        if !first.is_empty() {
            times.push(QueryTime { command, first_output_ms: median(first), total_ms: median(total) });
        }
    }
    Ok(times)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
