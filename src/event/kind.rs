//! The kinds of events and their names.

use std::fmt;

/// Generates the enum, the list of all kinds and the conversions from and to names from one table.
macro_rules! event_kinds {
    ($($(#[$meta:meta])* $variant:ident = $name:literal,)*) => {
        /// The kind of an event, as its `event` field names it. The names are those of Retell's documentation:
        /// webhook overview, inbound webhook and alerting pages.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum EventKind {
            $($(#[$meta])* $variant,)*
            /// The name is missing or not one of the listed names.
            Unknown,
        }

        impl EventKind {
            /// All kinds that have a name, in the order of the documentation.
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$variant),*];

            /// The kind for a value of `event`; names are case-sensitive.
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
    /// A call is over: it finished, was transferred, failed or never connected.
    CallEnded = "call_ended",
    /// The analysis of a call is ready; `call_analysis` is set.
    CallAnalyzed = "call_analyzed",
    /// The transcript of a call or chat in progress has grown. Sent many times per call.
    TranscriptUpdated = "transcript_updated",
    /// A transfer of the call to another destination begins.
    TransferStarted = "transfer_started",
    /// The transfer is connected to its destination.
    TransferBridged = "transfer_bridged",
    /// The transfer was canceled or failed.
    TransferCancelled = "transfer_cancelled",
    /// The transferred leg of the call is over.
    TransferEnded = "transfer_ended",
    /// A chat through the API or by text message begins.
    ChatStarted = "chat_started",
    /// A chat is over: it finished or failed.
    ChatEnded = "chat_ended",
    /// The analysis of a chat is ready; `chat_analysis` is set.
    ChatAnalyzed = "chat_analyzed",
    /// A call reaches a number with an inbound webhook; the response decides how it continues.
    CallInbound = "call_inbound",
    /// A text message reaches a number with an inbound webhook; the response decides how the chat continues.
    ChatInbound = "chat_inbound",
    /// An alert rule has raised an incident.
    AlertTriggered = "alert_triggered",
    /// The incident of an alert rule is resolved.
    AlertResolved = "alert_resolved",
}

impl EventKind {
    /// Whether the event is started, ended or analyzed of a call or a chat. An agent sends these by default.
    #[must_use]
    pub const fn is_lifecycle(self) -> bool {
        use EventKind::{CallAnalyzed, CallEnded, CallStarted, ChatAnalyzed, ChatEnded, ChatStarted};
        matches!(self, CallStarted | CallEnded | CallAnalyzed | ChatStarted | ChatEnded | ChatAnalyzed)
    }

    /// Whether the event is an inbound request, whose response decides how a call or chat continues.
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

// Events that the receiver makes itself. They are in one table, because handlers select events by name: no name may be
// used by two features, nor by Retell.

pub(crate) const APPOINTMENT_BOOKED: &str = "appointment_booked";
pub(crate) const APPOINTMENT_CHANGED: &str = "appointment_changed";
pub(crate) const APPOINTMENT_CANCELLED: &str = "appointment_cancelled";
/// Not `alert_…`, which is Retell's prefix for its own alerts.
pub(crate) const ALARM_TRIGGERED: &str = "alarm_triggered";
pub(crate) const ALARM_RESOLVED: &str = "alarm_resolved";

/// The names of all internal events.
pub(crate) const INTERNAL_EVENT_NAMES: [&str; 5] =
    [ALARM_TRIGGERED, ALARM_RESOLVED, APPOINTMENT_BOOKED, APPOINTMENT_CHANGED, APPOINTMENT_CANCELLED];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_convert_to_kinds_and_back() {
        for kind in EventKind::ALL {
            assert_eq!(EventKind::from_name(kind.as_str()), kind);
        }
        assert_eq!(EventKind::from_name("Call_Ended"), EventKind::Unknown);
        assert_eq!(EventKind::ALL.iter().filter(|kind| kind.is_lifecycle()).count(), 6);
        assert_eq!(EventKind::ALL.iter().filter(|kind| kind.is_inbound()).count(), 2);
    }

    #[test]
    fn no_internal_event_has_the_name_of_another_one_or_of_an_event_of_retell() {
        for (position, name) in INTERNAL_EVENT_NAMES.iter().enumerate() {
            assert_eq!(EventKind::from_name(name), EventKind::Unknown, "{name}");
            assert!(!INTERNAL_EVENT_NAMES[..position].contains(name), "{name}");
        }
    }
}
