//! Lists of addresses and ranges. Read from a list of strings or from one string with commas, like every list of
//! strings; an error names the entry by its position, and shows it only if it looks like an address.

use std::net::{IpAddr, Ipv4Addr};

use ipnet::IpNet;
use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};

use super::string_list::deserialize_strings;
use crate::base::networks::{Networks, parse_network};

/// Reads `Networks`, for `#[serde(with)]`.
pub(in crate::config) mod networks {
    use super::{Deserializer, Networks, Serialize, Serializer, parse_entries, parse_network};

    pub(in crate::config) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Networks, D::Error> {
        parse_entries(deserializer, |text| {
            parse_network(text).ok_or("expected an address (192.0.2.1) or a range (10.0.0.0/8)")
        })
    }

    pub(in crate::config) fn serialize<S: Serializer>(networks: &Networks, serializer: S) -> Result<S::Ok, S::Error> {
        networks.to_texts().serialize(serializer)
    }
}

/// Which addresses may send webhooks. An empty list allows every address.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SenderAllowlist {
    /// Whether the list has the entry `retell`, which stands for [`RETELL_ADDRESS`].
    allows_retell: bool,
    networks: Networks,
}

const RETELL_ENTRY: &str = "retell";
/// The address from which Retell sends webhooks, according to its documentation.
const RETELL_ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(100, 20, 5, 228));

impl SenderAllowlist {
    pub(crate) fn is_empty(&self) -> bool {
        !self.allows_retell && self.networks.is_empty()
    }

    /// The allowed addresses; `None` allows all.
    pub(crate) fn allowed_networks(&self) -> Option<Networks> {
        let mut networks = self.networks.clone();
        networks.extend(self.allows_retell.then(|| RETELL_ADDRESS.into()));
        Some(networks).filter(|_| !self.is_empty())
    }
}

impl<'de> Deserialize<'de> for SenderAllowlist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // `None` stands for the entry `retell`.
        let entries: Vec<Option<IpNet>> = parse_entries(deserializer, |text| match text {
            RETELL_ENTRY => Ok(None),
            text => parse_network(text)
                .map(Some)
                .ok_or("expected an address (192.0.2.1), a range (10.0.0.0/8) or the word retell"),
        })?;
        Ok(Self { allows_retell: entries.contains(&None), networks: entries.into_iter().flatten().collect() })
    }
}

impl Serialize for SenderAllowlist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let retell = self.allows_retell.then(|| RETELL_ENTRY.to_owned());
        retell.into_iter().chain(self.networks.to_texts()).collect::<Vec<_>>().serialize(serializer)
    }
}

/// Internal addresses and host names that outbound requests may reach.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EgressAllowlist {
    pub(crate) networks: Networks,
    /// In lower case, without a trailing dot.
    pub(crate) host_names: Vec<String>,
}

enum EgressEntry {
    Network(IpNet),
    HostName(String),
}

impl EgressAllowlist {
    pub(crate) fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, String> {
        let entries = parse_texts(texts, |text| match parse_network(text) {
            Some(network) if is_link_local(network) => {
                Err("expected no link-local address: they are always refused: cloud metadata \
                                                            services with credentials listen there")
            }
            Some(network) => Ok(EgressEntry::Network(network)),
            None if is_host_name(text) => Ok(EgressEntry::HostName(text.trim_end_matches('.').to_ascii_lowercase())),
            None => Err("expected an address (10.0.0.5), a range (10.0.0.0/8) or a host name (crm.internal)"),
        })?;
        let (mut networks, mut host_names) = (Vec::new(), Vec::new());
        for entry in entries {
            match entry {
                EgressEntry::Network(network) => networks.push(network),
                EgressEntry::HostName(name) => host_names.push(name),
            }
        }
        Ok(Self { networks: networks.into_iter().collect(), host_names })
    }
}

impl<'de> Deserialize<'de> for EgressAllowlist {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&deserialize_strings(deserializer)?).map_err(D::Error::custom)
    }
}

impl Serialize for EgressAllowlist {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let names = self.host_names.iter().cloned();
        self.networks.to_texts().into_iter().chain(names).collect::<Vec<_>>().serialize(serializer)
    }
}

fn parse_entries<'de, D: Deserializer<'de>, T, L: FromIterator<T>>(
    deserializer: D,
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<L, D::Error> {
    let entries = parse_texts(&deserialize_strings(deserializer)?, parse).map_err(D::Error::custom)?;
    Ok(entries.into_iter().collect())
}

fn parse_texts<S: AsRef<str>, T>(
    texts: &[S],
    parse: impl Fn(&str) -> Result<T, &'static str>,
) -> Result<Vec<T>, String> {
    let parse_entry = |(number, text): (usize, &S)| {
        let text = text.as_ref();
        parse(text).map_err(|problem| {
            let shown = if looks_like_address(text) { format!(", {text},") } else { String::new() };
            format!("entry {number} of the list{shown} is invalid; {problem}")
        })
    };
    (1..).zip(texts).map(parse_entry).collect()
}

/// Whether an invalid entry may be shown: any other text may be a secret or a phone number in the wrong place.
fn looks_like_address(text: &str) -> bool {
    let is_group = |group: &str| group.len() <= 4 && group.chars().all(|c| c.is_ascii_hexdigit());
    text.len() <= 60 && text.contains(['.', ':']) && text.split(['.', ':', '/']).all(is_group)
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
    use serde_json::{from_value, json, to_value};

    use super::*;

    #[test]
    fn egress_entries_are_addresses_ranges_or_names() {
        let parse = |text: &str| EgressAllowlist::parse(&["crm", text]);
        for right in ["10.0.0.5", "10.0.0.0/8", "fd00::/8", "crm.internal", "CRM", "db_1.local."] {
            assert!(parse(right).is_ok(), "{right}");
        }
        for wrong in ["", "http://crm", "crm:80", "*.internal", "10.0.0", "10.0.0.0/33", "169.254.169.254", "fe80::/64"]
        {
            let error = parse(wrong).unwrap_err();
            assert!(error.contains("entry 2 of the list"), "{wrong}: {error}");
            assert_eq!(
                error.contains(&format!(", {wrong},")),
                !(wrong.is_empty() || wrong.contains(['h', '*', 'r'])),
                "{wrong}: {error}"
            );
        }
        for private in ["15551234567", "9f27a1c4de5588b2031fa7c09f27a1c4", "key.9f27a1c4de5588b2"] {
            assert!(!parse_texts(&[private], |_| Err::<(), _>("expected")).unwrap_err().contains(private));
        }
        assert_eq!(parse("Crm.Internal.").unwrap().host_names, ["crm", "crm.internal"]);
    }

    #[test]
    fn lists_are_written_as_they_are_read() {
        let senders: SenderAllowlist = from_value(json!("retell, 192.0.2.1,10.0.0.0/8")).unwrap();
        let allowed = senders.allowed_networks().unwrap();
        assert!(allowed.contains(RETELL_ADDRESS) && allowed.contains([10, 1, 2, 3].into()));
        assert!(!allowed.contains([192, 0, 2, 2].into()));
        assert_eq!(to_value(&senders).unwrap(), json!(["retell", "192.0.2.1", "10.0.0.0/8"]));
        assert_eq!(SenderAllowlist::default().allowed_networks(), None);
        let egress: EgressAllowlist = from_value(json!(["10.0.0.0/8", "crm.internal"])).unwrap();
        assert_eq!(to_value(&egress).unwrap(), json!(["10.0.0.0/8", "crm.internal"]));
        assert!(from_value::<SenderAllowlist>(json!(["everyone"])).unwrap_err().to_string().contains("entry 1"));
    }
}
