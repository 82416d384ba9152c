//! The signals that stop a receiver.

use std::io;

/// Completes on Ctrl-C or SIGTERM. SIGTERM is caught from this call on, not only from the first poll, so that a signal
/// during startup is not lost. Fails when no handler for SIGTERM can be installed.
pub(crate) fn shutdown_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    #[cfg(unix)]
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    Ok(async move {
        #[cfg(unix)]
        let terminated = terminate.recv();
        #[cfg(not(unix))]
        let terminated = std::future::pending::<Option<()>>();
        tokio::select! {
            Ok(()) = tokio::signal::ctrl_c() => {}
            _ = terminated => {}
        }
    })
}
