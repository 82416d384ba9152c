//! The SSRF guard: where a handler may post to. A literal private or loopback address in a handler's configured URL is
//! consent for that host. An address that a name resolves to, or that a redirect points to, is not.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use url::{Host, Url};

use super::address::{AddressClass, classify, is_allowlisted};
use crate::config::EgressSettings;

/// A blocked address. The text contains hosts and addresses, never a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(super) struct BlockedAddress(String);

/// The guard of one destination.
#[derive(Clone, Debug)]
pub(super) struct SsrfGuard {
    policy: Arc<EgressSettings>,
    configured_host: Option<Host<String>>,
}

impl SsrfGuard {
    /// The guard of a handler whose configured URL is `url`.
    pub(super) fn new(policy: &Arc<EgressSettings>, url: &Url) -> Self {
        let is_literal = |host: &Host<String>| match host {
            Host::Domain(name) => is_localhost(name),
            Host::Ipv4(_) | Host::Ipv6(_) => true,
        };
        let configured_host = url.host().map(|host| host.to_owned()).filter(is_literal);
        Self { policy: Arc::clone(policy), configured_host }
    }

    /// Checks a literal address in `url`, which no resolver sees. Host names are checked when they are resolved: only
    /// then is the address that is connected to known, so a changed DNS record cannot bypass the guard.
    pub(super) fn check(&self, url: &Url) -> Result<(), BlockedAddress> {
        let (host, address): (_, IpAddr) = match url.host() {
            Some(Host::Domain(_)) => return Ok(()),
            Some(Host::Ipv4(v4)) => (Host::Ipv4(v4), v4.into()),
            Some(Host::Ipv6(v6)) => (Host::Ipv6(v6), v6.into()),
            None => return Err(BlockedAddress("the URL has no host".to_owned())),
        };
        let consented = self.configured_host.as_ref() == Some(&host);
        let allowed = consented || self.policy.allow_private_networks || self.is_in_allowed_networks(address);
        block_reason(address, allowed).map_or(Ok(()), |what| {
            Err(BlockedAddress(match classify(address) {
                AddressClass::AlwaysBlocked => format!("{address} is {what}, which is always refused"),
                _ => format!(
                    "{address} is {what}; to allow it, add \"{address}\" to egress.allowlist in a configuration file"
                ),
            }))
        })
    }

    /// Checks one address that `name` resolved to.
    fn check_resolved_address(&self, name: &str, address: IpAddr) -> Result<(), BlockedAddress> {
        let bare = name.trim_end_matches('.').to_ascii_lowercase();
        // `localhost` in the configured URL is consent for loopback only, whatever the resolver returns for it.
        let is_configured_localhost =
            matches!(&self.configured_host, Some(Host::Domain(own)) if own.trim_end_matches('.') == bare);
        let consented = is_configured_localhost && address.to_canonical().is_loopback();
        let allowed = consented
            || self.policy.allow_private_networks
            || self.policy.allowlist.host_names.contains(&bare)
            || self.is_in_allowed_networks(address);
        block_reason(address, allowed).map_or(Ok(()), |what| {
            Err(BlockedAddress(match classify(address) {
                AddressClass::AlwaysBlocked => format!("{name} resolves to {address}, {what}, which is always refused"),
                _ => format!(
                    "{name} resolves to {address}, {what}; to allow it, add \"{bare}\" to egress.allowlist in \
                     a configuration file"
                ),
            }))
        })
    }

    fn is_in_allowed_networks(&self, address: IpAddr) -> bool {
        is_allowlisted(address, |address| self.policy.allowlist.networks.contains(address))
    }

    /// The addresses that may be connected to; the first error when none may.
    fn allowed_addresses(
        &self,
        name: &str,
        resolved: impl Iterator<Item = SocketAddr>,
    ) -> Result<Vec<SocketAddr>, BlockedAddress> {
        let mut first_blocked = None;
        let mut allowed = Vec::new();
        for address in resolved {
            match self.check_resolved_address(name, address.ip()) {
                Ok(()) => allowed.push(address),
                Err(blocked) => first_blocked = first_blocked.or(Some(blocked)),
            }
        }
        match first_blocked {
            Some(blocked) if allowed.is_empty() => Err(blocked),
            _ => Ok(allowed),
        }
    }

    /// Resolves a name to the addresses that may be connected to.
    pub(super) async fn resolve_host(&self, name: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
        let resolved = tokio::net::lookup_host((name, port)).await?;
        Ok(self.allowed_addresses(name, resolved)?)
    }
}

/// Why a name resolves to no allowed address.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error(transparent)]
    Blocked(#[from] BlockedAddress),
    #[error("the name cannot be resolved")]
    LookupFailed(#[from] std::io::Error),
}

impl Resolve for SsrfGuard {
    fn resolve(&self, name: Name) -> Resolving {
        let guard = self.clone();
        Box::pin(async move {
            match guard.resolve_host(name.as_str(), 0).await {
                Ok(allowed) => Ok(Box::new(allowed.into_iter()) as Addrs),
                Err(ResolveError::Blocked(blocked)) => Err(blocked.into()),
                Err(ResolveError::LookupFailed(error)) => Err(error.into()),
            }
        })
    }
}

fn is_localhost(name: &str) -> bool {
    name.trim_end_matches('.').eq_ignore_ascii_case("localhost")
}

/// The kind of a blocked address; `None` when it may be connected to.
fn block_reason(address: IpAddr, allowed: bool) -> Option<&'static str> {
    match classify(address) {
        AddressClass::Public => None,
        AddressClass::Private if allowed => None,
        AddressClass::Private if address.to_canonical().is_loopback() => Some("a loopback address"),
        AddressClass::Private => Some("a private address"),
        AddressClass::AlwaysBlocked => Some("a link-local, multicast or unspecified address"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::EgressAllowlist;

    fn guard(own: &str, allow: &[&str], allow_private_networks: bool) -> SsrfGuard {
        let allowlist = EgressAllowlist::parse(allow).unwrap();
        let policy = EgressSettings { allowlist, allow_private_networks };
        SsrfGuard::new(&Arc::new(policy), &own.parse().unwrap())
    }

    fn literal(guard: &SsrfGuard, url: &str) -> bool {
        guard.check(&url.parse().unwrap()).is_ok()
    }

    fn resolved(guard: &SsrfGuard, name: &str, address: &str) -> bool {
        guard.check_resolved_address(name, address.parse().unwrap()).is_ok()
    }

    #[test]
    fn a_literal_address_is_consent_for_that_host_only() {
        let own = guard("http://10.0.0.5:8080/hook", &[], false);
        assert!(literal(&own, "http://10.0.0.5/") && literal(&own, "http://8.8.8.8/"));
        assert!(!literal(&own, "http://10.0.0.6/") && !literal(&own, "http://127.0.0.1/"));
        assert!(!resolved(&own, "crm.example", "10.0.0.5"), "a host name is not a literal address");
        // Odd forms that the URL standard parses as addresses.
        for odd in ["http://127.1/", "http://0x7f000001/", "http://2130706433/", "http://0177.0.0.1./"] {
            assert!(!literal(&own, odd), "{odd}");
        }
        let mapped = guard("http://[::ffff:10.0.0.5]/", &[], false);
        assert!(literal(&mapped, "http://[::ffff:10.0.0.5]/") && !literal(&mapped, "http://[::ffff:10.0.0.6]/"));
    }

    #[test]
    fn link_local_is_blocked_whatever_the_settings_allow() {
        for own in
            ["http://169.254.169.254/", "http://[fe80::1]/", "http://[::ffff:169.254.169.254]/", "http://0.0.0.0/"]
        {
            assert!(!literal(&guard(own, &["0.0.0.0/0", "::/0"], true), own), "{own}");
        }
        assert!(!resolved(&guard("http://crm/", &["crm"], true), "crm", "169.254.169.254"));
    }

    #[test]
    fn localhost_is_consent_for_loopback_only() {
        let own = guard("http://LocalHost:9000/", &[], false);
        assert!(resolved(&own, "localhost", "127.0.0.1") && resolved(&own, "localhost", "::1"));
        assert!(!resolved(&own, "localhost", "10.0.0.1") && !resolved(&own, "other", "127.0.0.1"));
        assert!(!resolved(&guard("http://crm.example/", &[], false), "localhost", "127.0.0.1"));
    }

    #[test]
    fn names_that_resolve_to_private_addresses_need_an_entry() {
        for address in ["10.0.0.5", "127.0.0.1", "::1", "fd00::1", "100.64.0.1", "::ffff:10.0.0.5", "64:ff9b::10.0.0.5"]
        {
            let own = "http://crm.internal/";
            assert!(!resolved(&guard(own, &[], false), "crm.internal", address), "{address}");
            assert!(resolved(&guard(own, &[], true), "crm.internal", address), "{address}");
            assert!(resolved(&guard(own, &["CRM.internal"], false), "crm.internal.", address), "{address}");
            assert!(!resolved(&guard(own, &["internal"], false), "crm.internal", address), "{address}");
        }
        let range = guard("http://crm.internal/", &["10.0.0.0/8"], false);
        assert!(resolved(&range, "crm", "10.1.2.3") && resolved(&range, "crm", "64:ff9b::10.1.2.3"));
        assert!(!resolved(&range, "crm", "192.168.0.1"));
        assert!(
            !resolved(&range, "crm", "64:ff9b:1:a00:0:500:c0a8:1"),
            "10.0.0.5 by one reading, 192.168.0.1 by another"
        );
    }

    #[test]
    fn blocked_addresses_of_a_name_are_left_out() {
        let own = guard("http://crm.example/", &[], false);
        let allowed = |texts: &[&str]| {
            let resolved: Vec<SocketAddr> =
                texts.iter().map(|text| SocketAddr::new(text.parse().unwrap(), 0)).collect();
            own.allowed_addresses("crm.example", resolved.into_iter()).map(|addresses| addresses.len())
        };
        assert_eq!(allowed(&["10.0.0.5", "8.8.8.8"]), Ok(1));
        let refused = allowed(&["10.0.0.5", "::1"]).unwrap_err().to_string();
        assert!(
            refused.contains("crm.example resolves to 10.0.0.5") && refused.contains("egress.allowlist"),
            "{refused}"
        );
    }
}
