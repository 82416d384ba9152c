//! What a run came to, and how it is told.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use hdrhistogram::Histogram;
use serde_json::{Value, json};

use super::super::output::{self, Done};
use super::appointment::NOT_RUN;
use super::check::{Found, Problem, Sent};
use super::courier::Outcome;
use super::lines::{self, Line};
use super::scenario::Scenario;
use crate::event::EventKind;

/// Problems that are printed one by one; `--json` has all of them.
const MOST_LINES: usize = 20;

/// How requests ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    sent: u64,
    stored: u64,
    duplicate: u64,
    refused: u64,
    failed: u64,
}

impl Counts {
    fn note(&mut self, outcome: Outcome) {
        self.sent += 1;
        *match outcome {
            Outcome::Stored => &mut self.stored,
            Outcome::Duplicate => &mut self.duplicate,
            Outcome::Refused(_) => &mut self.refused,
            Outcome::Failed(_) | Outcome::Unanswered(_) | Outcome::NotSent => &mut self.failed,
        } += 1;
    }
}

/// What was compared with the store, or why nothing was.
pub(super) enum Checked {
    Yes(Found),
    No(String),
}

pub(super) struct Report<'a> {
    pub(super) seed: u64,
    pub(super) calls: u64,
    /// Calls that did not come to their end in time.
    pub(super) unfinished: u64,
    pub(super) url: &'a str,
    pub(super) effects: bool,
    pub(super) took: Duration,
    pub(super) sent: &'a [Sent],
    pub(super) latency: Option<&'a Histogram<u64>>,
    /// Requests that were sent again because nobody took them.
    pub(super) retries: u64,
    pub(super) checked: Checked,
    /// The requests of calls about appointments.
    pub(super) lines: &'a [Line],
    /// Requests for functions, which are no events.
    pub(super) function_calls: u64,
    /// Calls about appointments whose functions the receiver does not have.
    pub(super) not_run: u64,
    /// They were asked for by name.
    pub(super) not_run_is_wrong: bool,
    /// Why the rest was not sent.
    pub(super) stopped: Option<&'a str>,
}

impl Report<'_> {
    /// Everything was acknowledged, and what was acknowledged is there.
    pub(super) fn is_clean(&self) -> bool {
        let answered = self.lines.iter().all(|line| line.problem.is_none());
        let run = self.not_run == 0 || !self.not_run_is_wrong;
        self.missed().is_empty() && self.problems().is_empty() && answered && run
    }

    fn problems(&self) -> &[Problem] {
        match &self.checked {
            Checked::Yes(found) => &found.problems,
            Checked::No(_) => &[],
        }
    }

    /// Why requests were not acknowledged, and how many each time.
    fn missed(&self) -> BTreeMap<String, u64> {
        let mut missed: BTreeMap<_, u64> = BTreeMap::new();
        for sent in self.sent {
            let why = match sent.outcome {
                Outcome::Stored | Outcome::Duplicate => continue,
                Outcome::Refused(status) | Outcome::Failed(status) => format!("status {status}"),
                Outcome::Unanswered(why) => why.to_owned(),
                Outcome::NotSent => "not sent".to_owned(),
            };
            *missed.entry(why).or_default() += 1;
        }
        if self.unfinished > 0 {
            missed.insert("calls that were not finished".to_owned(), self.unfinished);
        }
        missed
    }

    /// By scenario, and there by event in the order of their first requests.
    fn counts(&self) -> Vec<((Scenario, EventKind), Counts)> {
        let mut places = HashMap::new();
        let mut rows: Vec<((Scenario, EventKind), Counts)> = Vec::new();
        for sent in self.sent {
            let key = (sent.scenario, sent.event);
            let place = *places.entry(key).or_insert(rows.len());
            if place == rows.len() {
                rows.push((key, Counts::default()));
            }
            rows[place].1.note(sent.outcome);
        }
        rows.sort_by_key(|((scenario, _), _)| *scenario);
        rows
    }

    /// How many different bodies were acknowledged, and how many of them are in the store.
    fn kept(&self, key: (Scenario, EventKind)) -> Option<(u64, u64)> {
        match &self.checked {
            Checked::Yes(found) => Some(found.bodies.get(&key).copied().unwrap_or_default()),
            Checked::No(_) => None,
        }
    }

    fn quantile(&self, at: f64) -> Option<f64> {
        self.latency.map(|latency| milliseconds(latency.value_at_quantile(at)))
    }

    pub(super) fn text(&self) -> Done {
        let rows = self.counts().into_iter().map(|(key, counts)| {
            let kept = self.kept(key).map_or_else(|| "-".to_owned(), |(of, there)| format!("{there} of {of}"));
            let numbers = [counts.sent, counts.stored, counts.duplicate, counts.refused, counts.failed];
            let names = [key.0.name(), key.1.to_string()];
            names.into_iter().chain(numbers.map(|number| number.to_string())).chain([kept]).collect()
        });
        let header = ["SCENARIO", "EVENT", "SENT", "STORED", "DUPLICATE", "REFUSED", "FAILED", "IN THE STORE"];
        output::table(&header, rows.collect(), "nothing was sent")?;
        output::line("")?;
        lines::print(self.lines)?;
        let (events, functions) = (self.sent.len() as u64, self.function_calls);
        let requests = events + functions;
        let of_functions = if functions > 0 { format!(", {functions} of them for functions,") } else { String::new() };
        let calls =
            format!("{} calls, {requests} requests{of_functions} in {:.1} s", self.calls, self.took.as_secs_f64());
        let answered = self.quantile(0.5).zip(self.quantile(0.99));
        output::fields(&[
            ("sent", Some(format!("{calls}, seed {}", self.seed))),
            ("answered", answered.map(|(p50, p99)| format!("p50 {p50:.2} ms, p99 {p99:.2} ms"))),
            ("retried", (self.retries > 0).then(|| self.retries.to_string())),
            ("store", Some(self.store())),
        ])?;
        for (why, count) in self.missed() {
            output::line(format!("NOT ACKNOWLEDGED  {count}: {why}"))?;
        }
        for Problem { scenario, event, id, what } in self.problems().iter().take(MOST_LINES) {
            output::line(format!("WRONG  {event} of {id} ({}): {what}", scenario.name()))?;
        }
        if let Some(more) = self.problems().len().checked_sub(MOST_LINES).filter(|more| *more > 0) {
            output::line(format!("WRONG  and {more} more; --json lists them"))?;
        }
        if self.not_run > 0 {
            output::line(format!("NOT RUN  the functions of {} calls of `appointment`: {NOT_RUN}", self.not_run))?;
        }
        self.stopped.map_or(Ok(()), output::line)
    }

    fn store(&self) -> String {
        let found = match &self.checked {
            Checked::Yes(found) => found,
            Checked::No(why) => return format!("not checked: {why}"),
        };
        let (of, there) = found.bodies.values().fold((0, 0), |sum, (of, there)| (sum.0 + of, sum.1 + there));
        let verdict = match (of, found.problems.len()) {
            (0, _) => return "nothing was acknowledged, so there is nothing to look for".to_owned(),
            (_, 0) => format!("it has all {of} acknowledged events, each once and in order"),
            (_, wrong) => format!(
                "{} of {of} acknowledged events are MISSING, {wrong} are not as they should be (if the receiver keeps \
                 its events elsewhere, run this in its folder)",
                of - there
            ),
        };
        format!("{verdict}; {} duplicates counted, {} revisions marked", found.duplicates, found.revisions)
    }

    pub(super) fn json(&self) -> Done {
        let events = self.counts().into_iter().map(|(key, counts)| {
            json!({ "scenario": key.0.name(), "event": key.1.as_str(), "sent": counts.sent, "stored": counts.stored,
                "duplicate": counts.duplicate, "refused": counts.refused, "failed": counts.failed,
                "in_store": self.kept(key).map(|(_, there)| there) })
        });
        output::json(&json!({
            "ok": self.is_clean(),
            "seed": self.seed,
            "calls": self.calls,
            "url": self.url,
            "effects": self.effects,
            "seconds": self.took.as_secs_f64(),
            "events": events.collect::<Vec<_>>(),
            "latency_ms": { "p50": self.quantile(0.5), "p99": self.quantile(0.99) },
            "function_calls": self.function_calls,
            "requests": self.lines.iter().map(Line::json).collect::<Vec<_>>(),
            "not_run": self.not_run,
            "not_run_why": (self.not_run > 0).then_some(NOT_RUN),
            "retries": self.retries,
            "not_acknowledged": self.missed(),
            "stopped": self.stopped,
            "store": self.store_json(),
        }))
    }

    fn store_json(&self) -> Value {
        let found = match &self.checked {
            Checked::Yes(found) => found,
            Checked::No(why) => return json!({ "checked": false, "why": why }),
        };
        let (of, there) = found.bodies.values().fold((0, 0), |sum, (of, there)| (sum.0 + of, sum.1 + there));
        let problems = found.problems.iter().map(|problem| {
            json!({ "scenario": problem.scenario.name(), "event": problem.event.as_str(), "id": &*problem.id,
                "problem": problem.what })
        });
        json!({ "checked": true, "acknowledged": of, "found": there, "missing": of - there,
            "duplicates": found.duplicates, "revisions": found.revisions, "problems": problems.collect::<Vec<_>>() })
    }
}

#[allow(clippy::cast_precision_loss, reason = "a minute of microseconds is far below 2^52")]
fn milliseconds(micros: u64) -> f64 {
    micros as f64 / 1000.0
}
