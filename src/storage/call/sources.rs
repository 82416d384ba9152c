//! Which event told what is known of a call, value by value.

use std::collections::BTreeMap;

use super::CallStage;

/// How much an event counts: its stage, and among events of one stage when it arrived.
pub(super) type SourceRank = (CallStage, i64);

/// The values by the event they came from, a bit each. Few events are left to name: `call_analyzed` brings nearly all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueSources(BTreeMap<SourceRank, u32>);

impl ValueSources {
    pub(super) fn get(&self, bit: u8) -> Option<SourceRank> {
        self.0.iter().find(|(_, bits)| **bits & (1 << bit) != 0).map(|(source, _)| *source)
    }

    pub(super) fn set(&mut self, bit: u8, source: SourceRank) {
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
        Self(rows.into_iter().map(|(rank, at_ms, bits)| ((CallStage::from_rank(rank), at_ms), bits)).collect())
    }
}

/// Two records on their way to one.
pub(super) struct CallMerge {
    /// What is known, and where a value without a note came from.
    pub(super) current: (ValueSources, SourceRank),
    pub(super) incoming: (ValueSources, SourceRank),
    pub(super) merged_sources: ValueSources,
}

impl CallMerge {
    /// The value from the event that counts more; an absent one erases nothing. `bit` is kept in the store: no two values
    /// may ever have the same.
    pub(super) fn merge_value<T>(&mut self, bit: u8, known: &mut Option<T>, news: Option<T>) {
        self.merge_ranked_value(bit, known, news, |_| false);
    }

    /// The same, but a value that `outranks` others gives way to none of them.
    pub(super) fn merge_ranked_value<T>(
        &mut self,
        bit: u8,
        known: &mut Option<T>,
        news: Option<T>,
        outranks: impl Fn(&T) -> bool,
    ) {
        let source = |(sources, otherwise): &(ValueSources, SourceRank)| sources.get(bit).unwrap_or(*otherwise);
        let ours = known.as_ref().map(|value| (outranks(value), source(&self.current)));
        let theirs = news.as_ref().map(|value| (outranks(value), source(&self.incoming)));
        if theirs.is_some() && theirs >= ours {
            *known = news;
        }
        if let Some((_, source)) = ours.max(theirs) {
            self.merged_sources.set(bit, source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn come_back_from_the_store() {
        let mut sources = ValueSources::default();
        sources.set(0, (CallStage::Started, 10));
        sources.set(31, (CallStage::Analyzed, 20));
        sources.set(5, (CallStage::Analyzed, 20));
        let back = ValueSources::from_json(&sources.to_json());
        assert_eq!(back, sources);
        assert_eq!(
            (back.get(5), back.get(0), back.get(1)),
            (Some((CallStage::Analyzed, 20)), Some((CallStage::Started, 10)), None)
        );
        assert_eq!(ValueSources::from_json("nonsense"), ValueSources::default());
    }
}
