//! Lists of IP addresses and address ranges.

use std::net::IpAddr;

use ipnet::IpNet;

/// A list of IP addresses and ranges in CIDR notation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Parses addresses (`192.0.2.1`, `2001:db8::1`) and ranges (`10.0.0.0/8`).
    ///
    /// # Errors
    /// The index of the first text that is not an address or a range.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, usize> {
        let mut networks = Vec::with_capacity(texts.len());
        for (position, text) in texts.iter().enumerate() {
            let text = text.as_ref().trim();
            let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| position)?;
            networks.push(network);
        }
        Ok(Self(networks))
    }

    /// Whether `address` is in the list. An IPv4-mapped IPv6 address (`::ffff:192.0.2.1`) counts as the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use super::Networks;

    #[test]
    fn addresses_and_ranges_are_matched() {
        let networks = Networks::parse(&["10.0.0.0/8", "192.0.2.1", "2001:db8::/32"]).unwrap();
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
        assert_eq!(Networks::parse(&["10.0.0.0/8", "10.0.0.0/33"]), Err(1));
    }
}
