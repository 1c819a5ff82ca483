//! What is wrong with a configuration, shown where it stands.

use std::{error, fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// One complaint and the bytes of the text that it is about.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) remedy: String,
}

/// Everything that is wrong with a configuration, in the order of its text.
#[derive(Clone, Debug)]
pub struct Complaints {
    file: String,
    text: String,
    list: Vec<Located>,
}

impl Complaints {
    /// `secrets` are the places of values that may hold one, and are not shown.
    pub(super) fn new(file: &str, text: &str, secrets: &[Range<usize>], mut list: Vec<Located>) -> Complaints {
        list.sort_by_key(|located| located.span.start);
        Complaints { file: file.to_owned(), text: masked(text, secrets), list }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// All of them, each with the line it is about; in colour for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let one = |located: &Located| {
            let (line, column) = self.position(located.span.start);
            let title = format!("{}:{line}:{column}: {}", self.file, located.message);
            let snippet = Snippet::source(&*self.text).annotation(AnnotationKind::Primary.span(located.span.clone()));
            let mut group = Level::ERROR.primary_title(title).element(snippet);
            if !located.remedy.is_empty() {
                group = group.element(Level::HELP.message(&*located.remedy));
            }
            renderer.render(&[group])
        };
        self.list.iter().map(one).collect::<Vec<_>>().join("\n\n")
    }

    /// Line and column of a byte, from 1 on; the column counts characters.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = self.text.get(..at).unwrap_or_default();
        let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
        (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl error::Error for Complaints {}

/// The text with what may be secret as asterisks, of the same length so that places stay right: the given places, and what looks
/// like a password or token on any line, for texts that are not even TOML.
fn masked(text: &str, secrets: &[Range<usize>]) -> String {
    let mut masked: String = text.split_inclusive('\n').map(masked_line).collect();
    for secret in secrets.iter().filter(|secret| text.get((*secret).clone()).is_some()) {
        // What a URL begins with is no secret, and a SQLite file is none either.
        let value = &text[secret.clone()];
        let shown = match value.find(':') {
            _ if value.trim_start_matches(['"', '\'']).starts_with("sqlite:") || value.contains("${") => continue,
            Some(colon) => colon + 1,
            None => 1,
        };
        let hidden = secret.start + shown.min(value.len())..secret.end;
        masked.replace_range(hidden.clone(), &"*".repeat(hidden.len()));
    }
    masked
}

fn masked_line(line: &str) -> String {
    let mut hidden: Vec<Range<usize>> = vec![];
    if let Some(value) = line.trim_start().strip_prefix("token") {
        let from = line.len() - value.len();
        hidden.extend(value.find(['"', '\'']).map(|open| from + open + 1..line.trim_end().len()));
    }
    for (at, _) in line.match_indices("://") {
        let rest = &line[at + 3..];
        let authority = &rest[..rest.find(['/', '"', '\'', '?']).unwrap_or(rest.len())];
        if let (Some(colon), Some(end)) = (authority.find(':'), authority.rfind('@')) {
            hidden.extend((colon < end).then_some(at + 4 + colon..at + 3 + end));
        }
    }
    let is_hidden = |at: usize| hidden.iter().any(|range| range.contains(&at));
    let mask = |(at, c): (usize, char)| if is_hidden(at) { "*".repeat(c.len_utf8()) } else { c.to_string() };
    line.char_indices().map(mask).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown_and_places_stay_right() {
        let line = "main = \"postgres://app:s3cr€t@db/x\"\n";
        assert_eq!(masked(line, &[]), "main = \"postgres://app:********@db/x\"\n");
        assert_eq!(masked_line(" token = \"abc\"\n"), " token = \"****\n");
        assert_eq!(masked_line("main = \"sqlite:a.db\""), "main = \"sqlite:a.db\"");
    }
}
