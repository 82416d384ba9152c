use jiff::ToSpan;
use jiff::civil::{Date, DateTime, Time, date, time};
use jiff::tz::TimeZone;
use proptest::prelude::*;

use super::*;
use crate::config::DateOrder;

/// A Saturday, which matters for weekdays and `next`.
const TODAY: Date = Date::constant(2026, 11, 21);

fn context(today: Date, order: DateOrder) -> DateContext {
    DateContext { today, zone: TimeZone::get("Europe/Berlin").unwrap(), order, example: date(2026, 11, 23) }
}

pub(super) fn parse_date_in_order(text: &str, order: DateOrder) -> Result<Date, ClarifyingQuestion> {
    parse_date(text, &context(TODAY, order)).map(|parsed| parsed.date)
}

pub(super) fn parse_date_auto(text: &str) -> Date {
    parse_date_in_order(text, DateOrder::Auto).unwrap_or_else(|question| panic!("{text}: {question}"))
}

#[test]
#[allow(clippy::too_many_lines, reason = "one table of texts and dates")]
fn dates_are_parsed_in_every_form() {
    let day = date(2026, 11, 24);
    for text in [
        "2026-11-24",
        "20261124",
        "2026/11/24",
        "24.11.2026",
        "24.11.26",
        "24.11.",
        "24.11",
        "24/11/2026",
        "11/24/2026",
        "11/24",
        "24-11-2026",
        "November 24",
        "Nov 24th, 2026",
        "24 November 2026",
        "24. November 2026",
        "24th of November",
        "the 24th of November, 2026",
        "Tuesday, November 24",
        "Dienstag, den 24. November",
        "am Dienstag, 24.11.2026",
        "Tuesday",
        "next Tuesday",
        "Tuesday the 24th",
        "Tuesday, the 24th.",
        "Dienstag, den 24.",
        "the 24th",
        "am 24.",
        "Di, 24.11.2026",
        "Di., 24.11.",
        "Di.",
        "am Di",
        "Tuesday.",
        "in 3 days",
        "in drei Tagen",
    ] {
        assert_eq!(parse_date_auto(text), day, "{text}");
    }
    assert_eq!(parse_date_auto("1. März"), date(2027, 3, 1), "the next one");
    assert_eq!(parse_date_auto("2. Jänner 2027"), date(2027, 1, 2));
    assert_eq!([parse_date_auto("today"), parse_date_auto("heute")], [TODAY; 2]);
    assert_eq!(
        [
            parse_date_auto("Tomorrow"),
            parse_date_auto("morgen"),
            parse_date_auto("Tomorrow."),
            parse_date_auto("tomorrow!")
        ],
        [date(2026, 11, 22); 4]
    );
    assert_eq!(
        [parse_date_auto("Mi"), parse_date_auto("Do."), parse_date_auto("Fr"), parse_date_auto("So")].map(Date::day),
        [25, 26, 27, 22]
    );
    assert_eq!(parse_date_auto("the 5th"), date(2026, 12, 5), "the next one");
    assert_eq!(parse_date_auto("übermorgen"), date(2026, 11, 23));
    assert_eq!(parse_date_auto("in two weeks".replace("two", "2").as_str()), date(2026, 12, 5));
    assert_eq!(parse_date_auto("29.02."), date(2028, 2, 29), "the next leap year");
    assert_eq!(parse_date_auto("05/05/2027"), date(2027, 5, 5), "both orders give the same date");
}

#[test]
fn date_order_setting_resolves_ambiguous_digits() {
    assert_eq!(parse_date_in_order("03/04/2027", DateOrder::Dmy), Ok(date(2027, 4, 3)));
    assert_eq!(parse_date_in_order("03/04/2027", DateOrder::Mdy), Ok(date(2027, 3, 4)));
    assert_eq!(
        parse_date_in_order("03.04.2027", DateOrder::Auto),
        Ok(date(2027, 4, 3)),
        "with dots the day comes first"
    );
    assert_eq!(parse_date_in_order("12/24/2026", DateOrder::Dmy), Ok(date(2026, 12, 24)), "24 is not a month");
    let question = parse_date_in_order("03/04/2027", DateOrder::Auto).unwrap_err();
    assert!(question.contains("April 3") && question.contains("March 4"), "{question}");
}

#[test]
fn unclear_dates_are_asked_about() {
    for text in [
        "",
        "soon",
        "30.02.2027",
        "2026-13-01",
        "2026-02-30T10:00",
        "31/02/2027",
        "03/04",
        "26-11-24",
        "Monday, November 24",
        "Monday the 24th",
        "24",
        "the 32nd",
        "Saturday",
        "November",
        "1e3",
        "99999999",
        "24 24 November",
        "next year",
        "½ November",
    ] {
        assert!(parse_date_in_order(text, DateOrder::Auto).is_err(), "{text}");
    }
    let question = parse_date("next Friday", &context(date(2026, 11, 24), DateOrder::Auto)).unwrap_err();
    assert!(question.contains("November 27") && question.contains("December 4"), "{question}");
}

#[test]
fn full_date_times_include_a_time() {
    let read = |text: &str| parse_date(text, &context(TODAY, DateOrder::Auto)).unwrap();
    let unambiguous = |hour, minute| Some(ParsedTime { time: time(hour, minute, 0, 0), am_pm_ambiguous: false });
    let instant = |text: &str| Some(text.parse().unwrap());
    let at =
        |hour, timestamp| ParsedDate { time: unambiguous(hour, 30), timestamp, ..ParsedDate::from(date(2026, 11, 23)) };
    let named = instant("2026-11-23T13:30:00Z");
    assert_eq!(read("2026-11-23T14:30:00"), at(14, None));
    assert_eq!(read("2026-11-23 14:30"), at(14, None));
    assert_eq!(read("2026-11-23T14:30:00+01:00"), at(14, named));
    assert_eq!(read("2026-11-23T13:30:00Z"), at(14, named), "an instant is converted to the company's time zone");
    let day = ParsedDate::from(date(2026, 11, 24));
    for text in ["2026-11-24T00:00:00Z", "2026-11-24T00:00:00.000Z", "2026-11-24 00:00", "2026-11-24T00:00:00+05:30"] {
        assert_eq!(read(text), day, "{text}: a bare date, as programs write it");
    }
    let evening = ParsedDate { time: unambiguous(0, 0), ..ParsedDate::from(date(2026, 11, 24)) };
    assert_eq!(read("2026-11-23T23:00:00Z"), ParsedDate { timestamp: instant("2026-11-23T23:00:00Z"), ..evening });
}

#[test]
fn a_date_may_contain_the_time_or_a_part_of_the_day() {
    let tomorrow = date(2026, 11, 22);
    let tuesday = date(2026, 11, 24);
    for (text, day, hour, minute, is_ambiguous) in [
        ("tomorrow at 3 pm", tomorrow, 15, 0, false),
        ("3 pm tomorrow", tomorrow, 15, 0, false),
        ("tomorrow, 3:30 PM", tomorrow, 15, 30, false),
        ("tomorrow at 3", tomorrow, 3, 0, true),
        ("tomorrow afternoon at 3", tomorrow, 15, 0, false),
        ("tomorrow at 3 in the afternoon", tomorrow, 15, 0, false),
        ("morgen Nachmittag um halb drei", tomorrow, 14, 30, false),
        ("morgen früh um 9", tomorrow, 9, 0, false),
        ("morgen um dreizehn Uhr", tomorrow, 13, 0, false),
        ("morgen Mittag", tomorrow, 12, 0, false),
        ("Dienstag um 14.30 Uhr", tuesday, 14, 30, false),
        ("Dienstag, 24.11. 14:30", tuesday, 14, 30, false),
        ("24 November 2026 2 pm", tuesday, 14, 0, false),
        ("2026-11-24 2:30 PM", tuesday, 14, 30, false),
        ("14:30 on Tuesday the 24th", tuesday, 14, 30, false),
        ("Tuesday at noon", tuesday, 12, 0, false),
        ("Friday next week at two thirty pm", date(2026, 11, 27), 14, 30, false),
        ("in two weeks at 10:00 am", date(2026, 12, 5), 10, 0, false),
        ("this afternoon at 4", TODAY, 16, 0, false),
    ] {
        let parsed =
            parse_date(text, &context(TODAY, DateOrder::Auto)).unwrap_or_else(|question| panic!("{text}: {question}"));
        let expected = ParsedTime { time: time(hour, minute, 0, 0), am_pm_ambiguous: is_ambiguous };
        assert_eq!((parsed.date, parsed.time), (day, Some(expected)), "{text}");
    }
    for (text, day, day_part) in [
        ("tomorrow afternoon", tomorrow, Meridiem::Pm),
        ("morgen Nachmittag", tomorrow, Meridiem::Pm),
        ("morgen früh", tomorrow, Meridiem::Am),
        ("Dienstagnachmittag", tuesday, Meridiem::Pm),
        ("Tuesday morning", tuesday, Meridiem::Am),
        ("heute Abend", TODAY, Meridiem::Pm),
        ("tonight", TODAY, Meridiem::Pm),
    ] {
        let parsed =
            parse_date(text, &context(TODAY, DateOrder::Auto)).unwrap_or_else(|question| panic!("{text}: {question}"));
        assert_eq!((parsed.date, parsed.time, parsed.day_part), (day, None, Some(day_part)), "{text}");
    }
    for text in ["Tuesday 10", "afternoon", "at 3 pm", "tomorrow at 25:00", "soon at 3 pm"] {
        assert!(parse_date(text, &context(TODAY, DateOrder::Auto)).is_err(), "{text}");
    }
    let question = parse_date("soon", &context(TODAY, DateOrder::Auto)).unwrap_err();
    assert!(question.contains("such as November 23"), "{question}");
}

#[test]
fn times_are_parsed_in_every_form() {
    let read = |text: &str| parse_time(text).map(|parsed| (parsed.time, parsed.am_pm_ambiguous));
    for text in
        ["14:30", "14.30", "14.30 Uhr", "14 Uhr 30", "14h30", "1430", "14:30:00", "2:30 pm", "2:30PM", "2.30 p.m."]
    {
        assert_eq!(read(text), Ok((time(14, 30, 0, 0), false)), "{text}");
    }
    for text in [
        "14",
        "14 Uhr",
        "um 14 Uhr",
        "2 pm",
        "2PM",
        "2 p. m.",
        "2 pm.",
        "zwei Uhr nachmittags",
        "2 o\u{2019}clock pm",
        "at 2 in the afternoon",
        "14:00 pm",
        "2026-11-23T14:00",
    ] {
        assert_eq!(read(text), Ok((time(14, 0, 0, 0), false)), "{text}");
    }
    assert_eq!(read("2:30"), Ok((time(2, 30, 0, 0), true)));
    assert_eq!(read("02:30"), Ok((time(2, 30, 0, 0), false)));
}

#[test]
fn times_are_parsed_in_words() {
    let read = |text: &str| parse_time(text).map(|parsed| (parsed.time, parsed.am_pm_ambiguous));
    for text in ["2 Uhr", "um 2 Uhr", "2 h", "2 o'clock", "2 o\u{2019}clock", "zwei Uhr", "two", "two o'clock."] {
        assert_eq!(read(text), Ok((time(2, 0, 0, 0), true)), "{text}: AM or PM is open");
    }
    assert_eq!(read("02 Uhr"), Ok((time(2, 0, 0, 0), false)));
    for text in ["halb drei", "halb 3", "um halb drei Uhr", "half past two"] {
        assert_eq!(read(text), Ok((time(2, 30, 0, 0), true)), "{text}");
    }
    assert_eq!(read("halb eins"), Ok((time(12, 30, 0, 0), false)));
    assert_eq!(read("halb drei nachmittags"), Ok((time(14, 30, 0, 0), false)));
    assert_eq!(
        [read("Viertel nach zwei"), read("a quarter past two")],
        [const { Ok((Time::constant(2, 15, 0, 0), true)) }; 2]
    );
    assert_eq!(
        [read("Viertel vor drei"), read("dreiviertel drei")],
        [const { Ok((Time::constant(2, 45, 0, 0), true)) }; 2]
    );
    assert_eq!(read("9 Uhr"), Ok((time(9, 0, 0, 0), true)));
    for (text, hour, minute, is_ambiguous) in [
        ("dreizehn Uhr", 13, 0, false),
        ("vierzehn Uhr fünfzehn", 14, 15, false),
        ("zwanzig Uhr fünfunddreißig", 20, 35, false),
        ("two thirty pm", 14, 30, false),
        ("two thirty", 2, 30, true),
        ("ten forty-five", 10, 45, true),
        ("two oh five pm", 14, 5, false),
        ("half past two pm", 14, 30, false),
        ("ten to three", 2, 50, true),
        ("five minutes past two", 2, 5, true),
        ("zehn nach zwei", 2, 10, true),
        ("fünf vor drei nachmittags", 14, 55, false),
        ("12:00 noon", 12, 0, false),
        ("12 noon", 12, 0, false),
        ("zwölf Uhr mittags", 12, 0, false),
        ("midnight", 0, 0, false),
        ("12 midnight", 0, 0, false),
    ] {
        assert_eq!(read(text), Ok((time(hour, minute, 0, 0), is_ambiguous)), "{text}");
    }
    for text in ["two three", "twenty-five", "thirty two", "half", "one hundred", "3 noon", "ten past", "oh five"] {
        assert!(read(text).is_err(), "{text}");
    }
}

#[test]
fn hours_and_meridiems_are_parsed() {
    let read = |text: &str| parse_time(text).map(|parsed| (parsed.time, parsed.am_pm_ambiguous));
    assert_eq!(read("9"), Ok((time(9, 0, 0, 0), true)));
    assert_eq!([read("12 pm"), read("noon")], [Ok((time(12, 0, 0, 0), false)), Ok((time(12, 0, 0, 0), false))]);
    assert_eq!(read("12 am"), Ok((time(0, 0, 0, 0), false)));
    for text in [
        "",
        "half past",
        "viertel drei",
        "halb 14",
        "25:00",
        "24:00",
        "14:60",
        "14:3",
        "14:30 am",
        "0 pm",
        "2 pm EST",
        "14:30Z",
        "-2",
    ] {
        assert!(read(text).is_err(), "{text}");
    }
}

fn any_date() -> impl Strategy<Value = Date> {
    (0..730_i32).prop_map(|ahead| TODAY.checked_add(ahead.days()).unwrap())
}

proptest! {
    #[test]
    fn every_date_format_parses_to_that_date(day in any_date()) {
        for format in ["%Y-%m-%d", "%Y%m%d", "%d.%m.%Y", "%B %-d, %Y", "%-d %b %Y", "%A, %-d. %B %Y", "%A the %-dth of %B %Y"] {
            prop_assert_eq!(parse_date_auto(&day.strftime(format).to_string()), day, "{}", format);
        }
        let slashes = |format: &str, order| parse_date_in_order(&day.strftime(format).to_string(), order);
        prop_assert_eq!(slashes("%d/%m/%Y", DateOrder::Dmy), Ok(day));
        prop_assert_eq!(slashes("%m/%d/%Y", DateOrder::Mdy), Ok(day));
        if let Ok(read) = slashes("%d/%m/%Y", DateOrder::Auto) {
            prop_assert_eq!(read, day, "without a setting only one order was possible");
        }
    }

    #[test]
    fn missing_year_means_the_next_such_date(day in any_date()) {
        let read = parse_date_auto(&day.strftime("%d.%m.").to_string());
        prop_assert!(read >= TODAY && (read.month(), read.day()) == (day.month(), day.day()));
        prop_assert!(read <= day);
    }

    #[test]
    fn every_time_format_parses_to_that_time(hour in 0_i8..24, minute in 0_i8..60) {
        let at = time(hour, minute, 0, 0);
        for format in ["%H:%M", "%H%M", "%H.%M Uhr", "%-I:%M %p", "%I:%M%P", "%H:%M:%S"] {
            let text = DateTime::from_parts(TODAY, at).strftime(format).to_string();
            let read = parse_time(&text);
            prop_assert_eq!(read.clone().map(|parsed| parsed.time), Ok(at), "{}", text);
            let may_be_ambiguous = !format.to_lowercase().ends_with('p') && !text.starts_with('0') && (10..12).contains(&hour);
            prop_assert!(!read.unwrap().am_pm_ambiguous || may_be_ambiguous, "{}", text);
        }
    }

    #[test]
    fn arbitrary_text_does_not_panic(text in "\\PC{0,40}") {
        let _ = (parse_date_in_order(&text, DateOrder::Auto), parse_time(&text));
    }

    #[test]
    fn text_of_date_characters_does_not_panic(text in "[0-9./:tz +-]{0,24}") {
        let _ = (parse_date_in_order(&text, DateOrder::Auto), parse_time(&text));
    }
}
