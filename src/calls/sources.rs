//! Records for each value of a call which event it came from, so that merging does not depend on the order of events.

use std::collections::BTreeMap;

use super::CallStage;

/// Rank of an event: its stage, and among events of one stage the time of arrival. The value with the higher rank
/// wins.
pub(super) type SourceRank = (CallStage, i64);

/// The values of a call by the event they came from, one bit per value. Usually one or two entries, because
/// `call_analyzed` contains nearly all values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValueSources(BTreeMap<SourceRank, u32>);

impl ValueSources {
    pub(super) fn get(&self, bit: u8) -> Option<SourceRank> {
        self.0.iter().find(|(_, bits)| **bits & (1 << bit) != 0).map(|(source, _)| *source)
    }

    pub(super) fn set(&mut self, bit: u8, source: SourceRank) {
        *self.0.entry(source).or_default() |= 1 << bit;
    }

    /// Encodes the sources for the store, as a list of stage, time and bits.
    #[must_use]
    pub fn to_json(&self) -> String {
        let rows: Vec<_> = self.0.iter().map(|((stage, at_ms), bits)| (*stage as i64, *at_ms, *bits)).collect();
        serde_json::to_string(&rows).unwrap_or_else(|_| "[]".to_owned())
    }

    /// Decodes sources from the store. Text of another form gives none; [`CallMerge`] then assumes the latest event.
    #[must_use]
    pub fn from_json(text: &str) -> Self {
        let rows: Vec<(i64, i64, u32)> = serde_json::from_str(text).unwrap_or_default();
        // An unknown rank counts as the earliest stage, so it replaces nothing.
        let stage = |rank| CallStage::from_rank(rank).unwrap_or(CallStage::Started);
        Self(rows.into_iter().map(|(rank, at_ms, bits)| ((stage(rank), at_ms), bits)).collect())
    }
}

/// A merge of two records.
pub(super) struct CallMerge {
    /// Sources of the current record, and the rank of values that have none.
    pub(super) current: (ValueSources, SourceRank),
    pub(super) incoming: (ValueSources, SourceRank),
    pub(super) merged_sources: ValueSources,
}

impl CallMerge {
    /// Keeps the value from the event of higher rank. An absent value erases nothing. `bit` identifies the value in
    /// the store, so it must be unique and never change.
    pub(super) fn merge_value<T>(&mut self, bit: u8, known: &mut Option<T>, news: Option<T>) {
        self.merge_ranked_value(bit, known, news, |_| false);
    }

    /// Like [`CallMerge::merge_value`], except that a value for which `outranks` is true is only replaced by another
    /// such value.
    pub(super) fn merge_ranked_value<T>(
        &mut self,
        bit: u8,
        known: &mut Option<T>,
        news: Option<T>,
        outranks: impl Fn(&T) -> bool,
    ) {
        let source = |(sources, default): &(ValueSources, SourceRank)| sources.get(bit).unwrap_or(*default);
        let current_rank = known.as_ref().map(|value| (outranks(value), source(&self.current)));
        let incoming_rank = news.as_ref().map(|value| (outranks(value), source(&self.incoming)));
        // Compared as (outranks, rank of the source). With equal ranks, two events of one stage in the same
        // millisecond, the event that is merged later wins.
        if incoming_rank.is_some() && incoming_rank >= current_rank {
            *known = news;
        }
        if let Some((_, source)) = current_rank.max(incoming_rank) {
            self.merged_sources.set(bit, source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_encoded_and_decoded() {
        let mut sources = ValueSources::default();
        sources.set(0, (CallStage::Started, 10));
        sources.set(31, (CallStage::Analyzed, 20));
        sources.set(5, (CallStage::Analyzed, 20));
        let decoded = ValueSources::from_json(&sources.to_json());
        assert_eq!(decoded, sources);
        assert_eq!(
            (decoded.get(5), decoded.get(0), decoded.get(1)),
            (Some((CallStage::Analyzed, 20)), Some((CallStage::Started, 10)), None)
        );
        assert_eq!(ValueSources::from_json("nonsense"), ValueSources::default());
    }
}
