//! The courses a call can take, each as the requests it makes.

use std::time::Duration;

use bytes::Bytes;
use clap::ValueEnum;

use super::call::{Call, End};
use crate::event::EventKind;

/// Between two events of a call.
const GAP: Duration = Duration::from_millis(5);
const SECOND: Duration = Duration::from_secs(1);
/// Until a request without an answer is sent again, in small: how long Retell waits is not documented.
const RETRY: Duration = Duration::from_millis(300);
const STORM: usize = 60;

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
    ResignedRetries,
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
pub(super) struct Step {
    pub(super) event: EventKind,
    pub(super) body: Bytes,
    /// Since the answer to the one before it.
    pub(super) wait: Duration,
    pub(super) signed: Signed,
    /// Another body for an event that was sent already.
    pub(super) revises: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Signed {
    Now,
    /// With the header of the first request that had this body.
    AsBefore,
}

impl Scenario {
    pub(super) fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    pub(super) fn meaning(self) -> String {
        let value = self.to_possible_value();
        value.and_then(|value| value.get_help().map(ToString::to_string)).unwrap_or_default()
    }

    /// What takes turns when nothing is named.
    pub(super) fn usual(appointments: bool) -> Vec<Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|scenario| appointments || *scenario != Self::Appointment).collect()
    }

    /// The requests of one such call, and the id of the call or chat they are about. Of an
    /// appointment it is the beginning: what follows depends on the answers.
    pub(super) fn steps(self, mut call: Call, now_ms: i64) -> (String, Vec<Step>) {
        use EventKind as K;
        let id = if self == Self::Chat { call.chat_id.clone() } else { call.id.clone() };
        let steps = match self {
            Self::Happy => usual(&call, 3),
            Self::TranscriptStorm => usual(&call, STORM),
            Self::FailedDial => {
                let [ended, analyzed] = call.outbound().not_connected();
                vec![step(K::CallEnded, ended), step(K::CallAnalyzed, analyzed)]
            }
            Self::Transfers => transfers(&call),
            Self::Duplicates => again(usual(&call, 0), SECOND, 1, Signed::AsBefore),
            Self::ResignedRetries => again(usual(&call, 0), RETRY, 2, Signed::Now),
            Self::AnalyzedFirst => {
                let mut steps = usual(&call, 0);
                let last = steps.len() - 1;
                steps.swap(last - 1, last);
                steps
            }
            Self::LongCall => usual(&call.an_hour(now_ms), 2),
            Self::Chat => {
                let [started, ended, analyzed] = call.chat();
                vec![step(K::ChatStarted, started), step(K::ChatEnded, ended), step(K::ChatAnalyzed, analyzed)]
            }
            Self::Revision => {
                let mut steps = usual(&call, 0);
                steps.push(Step { revises: true, ..step(K::CallAnalyzed, call.analyzed_again()) });
                steps
            }
            Self::Appointment => {
                let call = call.about_an_appointment(now_ms);
                vec![step(K::CallInbound, call.inbound()), step(K::CallStarted, call.started())]
            }
        };
        (id, steps)
    }
}

pub(super) fn step(event: EventKind, body: Bytes) -> Step {
    Step { event, body, wait: GAP, signed: Signed::Now, revises: false }
}

/// Started, `updates` of the transcript, ended, analyzed.
fn usual(call: &Call, updates: usize) -> Vec<Step> {
    let words = call.word_count();
    let mut steps = vec![step(EventKind::CallStarted, call.started())];
    for update in 1..=updates {
        steps.push(step(EventKind::TranscriptUpdated, call.so_far(words * update / updates)));
    }
    steps.push(step(EventKind::CallEnded, call.ended(End::HungUp)));
    steps.push(step(EventKind::CallAnalyzed, call.analyzed(End::HungUp)));
    steps
}

fn transfers(call: &Call) -> Vec<Step> {
    use EventKind as K;
    let mut steps = vec![step(K::CallStarted, call.started())];
    let legs = [
        (K::TransferStarted, "12"),
        (K::TransferCancelled, "12"),
        (K::TransferStarted, "14"),
        (K::TransferBridged, "14"),
    ];
    steps.extend(legs.map(|(kind, extension)| step(kind, call.transfer(kind, extension))));
    steps.push(step(K::CallEnded, call.ended(End::Transferred)));
    steps.push(step(K::CallAnalyzed, call.analyzed(End::Transferred)));
    steps.push(step(K::TransferEnded, call.transfer(K::TransferEnded, "")));
    steps
}

/// The last two steps so many `times` more, `wait` later.
fn again(mut steps: Vec<Step>, wait: Duration, times: usize, signed: Signed) -> Vec<Step> {
    let last: Vec<_> = steps.iter().rev().take(2).rev().map(|step| (step.event, step.body.clone())).collect();
    for _ in 0..times {
        for (place, (event, body)) in last.iter().enumerate() {
            let wait = if place == 0 { wait } else { GAP };
            steps.push(Step { event: *event, body: body.clone(), wait, signed, revises: false });
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

    fn steps(scenario: Scenario, seed: u64, number: u64) -> Vec<Step> {
        scenario.steps(Call::new(seed, number, NOW_MS), NOW_MS).1
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
                let (id, steps) = scenario.steps(Call::new(3, number, NOW_MS), NOW_MS);
                assert!(id.starts_with("call_test_") || id.starts_with("chat_test_"), "{id}");
                for step in steps {
                    let text = String::from_utf8(step.body.to_vec()).unwrap();
                    assert!(text.starts_with(&format!(r#"{{"event":"{}""#, step.event)) && !text.contains("{name}"));
                    let event = Event::parse(&step.body).unwrap();
                    assert_eq!(event.kind(), step.event);
                    let head = event.head();
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
                    Scenario::ResignedRetries => 4,
                    _ => 0,
                };
                assert_eq!(steps.len() - different.len(), repeated, "{scenario:?}");
            }
        }
        assert_eq!(steps(Scenario::TranscriptStorm, 1, 0).len(), 63);
    }
}
