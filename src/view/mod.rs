//! The shape of everything that `--json` prints: plain data that [`crate::operations`] makes from stored values.

mod appointment;
mod conversation;
mod delivery;
mod erasure;
mod event;
mod function;
mod purge;
mod rejected;
mod test_result;

pub(crate) use appointment::AppointmentView;
pub(crate) use conversation::{
    AgentNameView, CallGroupView, CallStatsView, CallTotalsView, CallView, ChatView, ConversationBaseView,
    ConversationDetailsView, ConversationTextsView, ConversationView,
};
pub(crate) use delivery::{
    AttemptView, BulkChangeView, DeliveryCountView, DeliveryDetailsView, DeliveryView, OutlookView,
};
pub(crate) use erasure::{
    ErasedLinesView, ErasedRowsView, ErasureView, ExternalHandlerView, NotErasedView, NotReachedView,
};
pub(crate) use event::{EventDetailsView, EventView, StoredInboundAnswerView};
pub(crate) use function::{FunctionTestView, FunctionView, InvocationView, RetellToolView};
pub(crate) use purge::{PurgeCascadeView, PurgeView, PurgedByRuleView};
pub(crate) use rejected::RejectedRequestView;
pub(crate) use test_result::{InboundTestView, SendResultView};
