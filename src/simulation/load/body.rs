//! Request bodies that all differ, so that none is a duplicate.

use serde_json::Value;

use crate::base::id::random_hex;
use crate::event::{EventKind, sample_body};

/// Placeholder of the unique part of the call id in a template.
const ID_PLACEHOLDER: &str = "@@@@@@@@@@@@@@@@@@@@@@@@@@@";
/// Repeated as the transcript until a body has the requested size.
const FILLER_TEXT: &str = "Agent: Thursday at nine would be free, shall I put you down for it?\nUser: Yes, please do. ";

/// The size of the bodies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LoadBodySize {
    /// 1 kB.
    Small,
    /// 12 kB.
    Medium,
    /// 40 kB.
    Large,
    /// All three in turn.
    Mix,
}

impl LoadBodySize {
    pub(crate) const ALL: [Self; 4] = [Self::Small, Self::Medium, Self::Large, Self::Mix];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Medium => "medium",
            Self::Large => "large",
            Self::Mix => "mix",
        }
    }
}

/// Templates that are used in turn, each split at the placeholders of the id.
pub(super) struct LoadBodies(Vec<Vec<String>>);

impl LoadBodies {
    /// `None` when no sample of the event exists.
    pub(super) fn new(size: LoadBodySize, now_ms: i64) -> Option<Self> {
        let small = (EventKind::CallStarted, 0);
        let medium = (EventKind::CallEnded, 12_000);
        let large = (EventKind::CallAnalyzed, 40_000);
        let templates = match size {
            LoadBodySize::Small => vec![small],
            LoadBodySize::Medium => vec![medium],
            LoadBodySize::Large => vec![large],
            LoadBodySize::Mix => vec![small, medium, large],
        };
        let templates: Option<Vec<_>> =
            templates.into_iter().map(|(kind, size_bytes)| template(kind, size_bytes, now_ms)).collect();
        templates.map(Self)
    }

    /// The body of request `number`, with a new call id.
    pub(super) fn render(&self, number: u64) -> String {
        let index = usize::try_from(number % self.0.len().max(1) as u64).unwrap_or(0);
        let unique_id = random_hex();
        let parts = self.0.get(index).map_or(&[][..], Vec::as_slice);
        parts.join(&unique_id[..ID_PLACEHOLDER.len()])
    }
}

/// A sample event whose transcript is padded to about `size_bytes`.
fn template(kind: EventKind, size_bytes: usize, now_ms: i64) -> Option<Vec<String>> {
    let text = sample_body(kind, &format!("call_test_{ID_PLACEHOLDER}"), now_ms)?;
    let mut body: Value = serde_json::from_str(&text).ok()?;
    if let Some(missing) = size_bytes.checked_sub(text.len()) {
        body["call"]["transcript"] = FILLER_TEXT.chars().cycle().take(missing).collect::<String>().into();
    }
    Some(body.to_string().split(ID_PLACEHOLDER).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_unique_events_of_the_requested_size() {
        for (size, size_bytes) in [
            (LoadBodySize::Small, 300..3_000),
            (LoadBodySize::Medium, 9_000..16_000),
            (LoadBodySize::Large, 33_000..48_000),
        ] {
            let bodies = LoadBodies::new(size, 1_790_000_000_000).unwrap();
            let (one, two) = (bodies.render(0), bodies.render(1));
            assert!(size_bytes.contains(&one.len()), "{size:?}: {}", one.len());
            assert_ne!(one, two);
            let event: Value = serde_json::from_str(&one).unwrap();
            assert!(event["call"]["call_id"].as_str().unwrap().starts_with("call_test_"));
        }
        let mix = LoadBodies::new(LoadBodySize::Mix, 1_790_000_000_000).unwrap();
        assert!(mix.render(0).len() < mix.render(1).len() && mix.render(1).len() < mix.render(2).len());
    }
}
