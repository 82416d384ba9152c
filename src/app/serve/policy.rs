//! How many connections a listener accepts.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::networks::Networks;
use crate::base::open_files;
use crate::http::budget::InflightBudget;
use crate::telemetry::connections::ConnectionCounters;

/// Connections to the operator listener at the same time.
const MAX_OPERATOR_CONNECTIONS: usize = 32;

/// Limits on the connections of a listener, and where they are counted.
#[derive(Clone)]
pub struct ConnectionPolicy {
    pub(super) max_connections: usize,
    /// A quarter of all connections is enough for a single client. Many clients share the address of a proxy.
    pub(super) max_per_address: usize,
    pub(super) trusted_proxies: Networks,
    pub(super) budget: InflightBudget,
    pub(super) counters: Arc<ConnectionCounters>,
}

impl ConnectionPolicy {
    /// The limits of the listener that Retell reaches.
    pub(crate) fn for_webhooks(
        trusted_proxies: Networks,
        budget: InflightBudget,
        counters: Arc<ConnectionCounters>,
    ) -> Self {
        let max_connections = open_files::max_connections(open_files::limit());
        Self { max_connections, max_per_address: max_connections / 4, trusted_proxies, budget, counters }
    }

    /// For the listener of `ops.listen`. It is counted separately, so that its clients and those of the main listener take
    /// no connections from one another.
    pub(crate) fn for_operators(budget: InflightBudget) -> Self {
        Self {
            max_connections: MAX_OPERATOR_CONNECTIONS,
            max_per_address: MAX_OPERATOR_CONNECTIONS,
            trusted_proxies: Networks::default(),
            budget,
            counters: Arc::default(),
        }
    }

    /// Whether many clients may have this address: that of a tunnel or proxy.
    pub(super) fn is_shared_address(&self, peer: IpAddr) -> bool {
        peer.to_canonical().is_loopback() || self.trusted_proxies.contains(peer)
    }
}
