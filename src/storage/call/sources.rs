//! Which event told what is known of a call, value by value.

use std::collections::BTreeMap;

use super::Stage;

/// How much an event counts: its stage, and among events of one stage when it arrived.
pub(super) type Source = (Stage, i64);

/// The values by the event they came from, a bit each. Few events are left to name: `call_analyzed` brings nearly all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sources(BTreeMap<Source, u32>);

impl Sources {
    pub(super) fn of(&self, bit: u8) -> Option<Source> {
        self.0.iter().find(|(_, bits)| **bits & (1 << bit) != 0).map(|(source, _)| *source)
    }

    pub(super) fn set(&mut self, bit: u8, source: Source) {
        *self.0.entry(source).or_default() |= 1 << bit;
    }

    /// For the store: a list of stage, time and bits.
    #[must_use]
    pub fn to_json(&self) -> String {
        let rows: Vec<_> = self.0.iter().map(|((stage, at_ms), bits)| (*stage as i64, *at_ms, *bits)).collect();
        serde_json::to_string(&rows).unwrap_or_else(|_| "[]".to_owned())
    }

    /// What the store kept; nothing when it is no such list.
    #[must_use]
    pub fn from_json(text: &str) -> Self {
        let rows: Vec<(i64, i64, u32)> = serde_json::from_str(text).unwrap_or_default();
        Self(rows.into_iter().map(|(rank, at_ms, bits)| ((Stage::from_rank(rank), at_ms), bits)).collect())
    }
}

/// Two records on their way to one.
pub(super) struct Merging {
    /// What is known, and where a value without a note came from.
    pub(super) known: (Sources, Source),
    pub(super) news: (Sources, Source),
    pub(super) merged: Sources,
}

impl Merging {
    /// The value from the event that counts more; an absent one erases nothing. `bit` is kept in the store: no two values
    /// may ever have the same.
    pub(super) fn take<T>(&mut self, bit: u8, known: &mut Option<T>, news: Option<T>) {
        self.take_ranked(bit, known, news, |_| false);
    }

    /// The same, but a value that `outranks` others gives way to none of them.
    pub(super) fn take_ranked<T>(
        &mut self,
        bit: u8,
        known: &mut Option<T>,
        news: Option<T>,
        outranks: impl Fn(&T) -> bool,
    ) {
        let source = |(sources, otherwise): &(Sources, Source)| sources.of(bit).unwrap_or(*otherwise);
        let ours = known.as_ref().map(|value| (outranks(value), source(&self.known)));
        let theirs = news.as_ref().map(|value| (outranks(value), source(&self.news)));
        if theirs.is_some() && theirs >= ours {
            *known = news;
        }
        if let Some((_, source)) = ours.max(theirs) {
            self.merged.set(bit, source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn come_back_from_the_store() {
        let mut sources = Sources::default();
        sources.set(0, (Stage::Started, 10));
        sources.set(31, (Stage::Analyzed, 20));
        sources.set(5, (Stage::Analyzed, 20));
        let back = Sources::from_json(&sources.to_json());
        assert_eq!(back, sources);
        assert_eq!(
            (back.of(5), back.of(0), back.of(1)),
            (Some((Stage::Analyzed, 20)), Some((Stage::Started, 10)), None)
        );
        assert_eq!(Sources::from_json("nonsense"), Sources::default());
    }
}
