use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::config::EgressAllowlist;
use crate::config::values::string_list;

/// `[egress]`: which internal addresses handlers may post to. Read from configuration files only: access to environment
/// variables must not be enough to open an internal network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct EgressSettings {
    /// Internal addresses, ranges and host names that handlers may post to. A listed host name may resolve to any
    /// address that is not link-local. An address written in a handler's own `url` (or `localhost`) needs no entry.
    /// Link-local addresses are always refused.
    #[schemars(with = "string_list::StringList")]
    pub allowlist: EgressAllowlist,
    /// Whether handlers may post to every private and loopback address.
    pub allow_private_networks: bool,
}
