//! Whether a name is another spelling of a name, or somebody else's.

/// Words this alike are one word, heard or written otherwise; where the first letters differ, they must be more alike.
const MIN_SIMILARITY: f64 = 0.6;
const MIN_SIMILARITY_OTHER_INITIAL: f64 = 0.75;

/// Each word of the shorter name is a word of the longer: people of one family share one of two words.
pub(super) fn is_respelling(new: &str, old: &str) -> bool {
    let (new, old) = (split_words(new), split_words(old));
    let (shorter, mut longer) = if new.len() < old.len() { (new, old) } else { (old, new) };
    let mut found = |word: &String| {
        let at = longer.iter().position(|other| other == word);
        let at = at.or_else(|| longer.iter().position(|other| is_similar_word(word, other)));
        at.map(|at| longer.swap_remove(at)).is_some()
    };
    !shorter.is_empty() && shorter.iter().all(&mut found)
}

fn split_words(name: &str) -> Vec<String> {
    let name = name.to_lowercase();
    name.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_owned).collect()
}

fn is_similar_word(one: &str, other: &str) -> bool {
    let same_first = one.chars().next() == other.chars().next();
    one.starts_with(other)
        || other.starts_with(one)
        || strsim::normalized_damerau_levenshtein(one, other)
            >= if same_first { MIN_SIMILARITY } else { MIN_SIMILARITY_OTHER_INITIAL }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_told_from_other_people() {
        for (old, new, corrected) in [
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
            assert_eq!((is_respelling(new, old), is_respelling(old, new)), (corrected, corrected), "{old} {new}");
        }
    }
}
