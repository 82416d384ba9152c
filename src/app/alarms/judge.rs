//! From figures to verdicts: what is wrong, and what whoever runs the receiver can do about it. Pure.
//!
//! What begins at a threshold ends well below it, so that a figure that stays near it makes one alarm and not many.

use super::kind::Alarm;
use super::silence;
use super::state::{Judged, Verdict};
use super::words::{count, size, span};
use crate::config::AlarmSettings;
use crate::storage::{Backlog, BreakerState};
use crate::telemetry::activity::{Age, Seen};
use crate::telemetry::disk::DiskSpace;

/// Deliveries of a handler counted for an alarm's text.
pub(super) const COUNTED: usize = 1_000;
/// Ages of signatures are looked at for so long.
const AGES_MS: i64 = 1_800_000;
/// A single old signature may be an old request that somebody sends again.
const LEAST_OLD: usize = 3;

/// What is known at one moment.
pub(super) struct Figures {
    pub(super) now_ms: i64,
    pub(super) started_at_ms: i64,
    /// Of the handlers at work; `None` while the store does not say.
    pub(super) handlers: Option<Vec<Backlog>>,
    pub(super) companies: Vec<Watched>,
    /// By reason, within the last minute.
    pub(super) refused: Vec<(&'static str, u64)>,
    /// Within the last minute.
    pub(super) not_stored: u64,
    pub(super) disk: Option<DiskSpace>,
    pub(super) ages: Vec<Age>,
}

/// A company that sent something in the last days.
pub(super) struct Watched {
    pub(super) slug: String,
    pub(super) seen: Seen,
    pub(super) agents: Vec<(String, Seen)>,
}

/// A verdict on everything that is watched by these settings.
pub(super) fn judge(figures: &Figures, settings: &AlarmSettings, on: &dyn Fn(Alarm) -> Vec<String>) -> Vec<Judged> {
    if !settings.enabled {
        return Vec::new();
    }
    let mut judged = Vec::new();
    match &figures.handlers {
        Some(handlers) => judged.extend(handlers.iter().flat_map(|backlog| handler(backlog, settings, figures.now_ms))),
        // Nothing is known of them: what is on stays on.
        None => judged.extend(unclear(&[Alarm::DeadDeliveries, Alarm::OldestUndelivered, Alarm::BreakerOpen], on)),
    }
    judged.extend(figures.companies.iter().flat_map(|company| silent(company, figures, settings)));
    let alone = [
        (Alarm::Refused, refused(figures, settings)),
        (Alarm::NotStored, not_stored(figures, settings)),
        (Alarm::Disk, disk(figures.disk, settings)),
        (Alarm::ClockSkew, clock(figures, settings)),
    ];
    judged.extend(alone.into_iter().filter_map(|(alarm, verdict)| Some(about(alarm, "", verdict?))));
    judged
}

fn about(alarm: Alarm, subject: &str, verdict: Verdict) -> Judged {
    Judged { alarm, subject: subject.to_owned(), verdict }
}

fn unclear(alarms: &[Alarm], on: &dyn Fn(Alarm) -> Vec<String>) -> Vec<Judged> {
    let judged = |alarm: Alarm| on(alarm).into_iter().map(move |subject| about(alarm, &subject, Verdict::Unclear));
    alarms.iter().copied().flat_map(judged).collect()
}

/// Wrong from `limit` on, fine up to `fine`.
fn between(value: u64, limit: u64, fine: u64, text: impl FnOnce() -> String) -> Verdict {
    if value >= limit {
        Verdict::Wrong(text())
    } else if value <= fine {
        Verdict::Fine
    } else {
        Verdict::Unclear
    }
}

fn since(ms: Option<i64>, now_ms: i64) -> u64 {
    ms.map_or(0, |ms| now_ms.saturating_sub(ms).max(0).unsigned_abs())
}

fn ms(ms: u64) -> i64 {
    i64::try_from(ms).unwrap_or(i64::MAX)
}

fn handler(backlog: &Backlog, settings: &AlarmSettings, now_ms: i64) -> Vec<Judged> {
    let name = &backlog.handler;
    let mut judged = Vec::new();
    if settings.dead_deliveries > 0 {
        let dead = backlog.dead_lately.max(0).unsigned_abs();
        let verdict = between(dead, settings.dead_deliveries, 0, || {
            let (dead, window) = (count(backlog.dead_lately, COUNTED), span(ms(settings.dead_window_ms)));
            format!(
                "handler `{name}` gave up on {dead} deliveries within {window}: `retell-webhook dead list --handler {name}` says why; put it \
                 right, then `retell-webhook dead retry --handler {name}`"
            )
        });
        judged.push(about(Alarm::DeadDeliveries, name, verdict));
    }
    if settings.oldest_undelivered_ms > 0 {
        let age = since(backlog.oldest_ms, now_ms);
        let verdict = between(age, settings.oldest_undelivered_ms, settings.oldest_undelivered_ms / 2, || {
            let waiting = count(backlog.behind, COUNTED);
            let scheduled = count(backlog.scheduled, COUNTED);
            format!(
                "an event has waited for handler `{name}` for {}: {waiting} wait for their attempt, {scheduled} for another one; \
                 `retell-webhook status` shows how it goes on",
                span(ms(age))
            )
        });
        judged.push(about(Alarm::OldestUndelivered, name, verdict));
    }
    if settings.breaker_open_ms > 0 {
        let closed = backlog.breaker == BreakerState::Closed;
        let open_ms = since(backlog.breaker_since_ms, now_ms);
        let verdict = if closed {
            Verdict::Fine
        } else {
            // Not known to be fine before it is closed.
            between(open_ms.max(1), settings.breaker_open_ms, 0, || {
                format!(
                    "what handler `{name}` calls has been failing for {}: attempts rest, events are kept, and single attempts find \
                     out when it is better",
                    span(ms(open_ms))
                )
            })
        };
        judged.push(about(Alarm::BreakerOpen, name, verdict));
    }
    judged
}

fn refused(figures: &Figures, settings: &AlarmSettings) -> Option<Verdict> {
    let limit = Some(settings.refused_per_minute).filter(|limit| *limit > 0)?;
    let all: u64 = figures.refused.iter().map(|(_, count)| count).sum();
    let most = figures.refused.iter().max_by_key(|(_, count)| *count).map_or("", |(reason, _)| reason);
    Some(between(all, limit, limit / 2, || {
        format!(
            "{all} webhook requests were refused within a minute, most of them as `{most}`: `retell-webhook rejected list` says why"
        )
    }))
}

fn not_stored(figures: &Figures, settings: &AlarmSettings) -> Option<Verdict> {
    let limit = Some(settings.not_stored_per_minute).filter(|limit| *limit > 0)?;
    let count = figures.not_stored;
    Some(between(count, limit, 0, || {
        format!(
            "{count} events could not be stored within a minute (503), and Retell gives up after three attempts: look for the reason \
             in the log; `retell-webhook doctor` checks disk and folder"
        )
    }))
}

fn disk(disk: Option<DiskSpace>, settings: &AlarmSettings) -> Option<Verdict> {
    let (percent, bytes) = (u64::from(settings.disk_free_percent), settings.disk_free_bytes);
    if percent == 0 && bytes == 0 {
        return None;
    }
    let Some(disk) = disk else { return Some(Verdict::Unclear) };
    let free = disk.free_percent();
    // A tenth more than where it begins.
    let enough = free >= percent + percent.div_ceil(10) && disk.free_bytes / 11 >= bytes / 10;
    Some(if free < percent || disk.free_bytes < bytes {
        Verdict::Wrong(format!(
            "only {} ({free} %) of the disk under the store are free: events cannot be stored when it is full (503); free some, or \
             put storage.url on a larger one",
            size(disk.free_bytes)
        ))
    } else if enough {
        Verdict::Fine
    } else {
        Verdict::Unclear
    })
}

fn clock(figures: &Figures, settings: &AlarmSettings) -> Option<Verdict> {
    let limit = ms(Some(settings.clock_skew_ms).filter(|limit| *limit > 0)?);
    let recent = figures.ages.iter().filter(|age| figures.now_ms.saturating_sub(age.at_ms) <= AGES_MS);
    let ages: Vec<i64> = recent.map(|age| age.age_ms).collect();
    // What is late on its way looks old: the freshest one tells.
    let Some(freshest) = ages.iter().copied().min() else { return Some(Verdict::Unclear) };
    let by = span(ms(freshest.unsigned_abs()));
    Some(if freshest <= -limit {
        Verdict::Wrong(format!(
            "this machine's clock is {by} behind that of whoever signs; past security.window_ms every call is refused: set it by NTP"
        ))
    } else if freshest >= limit && ages.len() >= LEAST_OLD {
        Verdict::Wrong(format!(
            "this machine's clock is {by} ahead of that of whoever signs, or requests are held up on their way; past \
             security.window_ms every call is refused: set it by NTP"
        ))
    } else if freshest.abs() <= limit / 2 {
        Verdict::Fine
    } else {
        Verdict::Unclear
    })
}

/// The company, and its agents unless all of them are silent with it.
fn silent(company: &Watched, figures: &Figures, settings: &AlarmSettings) -> Vec<Judged> {
    let whole =
        silence_of(&company.seen, &format!("company `{}`", company.slug), figures, settings, settings.silence_ms);
    let Some(whole) = whole else { return Vec::new() };
    let alone = whole == Verdict::Fine;
    let mut judged = vec![about(Alarm::Silence, &company.slug, whole)];
    for (agent, seen) in &company.agents {
        let name = format!("agent `{agent}` of company `{}`", company.slug);
        let verdict = if alone { silence_of(seen, &name, figures, settings, 0) } else { Some(Verdict::Unclear) };
        let subject = format!("{}/{agent}", company.slug);
        judged.extend(verdict.map(|verdict| about(Alarm::Silence, &subject, verdict)));
    }
    judged
}

/// `None` when nobody wants to know.
fn silence_of(seen: &Seen, who: &str, figures: &Figures, settings: &AlarmSettings, fixed_ms: u64) -> Option<Verdict> {
    let (learnt, fixed) = (settings.silence_events > 0, fixed_ms > 0);
    let gap = since(Some(seen.last_ms), figures.now_ms);
    let up = since(Some(figures.started_at_ms), figures.now_ms);
    let ask = "is the webhook URL in Retell's dashboard still right, and do calls come in there?";
    // While it was down nothing could come: silence counts again when it has been up for as long.
    if fixed && gap >= fixed_ms {
        let text = || format!("no event of {who} for {} (alarms.silence_ms): {ask}", span(ms(gap)));
        return Some(if up >= fixed_ms { Verdict::Wrong(text()) } else { Verdict::Unclear });
    }
    if !learnt {
        return fixed.then_some(Verdict::Fine);
    }
    if gap < settings.silence_min_ms {
        return Some(Verdict::Fine);
    }
    let Some(expected) =
        silence::expected(seen, figures.now_ms).filter(|expected| *expected >= settings.silence_events)
    else {
        return Some(Verdict::Fine);
    };
    if up < settings.silence_min_ms {
        return Some(Verdict::Unclear);
    }
    Some(Verdict::Wrong(format!(
        "no event of {who} for {}, while about {expected} were to be expected by the same hours of earlier days: {ask}",
        span(ms(gap))
    )))
}

#[cfg(test)]
#[path = "judge_tests.rs"]
mod tests;
