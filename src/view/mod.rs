//! The shape of everything that `--json` prints: plain data that [`crate::operations`] makes from stored values.

mod appointment;
mod conversation;

pub(crate) use appointment::AppointmentView;
pub(crate) use conversation::{
    AgentNameView, CallGroupView, CallStatsView, CallTotalsView, CallView, ChatView, ConversationBaseView,
    ConversationDetailsView, ConversationTextsView, ConversationView,
};
