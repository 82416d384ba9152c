//! The scenarios of simulated calls, each as a list of requests.

use std::time::Duration;

use bytes::Bytes;

use super::call::{CallEnding, SimulatedCall};
use crate::event::EventKind;

/// Delay between two events of a call.
const EVENT_GAP: Duration = Duration::from_millis(5);
const DUPLICATE_DELAY: Duration = Duration::from_secs(1);
/// Delay before a retry. Retell's own delay is not documented, so a short one is used.
const RETRY_DELAY: Duration = Duration::from_millis(300);
const STORM_UPDATES: usize = 60;
const HOUR_MS: u32 = 3_600_000;

/// The course of a simulated call; [`Scenario::description`] explains each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scenario {
    Happy,
    FailedDial,
    Transfers,
    TranscriptStorm,
    Duplicates,
    Retries,
    AnalyzedFirst,
    LongCall,
    Chat,
    Revision,
    Appointment,
}

/// One request of a scenario.
pub(super) struct ScenarioStep {
    pub(super) event: EventKind,
    pub(super) body: Bytes,
    /// Delay after the response to the previous request.
    pub(super) delay: Duration,
    pub(super) signing: StepSigning,
    /// Whether this is a different body for an event that was sent before.
    pub(super) is_revision: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepSigning {
    Fresh,
    /// The signature header of the last request with the same body.
    Reused,
}

impl Scenario {
    /// All scenarios, in the order in which they alternate and are listed.
    pub(crate) const ALL: [Self; 11] = [
        Self::Happy,
        Self::FailedDial,
        Self::Transfers,
        Self::TranscriptStorm,
        Self::Duplicates,
        Self::Retries,
        Self::AnalyzedFirst,
        Self::LongCall,
        Self::Chat,
        Self::Revision,
        Self::Appointment,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Happy => "happy",
            Self::FailedDial => "failed-dial",
            Self::Transfers => "transfers",
            Self::TranscriptStorm => "transcript-storm",
            Self::Duplicates => "duplicates",
            Self::Retries => "retries",
            Self::AnalyzedFirst => "analyzed-first",
            Self::LongCall => "long-call",
            Self::Chat => "chat",
            Self::Revision => "revision",
            Self::Appointment => "appointment",
        }
    }

    /// What happens in the calls of this scenario, for its user.
    pub(crate) fn description(self) -> &'static str {
        match self {
            Self::Happy => "A call from start to analysis, with transcript updates in between",
            Self::FailedDial => "An outbound call that no one answers: it ends without having started",
            Self::Transfers => "A warm transfer is canceled and the next one bridged; it ends after the analysis",
            Self::TranscriptStorm => "A call with 60 transcript updates in quick succession",
            Self::Duplicates => "The last two requests again one second later, with the same signature",
            Self::Retries => "The last two requests twice again with new signatures, as retries",
            Self::AnalyzedFirst => "The analysis arrives before the end of the call",
            Self::LongCall => "A call of one hour: the last two bodies have 1.2 MB each",
            Self::Chat => "A text chat from start to analysis",
            Self::Revision => "The analysis runs twice with different results",
            Self::Appointment => {
                "An appointment is booked and canceled: an inbound request and function calls with wrong and correct arguments, repeated and after the deadline; every answer is checked. Part of the default only if appointments are enabled"
            }
        }
    }

    /// The scenarios that are used when none is given.
    pub(crate) fn default_scenarios(has_appointments: bool) -> Vec<Self> {
        let all = Self::ALL.into_iter();
        all.filter(|scenario| has_appointments || *scenario != Self::Appointment).collect()
    }

    /// The id of the call or chat, and its requests. For `appointment` these are only the first requests, because the
    /// rest depends on the answers.
    pub(super) fn steps(self, mut call: SimulatedCall, now_ms: i64) -> (String, Vec<ScenarioStep>) {
        use EventKind as K;
        let id = if self == Self::Chat { call.chat_id.clone() } else { call.id.clone() };
        let steps = match self {
            Self::Happy => lifecycle_steps(&call, 3),
            Self::TranscriptStorm => lifecycle_steps(&call, STORM_UPDATES),
            Self::FailedDial => {
                let [ended, analyzed] = call.into_outbound().failed_dial();
                vec![new_step(K::CallEnded, ended), new_step(K::CallAnalyzed, analyzed)]
            }
            Self::Transfers => transfer_steps(&call),
            Self::Duplicates => repeat_last_two(lifecycle_steps(&call, 0), DUPLICATE_DELAY, 1, StepSigning::Reused),
            Self::Retries => repeat_last_two(lifecycle_steps(&call, 0), RETRY_DELAY, 2, StepSigning::Fresh),
            Self::AnalyzedFirst => {
                let mut steps = lifecycle_steps(&call, 0);
                let last = steps.len() - 1;
                steps.swap(last - 1, last);
                steps
            }
            Self::LongCall => lifecycle_steps(&call.extended_to(HOUR_MS, now_ms), 2),
            Self::Chat => {
                let [started, ended, analyzed] = call.chat_events();
                vec![
                    new_step(K::ChatStarted, started),
                    new_step(K::ChatEnded, ended),
                    new_step(K::ChatAnalyzed, analyzed),
                ]
            }
            Self::Revision => {
                let mut steps = lifecycle_steps(&call, 0);
                steps.push(ScenarioStep {
                    is_revision: true,
                    ..new_step(K::CallAnalyzed, call.call_analyzed_revision())
                });
                steps
            }
            Self::Appointment => {
                let call = call.into_appointment_call(now_ms);
                vec![new_step(K::CallInbound, call.call_inbound()), new_step(K::CallStarted, call.call_started())]
            }
        };
        (id, steps)
    }
}

pub(super) fn new_step(event: EventKind, body: Bytes) -> ScenarioStep {
    ScenarioStep { event, body, delay: EVENT_GAP, signing: StepSigning::Fresh, is_revision: false }
}

/// `call_started`, `updates` transcript updates, `call_ended` and `call_analyzed`.
fn lifecycle_steps(call: &SimulatedCall, updates: usize) -> Vec<ScenarioStep> {
    let words = call.word_count();
    let mut steps = vec![new_step(EventKind::CallStarted, call.call_started())];
    for update in 1..=updates {
        steps.push(new_step(EventKind::TranscriptUpdated, call.transcript_updated(words * update / updates)));
    }
    steps.push(new_step(EventKind::CallEnded, call.call_ended(CallEnding::HungUp)));
    steps.push(new_step(EventKind::CallAnalyzed, call.call_analyzed(CallEnding::HungUp)));
    steps
}

fn transfer_steps(call: &SimulatedCall) -> Vec<ScenarioStep> {
    use EventKind as K;
    let mut steps = vec![new_step(K::CallStarted, call.call_started())];
    let legs = [
        (K::TransferStarted, "12"),
        (K::TransferCancelled, "12"),
        (K::TransferStarted, "14"),
        (K::TransferBridged, "14"),
    ];
    steps.extend(legs.map(|(kind, extension)| new_step(kind, call.transfer_event(kind, extension))));
    steps.push(new_step(K::CallEnded, call.call_ended(CallEnding::Transferred)));
    steps.push(new_step(K::CallAnalyzed, call.call_analyzed(CallEnding::Transferred)));
    steps.push(new_step(K::TransferEnded, call.transfer_event(K::TransferEnded, "")));
    steps
}

/// Appends the last two steps again, `times` times, each time after `delay`.
fn repeat_last_two(
    mut steps: Vec<ScenarioStep>,
    delay: Duration,
    times: usize,
    signing: StepSigning,
) -> Vec<ScenarioStep> {
    let last_two = &steps[steps.len().saturating_sub(2)..];
    let repeated: Vec<_> = last_two.iter().map(|step| (step.event, step.body.clone())).collect();
    for _ in 0..times {
        for (index, (event, body)) in repeated.iter().enumerate() {
            // Only the first of the two waits: the second follows it as closely as in the original order.
            let delay = if index == 0 { delay } else { EVENT_GAP };
            steps.push(ScenarioStep { event: *event, body: body.clone(), delay, signing, is_revision: false });
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::event::Event;

    const NOW_MS: i64 = 1_795_255_200_000;

    fn steps(scenario: Scenario, seed: u64, number: u64) -> Vec<ScenarioStep> {
        scenario.steps(SimulatedCall::new(seed, number, NOW_MS), NOW_MS).1
    }

    #[test]
    fn equal_seeds_give_equal_bodies() {
        let bodies = |scenario, seed| steps(scenario, seed, 5).into_iter().map(|step| step.body).collect::<Vec<_>>();
        for scenario in &Scenario::ALL {
            assert_eq!(bodies(*scenario, 7), bodies(*scenario, 7), "{scenario:?}");
            assert_ne!(bodies(*scenario, 7), bodies(*scenario, 8), "{scenario:?}");
        }
    }

    #[test]
    fn every_body_is_a_typed_event_of_its_test_call() {
        for scenario in &Scenario::ALL {
            for number in 0..4 {
                let (id, steps) = scenario.steps(SimulatedCall::new(3, number, NOW_MS), NOW_MS);
                assert!(id.starts_with("call_test_") || id.starts_with("chat_test_"), "{id}");
                for step in steps {
                    let text = String::from_utf8(step.body.to_vec()).unwrap();
                    assert!(text.starts_with(&format!(r#"{{"event":"{}""#, step.event)) && !text.contains("{name}"));
                    let event = Event::parse(&step.body).unwrap();
                    assert_eq!(event.kind(), step.event);
                    let identifiers = event.identifiers();
                    assert_eq!(identifiers.call_id.or(identifiers.chat_id), Some(id.clone()));
                    let json: serde_json::Value = serde_json::from_slice(&step.body).unwrap();
                    for key in ["from_number", "to_number"] {
                        assert!(json["call"][key].as_str().is_none_or(|number| &number[5..10] == "55501"), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_hour_long_call_has_bodies_of_more_than_a_megabyte() {
        let steps = steps(Scenario::LongCall, 1, 0);
        let sizes: Vec<_> = steps.iter().rev().take(2).map(|step| step.body.len()).collect();
        assert!(sizes.iter().all(|size| (1_150_000..1_350_000).contains(size)), "{sizes:?}");
    }

    #[test]
    fn bodies_differ_except_in_repeated_requests() {
        for scenario in &Scenario::ALL {
            for number in 0..6 {
                let steps = steps(*scenario, 11, number);
                let different: BTreeSet<_> = steps.iter().map(|step| &step.body).collect();
                let repeated = match scenario {
                    Scenario::Duplicates => 2,
                    Scenario::Retries => 4,
                    _ => 0,
                };
                assert_eq!(steps.len() - different.len(), repeated, "{scenario:?}");
            }
        }
        assert_eq!(steps(Scenario::TranscriptStorm, 1, 0).len(), 63);
    }
}
