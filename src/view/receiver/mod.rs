//! A receiver: its settings and its state, checks of its setup, and the results of requests to it.

mod company;
mod config;
mod doctor;
mod simulation;
mod status;
mod test_result;

pub(crate) use company::CompanyView;
pub(crate) use config::{SettingView, SettingsView};
pub(crate) use doctor::{DoctorFinding, FindingLevel};
pub(crate) use simulation::{
    LatencyView, RequestCountsView, SimulatedEventView, SimulatedRequestContentView, SimulatedRequestView,
    SimulationView, StoreComparisonView, StoreProblemView,
};
pub(crate) use status::{
    AlarmKindView, AlarmView, BreakerStateView, EventCountsView, HandlerStatusView, ReceiverStatusView, RetentionView,
    StatusView, StoreStatusView,
};
pub(crate) use test_result::{InboundTestView, LoadReportView, ScenarioView, SendResultView, SignatureCheckView};
