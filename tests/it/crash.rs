//! The receiver is killed at random moments under load: every acknowledged event is stored completely.

use crate::support::load::{EventLog, random_delay};
use crate::support::test_env::TestEnv;

const KILLS: u32 = 20;
const SENDERS: usize = 16;

#[test]
fn no_acknowledged_event_is_lost_in_twenty_kills() {
    let home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__LEVEL", "warn");
    let log = EventLog::default();
    for _ in 0..KILLS {
        let mut server = home.start_server();
        log.while_sending(server.address(), SENDERS, || {
            std::thread::sleep(random_delay(850));
            server.kill();
        });
    }
    let mut server = home.start_server();
    let found = log.assert_stored(&home);
    println!("{KILLS} kills: {} events acknowledged, {} stored", found.acknowledged, found.stored);
    assert!(found.acknowledged > 500, "too little load: {}", found.acknowledged);
    // The identities of the stored events were recovered as well: sent again, an event is a duplicate.
    let events = home.export_events();
    assert!(events.iter().rev().take(50).all(|event| server.post_signed(&event.body).is_duplicate()));
    assert_eq!(server.stop(), Some(0));
}
