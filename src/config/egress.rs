use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{ConfigError, string_list};
use crate::base::networks::Networks;

/// `[egress]`. Read from configuration files only: whoever can set a variable is not to open the inside of a network.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct EgressSettings {
    /// Addresses, ranges and host names of the inside that handlers may post to. A name may then lead to any address
    /// but a link-local one.
    #[serde(deserialize_with = "string_list::deserialize_strings")]
    pub allowlist: Vec<String>,
    /// Whether all private and loopback addresses may be posted to.
    pub allow_private_networks: bool,
}

impl EgressSettings {
    /// `allow` taken apart: networks, and names in small letters.
    ///
    /// # Errors
    /// The first entry that is neither.
    pub fn parse_allowlist(&self) -> Result<(Networks, Vec<String>), ConfigError> {
        let (mut networks, mut names) = (Vec::new(), Vec::new());
        for (position, text) in self.allowlist.iter().enumerate() {
            let refused = |why: &str| ConfigError::invalid(&format!("egress.allowlist[{position}]"), why);
            if let Some(network) = parse_network(text) {
                if is_link_local(network) {
                    return Err(refused("link-local addresses are always refused: cloud credentials lie there"));
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
        let networks =
            Networks::parse(&networks).map_err(|_| ConfigError::invalid("egress.allowlist", "no addresses"))?;
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

/// Letters, digits, `-`, `_` and dots; a last label of digits would be an address written oddly.
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
