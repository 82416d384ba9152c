//! What can be wrong with a body or a value. No message ever quotes the data: bodies hold phone numbers and
//! transcripts, and errors end up in logs.

use std::fmt;

/// Why a body is not an event. Everything else about a body is tolerated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventParseError {
    /// The bytes are not UTF-8.
    InvalidUtf8,
    /// The text is not one JSON value.
    InvalidJson {
        /// Line of the first offence, counted from 1.
        line: usize,
        /// Column of the first offence in bytes; 0 when the line ended before anything stood in it.
        column: usize,
    },
    /// The text is JSON, but not an object.
    NotObject,
}

impl fmt::Display for EventParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUtf8 => f.write_str("the body is not UTF-8"),
            Self::InvalidJson { line, column } => {
                write!(f, "the body is not JSON (line {line}, column {column})")
            }
            Self::NotObject => f.write_str("the body is JSON but not an object"),
        }
    }
}

impl std::error::Error for EventParseError {}

/// A value kept as raw JSON turned out to have another shape than the type it was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnexpectedJsonType;

impl fmt::Display for UnexpectedJsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the JSON value has another shape than expected")
    }
}

impl std::error::Error for UnexpectedJsonType {}
