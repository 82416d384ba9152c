//! Ranges of addresses.

use std::net::IpAddr;

use ipnet::IpNet;

/// Some addresses and ranges of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Networks(Vec<IpNet>);

impl Networks {
    /// Reads addresses (`192.0.2.1`, `2001:db8::1`) and ranges (`10.0.0.0/8`).
    ///
    /// # Errors
    /// The position of the first text that is neither.
    pub fn parse<T: AsRef<str>>(texts: &[T]) -> Result<Self, usize> {
        let parse = |(position, text): (usize, &T)| {
            let text = text.as_ref().trim();
            text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from)).map_err(|_| position)
        };
        texts.iter().enumerate().map(parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether `address` is among them. An IPv4 address in IPv6 clothes is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(&address.to_canonical()))
    }
}

#[cfg(test)]
mod tests {
    use super::Networks;

    #[test]
    fn addresses_and_ranges() {
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
