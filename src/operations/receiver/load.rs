//! Runs loads: decides where they go and how they are signed.

use std::collections::BTreeMap;
use std::time::Duration;

use super::simulate::receiver_url;
use crate::base::clock::Clock;
use crate::config::{Settings, is_loopback_url};
use crate::operations::signatures::optional_signing_key;
use crate::operations::{OperationError, Principal};
use crate::privacy::redact;
use crate::simulation::load::{self, LatencyHistogram, LoadError, LoadExtent, LoadOptions, LoadProgress, LoadResult};
use crate::view::LoadReportView;

pub(crate) use crate::simulation::load::LoadBodySize;

const QUANTILES: [(&str, f64); 4] = [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999)];

pub(crate) struct LoadRequest {
    pub size: LoadBodySize,
    pub rate: Option<u32>,
    pub connections: u32,
    pub duration: Duration,
    /// URL of the receiver; without a path that of the webhook is added. `None` for the receiver on this machine.
    pub url: Option<String>,
    /// Whether the caller may send to another machine.
    pub confirmed: bool,
}

/// What a load reports while it runs.
#[derive(Clone, Debug)]
pub(crate) enum LoadUpdate {
    /// The first request is about to be sent. The URL is that of the webhook, without its password.
    Started {
        url: String,
    },
    Running {
        elapsed: Duration,
        answered: u64,
    },
}

/// Sends events to a receiver until the duration has passed. Dropping the future aborts the load.
///
/// # Errors
/// No key is known, or the load would go to another machine without confirmation: it could be an attack. Requests that
/// fail are counted in the report.
pub(crate) async fn run_load(
    settings: &Settings,
    clock: &Clock,
    _principal: &Principal,
    request: &LoadRequest,
    mut on_update: impl FnMut(LoadUpdate),
) -> Result<LoadReportView, OperationError> {
    let options = load_options(settings, clock, request)?;
    on_update(LoadUpdate::Started { url: redact::url(options.url.as_str()) });
    let on_progress = |progress| {
        if let LoadProgress::Running { elapsed, answered } = progress {
            on_update(LoadUpdate::Running { elapsed, answered });
        }
    };
    Ok(report_view(&load::run(options, on_progress).await?))
}

fn load_options(settings: &Settings, clock: &Clock, request: &LoadRequest) -> Result<LoadOptions, OperationError> {
    let url = receiver_url(settings, request.url.as_deref(), None)?;
    if !is_loopback_url(&url) && !request.confirmed {
        return Err(OperationError::NotConfirmed(format!(
            "{} is on another machine, which the load may overload",
            redact::url(url.as_str())
        )));
    }
    Ok(LoadOptions {
        url,
        key: optional_signing_key(settings, None)?,
        size: request.size,
        rate: request.rate,
        connections: request.connections,
        warm_up: Duration::ZERO,
        extent: LoadExtent::Duration(request.duration),
        clock: clock.clone(),
    })
}

fn report_view(result: &LoadResult) -> LoadReportView {
    let LoadResult { stats, total, .. } = result;
    LoadReportView {
        accepted: stats.accepted,
        per_second: per_second(stats.accepted, *total),
        seconds: total.as_secs_f64(),
        body_bytes: stats.body_bytes,
        latency_ms: latencies_ms(&stats.latency),
        failed: stats.failures.clone(),
        not_sent: result.not_sent,
        ok: result.is_ok(),
    }
}

/// Quantiles and maximum in milliseconds by their names; empty when no request was answered.
fn latencies_ms(latency: &LatencyHistogram) -> BTreeMap<&'static str, f64> {
    if latency.is_empty() {
        return BTreeMap::new();
    }
    let quantiles = QUANTILES.iter().map(|(name, quantile)| (*name, latency.quantile_ms(*quantile)));
    quantiles.chain([("max", latency.max_ms())]).collect()
}

#[allow(clippy::cast_precision_loss, reason = "rounded when it is shown")]
fn per_second(count: u64, duration: Duration) -> f64 {
    (count as f64 / duration.as_secs_f64() * 10.0).round() / 10.0
}

impl From<LoadError> for OperationError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Body(error) => error.into(),
            LoadError::Client(error) => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_on_another_machine_needs_confirmation_and_its_password_is_not_shown() {
        let mut request = LoadRequest {
            size: LoadBodySize::Small,
            rate: None,
            connections: 1,
            duration: Duration::from_secs(1),
            url: Some("https://user:hunter2@receiver.example.com".to_owned()),
            confirmed: false,
        };
        let mut settings = Settings::default();
        settings.security.verify = false;
        let error = load_options(&settings, &Clock::system(), &request).err().unwrap().to_string();
        assert!(error.contains("receiver.example.com") && !error.contains("hunter2"), "{error}");
        request.confirmed = true;
        let options = load_options(&settings, &Clock::system(), &request).unwrap();
        assert_eq!((options.url.path(), options.key.is_none()), ("/api/v1/webhook/retell", true));
    }
}
