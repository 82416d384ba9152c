//! Lists, shows and counts calls and chats.

use std::time::Instant;

use crate::base::escape::escape_text;
use crate::calls::{CallFilter, CallGroup, CallGrouping, CallKind, CallRecord, CallStats, CallStatsFilter, CallTotals};
use crate::event::parse_json;
use crate::operations::{ItemKind, OperationError, Principal, Progress, ProgressCallback};
use crate::privacy::redact;
use crate::storage::{CallStore, TotalsPosition};
use crate::view::{
    AgentNameView, CallGroupView, CallStatsView, CallTotalsView, CallView, ChatView, ConversationBaseView,
    ConversationDetailsView, ConversationTextsView, ConversationView, RebuiltStatsView,
};

/// Calls or chats that match the filter, the latest event first. Phone numbers are masked unless `reveal` is set.
pub(crate) async fn list_conversations(
    store: &dyn CallStore,
    _principal: &Principal,
    filter: CallFilter,
    reveal: bool,
) -> Result<Vec<ConversationView>, OperationError> {
    Ok(store.list_calls(filter).await?.into_iter().map(|call| conversation_view(call, reveal)).collect())
}

/// One call or chat; [`OperationError::NotFound`] when none has the id. Its content is included if `reveal` is set.
pub(crate) async fn show_conversation(
    store: &dyn CallStore,
    _principal: &Principal,
    kind: CallKind,
    id: &str,
    reveal: bool,
) -> Result<ConversationDetailsView, OperationError> {
    let mut call = store.get_call(kind, id).await?.ok_or_else(|| {
        let item = match kind {
            CallKind::Call => ItemKind::Call,
            CallKind::Chat => ItemKind::Chat,
        };
        OperationError::not_found(item, format!("no {} has the id {}", kind.as_str(), escape_text(id)))
    })?;
    let summary = call.summary.take();
    let custom_analysis_data = call.custom_analysis_data.take();
    Ok(ConversationDetailsView {
        conversation: conversation_view(call, reveal),
        has_summary: summary.is_some(),
        has_custom_analysis_data: custom_analysis_data.is_some(),
        texts: reveal.then(|| ConversationTextsView {
            summary,
            custom_analysis_data: custom_analysis_data
                .map(|text| parse_json(text.as_bytes()).unwrap_or_else(|| text.into())),
        }),
    })
}

/// Counts calls or chats by `grouping`, by all groupings of the kind when it is `None`.
///
/// # Errors
/// The kind has no such grouping, or the store cannot be read.
pub(crate) async fn count_conversations(
    store: &dyn CallStore,
    _principal: &Principal,
    filter: CallStatsFilter,
    grouping: Option<CallGrouping>,
) -> Result<CallStatsView, OperationError> {
    let kind = filter.kind;
    let mut groupings: Vec<_> = CallGrouping::for_kind(kind).collect();
    if let Some(only) = grouping {
        groupings.retain(|grouping| *grouping == only);
    }
    if let Some(grouping) = grouping.filter(|_| groupings.is_empty()) {
        let possible: Vec<_> = CallGrouping::for_kind(kind).map(CallGrouping::as_str).collect();
        return Err(OperationError::InvalidInput(format!(
            "{} cannot be grouped by {}; group them by one of {}",
            kind.plural(),
            grouping.as_str(),
            possible.join(", ")
        )));
    }
    let CallStatsFilter { since_ms, until_ms, company, agent_id, .. } = filter.clone();
    let stats = store.call_stats(filter).await?;
    Ok(CallStatsView {
        kind: kind.plural(),
        since_ms,
        until_ms,
        company,
        agent: agent_id,
        time_zone: "UTC",
        tests_excluded: stats.excluded_tests().unsigned_abs(),
        total: totals_view(stats.totals()),
        by: groupings.into_iter().map(|grouping| (grouping.as_str(), group_views(grouping, &stats))).collect(),
    })
}

/// Compares the totals behind the statistics of calls and chats with the stored calls and chats, and corrects them.
pub(crate) async fn rebuild_stats(
    store: &dyn CallStore,
    principal: &Principal,
    progress: ProgressCallback<'_>,
) -> Result<RebuiltStatsView, OperationError> {
    tracing::info!(%principal, "rebuilding the statistics of calls");
    let mut rebuilt = RebuiltStatsView::default();
    let mut next = Some(TotalsPosition::START);
    while let Some(position) = next {
        let started = Instant::now();
        let correction = store.correct_call_totals(position).await?;
        rebuilt.corrected_totals += correction.corrected_totals;
        rebuilt.counted += correction.calls;
        let total = correction.estimated_calls.max(rebuilt.counted);
        progress(Progress { step: "counted", done: rebuilt.counted, total });
        if correction.corrected_totals > 0 {
            // The receiver has the write lock half of the time.
            tokio::time::sleep(started.elapsed()).await;
        }
        next = correction.next;
    }
    Ok(rebuilt)
}

fn conversation_view(call: CallRecord, reveal: bool) -> ConversationView {
    let format_number =
        |number: Option<&String>| number.map(|number| if reveal { number.clone() } else { redact::phone(number) });
    let from_number = format_number(call.from_number.as_ref());
    let to_number = format_number(call.to_number.as_ref());
    let transfer_state = call.transfer_state();
    let base = ConversationBaseView {
        kind: call.kind,
        company_id: call.company_id,
        test: call.is_test(),
        company: call.company,
        stage: call.stage,
        agent_id: call.agent_id,
        agent_name: call.agent_name,
        agent_version: call.agent_version,
        started_at_ms: call.started_at_ms,
        ended_at_ms: call.ended_at_ms,
        duration_ms: call.duration_ms,
        user_sentiment: call.user_sentiment,
        cost_cents: call.cost_cents,
        first_event_at_ms: call.first_event_at_ms,
        last_event_at_ms: call.last_event_at_ms,
    };
    match call.kind {
        CallKind::Call => ConversationView::Call(Box::new(CallView {
            call_id: call.call_id,
            call_type: call.call_type,
            call_status: call.call_status,
            call_successful: call.call_successful,
            direction: call.direction,
            from_number,
            to_number,
            disconnection_reason: call.disconnection_reason,
            in_voicemail: call.in_voicemail,
            latency_e2e: call.latency_e2e,
            has_recording: call.has_recording,
            transfer_state,
            base,
        })),
        CallKind::Chat => ConversationView::Chat(Box::new(ChatView {
            chat_id: call.call_id,
            chat_type: call.call_type,
            chat_status: call.call_status,
            chat_successful: call.call_successful,
            base,
        })),
    }
}

fn group_views(grouping: CallGrouping, stats: &CallStats) -> Vec<CallGroupView> {
    let view = |group: CallGroup| CallGroupView {
        key: group.key,
        agent: (grouping == CallGrouping::Agent).then_some(AgentNameView { name: group.name }),
        share: group.totals.share_of(stats.totals()),
        totals: totals_view(&group.totals),
    };
    stats.groups(grouping).into_iter().map(view).collect()
}

fn totals_view(totals: &CallTotals) -> CallTotalsView {
    CallTotalsView {
        count: totals.calls.unsigned_abs(),
        duration_ms: totals.total_duration_ms,
        average_duration_ms: totals.average_duration_ms(),
        cost_cents: totals.total_cost_cents,
        evaluated: totals.calls_with_success_known.unsigned_abs(),
        successful: totals.successful_calls.unsigned_abs(),
        success_rate: totals.success_rate(),
    }
}
