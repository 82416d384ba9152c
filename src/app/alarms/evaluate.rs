//! From figures to verdicts: what is wrong, and what whoever runs the receiver can do about it. Pure.
//!
//! What begins at a threshold ends well below it, so that a figure that stays near it makes one alarm and not many.

use super::format::{format_bytes, format_count, format_duration};
use super::kind::AlarmKind;
use super::raised::{AlarmCheckResult, CheckStatus};
use super::silence;
use crate::config::AlarmSettings;
use crate::storage::{BreakerState, HandlerBacklog};
use crate::telemetry::activity::{ActivityHistory, SignatureAge};
use crate::telemetry::disk::DiskSpace;

/// Deliveries of a handler counted for an alarm's text.
pub(super) const MAX_COUNTED_DELIVERIES: usize = 1_000;
/// Ages of signatures are looked at for so long.
const SIGNATURE_AGE_WINDOW_MS: i64 = 1_800_000;
/// A single old signature may be an old request that somebody sends again.
const MIN_OLD_SIGNATURES: usize = 3;

/// What is known at one moment.
pub(super) struct AlarmInputs {
    pub(super) now_ms: i64,
    pub(super) started_at_ms: i64,
    /// Of the handlers at work; `None` while the store does not say.
    pub(super) backlogs: Option<Vec<HandlerBacklog>>,
    pub(super) companies: Vec<CompanyHistory>,
    /// By reason, within the last minute.
    pub(super) rejected_by_reason: Vec<(&'static str, u64)>,
    /// Within the last minute.
    pub(super) not_stored: u64,
    pub(super) disk: Option<DiskSpace>,
    pub(super) signature_ages: Vec<SignatureAge>,
}

/// A company that sent something in the last days.
pub(super) struct CompanyHistory {
    pub(super) slug: String,
    pub(super) history: ActivityHistory,
    pub(super) agents: Vec<(String, ActivityHistory)>,
}

/// A verdict on everything that is watched by these settings.
pub(super) fn evaluate(
    figures: &AlarmInputs,
    settings: &AlarmSettings,
    on: &dyn Fn(AlarmKind) -> Vec<String>,
) -> Vec<AlarmCheckResult> {
    if !settings.enabled {
        return Vec::new();
    }
    let mut judged = Vec::new();
    match &figures.backlogs {
        Some(handlers) => {
            judged.extend(handlers.iter().flat_map(|backlog| check_handler(backlog, settings, figures.now_ms)))
        }
        // Nothing is known of them: what is on stays on.
        None => judged.extend(indeterminate_results(
            &[AlarmKind::DeadDeliveries, AlarmKind::OldestUndelivered, AlarmKind::BreakerOpen],
            on,
        )),
    }
    judged.extend(figures.companies.iter().flat_map(|company| check_company_silence(company, figures, settings)));
    let alone = [
        (AlarmKind::RejectedRequests, check_rejected_requests(figures, settings)),
        (AlarmKind::NotStored, check_not_stored(figures, settings)),
        (AlarmKind::Disk, check_disk(figures.disk, settings)),
        (AlarmKind::ClockSkew, check_clock_skew(figures, settings)),
    ];
    judged.extend(alone.into_iter().filter_map(|(alarm, verdict)| Some(check_result(alarm, "", verdict?))));
    judged
}

fn check_result(alarm: AlarmKind, subject: &str, verdict: CheckStatus) -> AlarmCheckResult {
    AlarmCheckResult { alarm, subject: subject.to_owned(), status: verdict }
}

fn indeterminate_results(alarms: &[AlarmKind], on: &dyn Fn(AlarmKind) -> Vec<String>) -> Vec<AlarmCheckResult> {
    let judged = |alarm: AlarmKind| {
        on(alarm).into_iter().map(move |subject| check_result(alarm, &subject, CheckStatus::Indeterminate))
    };
    alarms.iter().copied().flat_map(judged).collect()
}

/// Wrong from `limit` on, fine up to `fine`.
fn check_threshold(value: u64, limit: u64, fine: u64, text: impl FnOnce() -> String) -> CheckStatus {
    if value >= limit {
        CheckStatus::Failing(text())
    } else if value <= fine {
        CheckStatus::Passing
    } else {
        CheckStatus::Indeterminate
    }
}

fn elapsed_ms(ms: Option<i64>, now_ms: i64) -> u64 {
    ms.map_or(0, |ms| now_ms.saturating_sub(ms).max(0).unsigned_abs())
}

fn to_signed_ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn check_handler(backlog: &HandlerBacklog, settings: &AlarmSettings, now_ms: i64) -> Vec<AlarmCheckResult> {
    let name = &backlog.handler;
    let mut judged = Vec::new();
    if settings.dead_deliveries > 0 {
        let dead = backlog.recent_dead.max(0).unsigned_abs();
        let verdict = check_threshold(dead, settings.dead_deliveries, 0, || {
            let (dead, window) = (
                format_count(backlog.recent_dead, MAX_COUNTED_DELIVERIES),
                format_duration(to_signed_ms(settings.dead_deliveries_window_ms)),
            );
            format!(
                "handler `{name}` gave up on {dead} deliveries within {window}: `retell-webhook dead list --handler {name}` says why; put it \
                 right, then `retell-webhook dead retry --handler {name}`"
            )
        });
        judged.push(check_result(AlarmKind::DeadDeliveries, name, verdict));
    }
    if settings.oldest_undelivered_ms > 0 {
        let age = elapsed_ms(backlog.oldest_waiting_since_ms, now_ms);
        let verdict = check_threshold(age, settings.oldest_undelivered_ms, settings.oldest_undelivered_ms / 2, || {
            let waiting = format_count(backlog.behind, MAX_COUNTED_DELIVERIES);
            let scheduled = format_count(backlog.scheduled, MAX_COUNTED_DELIVERIES);
            format!(
                "an event has waited for handler `{name}` for {}: {waiting} wait for their attempt, {scheduled} for another one; \
                 `retell-webhook status` shows how it goes on",
                format_duration(to_signed_ms(age))
            )
        });
        judged.push(check_result(AlarmKind::OldestUndelivered, name, verdict));
    }
    if settings.breaker_open_ms > 0 {
        let closed = backlog.breaker_state == BreakerState::Closed;
        let open_ms = elapsed_ms(backlog.breaker_since_ms, now_ms);
        let verdict = if closed {
            CheckStatus::Passing
        } else {
            // Not known to be fine before it is closed.
            check_threshold(open_ms.max(1), settings.breaker_open_ms, 0, || {
                format!(
                    "what handler `{name}` calls has been failing for {}: attempts rest, events are kept, and single attempts find \
                     out when it is better",
                    format_duration(to_signed_ms(open_ms))
                )
            })
        };
        judged.push(check_result(AlarmKind::BreakerOpen, name, verdict));
    }
    judged
}

fn check_rejected_requests(figures: &AlarmInputs, settings: &AlarmSettings) -> Option<CheckStatus> {
    let limit = Some(settings.rejected_per_minute).filter(|limit| *limit > 0)?;
    let all: u64 = figures.rejected_by_reason.iter().map(|(_, count)| count).sum();
    let most = figures.rejected_by_reason.iter().max_by_key(|(_, count)| *count).map_or("", |(reason, _)| reason);
    Some(check_threshold(all, limit, limit / 2, || {
        format!(
            "{all} webhook requests were refused within a minute, most of them as `{most}`: `retell-webhook rejected list` says why"
        )
    }))
}

fn check_not_stored(figures: &AlarmInputs, settings: &AlarmSettings) -> Option<CheckStatus> {
    let limit = Some(settings.not_stored_per_minute).filter(|limit| *limit > 0)?;
    let count = figures.not_stored;
    Some(check_threshold(count, limit, 0, || {
        format!(
            "{count} events could not be stored within a minute (503), and Retell gives up after three attempts: look for the reason \
             in the log; `retell-webhook doctor` checks disk and folder"
        )
    }))
}

fn check_disk(disk: Option<DiskSpace>, settings: &AlarmSettings) -> Option<CheckStatus> {
    let (percent, bytes) = (u64::from(settings.disk_free_percent), settings.disk_free_bytes);
    if percent == 0 && bytes == 0 {
        return None;
    }
    let Some(disk) = disk else { return Some(CheckStatus::Indeterminate) };
    let free = disk.free_percent();
    // A tenth more than where it begins.
    let enough = free >= percent + percent.div_ceil(10) && disk.free_bytes / 11 >= bytes / 10;
    Some(if free < percent || disk.free_bytes < bytes {
        CheckStatus::Failing(format!(
            "only {} ({free} %) of the disk under the store are free: events cannot be stored when it is full (503); free some, or \
             put storage.url on a larger one",
            format_bytes(disk.free_bytes)
        ))
    } else if enough {
        CheckStatus::Passing
    } else {
        CheckStatus::Indeterminate
    })
}

fn check_clock_skew(figures: &AlarmInputs, settings: &AlarmSettings) -> Option<CheckStatus> {
    let limit = to_signed_ms(Some(settings.clock_skew_ms).filter(|limit| *limit > 0)?);
    let recent = figures
        .signature_ages
        .iter()
        .filter(|age| figures.now_ms.saturating_sub(age.received_at_ms) <= SIGNATURE_AGE_WINDOW_MS);
    let ages: Vec<i64> = recent.map(|age| age.age_ms).collect();
    // What is late on its way looks old: the freshest one tells.
    let Some(freshest) = ages.iter().copied().min() else { return Some(CheckStatus::Indeterminate) };
    let by = format_duration(to_signed_ms(freshest.unsigned_abs()));
    Some(if freshest <= -limit {
        CheckStatus::Failing(format!(
            "this machine's clock is {by} behind that of whoever signs; past security.signature_tolerance_ms every call is refused: set it by NTP"
        ))
    } else if freshest >= limit && ages.len() >= MIN_OLD_SIGNATURES {
        CheckStatus::Failing(format!(
            "this machine's clock is {by} ahead of that of whoever signs, or requests are held up on their way; past \
             security.signature_tolerance_ms every call is refused: set it by NTP"
        ))
    } else if freshest.abs() <= limit / 2 {
        CheckStatus::Passing
    } else {
        CheckStatus::Indeterminate
    })
}

/// The company, and its agents unless all of them are silent with it.
fn check_company_silence(
    company: &CompanyHistory,
    figures: &AlarmInputs,
    settings: &AlarmSettings,
) -> Vec<AlarmCheckResult> {
    let whole = check_silence(
        &company.history,
        &format!("company `{}`", company.slug),
        figures,
        settings,
        settings.silence_after_ms,
    );
    let Some(whole) = whole else { return Vec::new() };
    let alone = whole == CheckStatus::Passing;
    let mut judged = vec![check_result(AlarmKind::Silence, &company.slug, whole)];
    for (agent, seen) in &company.agents {
        let name = format!("agent `{agent}` of company `{}`", company.slug);
        let verdict =
            if alone { check_silence(seen, &name, figures, settings, 0) } else { Some(CheckStatus::Indeterminate) };
        let subject = format!("{}/{agent}", company.slug);
        judged.extend(verdict.map(|verdict| check_result(AlarmKind::Silence, &subject, verdict)));
    }
    judged
}

/// `None` when nobody wants to know.
fn check_silence(
    seen: &ActivityHistory,
    who: &str,
    figures: &AlarmInputs,
    settings: &AlarmSettings,
    fixed_ms: u64,
) -> Option<CheckStatus> {
    let (learnt, fixed) = (settings.silence_baseline_events > 0, fixed_ms > 0);
    let gap = elapsed_ms(Some(seen.last_event_at_ms), figures.now_ms);
    let up = elapsed_ms(Some(figures.started_at_ms), figures.now_ms);
    let ask = "is the webhook URL in Retell's dashboard still right, and do calls come in there?";
    // While it was down nothing could come: silence counts again when it has been up for as long.
    if fixed && gap >= fixed_ms {
        let text =
            || format!("no event of {who} for {} (alarms.silence_after_ms): {ask}", format_duration(to_signed_ms(gap)));
        return Some(if up >= fixed_ms { CheckStatus::Failing(text()) } else { CheckStatus::Indeterminate });
    }
    if !learnt {
        return fixed.then_some(CheckStatus::Passing);
    }
    if gap < settings.silence_baseline_min_ms {
        return Some(CheckStatus::Passing);
    }
    let Some(expected) =
        silence::expected_events(seen, figures.now_ms).filter(|expected| *expected >= settings.silence_baseline_events)
    else {
        return Some(CheckStatus::Passing);
    };
    if up < settings.silence_baseline_min_ms {
        return Some(CheckStatus::Indeterminate);
    }
    Some(CheckStatus::Failing(format!(
        "no event of {who} for {}, while about {expected} were to be expected by the same hours of earlier days: {ask}",
        format_duration(to_signed_ms(gap))
    )))
}

#[cfg(test)]
#[path = "evaluate_tests.rs"]
mod tests;
