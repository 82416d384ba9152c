//! The results of [`crate::operations`]: plain data, made from stored values. They serialize, so a caller can return
//! them as JSON without defining another type.

mod appointment;
mod backup;
mod conversation;
mod erasure;
mod events;
mod function;
mod latency;
mod named_value;
mod purge;
mod receiver;

pub(crate) use appointment::{AppointmentStateView, AppointmentView};
pub(crate) use backup::{BackupCheckView, BackupView, ReappliedErasuresView, RestoreView, UnreachedBackupView};
pub(crate) use conversation::{
    AgentNameView, CallGroupView, CallStatsView, CallTotalsView, CallView, ChatView, ConversationBaseView,
    ConversationDetailsView, ConversationTextsView, ConversationView, RebuiltStatsView,
};
pub(crate) use erasure::{
    ErasedLinesView, ErasedRowsView, ErasureSubjectKind, ErasureView, ExternalHandlerView, NotErasedView,
    NotReachedView,
};
pub(crate) use events::{
    AttemptOutcomeView, AttemptView, BulkChangeView, DeliveryCountView, DeliveryDetailsView, DeliveryStateView,
    DeliveryView, EventDetailsView, EventOriginView, EventStateView, EventView, ExportedEventView, ExportedHeadersView,
    ImportLineErrorView, ImportView, OutlookView, RejectedRequestView, StoredInboundAnswerView, TailedEventView,
    UndeliveredStateView,
};
pub(crate) use function::{
    FunctionTableView, FunctionTestView, FunctionView, InvocationStateView, InvocationView, RetellToolView,
};
pub(crate) use latency::{LatencyGroupView, LatencyStatsView};
pub(crate) use purge::{PurgeCascadeView, PurgeView, PurgedByRuleView};
pub(crate) use receiver::{
    AlarmKindView, AlarmView, BreakerStateView, CompanyView, DoctorFinding, EventCountsView, FindingLevel,
    HandlerStatusView, InboundTestView, LatencyView, LoadReportView, ReceiverStatusView, RequestCountsView,
    RetentionView, ScenarioView, SendResultView, SettingView, SettingsView, SignatureCheckView, SimulatedEventView,
    SimulatedRequestContentView, SimulatedRequestView, SimulationView, StatusView, StoreComparisonView,
    StoreProblemView, StoreStatusView,
};
