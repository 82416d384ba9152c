//! Numbers from 0 to 59 as English and German words, and days of the month as ordinal words.

const SMALL_NUMBERS: [&[&str]; 20] = [
    &["zero", "null"],
    &["one", "a", "an", "ein", "eins", "eine", "einem", "einer", "einen"],
    &["two", "zwei", "zwo"],
    &["three", "drei"],
    &["four", "vier"],
    &["five", "fuenf"],
    &["six", "sechs"],
    &["seven", "sieben"],
    &["eight", "acht"],
    &["nine", "neun"],
    &["ten", "zehn"],
    &["eleven", "elf"],
    &["twelve", "zwoelf"],
    &["thirteen", "dreizehn"],
    &["fourteen", "vierzehn"],
    &["fifteen", "fuenfzehn"],
    &["sixteen", "sechzehn"],
    &["seventeen", "siebzehn"],
    &["eighteen", "achtzehn"],
    &["nineteen", "neunzehn"],
];
const TENS: [(i16, &[&str]); 4] = [
    (20, &["twenty", "zwanzig"]),
    (30, &["thirty", "dreissig"]),
    (40, &["forty", "fourty", "vierzig"]),
    (50, &["fifty", "fuenfzig"]),
];

const ENGLISH_ORDINALS: [(&str, &str); 7] = [
    ("first", "one"),
    ("second", "two"),
    ("third", "three"),
    ("fifth", "five"),
    ("eighth", "eight"),
    ("ninth", "nine"),
    ("twelfth", "twelve"),
];
const GERMAN_ORDINALS: [(&str, &str); 4] = [("ers", "eins"), ("drit", "drei"), ("sieb", "sieben"), ("ach", "acht")];

/// Parses a number in words, of one or more words: `dreizehn`, `twenty-five`, `forty five`, `fünfundzwanzig`.
pub(super) fn parse_number_words(words: &[&str]) -> Option<i16> {
    parse_number(&join_words(words))
}

/// Parses an ordinal number in words, of one or more words: `second`, `twenty-first`, `zweiter`, `einundzwanzigsten`.
pub(super) fn parse_ordinal_words(words: &[&str]) -> Option<i16> {
    let text = join_words(words);
    let english =
        ENGLISH_ORDINALS.iter().find_map(|(ordinal, number)| Some([text.strip_suffix(ordinal)?, *number].concat()));
    let german = || {
        let stem = ["ter", "ten", "tes", "tem", "te"].iter().find_map(|ending| text.strip_suffix(ending))?;
        let irregular = GERMAN_ORDINALS.iter().find(|(ordinal, _)| *ordinal == stem).map(|(_, number)| *number);
        Some(irregular.unwrap_or_else(|| stem.strip_suffix('s').unwrap_or(stem)).to_owned())
    };
    let regular = || match text.strip_suffix("ieth") {
        Some(tens) => Some(format!("{tens}y")),
        None => text.strip_suffix("th").map(str::to_owned),
    };
    english.or_else(regular).or_else(german).and_then(|number| parse_number(&number)).filter(|number| *number > 0)
}

fn join_words(words: &[&str]) -> String {
    words.concat().replace('-', "").replace('ü', "ue").replace('ö', "oe").replace('ß', "ss")
}

fn parse_number(text: &str) -> Option<i16> {
    if let Some(number) = small_number(text) {
        return Some(number);
    }
    TENS.into_iter().find_map(|(tens, names)| {
        names.iter().find_map(|name| {
            // `twentyfive`, and in German `fuenfundzwanzig`.
            let units = match (text.strip_prefix(name), text.strip_suffix(name)) {
                (Some(""), _) => return Some(tens),
                (Some(units), _) => units,
                (None, Some(units)) => units.strip_suffix("und")?,
                (None, None) => return None,
            };
            small_number(units).filter(|units| (1..=9).contains(units)).map(|units| tens + units)
        })
    })
}

fn small_number(text: &str) -> Option<i16> {
    (0_i16..).zip(SMALL_NUMBERS).find_map(|(number, names)| names.contains(&text).then_some(number))
}
