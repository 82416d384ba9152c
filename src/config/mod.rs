//! Settings: what can be set, where it is read from, and what is refused. Imports no feature.
//!
//! Layers, later wins: built-in defaults, `config/default.toml`, `config/<RUN_ENV>.toml`, `config/local.toml`, `.env`
//! in the working folder, the environment.

mod alarms;
mod appointments;
mod companies;
mod docs;
mod egress;
mod functions;
mod handlers;
mod inbound;
mod load;
mod log;
mod ops;
mod origins;
mod restart_keys;
mod retention;
mod security;
mod server;
mod storage;
mod string_list;
mod suggest;
#[cfg(test)]
mod tests;
mod validate;

use serde::{Deserialize, Serialize};

pub use alarms::AlarmSettings;
pub(crate) use appointments::{
    AppointmentSettings, DateOrder, OpeningHours, ServiceSettings, normalize_service_name, parse_time_zone,
};
pub(crate) use companies::{CompanySettings, DEFAULT_COMPANY_SLUG};
pub(crate) use docs::DocsSettings;
pub(crate) use egress::EgressSettings;
pub(crate) use functions::{FunctionFallback, FunctionSettings, IdempotencyMode, is_function_name};
pub(crate) use handlers::{DeliveryOrdering, ExecSettings, FileSettings, ProgramSearchPath, RetellSignatureMode};
pub use handlers::{DeliverySettings, HandlerKind, HandlerSettings, RevisionPolicy, TranscriptPolicy};
pub(crate) use inbound::{
    InboundAnswerSettings, InboundAskSettings, InboundKind, InboundRuleSettings, InboundSettings,
};
pub use load::{ConfigError, ConfigSources};
pub(crate) use log::{LogFormat, LogSettings};
pub(crate) use ops::OpsSettings;
pub(crate) use retention::{RetentionDays, RetentionSettings};
pub(crate) use security::SecuritySettings;
pub(crate) use server::ServerSettings;
pub(crate) use storage::StorageSettings;

/// Everything that can be configured, after all layers were merged.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(default)]
pub struct Settings {
    /// `[server]`: where to listen, and how much to take in at once.
    pub server: ServerSettings,
    /// `[security]`: whose events are believed.
    pub security: SecuritySettings,
    /// `[storage]`: where events are kept.
    pub storage: StorageSettings,
    /// `[retention]`: how long what is stored is kept. Unset: for ever.
    pub retention: RetentionSettings,
    /// `[log]`: what is printed while it runs.
    pub log: LogSettings,
    /// `[ops]`: who sees metrics and the details of health, and where.
    pub ops: OpsSettings,
    /// `[alarms]`: what is watched, and when it is worth a word.
    pub alarms: AlarmSettings,
    /// `[[companies]]`: customers with events and keys of their own. The plain route's company is not among them.
    pub companies: Vec<CompanySettings>,
    /// `[appointments]`: the functions that book appointments.
    pub appointments: AppointmentSettings,
    /// `[docs]`: the interface's description, in the browser.
    pub docs: DocsSettings,
    /// `[egress]`: where handlers may post to.
    pub egress: EgressSettings,
    /// `[inbound]`: what inbound calls and text messages are answered.
    pub inbound: InboundSettings,
    /// `[[handlers]]`: what is done with stored events. Naming any replaces the two built-in ones.
    pub handlers: Vec<HandlerSettings>,
    /// `[[functions]]`: what an agent's model can call.
    pub functions: Vec<FunctionSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            server: ServerSettings::default(),
            security: SecuritySettings::default(),
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
        }
    }
}

impl Settings {
    /// Reads and checks all layers of `sources`.
    ///
    /// # Errors
    /// A file that cannot be read, an unknown key, a value of the wrong type or one that is refused; the text names
    /// the key and what to do, never a secret.
    pub fn load(sources: &ConfigSources) -> Result<Self, ConfigError> {
        let settings = load::load(sources)?;
        settings.validate()?;
        Ok(settings)
    }
}
