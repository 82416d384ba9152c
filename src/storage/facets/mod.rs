//! The facets of a store: small traits by aggregate, each with its contract. A consumer takes the facets that it needs.
//!
//! For all of them: a method that fails has changed nothing, unless its own documentation says otherwise. A write waits
//! a few seconds for the lock of another process, and before that for the writes in front of it; the caller bounds the
//! total with a timeout. A write whose caller has given up may still be carried out.

mod alarms;
mod appointments;
mod backup;
mod calls;
mod companies;
mod delivery_admin;
mod delivery_queue;
mod erasure;
mod inbound;
mod invocations;
mod journal;
mod leadership;
mod maintenance;
mod rejected;
mod retention;

pub(crate) use alarms::AlarmStore;
pub(crate) use appointments::AppointmentStore;
pub(crate) use backup::BackupStore;
pub(crate) use calls::{CallStore, TotalsCorrection, TotalsPosition};
pub(crate) use companies::CompanyStore;
pub(crate) use delivery_admin::{
    ChangedBatch, CountedBatch, DeliveryAdmin, DeliverySelection, TotalsRebuild, TotalsRebuildStep,
};
pub(crate) use delivery_queue::DeliveryQueue;
pub(crate) use erasure::ErasureStore;
pub(crate) use erasure::MAX_ERASED_EVENTS;
pub(crate) use inbound::InboundAnswerStore;
pub(crate) use invocations::InvocationStore;
pub(crate) use journal::Journal;
pub(crate) use leadership::Leadership;
pub(crate) use maintenance::Maintenance;
pub(crate) use rejected::RejectedStore;
pub(crate) use retention::RetentionStore;
