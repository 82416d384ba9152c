//! Why a call ended.

use super::open_enum::open_enum;

open_enum! {
    /// `disconnection_reason` of a call: the 39 values of the Python SDK 6.2.13 and four that old records hold. The
    /// list grows often, so expect [`Other`](Self::Other).
    pub enum DisconnectionReason {
        /// The user hung up.
        UserHangup = "user_hangup",
        /// The agent hung up.
        AgentHangup = "agent_hangup",
        /// The call was transferred.
        CallTransfer = "call_transfer",
        /// Voicemail answered.
        VoicemailReached = "voicemail_reached",
        /// A phone menu answered.
        IvrReached = "ivr_reached",
        /// Nobody spoke for too long.
        Inactivity = "inactivity",
        /// The longest allowed duration was reached.
        MaxDurationReached = "max_duration_reached",
        /// No free slot, and the call went to the fallback number.
        NoConcurrencyFallback = "no_concurrency_fallback",
        /// The transfer was connected.
        TransferBridged = "transfer_bridged",
        /// The transfer was given up.
        TransferCancelled = "transfer_cancelled",
        /// Stopped by hand or by the API.
        ManualStopped = "manual_stopped",
        /// A person took the call over.
        CallTakeOver = "call_take_over",
        /// Never connected: busy.
        DialBusy = "dial_busy",
        /// Never connected: dialling failed.
        DialFailed = "dial_failed",
        /// Never connected: no answer.
        DialNoAnswer = "dial_no_answer",
        /// Never connected: the destination is not valid.
        InvalidDestination = "invalid_destination",
        /// Never connected: the carrier forbids it.
        TelephonyProviderPermissionDenied = "telephony_provider_permission_denied",
        /// Never connected: the carrier is down.
        TelephonyProviderUnavailable = "telephony_provider_unavailable",
        /// Never connected: SIP routing failed.
        SipRoutingError = "sip_routing_error",
        /// Never connected: taken for spam.
        MarkedAsSpam = "marked_as_spam",
        /// Never connected: declined.
        UserDeclined = "user_declined",
        /// Error: all slots taken.
        ConcurrencyLimitReached = "concurrency_limit_reached",
        /// Error: no valid payment.
        NoValidPayment = "no_valid_payment",
        /// Error: taken for a scam.
        ScamDetected = "scam_detected",
        /// Error: the custom model's socket did not open.
        ErrorLlmWebsocketOpen = "error_llm_websocket_open",
        /// Error: the custom model's socket was lost.
        ErrorLlmWebsocketLostConnection = "error_llm_websocket_lost_connection",
        /// Error: the custom model failed while running.
        ErrorLlmWebsocketRuntime = "error_llm_websocket_runtime",
        /// Error: the custom model sent something unreadable.
        ErrorLlmWebsocketCorruptPayload = "error_llm_websocket_corrupt_payload",
        /// Error: no sound arrived.
        ErrorNoAudioReceived = "error_no_audio_received",
        /// Error: speech recognition failed.
        ErrorAsr = "error_asr",
        /// Error at Retell.
        ErrorRetell = "error_retell",
        /// Error of unknown cause.
        ErrorUnknown = "error_unknown",
        /// Error: nobody joined the web call.
        ErrorUserNotJoined = "error_user_not_joined",
        /// Error: registered, then never started.
        RegisteredCallTimeout = "registered_call_timeout",
        /// The user asked not to be called.
        UserRequestedDnc = "user_requested_dnc",
        /// The user asked for a call later.
        UserRequestedCallback = "user_requested_callback",
        /// The account's credit is used up.
        CreditExhausted = "credit_exhausted",
        /// A budget is used up.
        BudgetReached = "budget_reached",
        /// The network refused the call.
        NetworkBlocked = "network_blocked",
        /// Old records: a machine answered.
        MachineDetected = "machine_detected",
        /// Old records: the inbound webhook failed.
        ErrorInboundWebhook = "error_inbound_webhook",
        /// Old records: an error at Twilio.
        ErrorTwilio = "error_twilio",
        /// Old records: the front end sent something unreadable.
        ErrorFrontendCorruptedPayload = "error_frontend_corrupted_payload",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_and_unknown_values() {
        assert_eq!(DisconnectionReason::from("dial_busy"), DisconnectionReason::DialBusy);
        let new: DisconnectionReason = serde_json::from_str("\"moon_phase\"").unwrap();
        assert_eq!((new.to_string().as_str(), new.as_str()), ("moon_phase", "moon_phase"));
        assert!(serde_json::from_str::<DisconnectionReason>("7").is_err());
    }
}
