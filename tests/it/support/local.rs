//! The library in this process: a router, or a whole receiver, behind a real socket.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;
use retell_webhook::internals::Supervisor;
use retell_webhook::{Receiver, ReceiverBuilder};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use super::client::{self, HttpResponse};
use super::signing::KEY;
use super::test_env::TestEnv;

pub fn new_runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

/// A server for a router. It is stopped on drop.
pub struct RouterServer {
    pub address: SocketAddr,
    runtime: Option<Runtime>,
}

impl RouterServer {
    pub fn start(router: Router) -> Self {
        let runtime = new_runtime();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let service = router.into_make_service_with_connect_info::<SocketAddr>();
        runtime.spawn(async move { axum::serve(listener, service).await });
        Self { address, runtime: Some(runtime) }
    }
}

impl Drop for RouterServer {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A receiver in this process with the handlers of a test.
pub struct LocalReceiver {
    pub address: SocketAddr,
    pub receiver: Receiver,
    pub runtime: Runtime,
    server_task: JoinHandle<usize>,
}

impl LocalReceiver {
    /// Starts a receiver that stores events in `folder`. `add` adds the handlers.
    pub fn start(folder: &Path, add: impl FnOnce(ReceiverBuilder) -> ReceiverBuilder) -> Self {
        let runtime = new_runtime();
        let builder = Receiver::builder().api_key(KEY).storage_url(storage_url(folder));
        let receiver = runtime.block_on(add(builder).build()).unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let (router, policy) = (receiver.webhook_router(), receiver.connection_policy());
        let supervisor: Supervisor = receiver.supervisor().clone();
        let serving =
            runtime.spawn(async move { retell_webhook::internals::serve(listener, router, policy, &supervisor).await });
        Self { address, receiver, runtime, server_task: serving }
    }

    pub fn post_signed(&self, body: &[u8]) -> HttpResponse {
        client::post_signed(self.address, body)
    }

    /// Stops the receiver in order and closes the store.
    pub fn stop(self) {
        let Self { receiver, runtime, server_task: serving, .. } = self;
        runtime.block_on(async {
            receiver.supervisor().stop();
            serving.await.unwrap();
            receiver.shutdown().await.unwrap();
        });
    }
}

/// The output of a command with `--json` on the store of a [`LocalReceiver`]. Its exit code is ignored, because
/// `status` fails without a receiver at the configured address.
pub fn command_json(folder: &Path, args: &[&str]) -> Value {
    TestEnv::new().with_env("DATABASE_URL", &storage_url(folder)).run(&[args, &["--json"]].concat()).json()
}

/// Output of `deliveries list --json`, the newest event first.
pub fn list_deliveries(folder: &Path) -> Vec<Value> {
    command_json(folder, &["deliveries", "list", "--limit", "1000"]).as_array().unwrap().clone()
}

pub fn storage_url(folder: &Path) -> String {
    format!("sqlite://{}", database_path(folder).display())
}

pub fn database_path(folder: &Path) -> std::path::PathBuf {
    folder.join("store/events.db")
}
