use std::net::{Ipv4Addr, SocketAddr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;
use crate::config::values::listen_address;

/// `[ops]`: where and to whom `/metrics` and the details of `/health/ready` are served.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct OpsSettings {
    /// Bearer token that also gives access on the main address: at least 16 visible ASCII characters, best set through
    /// the environment. Without it the main address serves neither `/metrics` nor the details of `/health/ready`, also
    /// not to this machine: a request through a proxy or tunnel may look the same.
    #[schemars(with = "Option<String>", example = &"4f9c2d1e8b7a6053")]
    pub token: Option<Secret>,
    /// Separate address for `/metrics` and the details of `/health/ready`; `off` for none. A loopback address needs no
    /// token; any other address requires `token`. If the address is in use, the receiver warns and runs without it.
    #[serde(with = "listen_address")]
    #[schemars(with = "String")]
    pub listen: Option<SocketAddr>,
}

impl Default for OpsSettings {
    fn default() -> Self {
        Self { token: None, listen: Some((Ipv4Addr::LOCALHOST, 8001).into()) }
    }
}
