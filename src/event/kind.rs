//! The names of the events.

use std::fmt;

/// Makes the enum, its list and both directions of the name from one table.
macro_rules! event_kinds {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// Which event a body says it is. Names from the webhook overview, the inbound webhook and the alerting
        /// pages of Retell's documentation.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$meta])* $variant,)*
            /// A name not listed here, or none.
            Unknown,
        }

        impl EventKind {
            /// Every kind that has a name, in the order of the contract.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The kind of this `event` value.
            #[must_use]
            pub fn from_name(name: &str) -> Self {
                match name {
                    $($name => Self::$variant,)*
                    _ => Self::Unknown,
                }
            }

            /// The `event` value of this kind; `"unknown"` for [`Unknown`](Self::Unknown).
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Unknown => "unknown",
                }
            }
        }
    };
}

event_kinds! {
    /// A call begins. Not sent for an outbound call that never connects.
    CallStarted = "call_started",
    /// A call is over: finished, transferred, failed or never connected.
    CallEnded = "call_ended",
    /// The analysis of a call is ready.
    CallAnalyzed = "call_analyzed",
    /// The transcript of a running call or chat has grown.
    TranscriptUpdated = "transcript_updated",
    /// A transfer begins.
    TransferStarted = "transfer_started",
    /// A transfer is connected.
    TransferBridged = "transfer_bridged",
    /// A transfer was given up or failed.
    TransferCancelled = "transfer_cancelled",
    /// The transferred leg is over.
    TransferEnded = "transfer_ended",
    /// A chat begins.
    ChatStarted = "chat_started",
    /// A chat is over.
    ChatEnded = "chat_ended",
    /// The analysis of a chat is ready.
    ChatAnalyzed = "chat_analyzed",
    /// A call reaches a number; the answer steers it.
    CallInbound = "call_inbound",
    /// A text message reaches a number; the answer steers the chat.
    ChatInbound = "chat_inbound",
    /// An alert rule has opened an incident.
    AlertTriggered = "alert_triggered",
    /// An incident is closed.
    AlertResolved = "alert_resolved",
}

impl EventKind {
    /// Started, ended or analyzed, of a call or a chat: the events sent unless an agent is configured otherwise.
    #[must_use]
    pub const fn is_lifecycle(self) -> bool {
        use EventKind::{CallAnalyzed, CallEnded, CallStarted, ChatAnalyzed, ChatEnded, ChatStarted};
        matches!(self, CallStarted | CallEnded | CallAnalyzed | ChatStarted | ChatEnded | ChatAnalyzed)
    }

    /// One of the two whose answer decides how a call or chat goes on.
    #[must_use]
    pub const fn is_inbound(self) -> bool {
        matches!(self, Self::CallInbound | Self::ChatInbound)
    }
}

impl fmt::Display for EventKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.as_str()), kind);
        }
        assert_eq!(EventKind::from_name("Call_Ended"), EventKind::Unknown);
        assert_eq!(EventKind::ALL.iter().filter(|kind| kind.is_lifecycle()).count(), 6);
        assert_eq!(EventKind::ALL.iter().filter(|kind| kind.is_inbound()).count(), 2);
    }
}
