//! Events, their deliveries, and requests that did not become events.

mod delivery;
mod event;
mod import;
mod rejected;

pub(crate) use delivery::{
    AttemptView, BulkChangeView, DeliveryCountView, DeliveryDetailsView, DeliveryView, OutlookView,
};
pub(crate) use event::{
    EventDetailsView, EventView, ExportedEventView, ExportedHeadersView, StoredInboundAnswerView, TailedEventView,
};
pub(crate) use import::{ImportLineErrorView, ImportView};
pub(crate) use rejected::RejectedRequestView;
