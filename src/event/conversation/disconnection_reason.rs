//! The reasons why a call ended.

use crate::event::json::open_enum::open_enum;

open_enum! {
    /// `disconnection_reason` of a call: the 39 values of Retell's Python SDK 6.2.13 and four that occur in old
    /// records only. The list grows often, so expect [`Other`](Self::Other).
    pub enum DisconnectionReason {
        /// The call ended: the user hung up.
        UserHangup = "user_hangup",
        /// The call ended: the agent hung up.
        AgentHangup = "agent_hangup",
        /// The call ended: it was transferred to another destination.
        CallTransfer = "call_transfer",
        /// The call ended: it reached a voicemail.
        VoicemailReached = "voicemail_reached",
        /// The call ended: it reached an interactive voice menu (IVR).
        IvrReached = "ivr_reached",
        /// The call ended: no one spoke for too long.
        Inactivity = "inactivity",
        /// The call ended: it reached the maximum duration.
        MaxDurationReached = "max_duration_reached",
        /// The call ended: the concurrency limit was reached, and the call went to the fallback number.
        NoConcurrencyFallback = "no_concurrency_fallback",
        /// The call ended: a transfer was connected.
        TransferBridged = "transfer_bridged",
        /// The call ended: a transfer was canceled.
        TransferCancelled = "transfer_cancelled",
        /// The call ended: it was stopped in the dashboard or through the API.
        ManualStopped = "manual_stopped",
        /// The call ended: a person took it over.
        CallTakeOver = "call_take_over",
        /// Never connected: the called number was busy.
        DialBusy = "dial_busy",
        /// Never connected: dialing the number failed.
        DialFailed = "dial_failed",
        /// Never connected: the called party did not answer.
        DialNoAnswer = "dial_no_answer",
        /// Never connected: the destination number is not valid.
        InvalidDestination = "invalid_destination",
        /// Never connected: the carrier does not permit the call.
        TelephonyProviderPermissionDenied = "telephony_provider_permission_denied",
        /// Never connected: the carrier is not available.
        TelephonyProviderUnavailable = "telephony_provider_unavailable",
        /// Never connected: the SIP routing failed.
        SipRoutingError = "sip_routing_error",
        /// Never connected: the call was marked as spam.
        MarkedAsSpam = "marked_as_spam",
        /// Never connected: the user declined the call.
        UserDeclined = "user_declined",
        /// Error: the workspace's concurrency limit was reached.
        ConcurrencyLimitReached = "concurrency_limit_reached",
        /// Error: the account has no valid payment method.
        NoValidPayment = "no_valid_payment",
        /// Error: Retell classified the call as a scam.
        ScamDetected = "scam_detected",
        /// Error: the WebSocket of the custom model did not open.
        ErrorLlmWebsocketOpen = "error_llm_websocket_open",
        /// Error: the WebSocket of the custom model was lost.
        ErrorLlmWebsocketLostConnection = "error_llm_websocket_lost_connection",
        /// Error: the custom model failed during the call.
        ErrorLlmWebsocketRuntime = "error_llm_websocket_runtime",
        /// Error: the custom model sent a payload that cannot be parsed.
        ErrorLlmWebsocketCorruptPayload = "error_llm_websocket_corrupt_payload",
        /// Error: no audio arrived from the user.
        ErrorNoAudioReceived = "error_no_audio_received",
        /// Error: the speech recognition failed.
        ErrorAsr = "error_asr",
        /// Error: an internal failure at Retell.
        ErrorRetell = "error_retell",
        /// Error: the cause is not known.
        ErrorUnknown = "error_unknown",
        /// Error: no user joined the web call within 30 seconds.
        ErrorUserNotJoined = "error_user_not_joined",
        /// Error: the call did not start within five minutes after it was registered.
        RegisteredCallTimeout = "registered_call_timeout",
        /// The user asked not to be called again.
        UserRequestedDnc = "user_requested_dnc",
        /// The user asked to be called back later.
        UserRequestedCallback = "user_requested_callback",
        /// The credit of the account is used up.
        CreditExhausted = "credit_exhausted",
        /// A spending budget of the account is used up.
        BudgetReached = "budget_reached",
        /// The network blocked the call.
        NetworkBlocked = "network_blocked",
        /// Old records only: an answering machine was detected.
        MachineDetected = "machine_detected",
        /// Old records only, until mid 2025: the inbound webhook failed.
        ErrorInboundWebhook = "error_inbound_webhook",
        /// Old records only, until early 2025: an error at Twilio.
        ErrorTwilio = "error_twilio",
        /// Old records only, until early 2025: the front end sent a payload that cannot be parsed.
        ErrorFrontendCorruptedPayload = "error_frontend_corrupted_payload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_values_keep_their_text() {
        assert_eq!(DisconnectionReason::from("dial_busy"), DisconnectionReason::DialBusy);
        let new: DisconnectionReason = serde_json::from_str("\"moon_phase\"").unwrap();
        assert_eq!((new.to_string().as_str(), new.as_str()), ("moon_phase", "moon_phase"));
        assert!(serde_json::from_str::<DisconnectionReason>("7").is_err());
    }
}
