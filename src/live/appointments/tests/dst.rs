//! Bookings on the days of clock changes, which differ between Europe, America and Australia.

use crate::base::id::CompanyId;
use jiff::civil::{Date, date};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use proptest::prelude::*;

use serde_json::{Value, json};

use super::{BookingFixture, NOW, booking_arguments, settings};
use crate::config::{CompanySettings, Settings};
use crate::live::FunctionContext;
use crate::live::appointments::calendar::Calendar;

const ZONES: [&str; 4] = ["Europe/Berlin", "America/New_York", "UTC", "Australia/Lord_Howe"];

fn settings_open_all_day(zone: &str) -> Settings {
    let mut settings = settings(zone);
    settings.appointments.days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"].map(str::to_owned).to_vec();
    settings.appointments.opens = "00:00".into();
    settings.appointments.closes = "24:00".into();
    settings.appointments.horizon_days = 730;
    settings
}

async fn book_in_zone(zone: &str, date: &str, time: &str) -> Value {
    let folder = tempfile::tempdir().unwrap();
    BookingFixture::open(folder.path(), &settings_open_all_day(zone), NOW)
        .call("collect", booking_arguments("A", date, time))
        .await
}

#[tokio::test]
async fn skipped_local_time_is_invalid_and_explained() {
    for (zone, date) in [("Europe/Berlin", "2027-03-28"), ("America/New_York", "2027-03-14")] {
        let skipped = book_in_zone(zone, date, "02:30").await;
        assert_eq!(skipped["result"], "invalid", "{zone}: {skipped}");
        assert!(skipped["message"].as_str().unwrap().contains("the clocks go forward"), "{skipped}");
    }
    assert_eq!(book_in_zone("Europe/Berlin", "2027-03-28", "03:00").await["start"], "2027-03-28T03:00:00+02:00");
    assert_eq!(book_in_zone("America/New_York", "2027-03-14", "01:30").await["start"], "2027-03-14T01:30:00-05:00");
}

#[tokio::test]
async fn repeated_local_time_means_its_first_instant() {
    assert_eq!(book_in_zone("Europe/Berlin", "2027-10-31", "02:30").await["start"], "2027-10-31T02:30:00+02:00");
    assert_eq!(book_in_zone("America/New_York", "2027-11-07", "01:30").await["start"], "2027-11-07T01:30:00-04:00");
    assert_eq!(book_in_zone("Europe/Berlin", "2027-10-31", "03:00").await["start"], "2027-10-31T03:00:00+01:00");
}

#[tokio::test]
async fn offset_selects_one_of_two_instants() {
    for (date, time, start) in [
        ("2027-10-31T01:30:00Z", "", "2027-10-31T02:30:00+01:00"),
        ("2027-10-31T00:30:00Z", "", "2027-10-31T02:30:00+02:00"),
        ("2027-10-31T02:30:00+01:00", "2:30 AM", "2027-10-31T02:30:00+01:00"),
        ("2027-10-31", "2027-10-31T02:30:00+01:00", "2027-10-31T02:30:00+01:00"),
    ] {
        assert_eq!(book_in_zone("Europe/Berlin", date, time).await["start"], start, "{date} {time}");
    }
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings_open_all_day("Europe/Berlin"), NOW);
    for date in ["2027-10-31T00:30:00Z", "2027-10-31T01:30:00Z"] {
        assert_eq!(
            fixture.call("collect", booking_arguments("A", date, "")).await["result"],
            "booked",
            "two different slots: {date}"
        );
    }
}

#[tokio::test]
async fn opening_hours_follow_local_time() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings("UTC");
    settings.appointments.horizon_days = 365;
    let company = |slug: &str, zone: &str| -> CompanySettings {
        serde_json::from_value(json!({"slug": slug, "time_zone": zone})).unwrap()
    };
    settings.companies = vec![company("berlin", "Europe/Berlin"), company("york", "America/New_York")];
    let fixture = BookingFixture::open(folder.path(), &settings, NOW);
    for (company, id, date, start) in [
        ("berlin", 2, "2027-03-26", "2027-03-26T09:00:00+01:00"),
        ("berlin", 2, "2027-03-29", "2027-03-29T09:00:00+02:00"),
        ("york", 3, "2027-03-12", "2027-03-12T09:00:00-05:00"),
        ("york", 3, "2027-03-15", "2027-03-15T09:00:00-04:00"),
    ] {
        let context =
            FunctionContext { company: company.to_owned(), company_id: CompanyId::new(id), ..fixture.context(None) };
        assert_eq!(
            fixture.call_with_context(&context, "collect", booking_arguments("A", date, "9 am")).await["start"],
            start
        );
    }
}

fn dates_near_dst_changes() -> impl Strategy<Value = (usize, Date)> {
    let near = prop_oneof![
        Just(date(2027, 3, 14)),
        Just(date(2027, 3, 28)),
        Just(date(2027, 4, 4)),
        Just(date(2027, 10, 3)),
        Just(date(2027, 10, 31)),
        Just(date(2027, 11, 7)),
    ];
    (0..ZONES.len(), near, -2..=2_i32).prop_map(|(zone, day, off)| (zone, day.checked_add(off.days()).unwrap()))
}

proptest! {
    #[test]
    fn slots_do_not_overlap_and_match_local_time((zone, day) in dates_near_dst_changes(), minutes in prop_oneof![Just(15_u16), Just(30), Just(60)]) {
        let mut settings = settings_open_all_day(ZONES[zone]);
        settings.appointments.slot_minutes = minutes;
        let calendar = Calendar::new(&settings.appointments, ZONES[zone]).unwrap();
        let slots = calendar.slot_starts(day, minutes);
        prop_assert!(slots.windows(2).all(|pair| pair[1] - pair[0] >= i64::from(minutes) * 60_000));
        let tz = TimeZone::get(ZONES[zone]).unwrap();
        for slot in &slots {
            let local = Timestamp::from_millisecond(*slot).unwrap().to_zoned(tz.clone());
            prop_assert_eq!(local.date(), day);
            prop_assert_eq!(i32::from(local.minute()) % i32::from(minutes.min(60)), 0);
            prop_assert_eq!(slot % crate::storage::SLOT_STEP_MS, 0);
            prop_assert_eq!(calendar.to_timestamp_ms(local.datetime()), Ok(*slot));
        }
        prop_assert!(slots.len() >= 22 * 60 / usize::from(minutes));
    }

    #[test]
    fn local_time_converts_back_or_is_skipped((zone, day) in dates_near_dst_changes(), minute in 0..1440_i64) {
        let calendar = Calendar::new(&settings_open_all_day(ZONES[zone]).appointments, ZONES[zone]).unwrap();
        let local = day.at(0, 0, 0, 0).checked_add(minute.minutes()).unwrap();
        match calendar.to_timestamp_ms(local) {
            Ok(instant) => prop_assert_eq!(calendar.to_local(instant), local),
            Err(message) => prop_assert!(message.contains("go forward"), "{}", message),
        }
    }
}
