use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::security::{deserialize_keys, invalid_key_reason};
use crate::base::secret::Secret;
use crate::config::values::company_slug::{CompanySlug, DEFAULT_COMPANY_SLUG};
use crate::config::values::string_list;
use crate::config::{FieldError, RetentionDays, parse_time_zone};

/// Path segments that are routes, or may become routes, below the webhook's and the functions' paths.
const RESERVED_SLUGS: [&str; 8] = ["inbound", "test", "retell", "function", "webhook", "docs", "health", "metrics"];

/// One `[[companies]]` table: a customer with a separate webhook URL, `/api/v1/webhook/retell/<slug>`.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
pub struct CompanySettings {
    /// Identifier in URLs, lists and filters: 2 to 40 lower-case letters, digits or `-`, unique.
    #[schemars(with = "String", example = &"acme")]
    pub slug: CompanySlug,
    /// Name that is shown to people. Unset: the slug.
    #[serde(default)]
    #[schemars(example = &"Acme Dental")]
    pub name: Option<String>,
    /// API keys whose signatures are accepted on the company's routes.
    #[serde(default, deserialize_with = "deserialize_keys")]
    #[schemars(with = "string_list::StringList", example = ["key_9f27a1c4de5588b2031fa7c0"])]
    pub keys: Vec<Secret>,
    /// File that holds `keys`, separated by commas or lines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"/run/secrets/acme_webhook_key")]
    pub keys_file: Option<PathBuf>,
    /// API key for the company's Retell account; its signatures are accepted as well. Unset: the account is not read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"key_51c0b7e2d94f8a36517f20de")]
    pub api_key: Option<Secret>,
    /// Path of a file that holds `api_key`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", example = &"/run/secrets/acme_api_key")]
    pub api_key_file: Option<PathBuf>,
    /// Ids of the company's agents. An event of another agent on the company's routes is stored as well, with a
    /// warning in the log.
    #[serde(default, deserialize_with = "string_list::deserialize_strings")]
    #[schemars(with = "string_list::StringList", example = ["agent_1"])]
    pub agents: Vec<String>,
    /// How long the company's data is kept, where that differs from `[retention]`. The keys are those of `[retention]`
    /// without `max_bytes`; 0 keeps data without limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("examples" = [{"events_days": 30}]))]
    pub retention: Option<RetentionDays>,
    /// IANA time zone of the company's appointments. Unset: `appointments.time_zone`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(example = &"America/New_York")]
    pub time_zone: Option<String>,
}

/// Refuses invalid or duplicate slugs, invalid keys, and keys or agents that two companies share.
pub(in crate::config) fn validate(
    companies: &[CompanySettings],
    own: &[Secret],
    verify: bool,
) -> Result<(), FieldError> {
    for (position, company) in companies.iter().enumerate() {
        let refused =
            |key: &str, why: String| Err(FieldError::new(key, why).in_list("companies", position, &company.slug));
        if *company.slug == *DEFAULT_COMPANY_SLUG {
            let why = "`default` is the company of the plain route; its keys are security.keys (RETELL_API_KEY)";
            return Err(FieldError::new(format!("companies[{position}].slug"), why));
        }
        if RESERVED_SLUGS.contains(&&*company.slug) {
            let why = format!("`{}` is the path of a route; choose another slug", company.slug);
            return Err(FieldError::new(format!("companies[{position}].slug"), why));
        }
        let earlier = &companies[..position];
        if earlier.iter().any(|other| other.slug == company.slug) {
            return refused("slug", format!("`{}` is already the slug of an earlier company", company.slug));
        }
        if let Some(name) = &company.time_zone {
            parse_time_zone("time_zone", name).map_err(|error| error.in_list("companies", position, &company.slug))?;
        }
        if company.keys.is_empty() && verify {
            return refused(
                "keys",
                "neither it nor api_key is set, so none of the company's events could be verified".to_owned(),
            );
        }
        if let Some(why) = company.keys.iter().find_map(invalid_key_reason) {
            return refused("keys", format!("one of them {why}; take it from the company's own Retell dashboard"));
        }
        let has = |key: &Secret| own.contains(key) || earlier.iter().any(|other| other.keys.contains(key));
        if company.keys.iter().any(has) {
            return refused("keys", "another company has the same key, so an event could belong to either".to_owned());
        }
        if earlier.iter().any(|other| other.agents.iter().any(|agent| company.agents.contains(agent))) {
            return refused("agents", "another company has one of these agents".to_owned());
        }
    }
    Ok(())
}
