//! The form of a name in which two spellings of it are equal. It decides only within what a caller may see, so it may
//! leave out more than a reader would.

use icu_normalizer::DecomposingNormalizerBorrowed;

/// Titles before a name, in lower case.
const TITLES: [&str; 22] = [
    "mr",
    "mrs",
    "ms",
    "miss",
    "mx",
    "sir",
    "madam",
    "dr",
    "doctor",
    "prof",
    "professor",
    "herr",
    "herrn",
    "frau",
    "fräulein",
    "doktor",
    "ing",
    "dipl",
    "mag",
    "med",
    "phil",
    "the",
];

/// The key by which names are compared: without titles, accents, case and punctuation, and `ß` as `ss`. `Dr. Jürgen
/// Groß`, `Juergen Gross` and `jurgen gross` are the same.
pub(super) fn person_name_key(name: &str) -> String {
    let lower = fold_case(name);
    let words: Vec<&str> =
        lower.split(|c: char| c.is_whitespace() || c == '.' || c == ',').filter(|word| !word.is_empty()).collect();
    let titles = words.iter().take_while(|word| TITLES.contains(word)).count();
    // A name that consists of titles is a name.
    spelling_key(&words.get(titles..).filter(|rest| !rest.is_empty()).unwrap_or(&words).concat())
}

/// The key by which names of services are compared: like that of a person, with its titles.
pub(super) fn spelling_key(name: &str) -> String {
    let lower = fold_case(name);
    let decomposed = DecomposingNormalizerBorrowed::new_nfkd().normalize(&lower);
    let letters: String = decomposed.chars().filter(|c| c.is_alphanumeric()).collect();
    // Speech recognition writes `Müller`, `Mueller` and `Muller`.
    letters.replace("ae", "a").replace("oe", "o").replace("ue", "u").replace('ø', "o").replace('ł', "l")
}

/// Full case folding: `ß` is `ss`, and both forms of the Greek sigma are one.
fn fold_case(text: &str) -> String {
    text.chars().flat_map(char::to_uppercase).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_a_name_have_one_key() {
        for (one, other) in [
            ("José", "Jose\u{301}"),
            ("JOSÉ", "Jose"),
            ("Dr. Jürgen Groß", "Juergen Gross"),
            ("Herr Prof. Dr. Müller", "Muller"),
            ("Mrs. O'Brien", "OBRIEN"),
            ("Frau Schmidt-Weiß", "schmidt weiss"),
            ("ﬁona", "Fiona"),
            ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
            ("Åse Sørensen", "Ase Sorensen"),
            ("山田 太郎", "山田太郎"),
        ] {
            assert_eq!(person_name_key(one), person_name_key(other), "{one} {other}");
        }
        for (one, other) in [("Anna", "Emma"), ("Dr. Smith", "Smyth"), ("Herr", "Frau"), ("Manuel", "Emanuel")] {
            assert_ne!(person_name_key(one), person_name_key(other), "{one} {other}");
        }
        assert_eq!([person_name_key(""), person_name_key("?!")], ["", ""]);
    }
}
