//! The report of a simulation as text for the terminal.

use std::fmt::Write;

use serde_json::Value;

use crate::cli::output::{self, CliResult};
use crate::view::{SimulatedRequestView, SimulationView, StoreComparisonView};

/// Number of store problems that are printed; `--json` contains all of them.
const MAX_PRINTED_STORE_PROBLEMS: usize = 20;
/// Number of calls whose requests are all printed; `--json` contains all calls.
const MAX_PRINTED_CALLS: usize = 3;
/// Number of problems that are printed of the other calls.
const MAX_PRINTED_REQUEST_PROBLEMS: usize = 20;
/// Longest printed line in characters; `--json` contains the full texts.
const MAX_LINE_CHARS: usize = 160;

pub(super) fn print_report(report: &SimulationView) -> CliResult {
    let rows = report.events.iter().map(|row| {
        let in_store = match row.acknowledged.zip(row.in_store) {
            Some((acknowledged, stored)) => format!("{stored} of {acknowledged}"),
            None => "-".to_owned(),
        };
        let counts = row.counts;
        let numbers = [counts.sent, counts.stored, counts.duplicate, counts.rejected, counts.failed];
        let mut cells = vec![row.scenario.to_owned(), row.event.to_owned()];
        cells.extend(numbers.map(|number| number.to_string()));
        cells.push(in_store);
        cells
    });
    let header = ["SCENARIO", "EVENT", "SENT", "STORED", "DUPLICATE", "REJECTED", "FAILED", "IN STORE"];
    output::print_table(&header, rows.collect(), "nothing was sent")?;
    output::print_line("")?;
    print_requests(&report.requests)?;
    let latency = report.latency_ms.p50.zip(report.latency_ms.p99);
    output::print_fields(&[
        ("sent", Some(sent_summary(report))),
        ("latency", latency.map(|(p50, p99)| format!("p50 {p50:.2} ms, p99 {p99:.2} ms"))),
        ("retries", (report.retries > 0).then(|| report.retries.to_string())),
        ("store", Some(store_summary(&report.store))),
    ])?;
    for (reason, count) in &report.not_acknowledged {
        output::print_line(format!("NOT ACKNOWLEDGED  {count}: {reason}"))?;
    }
    print_store_problems(&report.store)?;
    if let Some(reason) = report.not_run_reason {
        let count = report.not_run;
        output::print_line(format!("NOT RUN  the functions of {count} calls of `appointment`: {reason}"))?;
    }
    report.stop_reason.as_ref().map_or(Ok(()), output::print_line)
}

fn sent_summary(report: &SimulationView) -> String {
    let SimulationView { calls, function_calls, seed, seconds, .. } = report;
    let requests = report.events.iter().map(|row| row.counts.sent).sum::<u64>() + function_calls;
    let to_functions = match function_calls {
        0 => String::new(),
        _ => format!(", {function_calls} of them to functions,"),
    };
    format!("{calls} calls, {requests} requests{to_functions} in {seconds:.1} s, seed {seed}")
}

fn print_store_problems(store: &StoreComparisonView) -> CliResult {
    let problems = store.problems();
    for row in problems.iter().take(MAX_PRINTED_STORE_PROBLEMS) {
        output::print_line(format!("WRONG  {} of {} ({}): {}", row.event, row.id, row.scenario, row.problem))?;
    }
    if problems.len() > MAX_PRINTED_STORE_PROBLEMS {
        let hidden_count = problems.len() - MAX_PRINTED_STORE_PROBLEMS;
        output::print_line(format!("WRONG  and {hidden_count} more; --json lists them"))?;
    }
    Ok(())
}

fn store_summary(store: &StoreComparisonView) -> String {
    let (acknowledged, missing, duplicates, revisions, problem_count) = match store {
        StoreComparisonView::Skipped { reason, .. } => return format!("not checked: {reason}"),
        StoreComparisonView::Compared { acknowledged, missing, duplicates, revisions, problems, .. } => {
            (acknowledged, missing, duplicates, revisions, problems.len())
        }
    };
    let result = match (acknowledged, problem_count) {
        (0, _) => return "not checked: no event was acknowledged".to_owned(),
        (_, 0) => format!("all {acknowledged} acknowledged events are stored, each once and in order"),
        (_, problem_count) => format!(
            "{missing} of {acknowledged} acknowledged events are MISSING, {problem_count} problems in total (if the \
             receiver has its store in another folder, run this command there)"
        ),
    };
    format!("{result}; {duplicates} duplicates counted, {revisions} revisions marked")
}

/// Prints all requests of the first calls, and the problems of the others.
fn print_requests(requests: &[SimulatedRequestView]) -> CliResult {
    if requests.is_empty() {
        return Ok(());
    }
    let mut calls: Vec<&str> = Vec::new();
    for request in requests {
        if calls.len() < MAX_PRINTED_CALLS && !calls.contains(&request.call.as_str()) {
            calls.push(&request.call);
        }
    }
    let is_shown = |request: &&SimulatedRequestView| calls.contains(&request.call.as_str());
    let mut shown: Vec<_> = requests.iter().filter(is_shown).collect();
    // Calls run concurrently, so their requests are interleaved. The stable sort keeps the order within a call.
    shown.sort_by_key(|request| calls.iter().position(|call| *call == request.call));
    let problems = requests.iter().filter(|request| !is_shown(request) && request.problem.is_some());
    shown.extend(problems.take(MAX_PRINTED_REQUEST_PROBLEMS));
    let hidden_count = requests.len() - shown.len();
    let mut call = "";
    for request in shown {
        if call != request.call {
            call = &request.call;
            output::print_line(call)?;
        }
        for line in request_lines(request).iter().flatten() {
            output::print_line(truncate_line(line))?;
        }
    }
    if hidden_count > 0 {
        output::print_line(format!("and {hidden_count} more requests; --json lists them"))?;
    }
    output::print_line("")
}

fn truncate_line(text: &str) -> String {
    let text = output::escape_text(text).into_owned();
    if text.chars().count() <= MAX_LINE_CHARS {
        return text;
    }
    text.chars().take(MAX_LINE_CHARS - 1).chain(['…']).collect()
}

/// The lines for the terminal: result and duration, the request, the answer.
fn request_lines(report: &SimulatedRequestView) -> [Option<String>; 3] {
    let status = report.status.map_or_else(|| "-".to_owned(), |status| status.to_string());
    let outcome = report.outcome.as_deref().map(|outcome| format!(" ({outcome})")).unwrap_or_default();
    let verdict = match &report.problem {
        Some(problem) => format!("WRONG: {problem}"),
        None => format!("ok: {}", report.expectation),
    };
    let SimulatedRequestView { step, result, duration_ms, deadline_ms, request, .. } = report;
    let summary = format!("{step}: {status} {result}{outcome}, {duration_ms:.1} of {deadline_ms} ms, {verdict}");
    // The content of an inbound request is two phone numbers, which are not printed.
    let is_inbound = step.ends_with("_inbound");
    let arguments = request.arguments.as_ref().filter(|_| !is_inbound).map(|arguments| format!(" {arguments}"));
    let sent = format!("    {} {}{}", request.method, request.path, arguments.unwrap_or_default());
    let answer = (report.answer != "").then(|| format!("    -> {}", answer_text(&report.answer)));
    [Some(format!("  {summary}")), Some(sent), answer]
}

/// The message that the model reads to the caller, with confirmation number and alternatives; of other answers the
/// whole text.
fn answer_text(answer: &Value) -> String {
    let Some(message) = answer.get("message").and_then(Value::as_str) else { return answer.to_string() };
    let mut text = message.to_owned();
    for key in ["confirmation_number", "alternatives"] {
        if let Some(value) = answer.get(key).filter(|value| is_present(value)) {
            let _ = write!(text, " [{key}: {value}]");
        }
    }
    text
}

fn is_present(value: &Value) -> bool {
    !value.is_null() && value.as_array().is_none_or(|items| !items.is_empty())
}
