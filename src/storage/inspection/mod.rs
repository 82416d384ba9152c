//! What an inspection of a store finds. It needs no open store, so that a damaged one can be inspected.

/// How much of a store is inspected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum InspectionDepth {
    /// Which files there are, and their lengths. Takes milliseconds.
    Quick,
    /// Also reads everything: the pages of the databases, and every body with its digest.
    Full,
}

/// The files of a store, and what is wrong with it.
#[derive(Debug, Default)]
pub(crate) struct StoreInspection {
    pub(crate) files: Vec<StoreFile>,
    pub(crate) findings: Vec<StoreFinding>,
    /// Bodies whose digests were compared; 0 for [`InspectionDepth::Quick`].
    pub(crate) checked_bodies: u64,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoreFile {
    pub(crate) path: String,
    pub(crate) size_bytes: u64,
    pub(crate) content: &'static str,
}

/// Something wrong with the store. The text names the file and says what to do.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoreFinding {
    pub(crate) severity: FindingSeverity,
    pub(crate) text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FindingSeverity {
    /// Nothing is damaged or missing, but an operator should know.
    Warning,
    /// Data is damaged, missing or in another place than where the receiver looks for it.
    Problem,
}

impl StoreFinding {
    pub(in crate::storage) fn warning(text: impl Into<String>) -> Self {
        Self { severity: FindingSeverity::Warning, text: text.into() }
    }

    pub(in crate::storage) fn problem(text: impl Into<String>) -> Self {
        Self { severity: FindingSeverity::Problem, text: text.into() }
    }
}

/// Receives how far an inspection is: what is being checked, what is done, and the total.
pub(crate) type InspectionProgress<'a> = &'a mut dyn FnMut(&'static str, u64, u64);
