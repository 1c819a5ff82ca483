//! Decides by its name whether a column or table holds a secret.
//!
//! A name is split into words (`privateKey`, `private_key`, `PRIVATE-KEY` have the same two). These
//! are looked up in one [vocabulary](super::vocabulary) for all databases. A name like
//! `password_changed_at` mentions a secret and holds none, as its last word shows.

use std::collections::HashSet;

use unicode_normalization::{UnicodeNormalization, char::is_combining_mark};

use super::vocabulary::{
    COUNTED, EVER, HARMLESS, HARMLESS_BEGINNINGS, HARMLESS_ENDS, KEY_KINDS, KEYS, LAST, NEVER_NUMBERS, OF_PEOPLE,
    PASS_BEHIND, PASS_OTHER, PEOPLE, PHRASES, STEMS, TABLE_ENDS, WHOLE,
};

/// A phrase of at least this many letters also counts at the end of a longer word: `clientsecret`,
/// but not `underpass`.
const LONG: usize = 5;

/// How many letters an ending may have, for a plural or a case.
const ENDING: usize = 2;

/// The vocabulary, folded as names are.
pub(crate) struct Vocabulary {
    stems: Vec<String>,
    phrases: HashSet<String>,
    last: HashSet<String>,
    whole: HashSet<String>,
    keys: HashSet<String>,
    key_kinds: HashSet<String>,
    harmless: HashSet<String>,
    harmless_ends: HashSet<String>,
    harmless_beginnings: HashSet<String>,
    ever: HashSet<String>,
    never_numbers: HashSet<String>,
    table_ends: HashSet<String>,
    people: HashSet<String>,
}

impl Vocabulary {
    pub(crate) fn new() -> Vocabulary {
        let set = |words: &[&str]| words.iter().map(|word| folded(word)).collect();
        Vocabulary {
            stems: STEMS.iter().map(|word| folded(word)).collect(),
            phrases: set(PHRASES),
            last: set(LAST),
            whole: set(WHOLE),
            keys: set(KEYS),
            key_kinds: set(KEY_KINDS),
            harmless: set(HARMLESS),
            harmless_ends: set(HARMLESS_ENDS),
            harmless_beginnings: set(HARMLESS_BEGINNINGS),
            ever: set(EVER),
            never_numbers: set(NEVER_NUMBERS),
            table_ends: set(TABLE_ENDS),
            people: set(PEOPLE),
        }
    }

    /// Whether a column may hold a secret. With some names a number cannot: a numeric `token` is a
    /// count.
    pub(crate) fn is_secret(&self, column: &str, number: bool) -> bool {
        let name = Name::new(column);
        let found = self.found(&name);
        found.iter().any(|(word, hard)| {
            let harmless = self.is_harmless(&name, word) && !self.ever.contains(word);
            let counted = number && (!hard || self.never_numbers.contains(word));
            !harmless && !counted
        })
    }

    /// Whether a column may hold a secret only because of the table's name.
    pub(super) fn is_secret_of(&self, table: &str, column: &str, number: bool) -> bool {
        let is_of_people = || Name::new(table).words.iter().any(|word| self.people.contains(word));
        !number && OF_PEOPLE.contains(&&*folded(column)) && is_of_people()
    }

    /// Whether the rows of a table with this name are secrets.
    pub(super) fn is_secret_table(&self, table: &str) -> bool {
        let name = Name::new(table);
        let stem = self.stem(&name).is_some_and(|stem| !self.is_harmless(&name, stem));
        stem || name.ends().any(|end| self.table_ends.contains(end)) || self.keys(&name).is_some_and(|plural| plural)
    }

    /// Whether a name's last word shows that it is not secret: a count, a date, a kind, a title.
    pub(super) fn ends_harmless(&self, column: &str) -> bool {
        Name::new(column).words.last().is_some_and(|word| self.is_end(word))
    }

    /// The vocabulary's words in a name, each with whether a number may be such a secret too.
    fn found(&self, name: &Name) -> Vec<(String, bool)> {
        let mut found: Vec<(String, bool)> = vec![];
        found.extend(self.stem(name).map(|stem| (stem.to_owned(), true)));
        found.extend(name.runs().filter(|run| self.phrases.contains(*run)).map(|run| (run.to_owned(), true)));
        found.extend(name.ends().filter(|end| self.last.contains(*end)).map(|end| (end.to_owned(), true)));
        if self.whole.contains(&name.squeezed) {
            found.push((name.squeezed.clone(), true));
        }

        let long = self.phrases.iter().filter(|phrase| phrase.chars().count() >= LONG);
        for phrase in long {
            let ends = |word: &String| word.len() > phrase.len() && word.ends_with(phrase.as_str());
            if name.words.iter().any(ends) {
                found.push((phrase.clone(), true));
            }
        }

        found.extend(self.keys(name).map(|_| ("key".to_owned(), false)));
        let encrypted = name.words.len() > 1 && name.words.iter().any(|word| word == "encrypted");
        found.extend(encrypted.then(|| ("encrypted".to_owned(), false)));
        found.extend(is_pass(name).then(|| ("pass".to_owned(), false)));
        found
    }

    /// A stem within one word, or across several if it begins with the first and nearly ends with
    /// the last: `mots_de_passes`, but not `access_keyboard`.
    fn stem(&self, name: &Name) -> Option<&str> {
        let within = |stem: &&String| {
            let over = |run: &str| run.strip_prefix(stem.as_str()).is_some_and(|rest| rest.chars().count() <= ENDING);
            name.words.iter().any(|word| word.contains(stem.as_str())) || name.runs().any(over)
        };
        self.stems.iter().find(within).map(String::as_str)
    }

    /// Whether the name has a key that must be kept secret; and if so, whether it ends in a plural.
    fn keys(&self, name: &Name) -> Option<bool> {
        let pair = |one: &String, other: &String| {
            (self.keys.contains(one) && self.key_kinds.contains(other))
                || (self.keys.contains(other) && self.key_kinds.contains(one))
        };
        let joined = |word: &String| {
            self.keys.iter().any(|key| {
                let kinds = [word.strip_suffix(key.as_str()), word.strip_prefix(key.as_str())];
                kinds.into_iter().flatten().any(|kind| self.key_kinds.contains(kind))
            })
        };
        let found = name.words.windows(2).any(|two| pair(&two[0], &two[1])) || name.words.iter().any(joined);
        found.then(|| name.words.last().is_some_and(|last| last.ends_with("keys")))
    }

    /// Whether a name with this word only mentions a secret.
    fn is_harmless(&self, name: &Name, found: &str) -> bool {
        let [.., last] = &name.words[..] else { return false };
        let first = &name.words[0];
        let counted = last == "tokens" && COUNTED.contains(&first.as_str());
        // The word may also be written together with its ending: `passwordchangedat`.
        let rest = last.split_once(found).map_or(last.as_str(), |(_, rest)| rest);
        let ends = self.is_end(rest)
            || (1..rest.len())
                .any(|at| rest.split_at_checked(at).is_some_and(|(one, other)| self.is_end(one) && self.is_end(other)));
        let begins = name.words.len() > 1 && self.harmless_beginnings.contains(first);
        counted || ends || begins || name.runs().any(|run| self.harmless.contains(run))
    }

    fn is_end(&self, word: &str) -> bool {
        self.harmless_ends.contains(word)
    }
}

/// Whether `pass` in a name means a password: alone, at the end, or before a word like `hash`.
fn is_pass(name: &Name) -> bool {
    let at = |word: &String| word == "pass";
    let Some(at) = name.words.iter().position(at) else { return false };
    let before = at.checked_sub(1).map(|before| name.words[before].as_str());
    let other = before.is_some_and(|before| PASS_OTHER.contains(&before));
    match name.words.get(at + 1) {
        None => !other,
        Some(behind) => PASS_BEHIND.contains(&behind.as_str()),
    }
}

/// A name, split into words.
struct Name {
    words: Vec<String>,
    /// All words together, without separators.
    squeezed: String,
    /// Where each word begins in it, and where the last one ends.
    bounds: Vec<usize>,
}

impl Name {
    fn new(name: &str) -> Name {
        let mut words = words(name);
        // A number at the end, as in `token2` or `pin_1`, does not matter.
        while words.len() > 1 && words.last().is_some_and(|word| word.bytes().all(|byte| byte.is_ascii_digit())) {
            words.pop();
        }
        let squeezed = words.concat();
        let mut bounds = vec![0];
        for word in &words {
            bounds.push(bounds.last().map_or(0, |end| end + word.len()));
        }
        Name { words, squeezed, bounds }
    }

    /// Every run of words, without separators.
    fn runs(&self) -> impl Iterator<Item = &str> {
        let ends =
            move |from: usize| self.bounds[from + 1..].iter().map(move |to| &self.squeezed[self.bounds[from]..*to]);
        (0..self.words.len()).flat_map(ends)
    }

    /// Every run of words up to the end.
    fn ends(&self) -> impl Iterator<Item = &str> {
        self.bounds[..self.words.len()].iter().map(|from| &self.squeezed[*from..])
    }
}

/// The words of a name, folded. It is split at other characters than letters and digits, where a
/// capital follows a small letter (and before the last of several capitals), and between letters
/// and digits.
pub(super) fn words(name: &str) -> Vec<String> {
    let chars: Vec<char> = name.nfc().collect();
    let mut words = vec![];
    let mut word = String::new();
    for (at, c) in chars.iter().enumerate() {
        let before = at.checked_sub(1).map(|before| chars[before]);
        let next = chars.get(at + 1);
        let hump = before.is_some_and(|before| {
            let after_small = before.is_lowercase() && c.is_uppercase();
            let last_of_capitals =
                before.is_uppercase() && c.is_uppercase() && next.is_some_and(|next| next.is_lowercase());
            after_small || last_of_capitals || before.is_numeric() != c.is_numeric()
        });
        let part = !c.is_alphanumeric() && !is_combining_mark(*c);
        if hump || part {
            words.push(std::mem::take(&mut word));
        }
        if !part {
            word.push(*c);
        }
    }

    words.push(word);
    words.iter().map(|word| folded(word)).filter(|word| !word.is_empty()).collect()
}

/// Lower case without accents; wide and narrow forms become the usual letters. Only letters and
/// digits are kept.
pub(super) fn folded(text: &str) -> String {
    let mut out = String::new();
    for c in text.to_lowercase().nfkd().filter(|c| !is_combining_mark(*c) && c.is_alphanumeric()) {
        match c {
            'ß' => out.push_str("ss"),
            'ł' => out.push('l'),
            'ø' => out.push('o'),
            'đ' | 'ð' => out.push('d'),
            'ı' => out.push('i'),
            'æ' => out.push_str("ae"),
            'œ' => out.push_str("oe"),
            'ς' => out.push('σ'),
            c => out.push(c),
        }
    }

    out.nfc().collect()
}

#[cfg(test)]
mod tests;
