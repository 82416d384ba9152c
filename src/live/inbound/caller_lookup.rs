//! Who is calling, as far as the call store knows. Looked up once a request, and only when a rule wants to know.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Value, context};
use serde_json::Value as Json;
use tokio::sync::OnceCell;

use crate::security::phone_number;
use crate::storage::{CallerHistory, Store};

/// How long the look-up may take of the budget.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(100);
/// Where people keep a caller's name in custom analysis data.
const CALLER_NAME_KEYS: [&str; 5] = ["caller_name", "customer_name", "user_name", "full_name", "name"];
/// Longer texts are no names.
const MAX_NAME_BYTES: usize = 200;

/// The caller of one request.
pub(super) struct CallerLookup {
    store: Arc<dyn Store>,
    company_id: i64,
    number: String,
    history: OnceCell<Option<CallerHistory>>,
}

impl CallerLookup {
    pub(super) fn new(store: &Arc<dyn Store>, company_id: i64, number: &str) -> Self {
        Self { store: Arc::clone(store), company_id, number: number.to_owned(), history: OnceCell::new() }
    }

    /// `None` when it cannot be found out in time: then a rule about it does not hold, whichever way it asks.
    pub(super) async fn is_known(&self) -> Option<bool> {
        self.history().await.map(|history| history.call_count > 0)
    }

    /// `caller` in templates. What is not known is absent; without an answer of the store everything is.
    pub(super) async fn template_variables(&self, zone: &TimeZone) -> Value {
        let Some(history) = self.history().await else { return context! { calls => 0, known => false } };
        let at = history.last_call_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        context! {
            calls => history.call_count,
            known => history.call_count > 0,
            last_call_at => at.map(|at| at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()),
            last_summary => history.last_summary.clone(),
            name => find_caller_name(&history.custom_analysis_data),
        }
    }

    async fn history(&self) -> Option<&CallerHistory> {
        self.history.get_or_init(|| self.load_history()).await.as_ref()
    }

    async fn load_history(&self) -> Option<CallerHistory> {
        if phone_number::is_withheld(&self.number) {
            return Some(CallerHistory::default());
        }
        match tokio::time::timeout(LOOKUP_TIMEOUT, self.store.caller_history(self.company_id, &self.number)).await {
            Ok(Ok(history)) => Some(history),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the call store could not be asked about a caller; rules about it do not hold");
                None
            }
            Err(_) => {
                tracing::warn!("the call store did not say within 100 ms who is calling; rules about it do not hold");
                None
            }
        }
    }
}

fn find_caller_name(custom_data: &[String]) -> Option<String> {
    custom_data.iter().find_map(|json| {
        let data: Json = serde_json::from_str(json).ok()?;
        CALLER_NAME_KEYS.iter().find_map(|key| {
            let name = data.get(key)?.as_str()?.trim();
            (1..=MAX_NAME_BYTES).contains(&name.len()).then(|| name.to_owned())
        })
    })
}

#[cfg(test)]
mod tests {
    use super::find_caller_name;

    #[test]
    fn a_name_is_the_latest_that_was_noted() {
        let data = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            find_caller_name(&data(&[r#"{"order":7}"#, r#"{"customer_name":" Ana Sol "}"#])).as_deref(),
            Some("Ana Sol")
        );
        assert_eq!(find_caller_name(&data(&[r#"{"name":"New"}"#, r#"{"caller_name":"Old"}"#])).as_deref(), Some("New"));
        assert_eq!(find_caller_name(&data(&[r#"{"name":""}"#, r#"{"name":7}"#, "no JSON", "[]"])), None);
    }
}
