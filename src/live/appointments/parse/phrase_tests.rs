//! Dates as callers say them: in other weeks, by their distance, and in words.

use jiff::civil::date;

use super::tests::{parse_date_auto, parse_date_in_order};
use crate::config::DateOrder;

#[test]
fn days_of_other_weeks_and_distances_in_words() {
    for (text, day) in [
        ("Friday next week", date(2026, 11, 27)),
        ("next week on Friday", date(2026, 11, 27)),
        ("Friday of next week", date(2026, 11, 27)),
        ("Freitag nächster Woche", date(2026, 11, 27)),
        ("Freitag der uebernaechsten Woche", date(2026, 12, 4)),
        ("Friday week", date(2026, 12, 4)),
        ("a week from Friday", date(2026, 12, 4)),
        ("two weeks from Friday", date(2026, 12, 11)),
        ("Sunday in two weeks", date(2026, 12, 6)),
        ("in zwei Wochen am Sonntag", date(2026, 12, 6)),
        ("Saturday in 2 weeks", date(2026, 12, 5)),
        ("in two weeks from now", date(2026, 12, 5)),
        ("nächste Woche Freitag", date(2026, 11, 27)),
        ("am Freitag in der nächsten Woche", date(2026, 11, 27)),
        ("Friday the week after next", date(2026, 12, 4)),
        ("übernächste Woche Freitag", date(2026, 12, 4)),
        ("Sunday this week", date(2026, 11, 22)),
        ("in two weeks", date(2026, 12, 5)),
        ("in zwei Wochen", date(2026, 12, 5)),
        ("heute in zwei Wochen", date(2026, 12, 5)),
        ("two weeks from today", date(2026, 12, 5)),
        ("in a week", date(2026, 11, 28)),
        ("in vierzehn Tagen", date(2026, 12, 5)),
        ("in a fortnight", date(2026, 12, 5)),
        ("in einem Monat", date(2026, 12, 21)),
        ("in twenty-one days", date(2026, 12, 12)),
    ] {
        assert_eq!(parse_date_auto(text), day, "{text}");
    }
    for text in ["Friday in two weeks", "Freitag in einer Woche"] {
        let question = parse_date_in_order(text, DateOrder::Auto).unwrap_err();
        assert!(question.starts_with("Do you mean Friday, ") && question.contains(", or Friday, "), "{question}");
    }
    for text in
        ["week", "Friday in weeks", "next week", "nächste Woche", "Friday Monday next week", "in some weeks", "in two"]
    {
        assert!(parse_date_in_order(text, DateOrder::Auto).is_err(), "{text}");
    }
}

#[test]
fn days_of_the_month_in_words() {
    for (text, day) in [
        ("zweiter November", date(2027, 11, 2)),
        ("am zweiten November", date(2027, 11, 2)),
        ("dritter Dezember", date(2026, 12, 3)),
        ("den siebten Dezember", date(2026, 12, 7)),
        ("einundzwanzigster Dezember", date(2026, 12, 21)),
        ("am ersten", date(2026, 12, 1)),
        ("the second of December", date(2026, 12, 2)),
        ("December twenty-first", date(2026, 12, 21)),
        ("December twenty fourth 2026", date(2026, 12, 24)),
        ("the twelfth of December", date(2026, 12, 12)),
        ("Monday the thirtieth", date(2026, 11, 30)),
        ("the twentieth", date(2026, 12, 20)),
    ] {
        assert_eq!(parse_date_auto(text), day, "{text}");
    }
    for text in [
        "Donnerstag, der dreißigste",
        "second Wednesday of December",
        "zweiter Mittwoch im Dezember",
        "2nd Wednesday",
        "2. Mittwoch",
        "December two",
    ] {
        assert!(parse_date_in_order(text, DateOrder::Auto).is_err(), "{text}");
    }
}
