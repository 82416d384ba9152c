//! The readiness check of a receiver.

use std::time::Duration;

use serde_json::Value;

use crate::egress;
use crate::operations::OperationError;
use crate::privacy::redact;
use crate::view::ReceiverStatusView;

const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests `/health/ready` of the receiver at `base_url`, a URL without a path.
///
/// # Errors
/// No client can be built. A receiver that does not respond is a result.
pub(crate) async fn check_health(base_url: &str) -> Result<ReceiverStatusView, OperationError> {
    let base_url = base_url.trim_end_matches('/');
    let request = egress::build_client(REQUEST_TIMEOUT)?.get(format!("{base_url}/health/ready"));
    let mut status = ReceiverStatusView { url: redact::url(base_url), up: false, ready: false, response: None };
    if let Ok(response) = request.send().await {
        status.up = true;
        status.ready = response.status().is_success();
        let body = response.text().await.unwrap_or_default();
        status.response = Some(serde_json::from_str(&body).unwrap_or(Value::String(body)));
    }
    Ok(status)
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
