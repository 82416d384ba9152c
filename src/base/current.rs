//! A value that is replaced while other tasks read it.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;

/// A shared value that a reload replaces as a whole. A reader takes a snapshot, which does not change under it; neither
/// side ever waits for the other. Clones share the value.
pub(crate) struct Current<T>(Arc<ArcSwap<T>>);

impl<T> Current<T> {
    /// Creates a handle that returns `value` until it is replaced.
    #[must_use]
    pub(crate) fn new(value: T) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(value)))
    }

    /// Returns a snapshot of the current value.
    #[must_use]
    pub(crate) fn get(&self) -> Arc<T> {
        self.0.load_full()
    }

    /// Replaces the value. Readers that have a snapshot keep the old one.
    pub(crate) fn replace(&self, value: T) {
        self.0.store(Arc::new(value));
    }
}

impl<T> Clone for Current<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: fmt::Debug> fmt::Debug for Current<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}
