//! Which events a handler wants.

use crate::config::HandlerSettings;
use crate::storage::EventSummary;

/// Narrows what a handler gets; an empty list means all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    events: Vec<String>,
    agents: Vec<String>,
    companies: Vec<String>,
}

impl Filter {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Only events of these names.
    #[must_use]
    pub fn events<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.events = names.into_iter().map(Into::into).collect();
        self
    }

    /// Only events about these agents.
    #[must_use]
    pub fn agents<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Self {
        self.agents = ids.into_iter().map(Into::into).collect();
        self
    }

    /// Only events of these companies.
    #[must_use]
    pub fn companies<T: Into<String>>(mut self, slugs: impl IntoIterator<Item = T>) -> Self {
        self.companies = slugs.into_iter().map(Into::into).collect();
        self
    }

    pub(super) fn of(settings: &HandlerSettings) -> Self {
        Self::all()
            .events(settings.events.clone())
            .agents(settings.agents.clone())
            .companies(settings.companies.clone())
    }

    /// Whether the handler wants this event.
    #[must_use]
    pub fn matches(&self, event: &EventSummary) -> bool {
        let wants = |list: &[String], value: Option<&str>| {
            list.is_empty() || value.is_some_and(|value| list.iter().any(|wanted| wanted == value))
        };
        wants(&self.events, event.event.as_deref())
            && wants(&self.agents, event.agent_id.as_deref())
            && wants(&self.companies, Some(&event.company))
    }
}
