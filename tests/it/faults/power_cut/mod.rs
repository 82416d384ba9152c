//! The power is cut at random moments while everything is in use: events with small and large bodies, deliveries,
//! custom functions, bookings, purge, erasure and backups. After each cut every acknowledged event and booking is there once, and
//! at the end every event was delivered, in order within its call.
//!
//! `cargo test` runs a few cuts. A long run, with its figures:
//!
//! ```sh
//! POWER_CUT_SECONDS=600 cargo test --test it power_cut -- --nocapture
//! ```

mod checks;
mod load;

use std::process::Child;
use std::time::{Duration, Instant};

use self::checks::Figures;
use self::load::Load;
use super::faulty_disk::FaultyDisk;
use crate::support::destination::{DestinationServer, status_response};
use crate::support::load::random_delay;
use crate::support::test_env::TestEnv;

const DEFAULT_SECONDS: u64 = 20;
/// Cuts of one store. Then a new store is begun, because each check reads all events.
const CUTS_PER_STORE: u32 = 8;
const LONGEST_ROUND_MS: u64 = 2_500;

/// A store on a simulated disk, what is sent to it, and what was acknowledged.
struct PowerCutStore {
    home: TestEnv,
    disk: FaultyDisk,
    functions: DestinationServer,
    load: Load,
}

impl PowerCutStore {
    fn new() -> Self {
        let functions = DestinationServer::start_with(|_, _| status_response(200));
        let mut home = TestEnv::new().with_env("RETELL_WEBHOOK__LOG__LEVEL", "warn");
        home.write_config(&format!(
            "[retention]\nevents_days = 30\n\
             [appointments]\nenabled = true\ndays = [\"mon-sun\"]\nopens = \"00:00\"\ncloses = \"24:00\"\nslot_minutes = 5\n\
             capacity = 100\ntime_zone = \"UTC\"\n\
             [[handlers]]\nname = \"lines\"\nkind = \"file\"\npath = \"export/events.jsonl\"\n\
             [[functions]]\nname = \"weather\"\nurl = \"{}/f\"\n",
            functions.url()
        ));
        let disk = FaultyDisk::attach(&mut home);
        Self { home, disk, functions, load: Load::default() }
    }

    /// Starts the receiver, uses it for a random time, and cuts the power. Returns the time of the cut.
    fn run_until_cut(&self) -> Instant {
        self.load.import_old_events(&self.home);
        let mut server = self.home.start_server();
        let address = server.address();
        let cut_at = std::thread::scope(|scope| {
            let load = &self.load;
            (0..4).for_each(|sender| drop(scope.spawn(move || load.send_calls(address, sender))));
            (0..2).for_each(|_| drop(scope.spawn(move || load.book_appointments(address))));
            scope.spawn(move || load.call_functions(address));
            let mut purge = self.spawn(&["purge", "--yes"]);
            let mut backup = self.spawn(&["backup", "create", "--folder", "data/backups", "--keep", "2"]);
            std::thread::sleep(random_delay(LONGEST_ROUND_MS));
            let mut erase =
                self.load.next_erased_call().map(|call| (self.spawn(&["erase", "--call", &call, "--yes"]), call));
            std::thread::sleep(random_delay(400));
            let cut_at = Instant::now();
            server.kill();
            let _ = purge.kill();
            purge.wait().unwrap();
            let _ = backup.kill();
            backup.wait().unwrap();
            if let Some((erase, call)) = &mut erase {
                let has_ended = erase.try_wait().unwrap().is_some_and(|status| status.success());
                let _ = erase.kill();
                erase.wait().unwrap();
                self.load.record_erasure(call, has_ended);
            }
            cut_at
        });
        // The disk may have written none, some or all of the pages that were not synced.
        let odds = random_below(4);
        self.disk.cut_power(|| random_below(3) < odds);
        cut_at
    }

    fn spawn(&self, args: &[&str]) -> Child {
        let null = std::process::Stdio::null;
        self.home.command(args).stdout(null()).stderr(null()).spawn().unwrap()
    }
}

/// A random number below `limit`.
fn random_below(limit: u32) -> u32 {
    u32::from_str_radix(&retell_webhook::internals::random_hex()[..8], 16).unwrap() % limit
}

#[test]
fn no_acknowledged_event_is_lost_in_a_power_cut() {
    let seconds = std::env::var("POWER_CUT_SECONDS").map_or(DEFAULT_SECONDS, |text| text.parse().unwrap());
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut figures = Figures::default();
    while Instant::now() < end {
        let store = PowerCutStore::new();
        for _ in 0..CUTS_PER_STORE {
            let cut_at = store.run_until_cut();
            figures.cuts += 1;
            checks::check_after_cut(&store, cut_at, &mut figures);
            if Instant::now() > end {
                break;
            }
        }
        checks::check_deliveries(&store, &mut figures);
        println!("{figures:?}");
    }
    assert!(figures.acknowledged_events > 100 && figures.acknowledged_bookings > 0, "too little load: {figures:?}");
    let faults = [
        figures.lost,
        figures.twice,
        figures.reordered,
        figures.erased_returned,
        figures.run_again,
        figures.damaged_backups,
    ];
    assert_eq!(faults, [0; 6], "lost, twice, reordered, erased and back, run again, damaged backups: {figures:?}");
}
