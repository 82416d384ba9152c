//! The caller's history in the call store. It is read at most once per request, and only if a rule or template needs
//! it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use minijinja::{Value, context};
use tokio::sync::OnceCell;

use crate::base::id::CompanyId;
use crate::event::parse_json;
use crate::privacy::{number_spelling, phone_number};
use crate::storage::{CallStore, CallerHistory};

/// Limit for the lookup. The rest of the budget is needed for the answer.
const LOOKUP_TIMEOUT: Duration = Duration::from_millis(100);
/// Keys under which custom analysis data usually holds a caller's name, in order of preference.
const CALLER_NAME_KEYS: [&str; 5] = ["caller_name", "customer_name", "user_name", "full_name", "name"];
/// Longer texts are ignored, since they are not names.
const MAX_NAME_BYTES: usize = 200;

/// The caller of one request.
pub(super) struct CallerLookup {
    calls: Arc<dyn CallStore>,
    company_id: CompanyId,
    number: String,
    /// `None` after a lookup that failed, so that it is not tried again for the next rule.
    history: OnceCell<Option<CallerHistory>>,
}

impl CallerLookup {
    pub(super) fn new(calls: &Arc<dyn CallStore>, company_id: CompanyId, number: &str) -> Self {
        Self {
            calls: Arc::clone(calls),
            company_id,
            number: number_spelling::to_e164(number),
            history: OnceCell::new(),
        }
    }

    /// Whether there was an earlier call. `None` if the lookup failed: then neither `known_caller = true` nor
    /// `known_caller = false` matches.
    pub(super) async fn is_known(&self) -> Option<bool> {
        self.history().await.map(|history| history.call_count > 0)
    }

    /// The object `caller` of templates. Unknown values are `none`, which renders as empty text. After a failed lookup
    /// only `calls` and `known` are set, as for a new caller.
    pub(super) async fn template_variables(&self, zone: &TimeZone) -> Value {
        let Some(history) = self.history().await else { return context! { calls => 0, known => false } };
        let last_call_at = history.last_call_at_ms.and_then(|ms| Timestamp::from_millisecond(ms).ok());
        context! {
            calls => history.call_count,
            known => history.call_count > 0,
            last_call_at =>
                last_call_at.map(|at| at.to_zoned(zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()),
            last_summary => history.last_summary.clone(),
            name => find_caller_name(&history.custom_analysis_data),
        }
    }

    async fn history(&self) -> Option<&CallerHistory> {
        self.history.get_or_init(|| self.load_history()).await.as_ref()
    }

    async fn load_history(&self) -> Option<CallerHistory> {
        // All anonymous callers share one "number"; they must not see one another's history.
        if phone_number::is_withheld(&self.number) {
            return Some(CallerHistory::default());
        }
        match tokio::time::timeout(LOOKUP_TIMEOUT, self.calls.caller_history(self.company_id, &self.number)).await {
            Ok(Ok(history)) => Some(history),
            Ok(Err(error)) => {
                tracing::warn!(%error, "caller lookup failed");
                None
            }
            Err(_) => {
                let error = format!("no result within {} ms", LOOKUP_TIMEOUT.as_millis());
                tracing::warn!(%error, "caller lookup failed");
                None
            }
        }
    }
}

/// The first name in the data of the latest calls, newest first.
fn find_caller_name(custom_data: &[String]) -> Option<String> {
    custom_data.iter().find_map(|json| {
        let data = parse_json(json.as_bytes())?;
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
    fn latest_call_with_a_name_wins() {
        let data = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        assert_eq!(
            find_caller_name(&data(&[r#"{"order":7}"#, r#"{"customer_name":" Ana Sol "}"#])).as_deref(),
            Some("Ana Sol")
        );
        assert_eq!(find_caller_name(&data(&[r#"{"name":"New"}"#, r#"{"caller_name":"Old"}"#])).as_deref(), Some("New"));
        assert_eq!(find_caller_name(&data(&[r#"{"name":""}"#, r#"{"name":7}"#, "no JSON", "[]"])), None);
    }
}
