//! The filter that decides which events a handler receives.

use bytes::Bytes;
use serde_json::Value;
use serde_json_path::JsonPath;

use crate::config::{FieldError, HandlerSettings};
use crate::event::parse_json;
use crate::storage::EventSummary;

/// Decides which events a handler receives; an empty list means all events from Retell. Internal events of the
/// receiver, such as alarms, must match a name in [`Filter::events`], such as `alarm_*` or `*`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    events: Vec<String>,
    agents: Vec<String>,
    companies: Vec<String>,
    call_types: Vec<String>,
    directions: Vec<String>,
    when: Option<JsonPath>,
}

impl Filter {
    /// Matches every event from Retell.
    #[must_use]
    pub fn all() -> Self {
        Self::default()
    }

    /// Matches only events with these names; `*` matches any characters, as in `transfer_*`.
    #[must_use]
    pub fn events<T: Into<String>>(mut self, names: impl IntoIterator<Item = T>) -> Self {
        self.events = into_strings(names);
        self
    }

    /// Matches only events of calls and chats with these agents.
    #[must_use]
    pub fn agents<T: Into<String>>(mut self, ids: impl IntoIterator<Item = T>) -> Self {
        self.agents = into_strings(ids);
        self
    }

    /// Matches only events of the companies with these slugs.
    #[must_use]
    pub fn companies<T: Into<String>>(mut self, slugs: impl IntoIterator<Item = T>) -> Self {
        self.companies = into_strings(slugs);
        self
    }

    /// Matches only events of calls of these types: `phone_call`, `web_call`.
    #[must_use]
    pub fn call_types<T: Into<String>>(mut self, types: impl IntoIterator<Item = T>) -> Self {
        self.call_types = into_strings(types);
        self
    }

    /// Matches only events of calls in these directions: `inbound`, `outbound`.
    #[must_use]
    pub fn directions<T: Into<String>>(mut self, directions: impl IntoIterator<Item = T>) -> Self {
        self.directions = into_strings(directions);
        self
    }

    /// Matches only bodies in which this JSONPath (RFC 9535) selects at least one node, such as
    /// `$.call.call_analysis[?@ == 'Negative']` or `$[?@.duration_ms > 60000]`.
    ///
    /// # Errors
    /// Where and why the path does not parse.
    pub fn when(mut self, path: &str) -> Result<Self, String> {
        let parsed = JsonPath::parse(path).map_err(|error| {
            format!(
                "it is not a JSONPath (RFC 9535), error at character {}: {}; expected a path such as \
                 $[?@.duration_ms > 60000]",
                error.position() + 1,
                error.message()
            )
        })?;
        self.when = Some(parsed);
        Ok(self)
    }

    pub(super) fn from_settings(settings: &HandlerSettings) -> Result<Self, FieldError> {
        let filter = Self::all()
            .events(settings.events.clone())
            .agents(settings.agents.clone())
            .companies(settings.companies.clone())
            .call_types(settings.call_types.clone())
            .directions(settings.directions.clone());
        match &settings.when {
            Some(path) => filter.when(path).map_err(|why| FieldError::new("when", why)),
            None => Ok(filter),
        }
    }

    /// Whether [`Filter::matches`] needs the body. The caller reads it from the store only then.
    #[must_use]
    pub fn needs_body(&self) -> bool {
        self.when.is_some() || !self.call_types.is_empty() || !self.directions.is_empty()
    }

    /// Whether the handler receives this event. Without a body, conditions on the body do not hold.
    #[must_use]
    pub fn matches(&self, event: &EventSummary, body: Option<&Bytes>) -> bool {
        // An empty list does not include internal events: a handler for Retell's events must not receive alarms
        // unasked.
        let matches_every_name = self.events.is_empty() && !event.is_internal();
        let matches_name = matches_every_name || event.kind.as_deref().is_some_and(|name| self.names_event(name));
        matches_name
            && is_listed(&self.agents, event.agent_id.as_deref())
            && is_listed(&self.companies, Some(&event.company))
            && (!self.needs_body() || body.is_some_and(|body| self.matches_body(body)))
    }

    /// Whether the conditions hold that need no body. A body that cannot be read at the moment must not exclude the event
    /// for good.
    pub(crate) fn may_match(&self, event: &EventSummary) -> bool {
        let without_body = Self { when: None, call_types: Vec::new(), directions: Vec::new(), ..self.clone() };
        without_body.matches(event, None)
    }

    /// Whether a pattern in [`Filter::events`] matches this name.
    #[must_use]
    pub fn names_event(&self, event: &str) -> bool {
        self.events.iter().any(|wanted| glob_matches(wanted, event))
    }

    fn matches_body(&self, body: &[u8]) -> bool {
        let Some(body) = parse_json(body) else {
            return false;
        };
        let call = body.get("call").or_else(|| body.get("data"));
        let field = |name: &str| call.and_then(|call| call.get(name)).and_then(Value::as_str);
        is_listed(&self.call_types, field("call_type"))
            && is_listed(&self.directions, field("direction"))
            && self.when.as_ref().is_none_or(|path| !path.query(&body).is_empty())
    }
}

impl Filter {
    /// Whether an event's name matches an entry of a handler's `events`, in which `*` matches any characters.
    #[must_use]
    pub fn name_matches(wanted: &str, name: &str) -> bool {
        glob_matches(wanted, name)
    }
}

fn into_strings<T: Into<String>>(list: impl IntoIterator<Item = T>) -> Vec<String> {
    list.into_iter().map(Into::into).collect()
}

/// An empty list contains every value, also a missing one.
fn is_listed(list: &[String], value: Option<&str>) -> bool {
    list.is_empty() || value.is_some_and(|value| list.iter().any(|wanted| wanted == value))
}

/// Whether a name matches a pattern in which `*` matches any characters. Without backtracking: the leftmost match of
/// each part is enough, so the time is bounded by the lengths of name and pattern.
fn glob_matches(pattern: &str, name: &str) -> bool {
    let Some((start, rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut left) = name.strip_prefix(start) else {
        return false;
    };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let end = parts.pop().unwrap_or_default();
    for part in parts {
        match left.split_once(part) {
            Some((_, after)) => left = after,
            None => return false,
        }
    }
    left.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::handlers::test_fixtures;
    use crate::storage::EventOrigin;

    #[test]
    fn glob_patterns_match_whole_names() {
        for (pattern, name, wanted) in [
            ("call_ended", "call_ended", true),
            ("call_ended", "call_ended_x", false),
            ("*", "", true),
            ("transfer_*", "transfer_started", true),
            ("transfer_*", "xtransfer_started", false),
            ("*_ended", "call_ended", true),
            ("*_ended", "call_endedx", false),
            ("c*l_*d", "call_ended", true),
            ("a*a", "a", false),
            ("call_*ed*", "call_ended", true),
        ] {
            assert_eq!(glob_matches(pattern, name), wanted, "{pattern} {name}");
        }
    }

    #[test]
    fn internal_events_must_be_listed_by_name() {
        let (sent, _) = test_fixtures::sample_event("alarm_triggered");
        let own = EventSummary { origin: EventOrigin::Internal, ..sent.clone() };
        let wants = |filter: &Filter| (filter.matches(&sent, None), filter.matches(&own, None));
        assert_eq!(wants(&Filter::all()), (true, false), "Retell could send an event with such a name");
        assert_eq!(wants(&Filter::all().events(["alarm_*"])), (true, true));
        assert_eq!(wants(&Filter::all().events(["*"])), (true, true));
        assert_eq!(wants(&Filter::all().events(["call_*"])), (false, false));
        assert_eq!(wants(&Filter::all().companies(["default"])), (true, false));
    }

    #[test]
    fn body_conditions_select_by_path_type_and_direction() {
        let body =
            br#"{"event":"call_analyzed","call":{"call_type":"phone_call","direction":"inbound","duration_ms":70000,
            "call_analysis":{"user_sentiment":"Negative","call_successful":false}}}"#;
        let when = |path: &str| Filter::all().when(path).unwrap().matches_body(body);
        assert!(when("$[?@.duration_ms > 60000]") && !when("$[?@.duration_ms > 80000]"));
        assert!(when("$.call.call_analysis[?@ == 'Negative']") && !when("$.call.call_analysis[?@ == 'Positive']"));
        assert!(when("$.call[?@.call_successful == false]") && !when("$.call.transcript"));
        assert!(Filter::all().directions(["inbound"]).call_types(["phone_call"]).matches_body(body));
        assert!(!Filter::all().directions(["outbound"]).matches_body(body));
        assert!(!Filter::all().directions(["inbound"]).matches_body(b"not json"));
        assert!(Filter::all().when("call.duration").unwrap_err().contains("it is not a JSONPath"));
    }
}
