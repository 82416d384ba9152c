//! Evaluates the alarm conditions: which checks fail, and what the operator can do about each. Pure.
//!
//! Every threshold has hysteresis: a check fails at its limit and passes only well below it. A value that hovers around
//! the limit therefore raises one alarm instead of many.

use super::format::{format_bytes, format_count, format_duration};
use super::raised::{AlarmCheckResult, CheckStatus};
use super::silence;
use crate::base::clock::{to_ms, to_unsigned_ms};
use crate::config::AlarmSettings;
use crate::security::rejection_reason::RejectionReason;
use crate::storage::{AlarmKind, BreakerState, HandlerBacklog};
use crate::telemetry::activity::{ActivityHistory, SignatureAge};
use crate::telemetry::disk::DiskSpace;

/// Maximum number of deliveries per handler that are counted for the text of an alarm.
pub(super) const MAX_COUNTED_DELIVERIES: usize = 1_000;
/// Signature ages received within this time count for `clock_skew`.
const SIGNATURE_AGE_WINDOW_MS: i64 = 1_800_000;
/// A single old signature may belong to an old request that is sent again, so a clock that is ahead takes several.
const MIN_OLD_SIGNATURES: usize = 3;

/// The measurements of one alarm check.
pub(super) struct AlarmInputs {
    pub(super) now_ms: i64,
    pub(super) started_at_ms: i64,
    /// Backlogs of the running handlers; `None` when the store did not answer.
    pub(super) backlogs: Option<Vec<HandlerBacklog>>,
    pub(super) companies: Vec<CompanyHistory>,
    /// Rejected requests of the last minute by rejection reason.
    pub(super) rejected_by_reason: Vec<(RejectionReason, u64)>,
    /// Events of the last minute that could not be stored.
    pub(super) not_stored: u64,
    pub(super) disk: Option<DiskSpace>,
    pub(super) signature_ages: Vec<SignatureAge>,
    /// Which files of the store were deleted or replaced, and what to do.
    pub(super) file_difference: Option<String>,
}

/// Activity of a company that sent at least one event within the last nine days.
pub(super) struct CompanyHistory {
    pub(super) slug: String,
    pub(super) history: ActivityHistory,
    pub(super) agents: Vec<(String, ActivityHistory)>,
}

/// Runs every check that `settings` enables. `raised_subjects` returns the subjects of the raised alarms of a kind.
pub(super) fn evaluate(
    inputs: &AlarmInputs,
    settings: &AlarmSettings,
    raised_subjects: &dyn Fn(AlarmKind) -> Vec<String>,
) -> Vec<AlarmCheckResult> {
    if !settings.enabled {
        return Vec::new();
    }
    let mut results = Vec::new();
    match &inputs.backlogs {
        Some(handlers) => {
            results.extend(handlers.iter().flat_map(|backlog| check_handler(backlog, settings, inputs.now_ms)));
        }
        // An alarm without a result is resolved. Handlers are unknown here, so their raised alarms stay as they are.
        None => results.extend(indeterminate_results(
            &[AlarmKind::DeadDeliveries, AlarmKind::OldestUndelivered, AlarmKind::BreakerOpen],
            raised_subjects,
        )),
    }
    results.extend(inputs.companies.iter().flat_map(|company| check_company_silence(company, inputs, settings)));
    let without_subject = [
        (AlarmKind::RejectedRequests, check_rejected_requests(inputs, settings)),
        (AlarmKind::NotStored, check_not_stored(inputs, settings)),
        (AlarmKind::Disk, check_disk(inputs.disk, settings)),
        (AlarmKind::ClockSkew, check_clock_skew(inputs, settings)),
        (AlarmKind::StoreFiles, Some(check_store_files(inputs))),
    ];
    for (alarm, status) in without_subject {
        results.extend(status.map(|status| check_result(alarm, "", status)));
    }
    results
}

fn check_result(alarm: AlarmKind, subject: &str, status: CheckStatus) -> AlarmCheckResult {
    AlarmCheckResult { alarm, subject: subject.to_owned(), status }
}

fn indeterminate_results(
    alarms: &[AlarmKind],
    raised_subjects: &dyn Fn(AlarmKind) -> Vec<String>,
) -> Vec<AlarmCheckResult> {
    let mut results = Vec::new();
    for alarm in alarms {
        for subject in raised_subjects(*alarm) {
            results.push(check_result(*alarm, &subject, CheckStatus::Indeterminate));
        }
    }
    results
}

/// Fails from `limit` on, passes up to `pass_limit`, and is indeterminate in between.
fn check_threshold(value: u64, limit: u64, pass_limit: u64, text: impl FnOnce() -> String) -> CheckStatus {
    if value >= limit {
        CheckStatus::Failing(text())
    } else if value <= pass_limit {
        CheckStatus::Passing
    } else {
        CheckStatus::Indeterminate
    }
}

fn elapsed_ms(since_ms: Option<i64>, now_ms: i64) -> u64 {
    since_ms.map_or(0, |since_ms| now_ms.saturating_sub(since_ms).max(0).unsigned_abs())
}

fn to_signed_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn check_handler(backlog: &HandlerBacklog, settings: &AlarmSettings, now_ms: i64) -> Vec<AlarmCheckResult> {
    let name = &backlog.handler;
    let mut results = Vec::new();
    if settings.dead_deliveries > 0 {
        results.push(check_result(AlarmKind::DeadDeliveries, name, check_dead_deliveries(backlog, settings)));
    }
    if !settings.oldest_undelivered.is_zero() {
        let status = check_oldest_undelivered(backlog, to_unsigned_ms(settings.oldest_undelivered), now_ms);
        results.push(check_result(AlarmKind::OldestUndelivered, name, status));
    }
    if !settings.breaker_open.is_zero() {
        let status = check_breaker(backlog, to_unsigned_ms(settings.breaker_open), now_ms);
        results.push(check_result(AlarmKind::BreakerOpen, name, status));
    }
    results
}

fn check_dead_deliveries(backlog: &HandlerBacklog, settings: &AlarmSettings) -> CheckStatus {
    let dead = backlog.recent_dead.max(0).unsigned_abs();
    check_threshold(dead, settings.dead_deliveries, 0, || {
        let name = &backlog.handler;
        let count = format_count(backlog.recent_dead, MAX_COUNTED_DELIVERIES);
        let window = format_duration(to_ms(settings.dead_deliveries_window));
        format!(
            "handler `{name}` gave up on {count} deliveries within {window}: list its dead letters to see \
             why, fix the cause, then retry them"
        )
    })
}

fn check_oldest_undelivered(backlog: &HandlerBacklog, limit_ms: u64, now_ms: i64) -> CheckStatus {
    let age_ms = elapsed_ms(backlog.oldest_waiting_since_ms, now_ms);
    check_threshold(age_ms, limit_ms, limit_ms / 2, || {
        format!(
            "the oldest event for handler `{}` has been waiting for {}: {} wait for their first attempt, {} for a \
             retry; the status of the receiver shows the progress",
            backlog.handler,
            format_duration(to_signed_ms(age_ms)),
            format_count(backlog.behind, MAX_COUNTED_DELIVERIES),
            format_count(backlog.scheduled, MAX_COUNTED_DELIVERIES),
        )
    })
}

fn check_breaker(backlog: &HandlerBacklog, limit_ms: u64, now_ms: i64) -> CheckStatus {
    if backlog.breaker_state == BreakerState::Closed {
        return CheckStatus::Passing;
    }
    let open_ms = elapsed_ms(backlog.breaker_since_ms, now_ms);
    // At least 1, so that a breaker that opened this millisecond does not pass: only a closed breaker passes.
    check_threshold(open_ms.max(1), limit_ms, 0, || {
        format!(
            "attempts of handler `{}` have been failing for {}: its circuit breaker is open, events stay stored, and \
             a few attempts test whether it has recovered",
            backlog.handler,
            format_duration(to_signed_ms(open_ms))
        )
    })
}

fn check_rejected_requests(inputs: &AlarmInputs, settings: &AlarmSettings) -> Option<CheckStatus> {
    let limit = settings.rejected_per_minute;
    if limit == 0 {
        return None;
    }
    let total: u64 = inputs.rejected_by_reason.iter().map(|(_, count)| count).sum();
    let most_frequent = inputs.rejected_by_reason.iter().max_by_key(|(_, count)| *count);
    let reason = most_frequent.map_or("", |(reason, _)| reason.as_str());
    Some(check_threshold(total, limit, limit / 2, || {
        format!(
            "{total} webhook requests were rejected within a minute, most of them with reason `{reason}`: list \
             the rejected requests to see why"
        )
    }))
}

fn check_not_stored(inputs: &AlarmInputs, settings: &AlarmSettings) -> Option<CheckStatus> {
    let limit = settings.not_stored_per_minute;
    if limit == 0 {
        return None;
    }
    let count = inputs.not_stored;
    Some(check_threshold(count, limit, 0, || {
        format!(
            "{count} events of the last minute could not be stored (answered 503, inbound requests with the fallback), \
             and Retell repeats a request only three times: look for the cause in the log, and check disk \
             and folder"
        )
    }))
}

fn check_disk(disk: Option<DiskSpace>, settings: &AlarmSettings) -> Option<CheckStatus> {
    let min_percent = u64::from(settings.disk_free_percent);
    let min_bytes = settings.disk_free_bytes;
    if min_percent == 0 && min_bytes == 0 {
        return None;
    }
    let Some(disk) = disk else { return Some(CheckStatus::Indeterminate) };
    let free_percent = disk.free_percent();
    // The check passes again with a tenth more than the minimum. The bytes are compared by division: it cannot
    // overflow.
    let percent_recovered = free_percent >= min_percent + min_percent.div_ceil(10);
    let bytes_recovered = disk.free_bytes / 11 >= min_bytes / 10;
    Some(if free_percent < min_percent || disk.free_bytes < min_bytes {
        CheckStatus::Failing(format!(
            "only {} ({free_percent} %) of the disk under the store is free: once it is full, events cannot be stored \
             (503); free some space or move storage.url to a larger disk",
            format_bytes(disk.free_bytes)
        ))
    } else if percent_recovered && bytes_recovered {
        CheckStatus::Passing
    } else {
        CheckStatus::Indeterminate
    })
}

fn check_store_files(inputs: &AlarmInputs) -> CheckStatus {
    inputs.file_difference.clone().map_or(CheckStatus::Passing, CheckStatus::Failing)
}

fn check_clock_skew(inputs: &AlarmInputs, settings: &AlarmSettings) -> Option<CheckStatus> {
    if settings.clock_skew.is_zero() {
        return None;
    }
    let limit_ms = to_ms(settings.clock_skew);
    let is_recent = |age: &&SignatureAge| inputs.now_ms.saturating_sub(age.received_at_ms) <= SIGNATURE_AGE_WINDOW_MS;
    let ages: Vec<i64> = inputs.signature_ages.iter().filter(is_recent).map(|age| age.age_ms).collect();
    // A request that is delayed in transit looks old, so the freshest signature is the best estimate of the clock.
    let Some(freshest_ms) = ages.iter().copied().min() else { return Some(CheckStatus::Indeterminate) };
    let skew = format_duration(to_signed_ms(freshest_ms.unsigned_abs()));
    Some(if freshest_ms <= -limit_ms {
        // Transit delay only makes signatures older: one from the future proves that this clock is behind.
        CheckStatus::Failing(format!(
            "this machine's clock is {skew} behind the clock of the signer; beyond security.signature_tolerance_ms \
             every call is rejected: synchronize the clock with NTP"
        ))
    } else if freshest_ms >= limit_ms && ages.len() >= MIN_OLD_SIGNATURES {
        CheckStatus::Failing(format!(
            "this machine's clock is {skew} ahead of the clock of the signer, or requests are delayed in transit; \
             beyond security.signature_tolerance_ms every call is rejected: synchronize the clock with NTP"
        ))
    } else if freshest_ms.abs() <= limit_ms / 2 {
        CheckStatus::Passing
    } else {
        CheckStatus::Indeterminate
    })
}

/// Checks the company and its agents. While the company is not clearly active its agents are indeterminate: one alarm
/// for the company instead of one per agent.
fn check_company_silence(
    company: &CompanyHistory,
    inputs: &AlarmInputs,
    settings: &AlarmSettings,
) -> Vec<AlarmCheckResult> {
    let name = format!("company `{}`", company.slug);
    let company_status =
        check_silence(&company.history, &name, inputs, settings, to_unsigned_ms(settings.silence_after));
    let Some(company_status) = company_status else { return Vec::new() };
    let company_is_active = company_status == CheckStatus::Passing;
    let mut results = vec![check_result(AlarmKind::Silence, &company.slug, company_status)];
    for (agent, history) in &company.agents {
        let name = format!("agent `{agent}` of company `{}`", company.slug);
        let status = if company_is_active {
            // The fixed limit is for companies only: an agent may be used rarely.
            check_silence(history, &name, inputs, settings, 0)
        } else {
            Some(CheckStatus::Indeterminate)
        };
        let subject = format!("{}/{agent}", company.slug);
        results.extend(status.map(|status| check_result(AlarmKind::Silence, &subject, status)));
    }
    results
}

/// Compares the time since the latest event with `fixed_limit_ms` (0: no fixed limit) and with the baseline of
/// earlier days. `None` when both are turned off.
fn check_silence(
    history: &ActivityHistory,
    name: &str,
    inputs: &AlarmInputs,
    settings: &AlarmSettings,
    fixed_limit_ms: u64,
) -> Option<CheckStatus> {
    let has_baseline = settings.silence_baseline_events > 0;
    let has_fixed_limit = fixed_limit_ms > 0;
    let silent_ms = elapsed_ms(Some(history.last_event_at_ms), inputs.now_ms);
    let uptime_ms = elapsed_ms(Some(inputs.started_at_ms), inputs.now_ms);
    let advice = "is the webhook URL in Retell's dashboard still right, and do calls arrive there?";
    // While the receiver was down no event could arrive. Silence counts only once it has been up for as long as the
    // limit.
    if has_fixed_limit && silent_ms >= fixed_limit_ms {
        if uptime_ms < fixed_limit_ms {
            return Some(CheckStatus::Indeterminate);
        }
        let silent = format_duration(to_signed_ms(silent_ms));
        return Some(CheckStatus::Failing(format!(
            "no event from {name} for {silent} (alarms.silence_after_ms): {advice}"
        )));
    }
    if !has_baseline {
        return has_fixed_limit.then_some(CheckStatus::Passing);
    }
    if silent_ms < to_unsigned_ms(settings.silence_baseline_min) {
        return Some(CheckStatus::Passing);
    }
    let expected = silence::expected_events(history, inputs.now_ms).unwrap_or(0);
    if expected < settings.silence_baseline_events {
        return Some(CheckStatus::Passing);
    }
    if uptime_ms < to_unsigned_ms(settings.silence_baseline_min) {
        return Some(CheckStatus::Indeterminate);
    }
    Some(CheckStatus::Failing(format!(
        "no event from {name} for {}, while about {expected} were expected from the same hours of earlier days: \
         {advice}",
        format_duration(to_signed_ms(silent_ms))
    )))
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
