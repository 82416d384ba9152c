//! `appointments list|show|cancel|export`.

mod display;

use std::io::Write;

use clap::{Args, Subcommand};

use self::display::AppointmentDisplayArgs;
use super::context;
use super::list_args::ListFilterArgs;
use super::output::{self, CliResult};
use crate::base::clock::Clock;
use crate::operations::appointments::{self as operations, AppointmentReference};
use crate::storage::{AppointmentFilter, Role};

#[derive(Debug, Subcommand)]
pub(super) enum AppointmentsCommand {
    /// List appointments, the earliest one first
    List(AppointmentsListArgs),
    /// Show the data of one appointment
    Show(AppointmentsShowArgs),
    /// Cancel an appointment; handlers receive the same event as when a caller cancels
    Cancel(AppointmentsCancelArgs),
    /// Print appointments for a calendar, with names and phone numbers
    Export(AppointmentsExportArgs),
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsListArgs {
    #[command(flatten)]
    filter: ListFilterArgs,
    /// Print at most N rows
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    /// List only booked appointments, not canceled ones
    #[arg(long)]
    booked: bool,
    #[command(flatten)]
    display: AppointmentDisplayArgs,
}

#[derive(Debug, Args)]
struct AppointmentRefArgs {
    /// Confirmation number of the appointment
    #[arg(value_name = "NUMBER")]
    confirmation: String,
    /// Slug of the company, needed when several companies have the number
    #[arg(long, value_name = "SLUG")]
    company: Option<String>,
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsShowArgs {
    #[command(flatten)]
    appointment: AppointmentRefArgs,
    #[command(flatten)]
    display: AppointmentDisplayArgs,
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsCancelArgs {
    #[command(flatten)]
    appointment: AppointmentRefArgs,
    #[command(flatten)]
    display: AppointmentDisplayArgs,
}

#[derive(Debug, Args)]
pub(super) struct AppointmentsExportArgs {
    /// Print an iCalendar file (RFC 5545)
    #[arg(long, required = true)]
    ics: bool,
    #[command(flatten)]
    filter: ListFilterArgs,
}

impl AppointmentsCommand {
    pub(super) async fn run(self) -> CliResult {
        match self {
            Self::List(list) => list.run().await,
            Self::Show(show) => show.run().await,
            Self::Cancel(cancel) => cancel.run().await,
            Self::Export(export) => export.run().await,
        }
    }
}

fn appointment_filter(rows: ListFilterArgs, limit: Option<usize>, booked_only: bool) -> AppointmentFilter {
    AppointmentFilter {
        since_ms: rows.since_ms(),
        until_ms: rows.until_ms(),
        company: rows.company,
        booked_only,
        limit,
        ..AppointmentFilter::default()
    }
}

impl From<AppointmentRefArgs> for AppointmentReference {
    fn from(args: AppointmentRefArgs) -> Self {
        Self { confirmation: args.confirmation, company: args.company }
    }
}

impl AppointmentsListArgs {
    async fn run(self) -> CliResult {
        let is_filtered = self.booked || self.filter.is_set();
        let filter = appointment_filter(self.filter, Some(self.limit), self.booked);
        let store = context::open_store()?;
        let listed =
            operations::list_appointments(&*store, &Clock::system(), context::PRINCIPAL, filter, self.display.reveal)
                .await?;
        self.display.print_list(&listed, is_filtered)
    }
}

impl AppointmentsShowArgs {
    async fn run(self) -> CliResult {
        let reference = self.appointment.into();
        let shown =
            operations::show_appointment(&*context::open_store()?, context::PRINCIPAL, &reference, self.display.reveal)
                .await?;
        self.display.print_appointment(&shown)
    }
}

impl AppointmentsCancelArgs {
    async fn run(self) -> CliResult {
        let reference = self.appointment.into();
        let store = context::open_store_as(Role::Operator)?;
        let clock = Clock::system();
        let reveal = self.display.reveal;
        let cancelled = operations::cancel_appointment(&*store, &clock, context::PRINCIPAL, &reference, reveal).await?;
        self.display.print_appointment(&cancelled)
    }
}

impl AppointmentsExportArgs {
    async fn run(self) -> CliResult {
        let filter = appointment_filter(self.filter, None, false);
        let calendar =
            operations::export_appointments(&*context::open_store()?, &Clock::system(), context::PRINCIPAL, filter)
                .await?;
        output::print_error(format!(
            "retell-webhook: {} appointments, with names and phone numbers",
            calendar.appointments
        ));
        output::ignore_broken_pipe(std::io::stdout().lock().write_all(calendar.text.as_bytes()))
    }
}
