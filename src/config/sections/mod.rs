//! The sections of the configuration file: one file per table, with its keys, defaults and bounds.

mod alarms;
mod appointments;
pub(super) mod companies;
mod docs;
mod egress;
pub(super) mod functions;
mod handlers;
mod inbound;
mod log;
mod ops;
pub(super) mod retell;
pub(super) mod retention;
pub(super) mod security;
mod server;
mod storage;

pub use alarms::AlarmSettings;
pub(crate) use appointments::{
    AppointmentSettings, DateOrder, OpeningHours, ServiceSettings, normalize_name, parse_time_zone,
};
pub(crate) use companies::CompanySettings;
pub(crate) use docs::DocsSettings;
pub(crate) use egress::EgressSettings;
pub(crate) use functions::{FunctionFallback, FunctionSettings, IdempotencyMode, is_function_name};
pub(crate) use handlers::{
    DeliveryOrdering, ExecSettings, FileSettings, ProgramSearchPath, RetellSignatureMode, find_shared_file,
};
pub use handlers::{DeliverySettings, HandlerKind, HandlerSettings, RevisionPolicy, TranscriptPolicy};
pub(crate) use inbound::{
    InboundAnswerSettings, InboundAskSettings, InboundKind, InboundRuleSettings, InboundSettings,
};
pub(crate) use log::{LogFormat, LogSettings};
pub(crate) use ops::OpsSettings;
pub(crate) use retell::RetellSettings;
pub(crate) use retention::{RetentionDays, RetentionSettings};
pub(crate) use security::SecuritySettings;
pub(crate) use server::ServerSettings;
pub(crate) use storage::StorageSettings;
