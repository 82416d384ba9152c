//! `serve`: the receiver itself.

use std::net::SocketAddr;

use tokio::net::TcpListener;

use super::output::{Done, Failure, line};
use super::stores;
use crate::app::{self, Receiver};
use crate::base::supervise::Supervisor;
use crate::config::{LogFormat, Settings};
use crate::storage::sqlite::SqliteUrl;
use crate::telemetry::logging;

pub(super) async fn run() -> Done {
    let settings = stores::settings()?;
    let log = logging::init(&settings.log).map_err(Failure::Because)?;
    let listener = listen(&settings).await?;
    let port = listener.local_addr()?.port();
    let receiver = Receiver::builder().settings(settings.clone()).listening_on(port).build().await?;
    announce(&settings, &receiver, port)?;
    stop_on_signal(receiver.supervisor().clone())?;
    app::serve(listener, receiver.standalone(), receiver.supervisor()).await;
    let failed = receiver.supervisor().has_failed();
    tracing::info!(counts = ?receiver.counters().snapshot(), "stopping: no longer accepting; finishing what was accepted");
    receiver.shutdown().await;
    drop(log);
    if failed {
        return Err(Failure::Because(
            "a part of the service died, see the log above; everything acknowledged is on disk".into(),
        ));
    }
    Ok(())
}

async fn listen(settings: &Settings) -> Result<TcpListener, Failure> {
    let address = SocketAddr::new(settings.server.host, settings.server.port);
    TcpListener::bind(address).await.map_err(|error| {
        Failure::Because(format!(
            "cannot listen on {address}: {error}; stop whatever uses the port, or set PORT to a free one"
        ))
    })
}

/// Tells what to paste into Retell's dashboard, and whatever should be put right.
fn announce(settings: &Settings, receiver: &Receiver, port: u16) -> Done {
    let url = settings.server.public_url(port);
    let store = SqliteUrl::parse(&settings.storage.url)?;
    let handlers: Vec<_> = receiver.handlers().iter().map(|registered| registered.name.as_str()).collect();
    let handlers = if handlers.is_empty() { "none".to_owned() } else { handlers.join(", ") };
    let facts = [
        ("webhook", format!("{url}/api/v1/webhook/retell")),
        ("test", format!("{url}/api/v1/webhook/retell/test")),
        ("listening", SocketAddr::new(settings.server.host, port).to_string()),
        ("storage", store.path().display().to_string()),
        ("handlers", handlers),
    ];
    let warnings = settings.warnings(port);
    if settings.log.format == LogFormat::Json {
        for (name, fact) in &facts {
            tracing::info!("{name}: {fact}");
        }
        for warning in &warnings {
            tracing::warn!("{warning}");
        }
        return Ok(());
    }
    line(format!("retell-webhook {}\n", env!("CARGO_PKG_VERSION")))?;
    for (name, fact) in &facts {
        line(format!("  {name:<10} {fact}"))?;
    }
    for warning in &warnings {
        line(format!("\n  WARNING: {warning}"))?;
    }
    line("\n  Paste the webhook URL into Retell's dashboard; try it with: retell-webhook send call_ended\n")
}

/// SIGTERM and Ctrl-C stop in order.
fn stop_on_signal(supervisor: Supervisor) -> Done {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    supervisor.clone().spawn_detached(async move {
        #[cfg(unix)]
        let terminated = terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<Option<()>>();
        tokio::select! {
            _ = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
            () = supervisor.stopping() => {}
        }
        supervisor.stop();
    });
    Ok(())
}
