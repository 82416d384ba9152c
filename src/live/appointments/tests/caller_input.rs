//! Arguments as callers say them and models send them, and the answers to them.

use crate::base::id::CompanyId;
use serde_json::{Value, json};

use super::{BookingFixture, NOW, alternative_starts, booking_arguments, settings};
use crate::config::ServiceSettings;
use crate::live::FunctionContext;

fn context_in_call(fixture: &BookingFixture, call_id: &str) -> FunctionContext {
    FunctionContext { call_id: Some(call_id.to_owned()), ..fixture.context(None) }
}

fn message(answer: &Value) -> &str {
    answer["message"].as_str().unwrap()
}

#[tokio::test]
async fn date_in_the_time_argument_must_match_the_date() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("Europe/Berlin"), NOW);
    let asked = fixture.call("collect", booking_arguments("A", "2026-11-24", "2026-11-25T14:30")).await;
    assert_eq!(asked["result"], "invalid", "{asked}");
    assert_eq!(message(&asked), "Did you mean Tuesday, November 24, or Wednesday, November 25?");
    for (name, date, time) in [
        ("A", "2026-11-24", "2026-11-24T14:30:00+01:00"),
        ("B", "", "2026-11-25T14:30"),
        ("C", "2026-11-26T00:00:00Z", "2 PM"),
        ("D", "2026-11-27T14:30:00+01:00", "2026-11-27T13:30:00Z"),
    ] {
        let booked = fixture.call("collect", booking_arguments(name, date, time)).await;
        assert_eq!(booked["result"], "booked", "{date} {time}: {booked}");
    }
    assert_eq!(
        fixture.call("collect", booking_arguments("E", "2026-11-24T10:00", "2026-11-24T11:00")).await["result"],
        "invalid"
    );
}

#[tokio::test]
async fn missing_and_null_arguments_are_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    for (arguments, question) in [
        (json!({"name": "A", "date": "2026-11-23"}), "What time would you like?"),
        (json!({"name": "A", "time": "10:00", "date": null}), "What date would you like?"),
        (json!({"date": "2026-11-23", "time": "10:00", "name": ["A"]}), "What name should I book it under?"),
    ] {
        let answer = fixture.call("collect", arguments).await;
        assert_eq!((answer["result"].as_str(), message(&answer)), (Some("invalid"), question));
    }
    let nulls = json!({"name": "A", "date": "2026-11-23", "time": "10:00", "service": null});
    assert_eq!(fixture.call("collect", nulls).await["result"], "booked");
}

#[tokio::test]
async fn unavailable_time_is_answered_with_its_reason() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings("UTC");
    settings.appointments.opens = "08:45".into();
    settings.appointments.closes = "16:20".into();
    settings.appointments.slot_minutes = 25;
    settings.appointments.closed_dates = vec!["2026-11-25".into()];
    settings.appointments.min_notice_minutes = 3 * 24 * 60;
    settings.appointments.services = vec![ServiceSettings { name: "Filling".into(), duration_minutes: Some(60) }];
    let fixture = BookingFixture::open(folder.path(), &settings, NOW);
    for (date, time, reason) in [
        ("2026-11-26", "15:25", "Sorry, that takes 60 minutes, and we close at 4:20 PM."),
        ("2026-11-26", "20:00", "closed on Thursday, November 26 at 8:00 PM. Our hours are 8:45 AM to 4:20 PM."),
        ("2026-11-26", "09:00", "9:00 AM on Thursday, November 26. Appointments start every 25 minutes from 8:45 AM."),
        ("2026-11-28", "09:10", "Sorry, we have no appointments on Saturday, November 28."),
        ("2026-11-25", "09:10", "Sorry, we have no appointments on Wednesday, November 25."),
        ("2026-11-23", "09:10", "Sorry, that is too short notice."),
    ] {
        let answer = fixture.call("collect", booking_arguments("A", date, time)).await;
        assert!(message(&answer).contains(reason), "{date} {time}: {answer}");
        assert_eq!((answer["result"].as_str(), alternative_starts(&answer).len()), (Some("unavailable"), 3));
    }
    let soon = fixture.call("collect", booking_arguments("A", "2026-11-24", "08:45")).await;
    assert_eq!(alternative_starts(&soon)[0], "2026-11-24 09:10", "at least three days from now");
    let closed = fixture.call("collect", booking_arguments("A", "2026-11-25", "08:45")).await;
    assert_eq!(alternative_starts(&closed)[0], "2026-11-26 08:45", "not on the closed date");
}

#[tokio::test]
async fn withheld_numbers_do_not_match_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let from = |number: &str| FunctionContext { from_number: Some(number.to_owned()), ..fixture.context(None) };
    for (number, time) in [("anonymous", "10:00"), ("", "10:30"), ("Restricted", "11:00"), ("+266696687", "11:30")] {
        let name = format!("Ada {}", time.replace(':', ""));
        let booked =
            fixture.call_with_context(&from(number), "collect", booking_arguments(&name, "2026-11-23", time)).await;
        assert_eq!(booked["result"], "booked", "{booked}");
        for function in ["cancel", "change"] {
            let answer =
                fixture.call_with_context(&from(number), function, json!({"name": name, "time": "15:00"})).await;
            assert_eq!(answer["result"], "not_found", "{number:?}: {answer}");
        }
    }
}

#[tokio::test]
async fn name_is_enough_in_the_same_call_and_between_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let web = FunctionContext { from_number: None, to_number: None, ..context_in_call(&fixture, "web_1") };
    assert_eq!(
        fixture.call_with_context(&web, "collect", booking_arguments("Ada", "2026-11-23", "10:00")).await["result"],
        "booked"
    );
    let other = FunctionContext { from_number: None, to_number: None, ..context_in_call(&fixture, "web_2") };
    assert_eq!(fixture.call_with_context(&other, "cancel", json!({"name": "Ada"})).await["result"], "not_found");
    let again = FunctionContext { invocation_id: "again".into(), ..web };
    assert_eq!(fixture.call_with_context(&again, "cancel", json!({"name": "Ada"})).await["result"], "cancelled");
    // Booked by a caller, and moved when that caller was called back.
    assert_eq!(fixture.call("collect", booking_arguments("Bob", "2026-11-23", "11:00")).await["result"], "booked");
    let (from_number, to_number) = (Some("+12025550199".into()), Some("+12025550143".into()));
    let back = FunctionContext { from_number, to_number, ..fixture.context(None) };
    let moved = fixture.call_with_context(&back, "change", json!({"name": "bob", "time": "12:00"})).await;
    assert_eq!((&moved["result"], &moved["time"]), (&json!("changed"), &json!("12:00")), "{moved}");
}

#[tokio::test]
async fn new_date_and_time_win_and_date_and_time_select_the_appointment() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let booked = fixture.call("collect", booking_arguments("Ada", "2026-11-23", "12:00")).await;
    let number = &booked["confirmation_number"];
    let moved = fixture
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
    fixture.call("collect", booking_arguments("Ada", "2026-11-26", "10:00")).await;
    assert_eq!(
        fixture.call("change", json!({"name": "Ada", "date": "2026-11-26"})).await["result"],
        "invalid",
        "two appointments"
    );
    let which = json!({"name": "Ada", "date": "2026-11-26", "new_time": "11:00"});
    assert_eq!(fixture.call("change", which).await["start"], "2026-11-26T11:00:00+00:00");
    let other = json!({"name": "Ada", "date": "2026-11-24", "time": "2 pm"});
    assert_eq!(&fixture.call("cancel", other).await["confirmation_number"], number);
}

#[tokio::test]
async fn correction_in_the_same_call_changes_the_appointment() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let book = |name: &str, time: &str, service: Option<&str>| {
        let context = context_in_call(&fixture, "call_1");
        let arguments = json!({"name": name, "date": "2026-11-23", "time": time, "service": service});
        let fixture = &fixture;
        async move { fixture.call_with_context(&context, "collect", arguments).await }
    };
    let booked = book("Jon", "10:00", None).await;
    let with_service = book("Jon", "10:00", Some("Check-up")).await;
    assert_eq!((&with_service["result"], &with_service["service"]), (&json!("changed"), &json!("Check-up")));
    let renamed = book("John", "10:00", None).await;
    assert_eq!((&renamed["result"], &renamed["name"]), (&json!("changed"), &json!("John")), "{renamed}");
    assert_eq!(renamed["service"], "Check-up", "the service is kept");
    assert!(
        message(&renamed).contains("for Check-up is now on Monday, November 23 at 10:00 AM, under the name John."),
        "{renamed}"
    );
    assert_eq!(renamed["confirmation_number"], booked["confirmation_number"]);
    assert_eq!(book("John", "10:00", Some("Check-up")).await["result"], "booked", "nothing to change");
    assert_eq!(book("John", "11:00", None).await["result"], "booked", "another time is a second appointment");
    let stranger = fixture
        .call_with_context(
            &context_in_call(&fixture, "call_2"),
            "collect",
            booking_arguments("John", "2026-11-23", "10:00"),
        )
        .await;
    assert_eq!(stranger["result"], "unavailable", "another call");
    let events = ["appointment_booked", "appointment_changed", "appointment_changed", "appointment_booked"];
    assert_eq!(fixture.event_names().await, events);
}

#[tokio::test]
async fn another_person_does_not_replace_the_first_booking() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let book = |name: &str, time: &str| {
        let (context, arguments) = (context_in_call(&fixture, "call_1"), booking_arguments(name, "2026-11-23", time));
        let fixture = &fixture;
        async move { fixture.call_with_context(&context, "collect", arguments).await }
    };
    let anna = book("Ana Smith", "10:00").await;
    let ben = book("Ben Smith", "10:00").await;
    assert_eq!(ben["result"], "unavailable", "{ben}");
    assert_eq!(ben["alternatives"].as_array().unwrap().len(), 3, "{ben}");
    assert_eq!(book("Ben Smith", "10:30").await["result"], "booked");
    let corrected = book("Anna Smyth", "10:00").await;
    assert_eq!((&corrected["result"], &corrected["name"]), (&json!("changed"), &json!("Anna Smyth")), "{corrected}");
    assert_eq!(corrected["confirmation_number"], anna["confirmation_number"]);
    assert_eq!(fixture.event_names().await, ["appointment_booked", "appointment_booked", "appointment_changed"]);
}

#[tokio::test]
async fn longer_service_extends_the_appointment_without_overlapping_others() {
    let folder = tempfile::tempdir().unwrap();
    let mut settings = settings("UTC");
    let service = |name: &str, minutes| ServiceSettings { name: name.to_owned(), duration_minutes: minutes };
    settings.appointments.services = vec![service("Check-up", None), service("Füllung", Some(60))];
    let fixture = BookingFixture::open(folder.path(), &settings, NOW);
    let book = |time: &str, service: &str| {
        let context = context_in_call(&fixture, "call_1");
        let arguments = json!({"name": "Ada", "date": "2026-11-23", "time": time, "service": service});
        let fixture = &fixture;
        async move { fixture.call_with_context(&context, "collect", arguments).await }
    };
    assert_eq!(book("10:00", "check up").await["service"], "Check-up", "spelling does not matter");
    assert_eq!(book("10:00", "Fillung").await["result"], "invalid", "not offered");
    let longer = book("10:00", "Fu\u{308}llung").await;
    assert_eq!((&longer["result"], &longer["end"]), (&json!("changed"), &json!("2026-11-23T11:00:00+00:00")));
    let later = book("10:30", "Fuellung").await;
    assert_eq!((&later["result"], &later["start"]), (&json!("changed"), &json!("2026-11-23T10:30:00+00:00")));
    let other = json!({"name": "Bob", "date": "2026-11-23", "time": "11:30", "service": "Check-up"});
    assert_eq!(fixture.call("collect", other).await["result"], "booked");
    assert_eq!(book("11:00", "FULLUNG").await["result"], "unavailable", "it would overlap another appointment");
    let unmoved = fixture.call("cancel", json!({"confirmation_number": later["confirmation_number"]})).await;
    assert_eq!(unmoved["time"], "10:30");
}

#[tokio::test]
async fn confirmation_numbers_are_recognized_and_texts_are_single_line() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let arguments =
        json!({"name": "Ada\u{7}\nLovelace", "date": "2026-11-23", "time": "10:00", "service": "Check\r\nup"});
    let booked = fixture.call("collect", arguments).await;
    assert_eq!((&booked["name"], &booked["service"]), (&json!("Ada Lovelace"), &json!("Check up")));
    assert!(!message(&booked).contains(char::is_control), "{booked}");
    let number = booked["confirmation_number"].as_str().unwrap();
    let spaced = number.chars().map(String::from).collect::<Vec<_>>().join(" ");
    for spoken in [
        format!("number {number}"),
        format!("My confirmation number is {spaced}."),
        format!("{number}, please"),
        spaced,
    ] {
        let moved = fixture.call("change", json!({"confirmation_number": spoken, "time": "10:00"})).await;
        assert_eq!(moved["result"], "changed", "{spoken}: {moved}");
    }
}

#[tokio::test]
async fn companies_book_the_same_slot_independently() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let mut numbers = Vec::new();
    for (id, company) in [(1, "default"), (2, "acme")] {
        let context =
            FunctionContext { company_id: CompanyId::new(id), company: company.into(), ..fixture.context(None) };
        let booked =
            fixture.call_with_context(&context, "collect", booking_arguments("Ada", "2026-11-23", "10:00")).await;
        assert_eq!(booked["result"], "booked", "{company}: {booked}");
        numbers.push(booked["confirmation_number"].clone());
    }
    let acme = FunctionContext { company_id: CompanyId::new(2), company: "acme".into(), ..fixture.context(None) };
    let foreign = fixture.call_with_context(&acme, "cancel", json!({"confirmation_number": numbers[0]})).await;
    assert_eq!(foreign["result"], "not_found", "confirmation numbers are valid in their own company only");
    let own = fixture.call_with_context(&acme, "cancel", json!({"name": "Ada"})).await;
    assert_eq!(own["confirmation_number"], numbers[1]);
    assert_eq!(fixture.call("collect", booking_arguments("Bob", "2026-11-23", "10:00")).await["result"], "unavailable");
}

#[tokio::test]
async fn only_one_of_many_concurrent_changes_gets_the_slot() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    let mut numbers = Vec::new();
    for half in 0..8 {
        let time = format!("{:02}:{:02}", 9 + half / 2, half % 2 * 30);
        let booked = fixture.call("collect", booking_arguments(&format!("Caller {half}"), "2026-11-23", &time)).await;
        numbers.push(booked["confirmation_number"].clone());
    }
    let moves =
        numbers.iter().map(|number| fixture.call("change", json!({"confirmation_number": number, "time": "15:00"})));
    let results: Vec<_> = futures_util::future::join_all(moves).await.iter().map(|it| it["result"].clone()).collect();
    let count = |wanted: &str| results.iter().filter(|result| *result == wanted).count();
    assert_eq!((count("changed"), count("unavailable")), (1, 7), "{results:?}");
    let mut free = 0;
    for half in 0..8 {
        let time = format!("{:02}:{:02}", 9 + half / 2, half % 2 * 30);
        let answer = fixture.call("collect", booking_arguments(&format!("Other {half}"), "2026-11-23", &time)).await;
        free += usize::from(answer["result"] == "booked");
    }
    assert_eq!(free, 1, "only the slot of the appointment that moved");
}

#[tokio::test]
async fn every_answer_has_todays_date_and_examples_can_be_booked() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("Europe/Berlin"), NOW);
    let past = fixture.call("collect", booking_arguments("A", "2024-08-16", "10:00")).await;
    assert!(message(&past).contains("in the past; today is Saturday, November 21, 2026."), "{past}");
    let unclear = fixture.call("collect", booking_arguments("A", "soon", "10:00")).await;
    assert!(message(&unclear).contains("such as November 23."), "the next open day: {unclear}");
    let booked = fixture.call("collect", booking_arguments("A", "2026-11-23", "10:00")).await;
    let taken = fixture.call("collect", booking_arguments("B", "2026-11-23", "10:00")).await;
    let not_found = fixture.call("cancel", json!({"name": "Zoe"})).await;
    for answer in [past, unclear, booked, taken, not_found] {
        assert_eq!(
            (&answer["today"], &answer["time_zone"]),
            (&json!("Saturday, November 21, 2026"), &json!("Europe/Berlin"))
        );
    }
}

#[tokio::test]
async fn date_and_time_are_understood_in_either_argument() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("America/New_York"), NOW);
    for (number, (date, time, start)) in [
        ("Monday at 3 pm", "", "2026-11-23T15:00:00-05:00"),
        ("", "3:30 pm on Monday", "2026-11-23T15:30:00-05:00"),
        ("Monday", "Monday at 4 pm", "2026-11-23T16:00:00-05:00"),
        ("Monday afternoon", "2:30", "2026-11-23T14:30:00-05:00"),
        ("Montag Nachmittag", "halb zwei", "2026-11-23T13:30:00-05:00"),
        ("Tuesday", "3:30 PM EST", "2026-11-24T15:30:00-05:00"),
        ("Tuesday", "15:00 America/New_York", "2026-11-24T15:00:00-05:00"),
        ("Tuesday", "15:00 UTC", "2026-11-24T10:00:00-05:00"),
        ("Tuesday", "17:00 Europe/Berlin", "2026-11-24T11:00:00-05:00"),
        ("Wednesday", "12:00 noon", "2026-11-25T12:00:00-05:00"),
    ]
    .into_iter()
    .enumerate()
    {
        let booked = fixture.call("collect", booking_arguments(&format!("Person {number}"), date, time)).await;
        assert_eq!((&booked["result"], &booked["start"]), (&json!("booked"), &json!(start)), "{date} {time}: {booked}");
    }
    for (date, time, question) in [
        ("tomorrow afternoon", "", "What time in the afternoon would you like?"),
        ("tomorrow", "afternoon", "What time in the afternoon would you like?"),
        ("Monday at 3 pm", "4 pm", "Did you mean 3:00 PM or 4:00 PM?"),
        ("Monday", "Tuesday at 4 pm", "Did you mean Monday, November 23, or Tuesday, November 24?"),
        ("Monday", "3 PM PST", "Our appointments are in the time zone America/New_York. What time is that there?"),
    ] {
        let asked = fixture.call("collect", booking_arguments("Z", date, time)).await;
        assert_eq!((&asked["result"], message(&asked)), (&json!("invalid"), question), "{date} {time}");
    }
}

#[tokio::test]
async fn another_spelling_of_the_name_finds_the_booking_of_the_call() {
    let folder = tempfile::tempdir().unwrap();
    let fixture = BookingFixture::open(folder.path(), &settings("UTC"), NOW);
    for (number, (booked_as, called)) in [
        ("José", "Jose\u{301}"),
        ("Dr. Jürgen Groß", "Juergen Gross"),
        ("Frau Müller", "Muller"),
        ("Smith", "Mr. Smith"),
    ]
    .into_iter()
    .enumerate()
    {
        let time = format!("{}:00", 10 + number);
        let booked = fixture.call("collect", booking_arguments(booked_as, "2026-11-23", &time)).await;
        assert_eq!((&booked["result"], &booked["name"]), (&json!("booked"), &json!(booked_as)), "{booked}");
        let cancelled = fixture.call("cancel", json!({"name": called})).await;
        assert_eq!(cancelled["result"], "cancelled", "{called}: {cancelled}");
    }
}
