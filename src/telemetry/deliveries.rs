//! Counts of what handlers made of their events.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// What attempts at one handler's deliveries came to, since start.
#[derive(Debug, Default)]
pub struct DeliveryCounts {
    /// The handler was done with the event.
    pub succeeded: AtomicU64,
    /// The event is to be tried again.
    pub scheduled: AtomicU64,
    /// The event was given up.
    pub dead: AtomicU64,
}

impl DeliveryCounts {
    /// The counts with their names.
    #[must_use]
    pub fn read(&self) -> [(&'static str, u64); 3] {
        [("succeeded", &self.succeeded), ("scheduled", &self.scheduled), ("dead", &self.dead)]
            .map(|(name, count)| (name, count.load(Ordering::Relaxed)))
    }
}

/// The counts of every handler by its configured name. Made once: counting takes no lock.
#[derive(Clone, Debug, Default)]
pub struct Deliveries(Arc<BTreeMap<String, Arc<DeliveryCounts>>>);

impl Deliveries {
    /// For handlers of these names.
    pub fn of<'n>(names: impl Iterator<Item = &'n str>) -> Self {
        Self(Arc::new(names.map(|name| (name.to_owned(), Arc::default())).collect()))
    }

    /// The counts of one handler; of a name that is not known, counts nobody reads.
    #[must_use]
    pub fn handler(&self, name: &str) -> Arc<DeliveryCounts> {
        self.0.get(name).map(Arc::clone).unwrap_or_default()
    }

    /// Every handler by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &DeliveryCounts)> {
        self.0.iter().map(|(name, counts)| (name.as_str(), counts.as_ref()))
    }
}
