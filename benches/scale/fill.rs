//! Writes events into a new store, without HTTP and signatures.

use std::path::Path;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use retell_webhook::internals::{EventIdGenerator, HandlerRow, Role, Store, Supervisor, open_store};
use retell_webhook::{Clock, CompanyId};

use crate::event::{self, BodySize};
use crate::{BenchError, receiver};

/// Events that are written at the same time, so that they share commits.
const PARALLEL_APPENDS: u64 = 1_024;

/// The companies of the store and the time at which the events end.
pub struct Companies {
    ids: Vec<CompanyId>,
    pub now_ms: i64,
}

impl Companies {
    /// The company `rare` has a single call; the others share the rest.
    pub fn of_call(&self, call: u64) -> CompanyId {
        let common = self.ids.len() - 1;
        let at = if call == 11 { common } else { usize::try_from(call).unwrap_or(0) % common };
        self.ids[at]
    }
}

pub fn fill(folder: &Path, events: u64, size: BodySize) -> Result<Duration, BenchError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(async {
        let supervisor = Supervisor::default();
        let url = format!("sqlite://{}", receiver::database_path(folder).display());
        let store = open_store(&url.parse()?, Role::Receiver, &supervisor)?;
        let began = Instant::now();
        append_all(store.as_ref(), events, size).await?;
        let elapsed = began.elapsed();
        supervisor.stop();
        supervisor.wait_for_tasks().await;
        store.close().await?;
        Ok(elapsed)
    })
}

async fn append_all(store: &dyn Store, events: u64, size: BodySize) -> Result<(), BenchError> {
    // Registered before the events, because a new handler only gets later ones.
    for name in ["log", "call_store"] {
        let row = HandlerRow { name: name.to_owned(), ordered: true, ordering_timeout_ms: 600_000 };
        store.register_handler(row).await?;
    }
    let slugs = ["default", "acme", "globex", "initech", "rare"].map(str::to_owned).to_vec();
    let companies = Companies { ids: store.get_or_create_company_ids(slugs).await?, now_ms: Clock::system().now_ms() };
    let ids = EventIdGenerator::default();
    let style = ProgressStyle::with_template("store {pos}/{len} events [{elapsed}, {eta} left]")?;
    let progress = ProgressBar::new(events).with_style(style);
    let mut number = 0;
    while number < events {
        let end = (number + PARALLEL_APPENDS).min(events);
        let appends = (number..end).map(|number| store.append(event::event(&ids, &companies, number, events, size)));
        for appended in futures_util::future::join_all(appends).await {
            appended?;
        }
        number = end;
        progress.set_position(number);
    }
    progress.finish_and_clear();
    Ok(())
}
