//! The courses a call can take, each as the requests it makes.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;

use super::call::{CallEnding, SimulatedCall};
use crate::event::EventKind;

/// Between two events of a call.
const EVENT_GAP: Duration = Duration::from_millis(5);
const DUPLICATE_DELAY: Duration = Duration::from_secs(1);
/// Until a request without an answer is sent again, in small: how long Retell waits is not documented.
const RETRY_DELAY: Duration = Duration::from_millis(300);
const STORM_UPDATES: usize = 60;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum)]
pub(super) enum Scenario {
    /// A call from start to analysis, its transcript updated on the way
    Happy,
    /// An outbound call that nobody picks up: it ends without having started
    FailedDial,
    /// A warm transfer is cancelled, the next one bridged; it ends after the analysis
    Transfers,
    /// 60 updates of the transcript in quick succession
    TranscriptStorm,
    /// The same requests again a second later, byte for byte with their signature
    Duplicates,
    /// The same body twice more, each time signed anew, as retries are
    Retries,
    /// The analysis overtakes the end of the call
    AnalyzedFirst,
    /// An hour of talk: the last two bodies have 1.2 MB each
    LongCall,
    /// A text chat from start to analysis
    Chat,
    /// The analysis runs again and says something else
    Revision,
    /// An appointment is collected and given back: inbound request, functions called wrongly, rightly, again and after the
    /// deadline, each answer against its deadline. Not among all of them unless appointments are enabled
    Appointment,
}

/// One request.
pub(super) struct ScenarioStep {
    pub(super) event: EventKind,
    pub(super) body: Bytes,
    /// Since the answer to the one before it.
    pub(super) delay: Duration,
    pub(super) signing: StepSigning,
    /// Another body for an event that was sent already.
    pub(super) is_revision: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StepSigning {
    Fresh,
    /// With the header of the first request that had this body.
    Reused,
}

impl Scenario {
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) fn description(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// What takes turns when nothing is named.
    pub(super) fn default_scenarios(appointments: bool) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|scenario| appointments || *scenario != Self::Appointment).collect()
    }

    /// The requests of one such call, and the id of the call or chat they are about. Of an
    /// appointment it is the beginning: what follows depends on the answers.
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
            Self::LongCall => lifecycle_steps(&call.extended_to_an_hour(now_ms), 2),
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

/// Started, `updates` of the transcript, ended, analyzed.
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

/// The last two steps so many `times` more, `wait` later.
fn repeat_last_two(
    mut steps: Vec<ScenarioStep>,
    wait: Duration,
    times: usize,
    signed: StepSigning,
) -> Vec<ScenarioStep> {
    let last: Vec<_> = steps.iter().rev().take(2).rev().map(|step| (step.event, step.body.clone())).collect();
    for _ in 0..times {
        for (place, (event, body)) in last.iter().enumerate() {
            let wait = if place == 0 { wait } else { EVENT_GAP };
            steps.push(ScenarioStep {
                event: *event,
                body: body.clone(),
                delay: wait,
                signing: signed,
                is_revision: false,
            });
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
    fn a_seed_gives_the_same_bytes_and_another_one_others() {
        let bodies = |scenario, seed| steps(scenario, seed, 5).into_iter().map(|step| step.body).collect::<Vec<_>>();
        for scenario in Scenario::value_variants() {
            assert_eq!(bodies(*scenario, 7), bodies(*scenario, 7), "{scenario:?}");
            assert_ne!(bodies(*scenario, 7), bodies(*scenario, 8), "{scenario:?}");
        }
    }

    #[test]
    fn every_body_is_the_typed_event_it_says_and_about_its_test_call() {
        for scenario in Scenario::value_variants() {
            for number in 0..4 {
                let (id, steps) = scenario.steps(SimulatedCall::new(3, number, NOW_MS), NOW_MS);
                assert!(id.starts_with("call_test_") || id.starts_with("chat_test_"), "{id}");
                for step in steps {
                    let text = String::from_utf8(step.body.to_vec()).unwrap();
                    assert!(text.starts_with(&format!(r#"{{"event":"{}""#, step.event)) && !text.contains("{name}"));
                    let event = Event::parse(&step.body).unwrap();
                    assert_eq!(event.kind(), step.event);
                    let head = event.identifiers();
                    assert_eq!(head.call_id.or(head.chat_id), Some(id.clone()));
                    let json: serde_json::Value = serde_json::from_slice(&step.body).unwrap();
                    for key in ["from_number", "to_number"] {
                        assert!(json["call"][key].as_str().is_none_or(|number| &number[5..10] == "55501"), "{text}");
                    }
                }
            }
        }
    }

    #[test]
    fn an_hour_has_more_than_a_megabyte() {
        let steps = steps(Scenario::LongCall, 1, 0);
        let sizes: Vec<_> = steps.iter().rev().take(2).map(|step| step.body.len()).collect();
        assert!(sizes.iter().all(|size| (1_150_000..1_350_000).contains(size)), "{sizes:?}");
    }

    #[test]
    fn bodies_differ_unless_they_are_to_be_the_same() {
        for scenario in Scenario::value_variants() {
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
