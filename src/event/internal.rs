//! Names of the events that the receiver makes itself. They are in one table, because handlers select events by name:
//! no name may be used by two features, nor by Retell.

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
    use crate::event::EventKind;

    #[test]
    fn no_internal_event_has_the_name_of_another_one_or_of_an_event_of_retell() {
        for (position, name) in INTERNAL_EVENT_NAMES.iter().enumerate() {
            assert_eq!(EventKind::from_name(name), EventKind::Unknown, "{name}");
            assert!(!INTERNAL_EVENT_NAMES[..position].contains(name), "{name}");
        }
    }
}
