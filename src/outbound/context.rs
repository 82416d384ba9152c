//! What it takes to send signed requests and to start programs.

use std::sync::Arc;

use super::RetellSigner;
use crate::base::clock::Clock;
use crate::config::ProgramSearchPath;
use crate::egress::Egress;

/// Used by everything that calls services or programs of the operator: handlers, functions and inbound rules.
#[derive(Clone)]
pub(crate) struct OutboundContext {
    pub clock: Clock,
    /// The directories in which programs are searched.
    pub program_search_path: ProgramSearchPath,
    /// The outbound HTTP client.
    pub egress: Egress,
    /// Creates `X-Retell-Signature` headers with the companies' keys.
    pub retell_signer: Arc<dyn RetellSigner>,
}
