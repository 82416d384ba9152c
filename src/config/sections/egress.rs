use std::net::IpAddr;

use ipnet::IpNet;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::networks::Networks;
use crate::config::FieldError;
use crate::config::values::string_list;

/// `[egress]`: which internal addresses handlers may post to. Read from configuration files only: access to environment
/// variables must not be enough to open an internal network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct EgressSettings {
    /// Internal addresses, ranges and host names that handlers may post to. A listed host name may resolve to any
    /// address that is not link-local. An address written in a handler's own `url` (or `localhost`) needs no entry.
    /// Link-local addresses are always refused.
    #[serde(deserialize_with = "string_list::deserialize_strings")]
    #[schemars(with = "string_list::StringList")]
    pub allowlist: Vec<String>,
    /// Whether handlers may post to every private and loopback address.
    pub allow_private_networks: bool,
}

impl EgressSettings {
    /// Splits `allowlist` into networks and lower-case host names.
    ///
    /// # Errors
    /// The first entry that is neither, or that is link-local.
    pub fn parse_allowlist(&self) -> Result<(Networks, Vec<String>), FieldError> {
        let mut networks = Vec::new();
        let mut names = Vec::new();
        for (position, text) in self.allowlist.iter().enumerate() {
            let refused = |why: &str| FieldError::new(format!("egress.allowlist[{position}]"), why);
            if let Some(network) = parse_network(text) {
                if is_link_local(network) {
                    return Err(refused(
                        "link-local addresses are always refused: cloud metadata services with credentials \
                         listen there",
                    ));
                }
                networks.push(text.as_str());
            } else if is_host_name(text) {
                names.push(text.trim_end_matches('.').to_ascii_lowercase());
            } else {
                return Err(refused(
                    "expected an address (10.0.0.5), a range (10.0.0.0/8) or a host name (crm.internal)",
                ));
            }
        }
        let networks = Networks::parse(&networks)
            .map_err(|_| FieldError::new("egress.allowlist", "an entry is not an address or a range"))?;
        Ok((networks, names))
    }
}

fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

fn is_link_local(network: IpNet) -> bool {
    match network {
        IpNet::V4(v4) => v4.prefix_len() >= 16 && v4.addr().is_link_local(),
        IpNet::V6(v6) => v6.prefix_len() >= 10 && v6.addr().is_unicast_link_local(),
    }
}

/// Letters, digits, `-`, `_` and dots. The last label must not consist of digits: URL parsers read such a name as an
/// IPv4 address.
fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label =
        |label: &str| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    let last_is_word = name.rsplit('.').next().is_some_and(|last| !last.bytes().all(|b| b.is_ascii_digit()));
    name.len() <= 253 && name.split('.').all(label) && last_is_word
}

#[cfg(test)]
mod tests {
    use super::EgressSettings;

    #[test]
    fn entries_are_addresses_ranges_or_names() {
        let allowed = |text: &str| {
            EgressSettings { allowlist: vec![text.into()], allow_private_networks: false }.parse_allowlist()
        };
        for right in ["10.0.0.5", "10.0.0.0/8", "fd00::/8", "crm.internal", "CRM", "db_1.local."] {
            assert!(allowed(right).is_ok(), "{right}");
        }
        for wrong in ["", "http://crm", "crm:80", "*.internal", "10.0.0", "10.0.0.0/33", "169.254.169.254", "fe80::/64"]
        {
            let error = allowed(wrong).unwrap_err().to_string();
            assert!(error.contains("egress.allowlist[0]"), "{wrong}: {error}");
        }
        assert_eq!(allowed("Crm.Internal.").unwrap().1, ["crm.internal"]);
    }
}
