//! The state of a receiver: what it received, and what is waiting.

use super::config::startup_warnings;
use super::events::event_view;
use super::receiver::find_other_receiver;
use crate::base::clock::Clock;
use crate::config::Settings;
use crate::operations::Principal;
use crate::storage::{
    AlarmKind, AlarmRow, AlarmStore, BreakerState, Duty, EventFilter, EventSummary, HandlerBacklog, Journal,
    Leadership, Maintenance, StoreError, StoreOverview,
};
use crate::view::{
    AlarmKindView, AlarmView, BreakerStateView, EventCountsView, HandlerStatusView, ReceiverStatusView, RetentionView,
    StatusView, StoreStatusView,
};

/// Time without an event after which there is a warning.
const SILENCE_WARNING_MS: i64 = 24 * 3_600_000;
/// The latest event from Retell is searched among this many events: the newest ones may be internal events.
const MAX_RECENT_EVENTS: usize = 64;
/// A handler whose oldest unplanned event is older than this is behind, which is a warning.
const BACKLOG_WARNING_MS: i64 = 60_000;

/// What was read of the store.
struct StoreFigures {
    overview: StoreOverview,
    last_event: Option<EventSummary>,
    alarms: Vec<AlarmRow>,
    size_bytes: u64,
    /// The receiver that opened the store last.
    instance: Option<String>,
    notes: Vec<String>,
}

/// The state of the receiver that answered the readiness check with `receiver`, and of its store. A store
/// that cannot be opened or read is part of the result.
pub(crate) async fn show_status<S>(
    store: Result<&S, StoreError>,
    settings: &Settings,
    clock: &Clock,
    _principal: &Principal,
    receiver: ReceiverStatusView,
) -> StatusView
where
    S: Journal + AlarmStore + Leadership + Maintenance + ?Sized,
{
    let now_ms = clock.now_ms();
    let figures = match store {
        Ok(store) => read_figures(store, now_ms).await,
        Err(error) => Err(error),
    };
    let warnings = startup_warnings(settings, settings.server.port);
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    warnings.extend(receiver.warnings.iter().cloned());
    let (figures, error) = match figures {
        Ok(figures) => (Some(figures), None),
        Err(error) => (None, Some(error.to_string())),
    };
    if let Some(figures) = &figures {
        warnings.extend(figures.notes.iter().cloned());
        warnings.extend(figures.silence_warning(now_ms));
        let backlogs = figures.overview.backlogs.iter();
        let configured = backlogs.filter(|backlog| is_configured(settings, backlog));
        warnings.extend(configured.flat_map(|backlog| backlog_warnings(backlog, now_ms)));
    }
    let size_bytes = figures.as_ref().map(|figures| figures.size_bytes);
    let instance = figures.as_ref().and_then(|figures| figures.instance.clone());
    let path = settings.storage.url.location();
    StatusView {
        other_receiver: find_other_receiver(&receiver, instance.as_deref(), &path),
        receiver,
        events: figures.as_ref().map(|figures| counts_view(&figures.overview)),
        last_event: figures.as_ref().and_then(|figures| figures.last_event.as_ref()).map(event_view),
        handlers: figures.as_ref().map(|figures| handler_views(&figures.overview, settings)),
        alarms: figures.map(|figures| figures.alarms.into_iter().map(alarm_view).collect()),
        store: StoreStatusView { path, size_bytes, instance, error },
        retention: retention_view(settings),
        warnings,
    }
}

async fn read_figures<S>(store: &S, now_ms: i64) -> Result<StoreFigures, StoreError>
where
    S: Journal + AlarmStore + Leadership + Maintenance + ?Sized,
{
    let overview = store.overview(now_ms).await?;
    let filter = EventFilter { limit: Some(MAX_RECENT_EVENTS), ..EventFilter::default() };
    let last_event = store.list_events(filter).await?.into_iter().find(|event| !event.is_internal());
    Ok(StoreFigures {
        overview,
        last_event,
        alarms: store.list_alarms().await?,
        size_bytes: store.size_bytes().await?,
        instance: store.find_leader(Duty::Requests).await?,
        notes: store.notes().await,
    })
}

impl StoreFigures {
    fn silence_warning(&self, now_ms: i64) -> Option<String> {
        let silent_ms = now_ms - self.last_event.as_ref()?.received_at_ms;
        (silent_ms > SILENCE_WARNING_MS).then(|| {
            format!(
                "no event for {}: check that the webhook URL in Retell's dashboard still leads to this receiver",
                format_age(silent_ms)
            )
        })
    }
}

fn backlog_warnings(backlog: &HandlerBacklog, now_ms: i64) -> Vec<String> {
    let mut warnings = Vec::new();
    let HandlerBacklog { handler, dead, .. } = backlog;
    let late_ms = backlog.behind_since_ms.map_or(0, |since_ms| now_ms - since_ms);
    if late_ms > BACKLOG_WARNING_MS {
        warnings.push(format!(
            "handler `{handler}` is behind: {} events are waiting, the oldest for {}",
            format_count(backlog.behind),
            format_age(late_ms)
        ));
    }
    if *dead > 0 {
        let count = format_count(*dead);
        warnings.push(format!("handler `{handler}` has {count} dead letters: retry or discard them"));
    }
    warnings
}

/// The store still has rows of handlers that were removed from the configuration; these are not waiting for anything.
fn is_configured(settings: &Settings, backlog: &HandlerBacklog) -> bool {
    settings.handlers.iter().any(|handler| handler.enabled && handler.name == backlog.handler)
}

fn counts_view(overview: &StoreOverview) -> EventCountsView {
    EventCountsView {
        accepted: overview.accepted,
        accepted_last_hour: overview.accepted_last_hour,
        accepted_last_day: overview.accepted_last_day,
    }
}

fn handler_views(overview: &StoreOverview, settings: &Settings) -> Vec<HandlerStatusView> {
    let view = |backlog: &HandlerBacklog| HandlerStatusView {
        handler: backlog.handler.clone(),
        configured: is_configured(settings, backlog),
        behind: backlog.behind,
        behind_since_ms: backlog.behind_since_ms,
        pending: backlog.pending,
        running: backlog.running,
        scheduled: backlog.scheduled,
        dead: backlog.dead,
        oldest_undelivered_since_ms: backlog.oldest_waiting_since_ms,
        breaker: match backlog.breaker_state {
            BreakerState::Closed => BreakerStateView::Closed,
            BreakerState::Open => BreakerStateView::Open,
            BreakerState::HalfOpen => BreakerStateView::HalfOpen,
        },
        breaker_since_ms: backlog.breaker_since_ms,
    };
    overview.backlogs.iter().map(view).collect()
}

fn alarm_view(AlarmRow { kind, subject, since_ms, text, .. }: AlarmRow) -> AlarmView {
    let alarm = alarm_kind_view(kind);
    AlarmView { alarm, subject: Some(subject).filter(|subject| !subject.is_empty()), since_ms, text }
}

fn alarm_kind_view(kind: AlarmKind) -> AlarmKindView {
    match kind {
        AlarmKind::DeadDeliveries => AlarmKindView::DeadDeliveries,
        AlarmKind::OldestUndelivered => AlarmKindView::OldestUndelivered,
        AlarmKind::BreakerOpen => AlarmKindView::BreakerOpen,
        AlarmKind::RejectedRequests => AlarmKindView::RejectedRequests,
        AlarmKind::NotStored => AlarmKindView::NotStored,
        AlarmKind::Silence => AlarmKindView::Silence,
        AlarmKind::Disk => AlarmKindView::Disk,
        AlarmKind::ClockSkew => AlarmKindView::ClockSkew,
        AlarmKind::StoreFiles => AlarmKindView::StoreFiles,
    }
}

fn retention_view(settings: &Settings) -> RetentionView {
    let companies =
        settings.companies.iter().filter_map(|company| Some((company.slug.to_string(), company.retention?)));
    RetentionView { default: settings.retention, companies: companies.collect() }
}

/// The number, or `N or more`: the store stops counting at [`HandlerBacklog::MAX_COUNTED`].
pub(crate) fn format_count(count: i64) -> String {
    if count >= HandlerBacklog::MAX_COUNTED { format!("{count} or more") } else { count.to_string() }
}

/// `45 s`, `12 min`, `5 h`, `3 days`.
pub(crate) fn format_age(ms: i64) -> String {
    match ms / 1000 {
        seconds @ ..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn alarms_have_the_names_of_the_store() {
        for kind in AlarmKind::ALL {
            assert_eq!(serde_json::to_value(alarm_kind_view(kind)).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn ages_have_one_unit() {
        let spans = [0, 119_000, 120_000, 7_200_000, 200_000_000].map(format_age);
        assert_eq!(spans, ["0 s", "119 s", "2 min", "2 h", "2 days"]);
    }

    #[test]
    fn a_backlog_is_a_warning_when_it_is_old_or_has_dead_letters() {
        let backlog = HandlerBacklog { handler: "crm".to_owned(), behind: 2, ..HandlerBacklog::default() };
        let warnings = |backlog: &HandlerBacklog| backlog_warnings(backlog, 1_000_000);
        assert!(warnings(&HandlerBacklog { behind_since_ms: Some(940_000), ..backlog.clone() }).is_empty());
        let late = warnings(&HandlerBacklog { behind_since_ms: Some(0), ..backlog.clone() });
        assert_eq!(late, ["handler `crm` is behind: 2 events are waiting, the oldest for 16 min"]);
        let dead = warnings(&HandlerBacklog { dead: HandlerBacklog::MAX_COUNTED, ..backlog });
        assert_eq!(dead, ["handler `crm` has 10000 or more dead letters: retry or discard them"]);
    }
}
