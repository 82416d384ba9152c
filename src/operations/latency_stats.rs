//! Statistics of attempts and invocations as they are shown.

use crate::storage::{LatencyFilter, LatencyGroup, LatencyGroups, LatencyKey};
use crate::view::{LatencyGroupView, LatencyStatsView};

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
