//! Sample bodies to test a receiver with. All data is invented: the phone numbers are from the range that is reserved
//! for fiction, and the hosts are example domains.

use super::kind::EventKind;

/// A realistic body of the given kind: compact JSON as Retell sends it. `id` becomes the id of the call or chat, and
/// all times are derived from `now_ms` (milliseconds since the Unix epoch). `None` for [`EventKind::Unknown`].
///
/// In alerts, which have neither call nor chat, `id` is the id of the incident. In inbound requests it is the id that
/// the call or chat will have.
#[must_use]
pub fn sample_body(kind: EventKind, id: &str, now_ms: i64) -> Option<String> {
    use EventKind as K;
    let body = match kind {
        K::CallStarted => format!("{{@call,{CALL_STARTED_FIELDS}}}}}"),
        K::CallEnded => format!("{{@call,{CALL_ENDED_FIELDS},{CALL_REPORT_FIELDS}}}}}"),
        K::CallAnalyzed => format!("{{@call,{CALL_ENDED_FIELDS},{CALL_REPORT_FIELDS},{CALL_ANALYSIS_FIELDS}}}}}"),
        K::TranscriptUpdated => {
            format!("{{@call,{CALL_STARTED_FIELDS},{PARTIAL_TRANSCRIPT}}},{PARTIAL_TRANSCRIPT_ITEMS}}}")
        }
        K::TransferStarted | K::TransferCancelled => format!("{{@call,{CALL_STARTED_FIELDS}}},{TRANSFER_FIELDS}}}"),
        K::TransferBridged => format!("{{@call,{CALL_TRANSFERRED_FIELDS}}},{TRANSFER_FIELDS}}}"),
        K::TransferEnded => format!("{{@call,{CALL_TRANSFERRED_FIELDS},\"transfer_end_timestamp\":@now}}}}"),
        K::ChatStarted => format!("{{@chat,{CHAT_STARTED_FIELDS}}}}}"),
        K::ChatEnded => format!("{{@chat,{CHAT_ENDED_FIELDS}}}}}"),
        K::ChatAnalyzed => format!("{{@chat,{CHAT_ENDED_FIELDS},{CHAT_ANALYSIS_FIELDS}}}}}"),
        K::CallInbound => format!("{{\"event\":\"@event\",{CALL_INBOUND_FIELDS}}}"),
        K::ChatInbound => format!("{{\"event\":\"@event\",{CHAT_INBOUND_FIELDS}}}"),
        K::AlertTriggered => format!("{{\"event\":\"@event\",{ALERT_FIELDS},\"resolved_timestamp\":null}}}}"),
        K::AlertResolved => format!("{{\"event\":\"@event\",{ALERT_FIELDS},\"resolved_timestamp\":@now}}}}"),
        K::Unknown => return None,
    };
    Some(fill_placeholders(&body, kind, id, now_ms))
}

/// Fills in name, times and id. The id comes last, so that a placeholder inside it is not replaced.
fn fill_placeholders(body: &str, kind: EventKind, id: &str, now_ms: i64) -> String {
    let ago = |ms| now_ms.saturating_sub(ms).to_string();
    body.replace("@call", CALL_FIELDS)
        .replace("@chat", CHAT_FIELDS)
        .replace("@event", kind.as_str())
        .replace("@start", &ago(31_480))
        .replace("@end", &ago(1_200))
        .replace("@now", &now_ms.to_string())
        .replace("@id", &serde_json::Value::from(id).to_string())
}

const CALL_FIELDS: &str = concat!(
    r#""event":"@event","call":{"call_id":@id,"call_type":"phone_call","#,
    r#""agent_id":"agent_sample_bakery","agent_version":4,"agent_name":"Harbour Bakery orders","agent_tag":"prod","#,
    r#""from_number":"+12025550117","to_number":"+12025550189","direction":"inbound","#,
    r#""metadata":{"shop":"harbour"},"retell_llm_dynamic_variables":{"customer_name":"Robin"},"#,
    r#""data_storage_setting":"everything","opt_in_signed_url":false"#,
);

const CALL_STARTED_FIELDS: &str = r#""call_status":"ongoing","start_timestamp":@start"#;

const CALL_ENDED_FIELDS: &str = concat!(
    r#""call_status":"ended","start_timestamp":@start,"end_timestamp":@end,"duration_ms":30280,"#,
    r#""disconnection_reason":"agent_hangup","collected_dynamic_variables":{"pickup":"Saturday"}"#,
);

const CALL_TRANSFERRED_FIELDS: &str = concat!(
    r#""call_status":"ended","start_timestamp":@start,"end_timestamp":@end,"duration_ms":30280,"#,
    r#""disconnection_reason":"call_transfer","transfer_destination":"+12025550133""#,
);

const CALL_REPORT_FIELDS: &str = concat!(
    r#""transcript":"Agent: Harbour Bakery, good morning.\nUser: Two rye loaves for Saturday, please.\n"#,
    r#"Agent: They will be ready at nine. Goodbye.\n","#,
    r#""transcript_object":[{"role":"agent","content":"Harbour Bakery, good morning.","words":["#,
    r#"{"word":"Harbour","start":0.42,"end":0.81},{"word":"Bakery,","start":0.81,"end":1.3},"#,
    r#"{"word":"good","start":1.36,"end":1.58},{"word":"morning.","start":1.58,"end":2.05}]},"#,
    r#"{"role":"user","content":"Two rye loaves for Saturday, please.","words":["#,
    r#"{"word":"Two","start":3.1,"end":3.32},{"word":"rye","start":3.32,"end":3.6}]},"#,
    r#"{"role":"agent","content":"They will be ready at nine. Goodbye.","words":[]}],"#,
    r#""transcript_with_tool_calls":[{"role":"agent","content":"Harbour Bakery, good morning.","words":[]},"#,
    r#"{"role":"user","content":"Two rye loaves for Saturday, please.","words":[]},"#,
    r#"{"role":"tool_call_invocation","tool_call_id":"tool_call_1","name":"place_order","type":"custom","#,
    r#""arguments":"{\"item\":\"rye\",\"count\":2}"},"#,
    r#"{"role":"tool_call_result","tool_call_id":"tool_call_1","successful":true,"content":"{\"ready\":\"09:00\"}"},"#,
    r#"{"role":"agent","content":"They will be ready at nine. Goodbye.","words":[]}],"#,
    r#""latency":{"e2e":{"p50":904.5,"p90":1180.25,"p95":1180.25,"p99":1180.25,"max":1180.25,"min":862.0,"num":3,"#,
    r#""values":[862.0,904.5,1180.25]},"#,
    r#""llm":{"p50":410.2,"p90":512.75,"p95":512.75,"p99":512.75,"max":512.75,"min":388.1,"num":3}},"#,
    r#""call_cost":{"product_costs":[{"product":"us_telephony","unit_price":0.025,"cost":0.75},"#,
    r#"{"product":"retell_voice_engine","unit_price":0.0917,"cost":2.751}],"#,
    r#""total_duration_seconds":30,"total_duration_unit_price":0.1167,"combined_cost":3.501},"#,
    r#""llm_token_usage":{"values":[812,894,951],"average":885.67,"num_requests":3},"#,
    r#""recording_url":"https://recordings.example.com/sample.wav","#,
    r#""public_log_url":"https://logs.example.com/sample.log""#,
);

const CALL_ANALYSIS_FIELDS: &str = concat!(
    r#""call_analysis":{"call_summary":"The caller ordered two rye loaves for Saturday at nine.","#,
    r#""in_voicemail":false,"user_sentiment":"Positive","call_successful":true,"#,
    r#""custom_analysis_data":{"items":2,"product":"rye loaf"}}"#,
);

const PARTIAL_TRANSCRIPT: &str = r#""transcript":"Agent: Harbour Bakery, good morning.\nUser: Two rye\n""#;

const PARTIAL_TRANSCRIPT_ITEMS: &str = concat!(
    r#""transcript_with_tool_calls":[{"role":"agent","content":"Harbour Bakery, good morning.","words":[]},"#,
    r#"{"role":"user","content":"Two rye","words":[{"word":"Two","start":3.1,"end":3.32}]}]"#,
);

const TRANSFER_FIELDS: &str = concat!(
    r#""transfer_destination":{"number":"+12025550133","extension":"12"},"#,
    r#""transfer_option":{"type":"cold_transfer","showTransfereeAsCaller":false}"#,
);

const CHAT_FIELDS: &str = concat!(
    r#""event":"@event","chat":{"chat_id":@id,"agent_id":"agent_sample_bakery_text","version":2,"#,
    r#""chat_type":"sms_chat","metadata":{"shop":"harbour"},"#,
    r#""retell_llm_dynamic_variables":{"customer_name":"Robin"}"#,
);

const CHAT_STARTED_FIELDS: &str = r#""chat_status":"ongoing","start_timestamp":@start"#;

const CHAT_ENDED_FIELDS: &str = concat!(
    r#""chat_status":"ended","start_timestamp":@start,"end_timestamp":@end,"#,
    r#""transcript":"User: Are you open on Sunday?\nAgent: From eight to noon.\n","#,
    r#""message_with_tool_calls":[{"message_id":"msg_1","role":"user","content":"Are you open on Sunday?","#,
    r#""created_timestamp":@start},"#,
    r#"{"message_id":"msg_2","role":"agent","content":"From eight to noon.","created_timestamp":@end}],"#,
    r#""chat_cost":{"combined_cost":0.8,"product_costs":[{"product":"text_model","unit_price":0.4,"cost":0.8}]}"#,
);

const CHAT_ANALYSIS_FIELDS: &str = concat!(
    r#""chat_analysis":{"chat_summary":"Asked about Sunday's hours.","user_sentiment":"Neutral","#,
    r#""chat_successful":true,"custom_analysis_data":{"topic":"hours"}}"#,
);

const CALL_INBOUND_FIELDS: &str = concat!(
    r#""event_timestamp":@now,"call_inbound":{"call_id":@id,"agent_id":"agent_sample_bakery","agent_version":4,"#,
    r#""from_number":"+12025550117","to_number":"+12025550189","custom_sip_headers":{"x-trunk":"east"}}"#,
);

const CHAT_INBOUND_FIELDS: &str = concat!(
    r#""chat_inbound":{"chat_id":@id,"agent_id":"agent_sample_bakery_text","agent_version":2,"#,
    r#""from_number":"+12025550117","to_number":"+12025550189"}"#,
);

const ALERT_FIELDS: &str = concat!(
    r#""alert":{"alert_incident_id":@id,"org_id":"org_sample","alert_rule_id":"alert_rule_sample","#,
    r#""name":"Failed functions","metric_type":"custom_function_failure_count","#,
    r#""filter":{"agent":[{"agent_id":"agent_sample_bakery"}]},"threshold_type":"absolute","threshold_value":5,"#,
    r#""comparator":"ge","frequency":"5m","window":"15m","emails":["ops@example.com"],"#,
    r#""webhook_urls":["https://hooks.example.com/retell"],"current_value":7,"previous_value":null,"#,
    r#""triggered_timestamp":@start"#,
);
