//! `calls list|show`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::output::{self, Done, Failure};
use super::stores;
use crate::security::redact;
use crate::storage::{CallRecord, Store};

#[derive(Debug, Subcommand)]
pub(super) enum Calls {
    /// List calls, the one with the latest event first
    List(List),
    /// Show one call
    Show(Show),
}

#[derive(Debug, Args)]
pub(super) struct List {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: usize,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
pub(super) struct Show {
    /// The call's id
    call_id: String,
    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Args)]
struct Form {
    /// Print JSON: one array for `list`, one object for `show`
    #[arg(long)]
    json: bool,
    /// Print phone numbers whole
    #[arg(long)]
    reveal: bool,
}

impl Form {
    fn number(&self, number: Option<&String>) -> Option<String> {
        number.map(|number| if self.reveal { output::plain(number) } else { redact::phone(number) })
    }

    fn describe(&self, call: &CallRecord) -> Value {
        let mut value = json!(call);
        value["from_number"] = json!(self.number(call.from_number.as_ref()));
        value["to_number"] = json!(self.number(call.to_number.as_ref()));
        value["transfer_state"] = json!(call.transfer_state());
        value
    }
}

impl Calls {
    pub(super) async fn run(self) -> Done {
        let store = stores::open()?;
        match self {
            Self::List(list) => list.run(&store).await,
            Self::Show(show) => show.run(&store).await,
        }
    }
}

impl List {
    async fn run(self, store: &impl Store) -> Done {
        let calls = store.calls(self.limit).await?;
        if self.form.json {
            return output::json(&calls.iter().map(|call| self.form.describe(call)).collect::<Vec<_>>());
        }
        let shown = |text: Option<String>| text.map_or_else(|| "-".to_owned(), |text| output::plain(&text));
        let rows = calls.iter().map(|call| {
            vec![
                output::time(call.last_event_at_ms),
                output::plain(&call.call_id),
                shown(call.direction.clone().or_else(|| call.call_type.clone())),
                shown(self.form.number(call.from_number.as_ref())),
                shown(self.form.number(call.to_number.as_ref())),
                shown(call.call_status.clone()),
                shown(call.duration_ms.map(seconds)),
                shown(call.disconnection_reason.clone()),
                shown(call.user_sentiment.clone()),
                shown(call.transfer_state().map(str::to_owned)),
            ]
        });
        let header = [
            "LAST EVENT (UTC)",
            "CALL",
            "DIRECTION",
            "FROM",
            "TO",
            "STATUS",
            "DURATION",
            "ENDED BY",
            "MOOD",
            "TRANSFER",
        ];
        output::table(&header, rows.collect(), "no calls yet; send one with: retell-webhook send call_ended")
    }
}

fn seconds(ms: i64) -> String {
    format!("{}:{:02}", ms / 60_000, (ms / 1000) % 60)
}

impl Show {
    async fn run(self, store: &impl Store) -> Done {
        let missing =
            || Failure::Because(format!("there is no call {}; `retell-webhook calls list` prints ids", self.call_id));
        let call = store.call(&self.call_id).await?.ok_or_else(missing)?;
        if self.form.json {
            return output::json(&self.form.describe(&call));
        }
        output::fields(&[
            ("call", Some(call.call_id.clone())),
            ("kind", call.call_type.clone()),
            ("direction", call.direction.clone()),
            ("agent", call.agent_name.clone().or_else(|| call.agent_id.clone())),
            ("agent version", call.agent_version.map(|version| version.to_string())),
            ("from", self.form.number(call.from_number.as_ref())),
            ("to", self.form.number(call.to_number.as_ref())),
            ("status", call.call_status.clone()),
            ("started (UTC)", call.started_at_ms.map(output::time)),
            ("ended (UTC)", call.ended_at_ms.map(output::time)),
            ("duration", call.duration_ms.map(seconds)),
            ("ended by", call.disconnection_reason.clone()),
            ("mood", call.user_sentiment.clone()),
            ("successful", call.call_successful.map(|well| if well { "yes" } else { "no" }.to_owned())),
            ("cost", call.cost_cents.as_ref().map(|cents| format!("{cents} cents"))),
            ("transfer", call.transfer_state().map(str::to_owned)),
            ("first event (UTC)", Some(output::time(call.first_event_at_ms))),
            ("last event (UTC)", Some(output::time(call.last_event_at_ms))),
        ])
    }
}
