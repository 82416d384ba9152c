use serde::{Deserialize, Serialize};

/// The handlers in the box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case", try_from = "String")]
pub enum HandlerKind {
    /// One readable line an event.
    Log,
    /// One row a call, for `calls list`.
    CallStore,
    /// Posts the original bytes to another address.
    Forward,
    /// Posts a message to a Slack channel.
    Slack,
    /// Runs a program.
    Exec,
    /// Appends a JSON line to a file.
    File,
}

impl HandlerKind {
    const ALL: [Self; 6] = [Self::Log, Self::CallStore, Self::Forward, Self::Slack, Self::Exec, Self::File];

    /// The name used in configuration.
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

// By hand, because the derived message quotes the value, and the value of a wrong key may be a secret.
impl TryFrom<String> for HandlerKind {
    type Error = &'static str;

    fn try_from(name: String) -> Result<Self, Self::Error> {
        let kind = Self::ALL.into_iter().find(|kind| kind.as_str() == name);
        kind.ok_or("expected log, call_store, forward, slack, exec or file")
    }
}

/// What `forward` does about the header `X-Retell-Signature`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RetellSignatureMode {
    /// Not sent.
    None,
    /// Made anew for each attempt with the company's first key.
    Fresh,
    /// As it came. A receiver refuses it when it is more than five minutes old.
    Original,
}
