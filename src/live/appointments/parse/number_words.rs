//! Numbers from 0 to 59 as English and German words.

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

/// Parses a number in words, of one or more words: `dreizehn`, `twenty-five`, `forty five`, `fünfundzwanzig`.
pub(super) fn parse_number_words(words: &[&str]) -> Option<i16> {
    let text = words.concat().replace('-', "").replace('ü', "ue").replace('ö', "oe").replace('ß', "ss");
    if let Some(number) = small_number(&text) {
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
