//! The time zone at the end of a time: `3:30 PM EST`, `15:30 America/New_York`.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use super::ClarifyingQuestion;

/// Abbreviations, and names in lower case. Most stand for several zones of the world.
const ABBREVIATIONS: [&str; 44] = [
    "est", "edt", "et", "cst", "cdt", "ct", "mst", "mdt", "mt", "pst", "pdt", "pt", "akst", "akdt", "hst", "ast",
    "adt", "nst", "ndt", "utc", "gmt", "bst", "wet", "west", "cet", "cest", "eet", "eest", "msk", "mez", "mesz", "jst",
    "kst", "sgt", "hkt", "aest", "aedt", "acst", "acdt", "awst", "nzst", "nzdt", "sast", "brt",
];
/// Names of several words or of German, and the abbreviation that they stand for.
const LONG_NAMES: [(&str, &str); 16] = [
    ("eastern standard time", "est"),
    ("eastern daylight time", "edt"),
    ("eastern time", "et"),
    ("central standard time", "cst"),
    ("central daylight time", "cdt"),
    ("central time", "ct"),
    ("mountain standard time", "mst"),
    ("mountain daylight time", "mdt"),
    ("mountain time", "mt"),
    ("pacific standard time", "pst"),
    ("pacific daylight time", "pdt"),
    ("pacific time", "pt"),
    ("ortszeit", LOCAL),
    ("local time", LOCAL),
    ("your time", LOCAL),
    ("deutscher zeit", "cet"),
];
/// Abbreviations, and what the time zone database has instead.
const OTHER_NAMES: [(&str, &str); 4] = [("mez", "cet"), ("mesz", "cest"), ("brt", "-03"), ("sgt", "+08")];
const LOCAL: &str = "local";

/// Splits a time zone off the end of a text. The second value is `None` for `own` and for a text without a time zone.
///
/// # Errors
/// A question, when the abbreviation may mean several zones.
pub(crate) fn split_time_zone(
    text: &str,
    own: &TimeZone,
    own_name: &str,
    today: Date,
) -> Result<(String, Option<TimeZone>), ClarifyingQuestion> {
    let unchanged = || Ok((text.to_owned(), None));
    let lower = text.trim().trim_end_matches(['.', '?', '!']).to_lowercase();
    let long_name = LONG_NAMES.iter().find(|(name, _)| lower.ends_with(&format!(" {name}")));
    let (clock, zone) = match (long_name, lower.rsplit_once(' ')) {
        (Some((name, abbreviation)), _) => (lower[..lower.len() - name.len()].trim(), *abbreviation),
        (None, Some((clock, zone))) => (clock, zone.trim_matches(['(', ')'])),
        (None, None) => return unchanged(),
    };
    if zone.contains('/')
        && let Ok(named) = TimeZone::get(zone)
    {
        return Ok((clock.to_owned(), (!zone.eq_ignore_ascii_case(own_name)).then_some(named)));
    }
    if zone == LOCAL || own_abbreviations(own, today).iter().any(|own| is_abbreviation_of(zone, own)) {
        return Ok((clock.to_owned(), None));
    }
    if !ABBREVIATIONS.contains(&zone) {
        return unchanged();
    }
    if matches!(zone, "utc" | "gmt") {
        return Ok((clock.to_owned(), Some(TimeZone::UTC)));
    }
    Err(format!("Our appointments are in the time zone {own_name}. What time is that there?"))
}

/// In winter and in summer, in lower case. Callers mix the two up.
fn own_abbreviations(own: &TimeZone, today: Date) -> Vec<String> {
    let instants =
        [1, 7].map(|month| Date::new(today.year(), month, 1).and_then(|date| TimeZone::UTC.to_timestamp(date.into())));
    let abbreviation = |at: Timestamp| own.to_offset_info(at).abbreviation().to_lowercase();
    instants.into_iter().flatten().map(abbreviation).collect()
}

/// `et` is `est` or `edt`, and `mez` is `cet`.
fn is_abbreviation_of(zone: &str, own: &str) -> bool {
    let is_generic = zone.len() == 2 && zone.ends_with('t') && own.len() == 3;
    let is_season = || is_generic && own.starts_with(&zone[..1]) && matches!(&own[1..], "st" | "dt");
    zone == own || OTHER_NAMES.contains(&(zone, own)) || is_season()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_zones_are_split_off() {
        let new_york = TimeZone::get("America/New_York").unwrap();
        let split = |text: &str| split_time_zone(text, &new_york, "America/New_York", Date::constant(2026, 11, 21));
        for text in [
            "3:30 PM EST",
            "3:30 PM EDT.",
            "3:30 pm ET",
            "3:30 PM Eastern Time",
            "3:30 PM Eastern Daylight Time",
            "3:30 pm America/New_York",
            "3:30 pm local time",
        ] {
            assert_eq!(split(text), Ok(("3:30 pm".to_owned(), None)), "{text}");
        }
        assert_eq!(split("15:30 UTC"), Ok(("15:30".to_owned(), Some(TimeZone::UTC))));
        assert_eq!(split("15:30 Europe/Berlin").unwrap().1, Some(TimeZone::get("Europe/Berlin").unwrap()));
        for text in ["3 PM", "tomorrow", "24/11", "14 Uhr", "November 24 2 pm"] {
            assert_eq!(split(text), Ok((text.to_owned(), None)), "{text}");
        }
        for text in ["3 PM PST", "3 PM Pacific Standard Time", "3 PM CT"] {
            assert!(split(text).unwrap_err().contains("America/New_York"), "{text}");
        }
        let berlin = TimeZone::get("Europe/Berlin").unwrap();
        for text in ["15:30 MEZ", "15:30 MESZ", "15:30 CEST", "15:30 Ortszeit"] {
            assert_eq!(
                split_time_zone(text, &berlin, "Europe/Berlin", Date::constant(2026, 11, 21)),
                Ok(("15:30".to_owned(), None)),
                "{text}"
            );
        }
        assert!(split_time_zone("15:30 CT", &berlin, "Europe/Berlin", Date::constant(2026, 11, 21)).is_err());
        let singapore = TimeZone::get("Asia/Singapore").unwrap();
        assert_eq!(
            split_time_zone("15:30 SGT", &singapore, "Asia/Singapore", Date::constant(2026, 11, 21)),
            Ok(("15:30".to_owned(), None))
        );
    }
}
