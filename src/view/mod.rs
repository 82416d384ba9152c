//! The shape of everything that `--json` prints: plain data that [`crate::operations`] makes from stored values.

mod appointment;
mod config;
mod conversation;
mod delivery;
mod doctor;
mod erasure;
mod event;
mod function;
mod import;
mod purge;
mod rejected;
mod simulation;
mod status;
mod test_result;

pub(crate) use appointment::AppointmentView;
pub(crate) use config::{CompanyView, SettingView, SettingsView};
pub(crate) use conversation::{
    AgentNameView, CallGroupView, CallStatsView, CallTotalsView, CallView, ChatView, ConversationBaseView,
    ConversationDetailsView, ConversationTextsView, ConversationView,
};
pub(crate) use delivery::{
    AttemptView, BulkChangeView, DeliveryCountView, DeliveryDetailsView, DeliveryView, OutlookView,
};
pub(crate) use doctor::{DoctorFinding, FindingLevel};
pub(crate) use erasure::{
    ErasedLinesView, ErasedRowsView, ErasureView, ExternalHandlerView, NotErasedView, NotReachedView,
};
pub(crate) use event::{
    EventDetailsView, EventView, ExportedEventView, ExportedHeadersView, StoredInboundAnswerView, TailedEventView,
};
pub(crate) use function::{FunctionTableView, FunctionTestView, FunctionView, InvocationView, RetellToolView};
pub(crate) use import::{ImportLineErrorView, ImportView};
pub(crate) use purge::{PurgeCascadeView, PurgeView, PurgedByRuleView};
pub(crate) use rejected::RejectedRequestView;
pub(crate) use simulation::{
    LatencyView, RequestCountsView, SimulatedEventView, SimulatedRequestContentView, SimulatedRequestView,
    SimulationView, StoreComparisonView, StoreProblemView,
};
pub(crate) use status::{
    AlarmView, EventCountsView, HandlerStatusView, ReceiverStatusView, RetentionView, StatusView, StoreStatusView,
};
pub(crate) use test_result::{InboundTestView, LoadReportView, ScenarioView, SendResultView, SignatureCheckView};
