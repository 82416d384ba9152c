use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;

/// `[ops]`: what operators get to see, `/metrics` and the details of `/health/ready`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct OpsSettings {
    /// Shows them to whoever presents `Authorization: Bearer <token>`: at least 16 visible ASCII characters. Unset: only
    /// to requests that come from this machine itself, through no proxy or tunnel.
    pub token: Option<Secret>,
    /// Moves them from the main address to a listener of their own. On a loopback address no token is needed there; on any
    /// other the token is, and must be set.
    pub listen: Option<SocketAddr>,
}
