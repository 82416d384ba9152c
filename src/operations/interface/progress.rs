//! How long operations report how far they are.

/// How far a step of an operation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// What has been done so far, such as `searched`.
    pub step: &'static str,
    pub done: u64,
    pub total: u64,
}

/// Receives the progress of an operation, more than once per step.
pub(crate) type ProgressCallback<'a> = &'a mut (dyn FnMut(Progress) + Send);
