//! "Did you mean": the nearest of the names that would have been right.

/// The choice nearest to `word`, if it is near enough to be a typing error.
pub(crate) fn closest<'a>(word: &str, choices: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_lowercase();
    let distances = choices.into_iter().map(|choice| (strsim::levenshtein(&word, &choice.to_lowercase()), choice));
    distances.min().filter(|&(distance, choice)| distance <= 1 + choice.chars().count() / 4).map(|(_, choice)| choice)
}

/// A remedy: the nearest choice if there is one, and all choices.
pub(crate) fn remedy(what: &str, word: &str, choices: &[&str]) -> String {
    let all = match choices {
        [] => format!("there are no {what} here"),
        _ => format!("{what} here: {}", list(choices)),
    };
    match closest(word, choices.iter().copied()) {
        Some(near) => format!("did you mean `{near}`? {all}"),
        None => all,
    }
}

/// The first choices, and how many more there are.
fn list(choices: &[&str]) -> String {
    const SHOWN: usize = 32;
    let shown = choices.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
    match choices.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_finds_its_name_and_a_stranger_does_not() {
        assert_eq!(closest("ordr", ["order", "table", "ttl"]), Some("order"));
        assert_eq!(closest("Tricks_Trick", ["tricks_trick", "tricks_tag"]), Some("tricks_trick"));
        assert_eq!(closest("zebra", ["order", "table"]), None);
        assert_eq!(remedy("keys", "x", &[]), "there are no keys here");
    }
}
