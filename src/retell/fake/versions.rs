//! Documents with versions: agents, Retell LLMs and conversation flows.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

/// A JSON object as Retell stores it, with all keys.
pub(crate) type DocumentFields = Map<String, Value>;

/// Whether an agent answers calls or chats. The two have separate endpoints for reading and patching.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Channel {
    Voice,
    Chat,
}

impl Channel {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Voice => "voice",
            Self::Chat => "chat",
        }
    }
}

/// An agent with everything that is not part of one of its versions.
#[derive(Clone)]
pub(crate) struct AgentRecord {
    pub(crate) channel: Channel,
    pub(crate) is_suspended: bool,
    /// Tag name to `{version, dynamic_variables}`. A tag without a version is unassigned.
    pub(crate) tags: DocumentFields,
    pub(crate) history: VersionHistory,
}

impl AgentRecord {
    pub(crate) fn new(channel: Channel, first_version: DocumentFields) -> Self {
        Self { channel, is_suspended: false, tags: DocumentFields::new(), history: VersionHistory::new(first_version) }
    }

    /// Points `tag` to `version`, as only the dashboard can; `None` leaves the tag unassigned.
    pub(crate) fn assign_tag(&mut self, tag: &str, version: Option<u64>) {
        self.tags.insert(tag.to_owned(), serde_json::json!({ "version": version, "dynamic_variables": {} }));
    }

    /// Names of the tags that point to `version`.
    pub(crate) fn tags_of(&self, version: u64) -> Vec<&str> {
        let has_version = |tag: &Value| tag.get("version").and_then(Value::as_u64) == Some(version);
        self.tags.iter().filter(|(_, tag)| has_version(tag)).map(|(name, _)| name.as_str()).collect()
    }
}

/// All versions of one document. A number is used once: after a draft is deleted, its number stays free.
#[derive(Clone)]
pub(crate) struct VersionHistory {
    versions: BTreeMap<u64, DocumentFields>,
    next_version: u64,
    /// Versions in the order in which they were published.
    published: Vec<u64>,
    stale: BTreeSet<u64>,
}

impl VersionHistory {
    /// A history whose version 0 is the draft `first`.
    pub(crate) fn new(first: DocumentFields) -> Self {
        let mut history =
            Self { versions: BTreeMap::new(), next_version: 0, published: Vec::new(), stale: BTreeSet::new() };
        history.add_draft(first);
        history
    }

    /// Stores `document` as the next version, unpublished, and returns its number.
    pub(crate) fn add_draft(&mut self, mut document: DocumentFields) -> u64 {
        let version = self.next_version;
        self.next_version += 1;
        document.insert("version".into(), version.into());
        document.insert("is_published".into(), false.into());
        self.versions.insert(version, document);
        version
    }

    /// The largest version number, drafts included.
    pub(crate) fn newest(&self) -> Option<u64> {
        self.versions.keys().next_back().copied()
    }

    /// The version that was published last, which is not always the largest published number.
    pub(crate) fn latest_published(&self) -> Option<u64> {
        self.published.last().copied()
    }

    pub(crate) fn is_published(&self, version: u64) -> bool {
        self.published.contains(&version)
    }

    pub(crate) fn get(&self, version: u64) -> Option<&DocumentFields> {
        self.versions.get(&version)
    }

    pub(crate) fn get_mut(&mut self, version: u64) -> Option<&mut DocumentFields> {
        self.versions.get_mut(&version)
    }

    /// All versions in ascending order.
    pub(crate) fn iter(&self) -> impl DoubleEndedIterator<Item = (u64, &DocumentFields)> {
        self.versions.iter().map(|(version, document)| (*version, document))
    }

    pub(crate) fn publish(&mut self, version: u64) {
        if let Some(document) = self.versions.get_mut(&version) {
            document.insert("is_published".into(), true.into());
            self.published.retain(|published| *published != version);
            self.published.push(version);
        }
    }

    pub(crate) fn remove(&mut self, version: u64) {
        self.versions.remove(&version);
        self.published.retain(|published| *published != version);
        self.stale.remove(&version);
    }

    /// Makes the next patches of `version` fail as stale, as if another editor had replaced the draft.
    pub(crate) fn mark_stale(&mut self, version: u64) {
        self.stale.insert(version);
    }

    pub(crate) fn is_stale(&self, version: u64) -> bool {
        self.stale.contains(&version)
    }
}
