//! What is wrong with a configuration, shown where it stands.
//!
//! A text may be full of secrets, and it is shown to those who read logs. So of the lines that are
//! shown every value and comment is masked, known key or not, TOML or not; only the value that a
//! complaint is about is not, if its key is one whose values tell nothing. And no message holds
//! what a `${NAME}` stands for.

use std::{error, fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use percent_encoding::percent_decode_str;
use toml_parser::{
    Source,
    lexer::{Token, TokenKind},
};

/// Of a value with fewer letters nothing could be told from others.
const TELLING: usize = 4;

/// One complaint and the bytes of the text that it is about.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) remedy: String,
    /// Whether nothing is wrong, and it is only told.
    pub(super) is_note: bool,
}

impl Located {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Located {
        Located { span, message: message.into(), remedy: remedy.into(), is_note: false }
    }
}

/// What may be shown of a configuration, and what may not.
#[derive(Default)]
pub(super) struct Discretion {
    /// Where values stand that may be shown.
    pub(super) shown: Vec<Range<usize>>,
    /// What has been filled in, and what stands in the text for it.
    pub(super) filled: Vec<(String, String)>,
}

/// Everything that is wrong with a configuration, in the order of its text, and what is noted
/// beside it.
#[derive(Clone, Debug, Default)]
pub struct Complaints {
    file: String,
    list: Vec<Shown>,
}

/// A complaint, as it may be shown.
#[derive(Clone, Debug)]
struct Shown {
    /// From 1 on; the column counts characters.
    line: usize,
    column: usize,
    /// The text with all but keys masked, and places as they are.
    text: String,
    located: Located,
}

impl Complaints {
    pub(super) fn new(file: &str, text: &str, discretion: &Discretion, mut list: Vec<Located>) -> Complaints {
        list.sort_by_key(|located| located.span.start);
        let covered = masked(text, None);
        let shown = |mut located: Located| {
            let within = |place: &Range<usize>| place.start <= located.span.start && located.span.end <= place.end;
            let open = discretion.shown.iter().any(within);
            let (line, column) = position(text, located.span.start);
            located.message = discretion.unfilled(&located.message);
            located.remedy = discretion.unfilled(&located.remedy);
            let text = if open { masked(text, Some(&located.span)) } else { covered.clone() };
            Shown { line, column, text, located }
        };
        Complaints { file: file.to_owned(), list: list.into_iter().map(shown).collect() }
    }

    /// How many things are wrong; a note is of none.
    pub fn len(&self) -> usize {
        self.list.iter().filter(|one| !one.located.is_note).count()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them and all notes, each with the line it is about; in colour for a terminal.
    pub fn render(&self, colour: bool) -> String {
        let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
        let one = |Shown { line, column, text, located }: &Shown| {
            let title = format!("{}:{line}:{column}: {}", self.file, located.message);
            let snippet = Snippet::source(&**text).annotation(AnnotationKind::Primary.span(located.span.clone()));
            let level = if located.is_note { Level::NOTE } else { Level::ERROR };
            let mut group = level.primary_title(title).element(snippet);
            if !located.remedy.is_empty() {
                group = group.element(Level::HELP.message(&*located.remedy));
            }
            renderer.render(&[group])
        };
        self.list.iter().map(one).collect::<Vec<_>>().join("\n\n")
    }
}

impl fmt::Display for Complaints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.render(false))
    }
}

impl error::Error for Complaints {}

impl Discretion {
    /// Notes what was filled in for what is written.
    pub(super) fn fill(&mut self, value: &str, written: &str) {
        self.hide(value, written);
        if let Some(path) = value.strip_prefix("sqlite:") {
            self.hide(path, written);
        }
        self.hide_password(value, written);
    }

    /// Notes the password of a text that is a URL, as it stands there and as drivers say it.
    pub(super) fn hide_password(&mut self, text: &str, written: &str) {
        let authority = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
        if let Some((_, password)) = authority.and_then(|user| user.split_once(':')) {
            self.hide(password, written);
            self.hide(&percent_decode_str(password).decode_utf8_lossy(), written);
        }
    }

    /// Notes a text that no message may say.
    pub(super) fn hide(&mut self, value: &str, written: &str) {
        self.filled.push((value.to_owned(), written.to_owned()));
        // The longest first, or a part of it would be taken out and the rest left.
        self.filled.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        self.filled.dedup();
    }

    /// A text with `${NAME}` in the place of what was filled in for it, in capitals or not, since
    /// databases say names in small letters.
    pub(super) fn unfilled(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (value, written) in &self.filled {
            if value.chars().count() < TELLING {
                continue;
            }
            let value = value.to_ascii_lowercase();
            let mut from = 0;
            while let Some(at) = text.to_ascii_lowercase()[from..].find(&value).map(|at| from + at) {
                text.replace_range(at..at + value.len(), written);
                from = at + written.len();
            }
        }
        text
    }
}

/// Line and column of a byte.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The text with asterisks for all that is no key, of the same length so that places stay right; a
/// place may be `open`.
fn masked(text: &str, open: Option<&Range<usize>>) -> String {
    let tokens: Vec<Token> = Source::new(text).lex().collect();
    let mut masked = String::with_capacity(text.len());
    let mut at = Position::default();
    for (index, token) in tokens.iter().enumerate() {
        let span = token.span().start()..token.span().end();
        let piece = text.get(span.clone()).unwrap_or_default();
        let is_open = open.is_some_and(|open| open.start <= span.start && span.end <= open.end);
        let hide = match token.kind() {
            TokenKind::Comment => true,
            kind if is_text(kind) => !is_open && !at.is_key(text, &tokens[index..]),
            _ => false,
        };
        at.pass(token.kind());
        let mask = |c: char| if matches!(c, '\n' | '\r') { c.to_string() } else { "*".repeat(c.len_utf8()) };
        if hide {
            masked.extend(piece.chars().map(mask));
        } else {
            masked.push_str(piece);
        }
    }

    // What the lexer should leave behind is not shown.
    let rest = text.get(masked.len()..).unwrap_or_default();
    masked.extend(rest.chars().map(|c| "*".repeat(c.len_utf8())));
    masked
}

/// Texts in quotes, and all that is neither these nor punctuation: numbers, words, and what is no
/// TOML.
fn is_text(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Atom
            | TokenKind::BasicString
            | TokenKind::LiteralString
            | TokenKind::MlBasicString
            | TokenKind::MlLiteralString
    )
}

/// Where the tokens of a text have led.
#[derive(Default)]
struct Position {
    /// Behind a `=`, up to the end of the line or, in an inline table, to the comma.
    value: bool,
    /// Brackets that are open in a value.
    open: Vec<TokenKind>,
    /// In the name of a table.
    header: bool,
    /// Something stood on this line before, and last a dot.
    begun: bool,
    dot: bool,
}

impl Position {
    fn pass(&mut self, kind: TokenKind) {
        match kind {
            TokenKind::Newline if self.open.is_empty() => *self = Position::default(),
            TokenKind::Equals => self.value = true,
            TokenKind::LeftSquareBracket if !self.value && self.open.is_empty() && (!self.begun || self.header) => {
                self.header = true;
            }
            TokenKind::LeftSquareBracket => self.open.push(kind),
            TokenKind::LeftCurlyBracket => {
                self.open.push(kind);
                self.value = false;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket if !self.header => {
                self.open.pop();
                self.value = true;
            }
            TokenKind::Comma if self.header => self.header = false,
            TokenKind::Comma if self.open.last() == Some(&TokenKind::LeftCurlyBracket) => self.value = false,
            _ => {}
        }

        self.dot = kind == TokenKind::Dot || (self.dot && kind == TokenKind::Whitespace);
        self.begun |= !matches!(kind, TokenKind::Whitespace | TokenKind::Newline);
    }

    /// Whether what comes is a key, or a part of one: names with dots between, a `=` behind them
    /// and then something, or the `]` of a table's name. Alone on its line it may be anything, as
    /// may what ends in a `=`, as base64 does.
    fn is_key(&self, text: &str, coming: &[Token]) -> bool {
        let bare = |token: &Token| {
            let name = text.get(token.span().start()..token.span().end()).unwrap_or_default();
            token.kind() != TokenKind::Atom
                || name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };

        // No table has a name in quotes alone, and an array has: `["hunter2"]`.
        let quoted = coming.first().is_some_and(|token| token.kind() != TokenKind::Atom);
        if self.value || (self.header && quoted && !self.dot) {
            return false;
        }

        let mut coming = coming.iter().filter(|token| token.kind() != TokenKind::Whitespace);
        loop {
            match coming.next() {
                Some(token) if (is_text(token.kind()) && bare(token)) || token.kind() == TokenKind::Dot => {}
                Some(token) if token.kind() == TokenKind::RightSquareBracket => return self.header,
                Some(token) if token.kind() == TokenKind::Equals => {
                    let nothing = [TokenKind::Newline, TokenKind::Eof, TokenKind::Equals, TokenKind::Comment];
                    return coming.next().is_some_and(|next| !nothing.contains(&next.kind()));
                }
                _ => return false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_are_shown_and_all_else_is_masked() {
        for (text, shown) in [
            ("main = \"postgres://app:s3cr€t@db/x\"\n", "main = ******************************\n"),
            ("[databases.\"my db\"] # hidden\n", "[databases.\"my db\"] ********\n"),
            ("a.b = { url = 'x', n = 12 }\r\n", "a.b = { url = ***, n = ** }\r\n"),
            ("a = [\n 'x', # y\n 'z',\n]\nb = 1", "a = [\n ***, ***\n ***,\n]\nb = *"),
            ("t = \"\"\"\nx = 1\ny\"\"\"\nz = 1", "t = ***\n*****\n****\nz = *"),
            // What is no TOML.
            ("token = hunter2", "token = *******"),
            ("token: \"hunter2\"", "****** *********"),
            ("hunter2", "*******"),
            ("eyJ0.eyJ1.c2ln\nx = 1", "****.****.****\nx = *"),
            ("aGVsbG8=\nx = 1", "*******=\nx = *"),
            ("aGVs==", "****=="),
            ("token = \"hunter2\nx = 1", "token = ********\nx = *"),
            ("[hunter2\nx = 1", "[*******\nx = *"),
            ("{ a = 1, hunter2 }", "{ a = *, ******* }"),
            ("[\"hunter2\"]", "[*********]"),
        ] {
            assert_eq!(masked(text, None), shown, "{text}");
        }

        let text = "x = [\"a\", # b\n\"c\"]";
        assert_eq!(masked(text, Some(&(4..text.len()))), "x = [\"a\", ***\n\"c\"]");
    }

    #[test]
    fn what_was_filled_in_is_said_as_it_is_written() {
        let filled = vec![("Hunter2".to_owned(), "${SECRET}".to_owned()), ("a".to_owned(), "${A}".to_owned())];
        let discretion = Discretion { filled, ..Discretion::default() };
        assert_eq!(discretion.unfilled("no `hunter2` at HUNTER2é"), "no `${SECRET}` at ${SECRET}é");
        assert_eq!(discretion.unfilled("a bad table"), "a bad table");
    }

    proptest! {
        #[test]
        fn any_text_is_masked_to_the_same_length_and_lines(text in "(\\PC|[\\n\\r\"'#=\\[\\]{}.,a ]){0,60}") {
            let masked = masked(&text, None);
            prop_assert_eq!(masked.len(), text.len());
            prop_assert_eq!(masked.matches('\n').count(), text.matches('\n').count());
        }

        #[test]
        fn no_value_or_comment_is_shown_in_whatever_is_left_of_a_text(
            lines in prop::collection::vec(prop::sample::select(&[
                "a = \"MARK\"", "b = 'MARK'", "c = [\"x\", \"MARK\"]", "d = { e = \"MARK\", f = 1 }", "# MARK", "g = 1 # MARK",
                "h = \"\"\"", "MARK", "i = '''MARK", "j = MARK", "\"\"\"", "[k]", "l = [", "]", "m.n = \"a\\\"MARK\"", "MARK=", "MARK.x",
                "o: MARK", "= MARK", "p = \"\u{20ac}MARK\"",
            ][..]), 0..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let text = lines.join("\n");
            let mut at = cut.index(text.len() + 1);
            while !text.is_char_boundary(at) {
                at -= 1;
            }
            for part in [&text[..at], &text[at..], &text] {
                // In a part that begins within a value the mark may be anything, but for a key with
                // something behind it.
                prop_assert!(!masked(part, None).contains("MARK"), "{}", part);
            }
        }
    }
}
