//! Errors of bodies and values. No message quotes the data: bodies hold phone numbers and transcripts, and errors end
//! up in logs.

use std::fmt;

/// The reason why a body is not an event. Every JSON object is an event, so no field can cause an error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventParseError {
    /// The bytes are not valid UTF-8.
    InvalidUtf8,
    /// The text is not one JSON value.
    InvalidJson {
        /// Line of the first syntax error, counted from 1.
        line: usize,
        /// Column of the first syntax error in bytes, counted from 1; 0 when the input ends at the start of the line.
        column: usize,
    },
    /// The text is valid JSON, but not an object.
    NotObject,
}

impl fmt::Display for EventParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidUtf8 => f.write_str("the body is not valid UTF-8"),
            Self::InvalidJson { line, column } => {
                write!(f, "the body is not valid JSON (line {line}, column {column})")
            }
            Self::NotObject => f.write_str("the body is valid JSON, but not an object"),
        }
    }
}

impl std::error::Error for EventParseError {}

/// A value that was stored as raw JSON does not have the type that was requested.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnexpectedJsonType;

impl fmt::Display for UnexpectedJsonType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the JSON value does not have the expected type")
    }
}

impl std::error::Error for UnexpectedJsonType {}
