use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The built-in kinds of handlers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum HandlerKind {
    /// Writes one readable log line per event.
    Log,
    /// Keeps one row per call, for `calls list`.
    CallStore,
    /// Posts the original bytes to another server.
    Forward,
    /// Posts a message to a Slack channel.
    Slack,
    /// Runs a program for each event.
    Exec,
    /// Appends one JSON line per event to a file.
    File,
}

impl HandlerKind {
    const ALL: [Self; 6] = [Self::Log, Self::CallStore, Self::Forward, Self::Slack, Self::Exec, Self::File];

    /// The kind's name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::CallStore => "call_store",
            Self::Forward => "forward",
            Self::Slack => "slack",
            Self::Exec => "exec",
            Self::File => "file",
        }
    }
}

// Written by hand: the derived error quotes the value, and the value of a misplaced key may be a secret.
impl TryFrom<String> for HandlerKind {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        kind.ok_or("expected log, call_store, forward, slack, exec or file")
    }
}

/// What the `X-Retell-Signature` header of outgoing requests holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetellSignatureMode {
    /// The header is not sent.
    None,
    /// A new signature for each attempt, made with the company's first API key.
    Fresh,
    /// The header that Retell sent, which Retell's SDKs refuse after five minutes.
    Original,
}
