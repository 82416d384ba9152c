//! The readiness check of a receiver.

use std::time::Duration;

use serde_json::Value;

use super::address::{connectable_url, local_base_url};
use crate::base::secret::Secret;
use crate::config::Settings;
use crate::egress;
use crate::live::INSTANCE_HEADER;
use crate::operations::OperationError;
use crate::privacy::redact;
use crate::view::ReceiverStatusView;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests `/health/ready` of the receiver at `base_url`, a URL without a path.
///
/// # Errors
/// No client can be built. A receiver that does not respond is a result.
pub(crate) async fn check_health(base_url: &str) -> Result<ReceiverStatusView, OperationError> {
    let response = request_readiness(base_url, None).await?;
    Ok(status_view(base_url, response))
}

/// Requests `/health/ready` of the receiver of these settings. The result of each check is part of the response if
/// `ops.token` is set, or if the receiver listens at `ops.listen`.
///
/// # Errors
/// As for [`check_health`].
pub(crate) async fn check_local_health(settings: &Settings) -> Result<ReceiverStatusView, OperationError> {
    let base_url = local_base_url(settings);
    let Some(main) = request_readiness(&base_url, None).await? else { return Ok(status_view(&base_url, None)) };
    let token = settings.ops.token.as_ref();
    let mut detailed = None;
    if let Some(address) = settings.ops.listen {
        let token = token.filter(|_| !address.ip().to_canonical().is_loopback());
        detailed = request_readiness(&connectable_url(address), token).await?;
    }
    // Another receiver may listen there.
    let mut detailed = detailed.filter(|details| details.instance == main.instance);
    if detailed.is_none() && token.is_some() {
        detailed = request_readiness(&base_url, token).await?;
    }
    Ok(status_view(&base_url, detailed.or(Some(main))))
}

struct ReadinessResponse {
    is_success: bool,
    instance: Option<String>,
    body: Value,
}

async fn request_readiness(
    base_url: &str,
    token: Option<&Secret>,
) -> Result<Option<ReadinessResponse>, OperationError> {
    let url = format!("{}/health/ready", base_url.trim_end_matches('/'));
    let mut request = egress::build_client(REQUEST_TIMEOUT)?.get(url);
    if let Some(token) = token {
        request = request.bearer_auth(token.expose());
    }
    let Ok(response) = request.send().await else { return Ok(None) };
    let instance = response.headers().get(&INSTANCE_HEADER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let is_success = response.status().is_success();
    let body = response.text().await.unwrap_or_default();
    let body = serde_json::from_str(&body).unwrap_or(Value::String(body));
    Ok(Some(ReadinessResponse { is_success, instance, body }))
}

fn status_view(base_url: &str, response: Option<ReadinessResponse>) -> ReceiverStatusView {
    ReceiverStatusView {
        url: redact::url(base_url.trim_end_matches('/')),
        up: response.is_some(),
        ready: response.as_ref().is_some_and(|response| response.is_success),
        warnings: response.as_ref().map(|response| warnings(&response.body)).unwrap_or_default(),
        instance: response.as_ref().and_then(|response| response.instance.clone()),
        response: response.map(|response| response.body),
    }
}

/// The list `warnings` of a response with details.
fn warnings(body: &Value) -> Vec<String> {
    let listed = body.get("warnings").and_then(Value::as_array).into_iter().flatten();
    listed.filter_map(|warning| warning.as_str().map(str::to_owned)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_password_of_the_url_is_not_part_of_the_result() {
        // Nothing listens on port 1.
        let status = check_health("http://user:hunter2@127.0.0.1:1/").await.unwrap();
        let json = serde_json::to_string(&status).unwrap();
        assert!(!status.up && json.contains("127.0.0.1:1") && !json.contains("hunter2"), "{json}");
    }
}
