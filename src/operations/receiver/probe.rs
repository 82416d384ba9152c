//! Finds out whether a receiver responds at a URL, and which one.

use std::time::Duration;

use crate::egress;
use crate::live::{INSTANCE_HEADER, TEST_PATH};
use crate::operations::OperationError;

const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of a request to the test endpoint.
pub(crate) enum ReceiverProbe {
    /// A receiver responded, with this instance id of its process.
    Receiver(String),
    /// Another server responded, with this status.
    OtherServer(u16),
    /// No response arrived, for this reason.
    NoResponse(&'static str),
}

impl ReceiverProbe {
    /// Whether both requests were answered by the same process.
    pub(crate) fn is_same_receiver(&self, other: &Self) -> bool {
        matches!((self, other), (Self::Receiver(one), Self::Receiver(another)) if one == another)
    }
}

/// Requests the test endpoint of the receiver at `base_url`, a URL without a path.
pub(crate) async fn probe_receiver(base_url: &str) -> Result<ReceiverProbe, OperationError> {
    let url = format!("{}{TEST_PATH}", base_url.trim_end_matches('/'));
    let response = match egress::build_client(PROBE_TIMEOUT)?.get(url).send().await {
        Ok(response) => response,
        Err(error) => return Ok(ReceiverProbe::NoResponse(egress::failure_reason(&error))),
    };
    let instance = response.headers().get(&INSTANCE_HEADER).and_then(|value| value.to_str().ok());
    Ok(match instance {
        Some(instance) => ReceiverProbe::Receiver(instance.to_owned()),
        None => ReceiverProbe::OtherServer(response.status().as_u16()),
    })
}
