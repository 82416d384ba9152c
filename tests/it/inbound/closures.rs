//! The live path with closures, and with a backlog of deliveries that must not delay it.

use std::time::Duration;

use retell_webhook::{InboundAnswer, Settings};
use serde_json::json;

use super::{CALLER, answer_fields, call_inbound_body};
use crate::support::bodies::event_body;
use crate::support::local::LocalReceiver;

fn inbound_settings() -> Settings {
    let mut settings = Settings { handlers: Vec::new(), ..Settings::default() };
    settings.inbound.timeout = Duration::from_secs(1);
    settings.inbound.fallback.agent = Some("agent_fallback".to_owned());
    settings
}

#[test]
fn closure_is_called_before_the_rules_and_its_failures_get_the_fallback() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder.settings(inbound_settings()).on_inbound(|request, context| async move {
            assert_eq!(context.company, "default");
            match request.id.as_deref() {
                Some("call_known") => {
                    Some(InboundAnswer::empty().agent("agent_2").dynamic_variable("from", request.from_number))
                }
                Some("call_spam") => Some(InboundAnswer::reject()),
                Some("call_invalid") => Some(InboundAnswer::empty().metadata(json!("no object"))),
                Some("call_slow") => std::future::pending().await,
                Some("call_panics") => panic!("on purpose"),
                _ => None,
            }
        })
    });
    let answer = |id: &str| answer_fields(&local.post_signed(&call_inbound_body(CALLER, id)));
    assert_eq!(answer("call_known"), json!({"override_agent_id": "agent_2", "dynamic_variables": {"from": CALLER}}));
    assert_eq!(answer("call_spam"), json!({"reject": true}));
    let fallback = json!({"override_agent_id": "agent_fallback"});
    for id in ["call_invalid", "call_slow", "call_panics"] {
        assert_eq!(answer(id), fallback, "{id}");
    }
    assert_eq!(answer("call_other"), json!({}), "left to the rules, and there are none");
    local.stop();
}

/// Handlers that never finish, and pending events, do not delay answers.
#[test]
fn delivery_backlog_does_not_delay_answers() {
    let folder = tempfile::tempdir().unwrap();
    let local = LocalReceiver::start(folder.path(), |builder| {
        builder.settings(inbound_settings()).on_call_ended(|_, _| async { std::future::pending().await })
    });
    for number in 0..500 {
        assert_eq!(local.post_signed(&event_body("call_ended", &format!("call_{number}"))).status, 200);
    }
    let metrics = || local.runtime.block_on(local.receiver.metrics_text());
    for number in 0..50 {
        assert_eq!(
            answer_fields(&local.post_signed(&call_inbound_body(CALLER, &format!("call_in_{number}")))),
            json!({})
        );
    }
    let page = metrics();
    assert!(page.contains("inbound_answers_total{outcome=\"empty\"} 50"), "{page}");
    assert!(page.contains("inbound_answers_total{outcome=\"timed_out\"} 0"), "{page}");
    local.stop();
}
