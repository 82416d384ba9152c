//! Decides whether two names are spellings of one name, or names of different people. Names come from speech
//! recognition, so a caller who repeats a name is often written differently.

/// Minimum similarity (0 to 1) of two spellings of a word. It is higher when the first letters differ: "Tim" and
/// "Jim" are different people, while "Catherine" and "Katherine" may be the same one.
const MIN_SIMILARITY: f64 = 0.6;
const MIN_SIMILARITY_OTHER_INITIAL: f64 = 0.75;

/// Whether each word of the shorter name is a spelling of a different word of the longer one. All words must match,
/// because members of a family share a word.
pub(super) fn is_respelling(new: &str, old: &str) -> bool {
    let new_words = split_words(new);
    let old_words = split_words(old);
    let (shorter, mut longer) =
        if new_words.len() < old_words.len() { (new_words, old_words) } else { (old_words, new_words) };
    // Removes the match, so that one word cannot stand for two; an equal word is preferred to a similar one.
    let mut take_match = |word: &String| {
        let equal = longer.iter().position(|other| other == word);
        let position = equal.or_else(|| longer.iter().position(|other| is_similar_word(word, other)));
        position.map(|position| longer.swap_remove(position)).is_some()
    };
    !shorter.is_empty() && shorter.iter().all(&mut take_match)
}

fn split_words(name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn is_similar_word(one: &str, other: &str) -> bool {
    // An initial or a short form: "J" for "John".
    if one.starts_with(other) || other.starts_with(one) {
        return true;
    }
    let same_initial = one.chars().next() == other.chars().next();
    let min_similarity = if same_initial { MIN_SIMILARITY } else { MIN_SIMILARITY_OTHER_INITIAL };
    strsim::normalized_damerau_levenshtein(one, other) >= min_similarity
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_name_differ_from_other_names() {
        for (old, new, is_same) in [
            ("Ana Lovelace", "Anna Lovelace", true),
            ("Smith", "Smyth", true),
            ("Jon", "John", true),
            ("Maier", "Meyer", true),
            ("Jürgen Groß", "Jurgen Gross", true),
            ("Ada", "Ada Lovelace", true),
            ("Lovelace, Ana", "Anna Lovelace", true),
            ("J. Smith", "John Smith", true),
            ("Catherine Jones", "Katherine Jones", true),
            ("Anna", "Ben", false),
            ("Anna Smith", "Ben Smith", false),
            ("Anna Smith", "Anna Jones", false),
            ("Tim", "Jim", false),
            ("Peter", "Dieter", false),
            ("Anna", "Emma", false),
            ("?", "Anna", false),
        ] {
            assert_eq!((is_respelling(new, old), is_respelling(old, new)), (is_same, is_same), "{old} {new}");
        }
    }
}
