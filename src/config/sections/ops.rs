use std::net::SocketAddr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::secret::Secret;

/// `[ops]`: who may read `/metrics` and the details of `/health/ready`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct OpsSettings {
    /// Bearer token that gives access to `/metrics` and the details of `/health/ready`: at least 16 visible ASCII
    /// characters, best set through the environment. Unset: only requests from this machine, through no proxy or
    /// tunnel, have access.
    #[schemars(with = "Option<String>", example = &"4f9c2d1e8b7a6053")]
    pub token: Option<Secret>,
    /// Separate address on which `/metrics` and the details of `/health/ready` are served, instead of the main one. A
    /// loopback address needs no token; any other address requires `token`.
    #[schemars(example = &"127.0.0.1:9100")]
    pub listen: Option<SocketAddr>,
}
