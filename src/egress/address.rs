//! Classifies IP addresses for the egress guard.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The class of an address, from the least to the most restricted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AddressClass {
    /// A globally routed address on the internet.
    Public,
    /// Loopback, a private network or a reserved range: blocked unless the settings allow it.
    Private,
    /// Link-local, where cloud metadata services return credentials; unspecified, multicast and broadcast. Blocked
    /// whatever the settings allow.
    AlwaysBlocked,
}

/// Classifies an address. An IPv6 address that embeds an IPv4 address is classified by the latter, where packets end
/// up; of several possible readings the most restricted one counts.
pub(super) fn classify(address: IpAddr) -> AddressClass {
    match address.to_canonical() {
        IpAddr::V4(v4) => classify_v4(v4),
        IpAddr::V6(v6) => embedded_ipv4(v6).into_iter().map(classify_v4).max().unwrap_or_else(|| classify_v6(v6)),
    }
}

/// Whether `listed` holds for the address itself, or for every embedded IPv4 address that is not public.
pub(super) fn is_allowlisted(address: IpAddr, listed: impl Fn(IpAddr) -> bool) -> bool {
    let plain = address.to_canonical();
    if listed(plain) {
        return true;
    }
    let embedded = match plain {
        IpAddr::V4(_) => Vec::new(),
        IpAddr::V6(v6) => embedded_ipv4(v6),
    };
    let restricted: Vec<_> = embedded.into_iter().filter(|v4| classify_v4(*v4) != AddressClass::Public).collect();
    !restricted.is_empty() && restricted.into_iter().all(|v4| listed(IpAddr::V4(v4)))
}

fn classify_v4(address: Ipv4Addr) -> AddressClass {
    let [a, b, c, _] = address.octets();
    if a == 0 || address.is_link_local() || address.is_multicast() || address.is_broadcast() {
        return AddressClass::AlwaysBlocked;
    }
    // RFC 6890 and the IANA special-purpose registry: private, loopback, shared (CGNAT), documentation, benchmarking,
    // 6to4 relays and the reserved range from 240.0.0.0.
    let is_reserved = matches!(
        (a, b, c),
        (10 | 127 | 240.., ..)
            | (100, 64..=127, _)
            | (172, 16..=31, _)
            | (192, 168, _)
            | (192, 0, 0 | 2)
            | (192, 88, 99)
            | (198, 18 | 19, _)
            | (198, 51, 100)
            | (203, 0, 113)
    );
    if is_reserved { AddressClass::Private } else { AddressClass::Public }
}

fn classify_v6(address: Ipv6Addr) -> AddressClass {
    if address.is_unspecified() || address.is_multicast() || address.is_unicast_link_local() {
        return AddressClass::AlwaysBlocked;
    }
    // Global unicast is 2000::/3, except 2001::/23 (Teredo and other protocols) and the documentation ranges.
    let [first, second, ..] = address.segments();
    let is_global_unicast = first & 0xe000 == 0x2000;
    let is_protocol = first == 0x2001 && second < 0x0200;
    let is_documentation = (first == 0x2001 && second == 0x0db8) || (first == 0x3fff && second < 0x1000);
    if is_global_unicast && !is_protocol && !is_documentation { AddressClass::Public } else { AddressClass::Private }
}

/// The IPv4 addresses embedded in an IPv4-compatible, NAT64 or 6to4 address.
fn embedded_ipv4(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let octets = address.octets();
    let at = |positions: [usize; 4]| Ipv4Addr::from(positions.map(|position| octets[position]));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, high, low] if high != 0 || low > 1 => vec![at([12, 13, 14, 15])],
        [0x64, 0xff9b, 0, 0, 0, 0, ..] => vec![at([12, 13, 14, 15])],
        [0x2002, ..] => vec![at([2, 3, 4, 5])],
        [0x64, 0xff9b, 1, ..] => local_nat64_candidates(at),
        _ => Vec::new(),
    }
}

/// A local NAT64 prefix may be 48, 56, 64 or 96 bits long (RFC 6052), and the address does not tell which. Every
/// reading counts, except those that start with the zero padding of another one.
fn local_nat64_candidates(at: impl Fn([usize; 4]) -> Ipv4Addr) -> Vec<Ipv4Addr> {
    let readings = [[6, 7, 9, 10], [7, 9, 10, 11], [9, 10, 11, 12], [12, 13, 14, 15]].map(at);
    let candidates: Vec<_> = readings.into_iter().filter(|v4| v4.octets()[0] != 0).collect();
    if candidates.is_empty() { vec![Ipv4Addr::UNSPECIFIED] } else { candidates }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn classify_text(text: &str) -> AddressClass {
        classify(text.parse().unwrap())
    }

    #[test]
    fn public_addresses() {
        for text in [
            "8.8.8.8",
            "1.1.1.1",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.1.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2a00:1450:4001::200e",
            "2001:4860:4860::8888",
            "::ffff:8.8.8.8",
            "::8.8.8.8",
            "64:ff9b::8.8.8.8",
            "64:ff9b:1::8.8.8.8",
            "64:ff9b:1:808:8:800::",
            "2002:808:808::1",
        ] {
            assert_eq!(classify_text(text), AddressClass::Public, "{text}");
        }
    }

    #[test]
    fn private_and_reserved_addresses() {
        for text in [
            "127.0.0.1",
            "127.255.0.9",
            "10.0.0.1",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "100.127.255.254",
            "192.0.0.8",
            "192.0.2.1",
            "198.18.0.1",
            "198.51.100.7",
            "203.0.113.9",
            "240.0.0.1",
            "::1",
            "fc00::1",
            "fd12:3456::1",
            "fd00:ec2::254",
            "fec0::1",
            "100::1",
            "2001::1",
            "2001:db8::1",
            "3fff::1",
            "5f00::1",
            "::ffff:10.0.0.1",
            "::ffff:7f00:1",
            "::127.0.0.1",
            "64:ff9b::10.0.0.1",
            "64:ff9b::7f00:1",
            "64:ff9b:1::192.168.0.1",
            "64:ff9b:1:a00:0:500::",
            "64:ff9b:1:a:0:5::",
            "64:ff9b:1:a00:0:500:808:808",
            "2002:a00:1::1",
            "2002:7f00:1::",
        ] {
            assert_eq!(classify_text(text), AddressClass::Private, "{text}");
        }
    }

    #[test]
    fn always_blocked_addresses() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "169.254.169.254",
            "169.254.0.1",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::ffff:0.0.0.0",
            "64:ff9b::169.254.169.254",
            "64:ff9b:1::a9fe:a9fe",
            "64:ff9b:1:a9fe:a9:fe00::",
            "64:ff9b:1::",
            "2002:a9fe:a9fe::",
            "::169.254.169.254",
        ] {
            assert_eq!(classify_text(text), AddressClass::AlwaysBlocked, "{text}");
        }
    }
}
