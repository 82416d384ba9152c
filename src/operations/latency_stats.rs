//! Statistics of attempts and invocations as they are shown.

use std::time::Instant;

use super::{OperationError, Progress, ProgressCallback};
use crate::storage::{LatencyFilter, LatencyGroup, LatencyGroups, LatencyKey, TotalsRebuild};
use crate::view::{LatencyGroupView, LatencyStatsView, RebuiltStatsView};

const HOUR_MS: i64 = 3_600_000;

pub(super) fn latency_stats_view(filter: &LatencyFilter, groups: LatencyGroups) -> LatencyStatsView {
    LatencyStatsView {
        since_ms: filter.since_ms.map(|ms| ms.div_euclid(HOUR_MS) * HOUR_MS),
        until_ms: filter.until_ms.map(|ms| -(-ms).div_euclid(HOUR_MS) * HOUR_MS),
        groups: groups.into_iter().map(|(key, group)| group_view(key, group)).collect(),
    }
}

fn group_view(key: LatencyKey, group: LatencyGroup) -> LatencyGroupView {
    let (key, start_ms) = match key {
        LatencyKey::Text(text) => (Some(text), None),
        LatencyKey::StartMs(ms) => (None, Some(ms)),
    };
    let durations = &group.durations;
    LatencyGroupView {
        key,
        start_ms,
        count: durations.total_count(),
        p50_ms: durations.percentile(50),
        p90_ms: durations.percentile(90),
        p99_ms: durations.percentile(99),
        by_outcome: group.by_outcome,
    }
}

/// Runs a rebuild of totals to its end.
pub(super) async fn run_rebuild(
    mut rebuild: Box<dyn TotalsRebuild>,
    progress: ProgressCallback<'_>,
) -> Result<RebuiltStatsView, OperationError> {
    let mut view = RebuiltStatsView::default();
    loop {
        let started = Instant::now();
        let Some(step) = rebuild.correct_next().await? else { return Ok(view) };
        view.counted += step.counted;
        view.corrected_totals += step.corrected_totals;
        let total = step.estimated_rows.max(view.counted);
        progress(Progress { step: "counted", done: view.counted, total });
        if step.corrected_totals > 0 {
            // The receiver has the write lock half of the time.
            tokio::time::sleep(started.elapsed()).await;
        }
    }
}
