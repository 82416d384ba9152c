//! Settings: the keys, their sources, and the validation of their values. Imports no feature module.
//!
//! Layers, where a later one overrides an earlier one: built-in defaults, `config/default.toml`,
//! `config/<RUN_ENV>.toml`, `config/local.toml`, the file of `--config`, `.env` in the working directory, environment
//! variables, options of the command line.
//!
//! The doc comments, types and defaults of the settings structs are the only source of `config/default.toml`,
//! `docs/configuration.md` and `docs/configuration.schema.json`; see [`mod@reference`].

#[cfg(test)]
mod clean_tests;
#[cfg(test)]
mod error_tests;
mod field_error;
#[cfg(test)]
mod key_tests;
mod load;
mod sections;
#[cfg(test)]
mod tests;
mod validate;
mod values;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use field_error::FieldError;
pub use load::{ConfigSources, Origins};
pub(crate) use load::{enter_folder, reference};
pub use sections::{AlarmSettings, DeliverySettings, HandlerKind, HandlerSettings, RevisionPolicy, TranscriptPolicy};
pub(crate) use sections::{
    AppointmentSettings, CompanySettings, DateOrder, DeliveryOrdering, DocsSettings, EgressSettings, ExecSettings,
    FileSettings, FunctionFallback, FunctionSettings, IdempotencyMode, InboundAnswerSettings, InboundAskSettings,
    InboundKind, InboundRuleSettings, InboundSettings, LogFormat, LogSettings, OpeningHours, OpsSettings,
    ProgramSearchPath, RetellSettings, RetellSignatureMode, RetentionDays, RetentionSettings, SecuritySettings,
    ServerSettings, ServiceSettings, StorageSettings, is_function_name, normalize_name, parse_time_zone,
};
pub(crate) use values::address_list::EgressAllowlist;
pub(crate) use values::company_slug::{CompanySlug, DEFAULT_COMPANY_SLUG};
pub(crate) use values::public_url::is_loopback_url;
pub(crate) use values::storage_url::StorageUrl;

/// All settings of the receiver, after every layer has been merged.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema, Serialize)]
#[serde(default)]
pub struct Settings {
    /// The listening address and the limits on request bodies.
    pub server: ServerSettings,
    /// Which requests are accepted as coming from Retell.
    pub security: SecuritySettings,
    /// The key and the address of Retell's REST API. Read again on SIGHUP.
    pub retell: RetellSettings,
    /// Where events are stored on disk.
    pub storage: StorageSettings,
    /// How long stored data is kept. Nothing is deleted by default: a key that is unset or 0 keeps its data without
    /// limit. Read again on SIGHUP.
    pub retention: RetentionSettings,
    /// What is logged, in which format, and where to.
    pub log: LogSettings,
    /// Who may read `/metrics` and the details of `/health/ready`, and on which address.
    pub ops: OpsSettings,
    /// Thresholds at which the receiver raises an alarm about itself, in the log, in `/metrics`, in `status` and as
    /// `alarm_*` events for handlers that list them. Read again on SIGHUP.
    pub alarms: AlarmSettings,
    /// Customers with separate webhook URLs, `/api/v1/webhook/retell/<slug>`, and API keys. The routes without a slug
    /// belong to the company `default`, whose keys are `security.keys`. Read again on SIGHUP.
    pub companies: Vec<CompanySettings>,
    /// The built-in functions that book, change and cancel appointments.
    pub appointments: AppointmentSettings,
    /// Whether the receiver serves its own API documentation.
    pub docs: DocsSettings,
    /// Internal addresses that handlers may post to. Set in files only, not by environment variables.
    pub egress: EgressSettings,
    /// Answers to inbound calls and to the first text messages of chats. Rules and fallback are set in files only.
    /// Read again on SIGHUP.
    pub inbound: InboundSettings,
    /// Where stored events are delivered. The built-in handlers `log` and `call_store` run as well, unless a table has
    /// their kind; `enabled = false` in it turns them off. Set in files only; read again on SIGHUP.
    pub handlers: Vec<HandlerSettings>,
    /// Custom functions that an agent's model can invoke, at `/api/v1/function/<name>`. Set in files only; read again
    /// on SIGHUP.
    pub functions: Vec<FunctionSettings>,
    /// Where each value was set, for error messages.
    #[doc(hidden)]
    #[serde(skip)]
    pub origins: Origins,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: ServerSettings::default(),
            security: SecuritySettings::default(),
            retell: RetellSettings::default(),
            storage: StorageSettings::default(),
            retention: RetentionSettings::default(),
            log: LogSettings::default(),
            ops: OpsSettings::default(),
            alarms: AlarmSettings::default(),
            companies: Vec::new(),
            appointments: AppointmentSettings::default(),
            docs: DocsSettings::default(),
            egress: EgressSettings::default(),
            inbound: InboundSettings::default(),
            handlers: HandlerSettings::defaults(),
            functions: Vec::new(),
            origins: Origins::default(),
        }
    }
}

impl Settings {
    /// The configured company with this slug. The default company is not configured, so it has none.
    pub(crate) fn find_company(&self, slug: &str) -> Option<&CompanySettings> {
        self.companies.iter().find(|company| company.slug == *slug)
    }

    /// Reads, merges and validates all layers of `sources`.
    ///
    /// # Errors
    /// An unreadable file, an unknown key, a value of the wrong type or an invalid value. The text names the key and
    /// the next step, never a secret.
    pub fn load(sources: &ConfigSources) -> Result<Self, FieldError> {
        let settings = load::load(sources)?;
        settings.validate()?;
        Ok(settings)
    }
}
