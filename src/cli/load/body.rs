//! Bodies that are all different.

use clap::ValueEnum;
use serde_json::Value;

use crate::base::id::random_hex;
use crate::event::{EventKind, sample_body};

/// Stands where the unique part of the call's id goes.
const ID_PLACEHOLDER: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@";
/// What the caller and the agent say, over and over: a body is as long as wanted.
const FILLER_TEXT: &str = "Agent: Thursday at nine would be free, shall I put you down for it?\nUser: Yes, please do. ";

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum LoadBodySize {
    Small,
    Medium,
    Large,
    Mix,
}

/// Templates that take turns, each cut where the id goes.
pub(super) struct LoadBodies(Vec<Vec<String>>);

impl LoadBodies {
    /// `None` when there is no sample to make them of.
    pub(super) fn new(size: LoadBodySize, now_ms: i64) -> Option<Self> {
        let (small, medium, large) =
            ((EventKind::CallStarted, 0), (EventKind::CallEnded, 12_000), (EventKind::CallAnalyzed, 40_000));
        let shapes = match size {
            LoadBodySize::Small => vec![small],
            LoadBodySize::Medium => vec![medium],
            LoadBodySize::Large => vec![large],
            LoadBodySize::Mix => vec![small, medium, large],
        };
        shapes.into_iter().map(|(kind, bytes)| template(kind, bytes, now_ms)).collect::<Option<_>>().map(Self)
    }

    /// The body of request `number`; no other is like it.
    pub(super) fn render(&self, number: u64) -> String {
        let turn = number % self.0.len().max(1) as u64;
        let unique = random_hex();
        let parts = usize::try_from(turn).ok().and_then(|turn| self.0.get(turn));
        parts.map(|parts| parts.join(&unique[..ID_PLACEHOLDER.len()])).unwrap_or_default()
    }
}

/// A sample event whose transcript is padded up to about `bytes`.
fn template(kind: EventKind, bytes: usize, now_ms: i64) -> Option<Vec<String>> {
    let text = sample_body(kind, &format!("call_test_{ID_PLACEHOLDER}"), now_ms)?;
    let mut body: Value = serde_json::from_str(&text).ok()?;
    if let Some(missing) = bytes.checked_sub(text.len()) {
        body["call"]["transcript"] = FILLER_TEXT.chars().cycle().take(missing).collect::<String>().into();
    }
    Some(body.to_string().split(ID_PLACEHOLDER).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_events_of_the_wanted_size_and_all_different() {
        for (size, bytes) in [
            (LoadBodySize::Small, 300..3_000),
            (LoadBodySize::Medium, 9_000..16_000),
            (LoadBodySize::Large, 33_000..48_000),
        ] {
            let bodies = LoadBodies::new(size, 1_790_000_000_000).unwrap();
            let (one, two) = (bodies.render(0), bodies.render(1));
            assert!(bytes.contains(&one.len()), "{size:?}: {}", one.len());
            assert_ne!(one, two);
            let event: Value = serde_json::from_str(&one).unwrap();
            assert!(event["call"]["call_id"].as_str().unwrap().starts_with("call_test_"));
        }
        let mix = LoadBodies::new(LoadBodySize::Mix, 1_790_000_000_000).unwrap();
        assert!(mix.render(0).len() < mix.render(1).len() && mix.render(1).len() < mix.render(2).len());
    }
}
