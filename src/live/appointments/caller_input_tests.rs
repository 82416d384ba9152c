//! What callers and models say, and what they are told.

use serde_json::{Value, json};

use super::tests::{BookingFixture, NOW, alternative_starts, booking_arguments, settings};
use crate::config::ServiceSettings;
use crate::live::FunctionContext;

fn context_in_call(office: &BookingFixture, call_id: &str) -> FunctionContext {
    FunctionContext { call_id: Some(call_id.to_owned()), ..office.context(None) }
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap()
}

#[tokio::test]
async fn a_time_with_a_date_of_its_own_is_compared() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("Europe/Berlin"), NOW);
    let asked = office.call("collect", booking_arguments("A", "2026-11-24", "2026-11-25T14:30")).await;
    assert_eq!(asked["result"], "invalid", "{asked}");
    assert_eq!(message(&asked), "Is it on Tuesday, November 24 or on Wednesday, November 25?");
    for (name, date, time) in [
        ("A", "2026-11-24", "2026-11-24T14:30:00+01:00"),
        ("B", "", "2026-11-25T14:30"),
        ("C", "2026-11-26T00:00:00Z", "2 PM"),
        ("D", "2026-11-27T14:30:00+01:00", "2026-11-27T13:30:00Z"),
    ] {
        let booked = office.call("collect", booking_arguments(name, date, time)).await;
        assert_eq!(booked["result"], "booked", "{date} {time}: {booked}");
    }
    assert_eq!(
        office.call("collect", booking_arguments("E", "2026-11-24T10:00", "2026-11-24T11:00")).await["result"],
        "invalid"
    );
}

#[tokio::test]
async fn what_is_missing_or_null_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    for (arguments, question) in [
        (json!({"name": "A", "date": "2026-11-23"}), "At which time?"),
        (json!({"name": "A", "time": "10:00", "date": null}), "For which date is it?"),
        (json!({"date": "2026-11-23", "time": "10:00", "name": ["A"]}), "Under which name may I book it?"),
    ] {
        let answer = office.call("collect", arguments).await;
        assert_eq!((answer["result"].as_str(), message(&answer)), (Some("invalid"), question));
    }
    let nulls = json!({"name": "A", "date": "2026-11-23", "time": "10:00", "service": null});
    assert_eq!(office.call("collect", nulls).await["result"], "booked");
}

#[tokio::test]
async fn a_time_that_is_not_given_is_refused_for_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings("UTC");
    settings.appointments.opens = "08:45".into();
    settings.appointments.closes = "16:20".into();
    settings.appointments.slot_minutes = 25;
    settings.appointments.closed_dates = vec!["2026-11-25".into()];
    settings.appointments.min_notice_minutes = 3 * 24 * 60;
    settings.appointments.services = vec![ServiceSettings { name: "Filling".into(), duration_minutes: Some(60) }];
    let office = BookingFixture::open(folder.path(), &settings, NOW);
    for (date, time, reason) in [
        ("2026-11-26", "15:25", "It takes 60 minutes, and would not be over when we close at 4:20 PM."),
        ("2026-11-26", "20:00", "on Thursday, November 26 at 8:00 PM: they are given from 8:45 AM to 4:20 PM."),
        ("2026-11-26", "09:00", "on Thursday, November 26 at 9:00 AM: they begin every 25 minutes from 8:45 AM."),
        ("2026-11-28", "09:10", "There are no appointments on Saturday, November 28."),
        ("2026-11-25", "09:10", "There are no appointments on Wednesday, November 25."),
        ("2026-11-23", "09:10", "That is too soon."),
    ] {
        let answer = office.call("collect", booking_arguments("A", date, time)).await;
        assert!(message(&answer).contains(reason), "{date} {time}: {answer}");
        assert_eq!((answer["result"].as_str(), alternative_starts(&answer).len()), (Some("unavailable"), 3));
    }
    let soon = office.call("collect", booking_arguments("A", "2026-11-24", "08:45")).await;
    assert_eq!(alternative_starts(&soon)[0], "2026-11-24 09:10", "three days from now, and not before");
    let closed = office.call("collect", booking_arguments("A", "2026-11-25", "08:45")).await;
    assert_eq!(alternative_starts(&closed)[0], "2026-11-26 08:45", "not on the day that is closed");
}

#[tokio::test]
async fn callers_without_a_number_are_not_one_person() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let from = |number: &str| FunctionContext { from_number: Some(number.to_owned()), ..office.context(None) };
    for (number, time) in [("anonymous", "10:00"), ("", "10:30"), ("Restricted", "11:00"), ("+266696687", "11:30")] {
        let name = format!("Ada {}", time.replace(':', ""));
        let booked =
            office.call_with_context(&from(number), "collect", booking_arguments(&name, "2026-11-23", time)).await;
        assert_eq!(booked["result"], "booked", "{booked}");
        for function in ["cancel", "change"] {
            let tried = office.call_with_context(&from(number), function, json!({"name": name, "time": "15:00"})).await;
            assert_eq!(tried["result"], "not_found", "{number:?}: {tried}");
        }
    }
}

#[tokio::test]
async fn a_name_is_enough_in_the_same_call_and_between_the_same_phones() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let web = FunctionContext { from_number: None, to_number: None, ..context_in_call(&office, "web_1") };
    assert_eq!(
        office.call_with_context(&web, "collect", booking_arguments("Ada", "2026-11-23", "10:00")).await["result"],
        "booked"
    );
    let other = FunctionContext { from_number: None, to_number: None, ..context_in_call(&office, "web_2") };
    assert_eq!(office.call_with_context(&other, "cancel", json!({"name": "Ada"})).await["result"], "not_found");
    let again = FunctionContext { invocation_id: "again".into(), ..web };
    assert_eq!(office.call_with_context(&again, "cancel", json!({"name": "Ada"})).await["result"], "cancelled");
    // Booked by whoever called in, moved when they were called back.
    assert_eq!(office.call("collect", booking_arguments("Bob", "2026-11-23", "11:00")).await["result"], "booked");
    let (from_number, to_number) = (Some("+12025550199".into()), Some("+12025550143".into()));
    let back = FunctionContext { from_number, to_number, ..office.context(None) };
    let moved = office.call_with_context(&back, "change", json!({"name": "bob", "time": "12:00"})).await;
    assert_eq!((&moved["result"], &moved["time"]), (&json!("changed"), &json!("12:00")), "{moved}");
}

#[tokio::test]
async fn new_date_and_time_win_and_the_others_say_which() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let booked = office.call("collect", booking_arguments("Ada", "2026-11-23", "12:00")).await;
    let number = &booked["confirmation_number"];
    let moved = office
        .call(
            "change",
            json!({"confirmation_number": number, "date": "2026-11-23", "new_date": "2026-11-24", "time": "12:00", "new_time": "14:00"}),
        )
        .await;
    assert_eq!(
        (&moved["result"], &moved["start"]),
        (&json!("changed"), &json!("2026-11-24T14:00:00+00:00")),
        "{moved}"
    );
    office.call("collect", booking_arguments("Ada", "2026-11-26", "10:00")).await;
    assert_eq!(office.call("change", json!({"name": "Ada", "date": "2026-11-26"})).await["result"], "invalid", "two");
    let which = json!({"name": "Ada", "date": "2026-11-26", "new_time": "11:00"});
    assert_eq!(office.call("change", which).await["start"], "2026-11-26T11:00:00+00:00");
    let other = json!({"name": "Ada", "date": "2026-11-24", "time": "2 pm"});
    assert_eq!(&office.call("cancel", other).await["confirmation_number"], number);
}

#[tokio::test]
async fn what_the_caller_corrects_is_changed_and_not_refused() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let say = |name: &str, time: &str, service: Option<&str>| {
        let context = context_in_call(&office, "call_1");
        let arguments = json!({"name": name, "date": "2026-11-23", "time": time, "service": service});
        let office = &office;
        async move { office.call_with_context(&context, "collect", arguments).await }
    };
    let booked = say("Jon", "10:00", None).await;
    let with_service = say("Jon", "10:00", Some("Check-up")).await;
    assert_eq!((&with_service["result"], &with_service["service"]), (&json!("changed"), &json!("Check-up")));
    let renamed = say("John", "10:00", None).await;
    assert_eq!((&renamed["result"], &renamed["name"]), (&json!("changed"), &json!("John")), "{renamed}");
    assert_eq!(renamed["service"], "Check-up", "stays");
    assert!(message(&renamed).contains("for Check-up, under the name John."), "{renamed}");
    assert_eq!(renamed["confirmation_number"], booked["confirmation_number"]);
    assert_eq!(say("John", "10:00", Some("Check-up")).await["result"], "booked", "as it is");
    assert_eq!(say("John", "11:00", None).await["result"], "booked", "another time was asked for");
    let stranger = office
        .call_with_context(
            &context_in_call(&office, "call_2"),
            "collect",
            booking_arguments("John", "2026-11-23", "10:00"),
        )
        .await;
    assert_eq!(stranger["result"], "unavailable", "only in the same call");
    let events = ["appointment_booked", "appointment_changed", "appointment_changed", "appointment_booked"];
    assert_eq!(office.event_names().await, events);
}

#[tokio::test]
async fn another_person_takes_no_time_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let say = |name: &str, time: &str| {
        let (context, arguments) = (context_in_call(&office, "call_1"), booking_arguments(name, "2026-11-23", time));
        let office = &office;
        async move { office.call_with_context(&context, "collect", arguments).await }
    };
    let anna = say("Ana Smith", "10:00").await;
    let ben = say("Ben Smith", "10:00").await;
    assert_eq!(ben["result"], "unavailable", "{ben}");
    assert_eq!(ben["alternatives"].as_array().unwrap().len(), 3, "{ben}");
    assert_eq!(say("Ben Smith", "10:30").await["result"], "booked");
    let corrected = say("Anna Smyth", "10:00").await;
    assert_eq!((&corrected["result"], &corrected["name"]), (&json!("changed"), &json!("Anna Smyth")), "{corrected}");
    assert_eq!(corrected["confirmation_number"], anna["confirmation_number"]);
    assert_eq!(office.event_names().await, ["appointment_booked", "appointment_booked", "appointment_changed"]);
}

#[tokio::test]
async fn a_longer_service_moves_its_own_and_takes_nobody_elses() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings("UTC");
    let service = |name: &str, minutes| ServiceSettings { name: name.to_owned(), duration_minutes: minutes };
    settings.appointments.services = vec![service("Check-up", None), service("Filling", Some(60))];
    let office = BookingFixture::open(folder.path(), &settings, NOW);
    let say = |time: &str, service: &str| {
        let context = context_in_call(&office, "call_1");
        let arguments = json!({"name": "Ada", "date": "2026-11-23", "time": time, "service": service});
        let office = &office;
        async move { office.call_with_context(&context, "collect", arguments).await }
    };
    assert_eq!(say("10:00", "check up").await["service"], "Check-up", "however it is written");
    let longer = say("10:00", "Filling").await;
    assert_eq!((&longer["result"], &longer["end"]), (&json!("changed"), &json!("2026-11-23T11:00:00+00:00")));
    let later = say("10:30", "Filling").await;
    assert_eq!((&later["result"], &later["start"]), (&json!("changed"), &json!("2026-11-23T10:30:00+00:00")));
    let other = json!({"name": "Bob", "date": "2026-11-23", "time": "11:30", "service": "Check-up"});
    assert_eq!(office.call("collect", other).await["result"], "booked");
    assert_eq!(say("11:00", "Filling").await["result"], "unavailable", "it would meet another's");
    let unmoved = office.call("cancel", json!({"confirmation_number": later["confirmation_number"]})).await;
    assert_eq!(unmoved["time"], "10:30");
}

#[tokio::test]
async fn numbers_are_found_however_they_are_said_and_texts_are_on_a_line() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let wished = json!({"name": "Ada\u{7}\nLovelace", "date": "2026-11-23", "time": "10:00", "service": "Check\r\nup"});
    let booked = office.call("collect", wished).await;
    assert_eq!((&booked["name"], &booked["service"]), (&json!("Ada Lovelace"), &json!("Check up")));
    assert!(!message(&booked).contains(char::is_control), "{booked}");
    let number = booked["confirmation_number"].as_str().unwrap();
    let spaced = number.chars().map(String::from).collect::<Vec<_>>().join(" ");
    for said in [
        format!("number {number}"),
        format!("My confirmation number is {spaced}."),
        format!("{number}, please"),
        spaced,
    ] {
        let moved = office.call("change", json!({"confirmation_number": said, "time": "10:00"})).await;
        assert_eq!(moved["result"], "changed", "{said}: {moved}");
    }
}

#[tokio::test]
async fn two_companies_have_the_same_moment() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let mut numbers = Vec::new();
    for (id, company) in [(1, "default"), (2, "acme")] {
        let context = FunctionContext { company_id: id, company: company.into(), ..office.context(None) };
        let booked =
            office.call_with_context(&context, "collect", booking_arguments("Ada", "2026-11-23", "10:00")).await;
        assert_eq!(booked["result"], "booked", "{company}: {booked}");
        numbers.push(booked["confirmation_number"].clone());
    }
    let acme = FunctionContext { company_id: 2, company: "acme".into(), ..office.context(None) };
    let foreign = office.call_with_context(&acme, "cancel", json!({"confirmation_number": numbers[0]})).await;
    assert_eq!(foreign["result"], "not_found", "another company's number opens nothing");
    let own = office.call_with_context(&acme, "cancel", json!({"name": "Ada"})).await;
    assert_eq!(own["confirmation_number"], numbers[1]);
    assert_eq!(office.call("collect", booking_arguments("Bob", "2026-11-23", "10:00")).await["result"], "unavailable");
}

#[tokio::test]
async fn of_many_that_move_into_one_time_one_gets_it() {
    let folder = tempfile::tempdir().unwrap();
    let office = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let mut numbers = Vec::new();
    for half in 0..8 {
        let time = format!("{:02}:{:02}", 9 + half / 2, half % 2 * 30);
        let booked = office.call("collect", booking_arguments(&format!("Caller {half}"), "2026-11-23", &time)).await;
        numbers.push(booked["confirmation_number"].clone());
    }
    let moves =
        numbers.iter().map(|number| office.call("change", json!({"confirmation_number": number, "time": "15:00"})));
    let results: Vec<_> = futures_util::future::join_all(moves).await.iter().map(|it| it["result"].clone()).collect();
    let count = |wanted: &str| results.iter().filter(|result| *result == wanted).count();
    assert_eq!((count("changed"), count("unavailable")), (1, 7), "{results:?}");
    let mut free = 0;
    for half in 0..8 {
        let time = format!("{:02}:{:02}", 9 + half / 2, half % 2 * 30);
        let tried = office.call("collect", booking_arguments(&format!("Other {half}"), "2026-11-23", &time)).await;
        free += usize::from(tried["result"] == "booked");
    }
    assert_eq!(free, 1, "the place that was left, and no other");
}
