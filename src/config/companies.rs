use serde::{Deserialize, Serialize};

use super::security::{deserialize_keys, invalid_key_reason};
use super::{ConfigError, RetentionDays, parse_time_zone, string_list};
use crate::base::secret::Secret;

/// The company of the plain webhook route, whose keys are `security.keys`.
pub(crate) const DEFAULT_COMPANY_SLUG: &str = "default";

/// Words that are routes, or may become some, under the webhook's and the functions' paths.
const RESERVED_SLUGS: [&str; 8] = ["inbound", "test", "retell", "function", "webhook", "docs", "health", "metrics"];

/// One `[[companies]]` table: a customer with events of its own at `/api/v1/webhook/retell/<slug>`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct CompanySettings {
    /// Names it in URLs, lists and filters: 2 to 40 small letters, digits or `-`.
    pub slug: String,
    /// Its name for people; the slug when unset.
    #[serde(default)]
    pub name: Option<String>,
    /// API keys whose signatures are accepted on its routes: a list, or one text with commas.
    #[serde(default, deserialize_with = "deserialize_keys")]
    pub keys: Vec<Secret>,
    /// Ids of its agents. An event of another agent on its routes is taken all the same, and warned about.
    #[serde(default, deserialize_with = "string_list::deserialize_strings")]
    pub agents: Vec<String>,
    /// How long its data is kept, where that differs from `[retention]`; 0 means for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retention: Option<RetentionDays>,
    /// The time zone of its appointments, as IANA names it; `appointments.time_zone` when unset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub time_zone: Option<String>,
}

/// Refuses slugs that are no slugs or taken, keys that are no keys, and keys and agents of two companies.
pub(super) fn validate(companies: &[CompanySettings], own: &[Secret], verify: bool) -> Result<(), ConfigError> {
    for (position, company) in companies.iter().enumerate() {
        let refused = |key: &str, why: String| Err(ConfigError::invalid(&format!("companies[{position}].{key}"), why));
        if let Some(why) = invalid_slug_reason(&company.slug) {
            return refused("slug", why.to_owned());
        }
        let earlier = &companies[..position];
        if earlier.iter().any(|other| other.slug == company.slug) {
            return refused("slug", format!("`{}` is taken by an earlier company", company.slug));
        }
        if let Some(name) = &company.time_zone {
            parse_time_zone(&format!("companies[{position}].time_zone"), name)?;
        }
        if company.keys.is_empty() && verify {
            return refused("keys", format!("`{}` has no API key: none of its events could be verified", company.slug));
        }
        if let Some(why) = company.keys.iter().find_map(invalid_key_reason) {
            return refused("keys", format!("one of them {why}; take it from the company's own Retell dashboard"));
        }
        let has = |key: &Secret| own.contains(key) || earlier.iter().any(|other| other.keys.contains(key));
        if company.keys.iter().any(has) {
            return refused("keys", "another company has the same key: whose event would it be?".to_owned());
        }
        if earlier.iter().any(|other| other.agents.iter().any(|agent| company.agents.contains(agent))) {
            return refused("agents", "another company has the same agent".to_owned());
        }
    }
    Ok(())
}

fn invalid_slug_reason(slug: &str) -> Option<&'static str> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !(2..=40).contains(&slug.len()) || !slug.chars().all(plain) {
        Some("expected 2 to 40 small letters, digits or `-`")
    } else if slug == DEFAULT_COMPANY_SLUG {
        Some("`default` is the company of the plain route; its keys are security.keys (RETELL_API_KEY)")
    } else if RESERVED_SLUGS.contains(&slug) {
        Some("that word is a route; choose another slug")
    } else {
        None
    }
}
