//! Names of months and weekdays in English and German.

use jiff::civil::Weekday;

const MONTH_NAMES: [&[&str]; 12] = [
    &["january", "jan", "januar", "jänner", "jaenner"],
    &["february", "feb", "februar", "feber"],
    &["march", "mar", "märz", "maerz", "mrz", "mär"],
    &["april", "apr"],
    &["may", "mai"],
    &["june", "jun", "juni"],
    &["july", "jul", "juli"],
    &["august", "aug"],
    &["september", "sep", "sept"],
    &["october", "oct", "oktober", "okt"],
    &["november", "nov"],
    &["december", "dec", "dezember", "dez"],
];

const WEEKDAY_NAMES: [(Weekday, &[&str]); 7] = [
    (Weekday::Monday, &["monday", "mon", "montag", "mo"]),
    (Weekday::Tuesday, &["tuesday", "tue", "tues", "dienstag", "di"]),
    (Weekday::Wednesday, &["wednesday", "wed", "mittwoch", "mi"]),
    (Weekday::Thursday, &["thursday", "thu", "thur", "thurs", "donnerstag", "do"]),
    (Weekday::Friday, &["friday", "fri", "freitag", "fr"]),
    (Weekday::Saturday, &["saturday", "sat", "samstag", "sonnabend", "sa"]),
    (Weekday::Sunday, &["sunday", "sun", "sonntag", "so"]),
];

/// The number of the month, 1 to 12. `word` must be lower case; abbreviations may end with a dot.
pub(super) fn parse_month(word: &str) -> Option<i8> {
    let word = word.trim_end_matches('.');
    (1_i8..).zip(MONTH_NAMES).find_map(|(month, names)| names.contains(&word).then_some(month))
}

pub(super) fn parse_weekday(word: &str) -> Option<Weekday> {
    let word = word.trim_end_matches('.');
    WEEKDAY_NAMES.into_iter().find_map(|(day, names)| names.contains(&word).then_some(day))
}
