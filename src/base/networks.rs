//! Lists of IP addresses and address ranges.

use std::net::IpAddr;

use ipnet::IpNet;

/// A list of IP addresses and ranges in CIDR notation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The entries as they are written in settings: an address without a prefix length, or a range.
    pub fn to_texts(&self) -> Vec<String> {
        let is_address = |network: &IpNet| network.prefix_len() == network.max_prefix_len();
        let to_text = |net: &IpNet| if is_address(net) { net.addr().to_string() } else { net.to_string() };
        self.0.iter().map(to_text).collect()
    }

    /// Whether `address` is in the list. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }
}

impl Extend<IpNet> for Networks {
    fn extend<I: IntoIterator<Item = IpNet>>(&mut self, networks: I) {
        self.0.extend(networks);
    }
}

impl FromIterator<IpNet> for Networks {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Self {
        Self(networks.into_iter().collect())
    }
}

/// Parses an address (`192.0.2.1`, `2001:db8::1`) or a range (`10.0.0.0/8`).
pub(crate) fn parse_network(text: &str) -> Option<IpNet> {
    text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from))
}

#[cfg(test)]
mod tests {
    use super::{Networks, parse_network};

    #[test]
    fn addresses_and_ranges_are_matched() {
        let texts = ["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"];
        let networks: Networks = texts.into_iter().map(|text| parse_network(text).unwrap()).collect();
        assert_eq!(networks.to_texts(), texts);
        for (address, inside) in [
            ("10.1.2.3", true),
            ("192.0.2.1", true),
            ("::ffff:192.0.2.1", true),
            ("192.0.2.2", false),
            ("2001:db8::7", true),
            ("2001:db9::7", false),
        ] {
            assert_eq!(networks.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert_eq!(parse_network("10.0.0.0/33"), None);
    }
}
