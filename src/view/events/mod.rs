//! Events, their deliveries, and requests that did not become events.

mod delivery;
mod event;
mod import;
mod rejected;

pub(crate) use delivery::{
    AttemptOutcomeView, AttemptView, BulkChangeView, DeliveryCountView, DeliveryDetailsView, DeliveryStateView,
    DeliveryView, OutlookView, UndeliveredStateView,
};
pub(crate) use event::{
    EventDetailsView, EventOriginView, EventStateView, EventView, ExportedEventView, ExportedHeadersView,
    StoredInboundAnswerView, TailedEventView,
};
pub(crate) use import::{ImportLineErrorView, ImportView};
pub(crate) use rejected::RejectedRequestView;
