//! The results of the checks why events may not arrive.

use serde::Serialize;

/// The result of one check. The text of a warning or problem includes what to do.
#[derive(Debug, Serialize)]
pub(crate) struct DoctorFinding {
    pub check: &'static str,
    pub level: FindingLevel,
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FindingLevel {
    Ok,
    Warning,
    Problem,
}

impl DoctorFinding {
    pub(crate) fn ok(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: FindingLevel::Ok, text: text.into() }
    }

    pub(crate) fn warning(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: FindingLevel::Warning, text: text.into() }
    }

    pub(crate) fn problem(check: &'static str, text: impl Into<String>) -> Self {
        Self { check, level: FindingLevel::Problem, text: text.into() }
    }
}
