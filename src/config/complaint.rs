//! Complaints about a configuration, shown with the lines that they are about.
//!
//! A configuration may be full of secrets, and everybody who reads logs sees complaints. So every
//! value and comment in the shown lines is masked, for known and unknown keys, TOML or not. The
//! only exception is the value that a complaint is about, if its key never holds a secret. And no
//! message holds the value of a `${NAME}`.

use std::{error, fmt, ops::Range};

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use percent_encoding::percent_decode_str;
use toml_parser::{
    Source,
    lexer::{Token, TokenKind},
};

/// Shorter values are not masked in messages: they could not be told from other text.
const TELLING: usize = 4;

/// One complaint, and the bytes of the text that it is about.
#[derive(Clone, Debug)]
pub(super) struct Located {
    pub(super) span: Range<usize>,
    pub(super) message: String,
    pub(super) remedy: String,
    /// Whether it is only a note, and nothing is wrong.
    pub(super) is_note: bool,
}

impl Located {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) -> Located {
        Located { span, message: message.into(), remedy: remedy.into(), is_note: false }
    }
}

/// What of a configuration may be shown.
#[derive(Default)]
pub(super) struct Discretion {
    /// Where in the text values stand that may be shown.
    pub(super) shown: Vec<Range<usize>>,
    /// Values that were filled in, each with the text written in its place.
    pub(super) filled: Vec<(String, String)>,
}

/// Everything that is wrong with a configuration, in the order of its text, and the notes.
#[derive(Clone, Debug, Default)]
pub struct Complaints {
    file: String,
    list: Vec<Shown>,
}

/// A complaint, ready to be shown.
#[derive(Clone, Debug)]
struct Shown {
    /// Counted from 1; the column counts characters.
    line: usize,
    column: usize,
    /// The text with everything but keys masked, and all positions unchanged.
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

    /// How many things are wrong; notes do not count.
    pub fn len(&self) -> usize {
        self.list.iter().filter(|one| !one.located.is_note).count()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Each complaint with its place as a line, and its remedy: for those about a file that the
    /// configuration names.
    pub(super) fn lines(&self) -> impl Iterator<Item = (String, &str)> {
        let line =
            |Shown { line, column, located, .. }: &Shown| format!("{}:{line}:{column}: {}", self.file, located.message);
        self.list.iter().map(move |shown| (line(shown), &*shown.located.remedy))
    }

    /// All complaints and notes, each with the line that it is about; in colour for a terminal.
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
    /// Notes a value that was filled in for the written text.
    pub(super) fn fill(&mut self, value: &str, written: &str) {
        self.hide(value, written);
        if let Some(path) = value.strip_prefix("sqlite:") {
            self.hide(path, written);
        }
        self.hide_password(value, written);
    }

    /// Notes the password of a URL, as it stands there and as drivers decode it.
    pub(super) fn hide_password(&mut self, text: &str, written: &str) {
        let authority = text.split_once("://").and_then(|(_, rest)| rest.rsplit_once('@')).map(|(user, _)| user);
        if let Some((_, password)) = authority.and_then(|user| user.split_once(':')) {
            self.hide(password, written);
            self.hide(&percent_decode_str(password).decode_utf8_lossy(), written);
        }
    }

    /// Notes a text that no message may contain.
    pub(super) fn hide(&mut self, value: &str, written: &str) {
        self.filled.push((value.to_owned(), written.to_owned()));
        // The longest first, so that no text is replaced only in part.
        self.filled.sort_by_key(|(value, _)| std::cmp::Reverse(value.len()));
        self.filled.dedup();
    }

    /// A text with each filled-in value replaced by its `${NAME}`. Ignores case, since databases
    /// report names in lower case.
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

/// The line and column of a byte.
fn position(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or_default();
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    (before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

/// The text with asterisks for everything but keys, of the same length so that positions stay
/// right. The range `open` is not masked.
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

    // Text that the lexer has not reached is masked too.
    let rest = text.get(masked.len()..).unwrap_or_default();
    masked.extend(rest.chars().map(|c| "*".repeat(c.len_utf8())));
    masked
}

/// Quoted texts, and all other tokens but punctuation: numbers, words, and what is no TOML.
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

/// What the tokens so far say about the next one.
#[derive(Default)]
struct Position {
    /// Behind a `=`, up to the end of the line, or to the comma of an inline table.
    value: bool,
    /// Brackets that are open in the value.
    open: Vec<TokenKind>,
    /// In the name of a table.
    header: bool,
    path: KeyPath,
}

/// What came of a key since one may begin: on this line, or behind a `{` or comma of an inline
/// table.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum KeyPath {
    #[default]
    Empty,
    /// Names with dots between them.
    Name,
    /// The same, and a dot.
    Dot,
    /// No key: none may follow.
    Broken,
}

impl Position {
    fn pass(&mut self, kind: TokenKind) {
        match kind {
            TokenKind::Newline if self.open.is_empty() => *self = Position::default(),
            TokenKind::Equals => self.value = true,
            TokenKind::LeftSquareBracket
                if !self.value && self.open.is_empty() && (self.path == KeyPath::Empty || self.header) =>
            {
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

        self.path = match kind {
            TokenKind::Whitespace | TokenKind::Newline => self.path,
            TokenKind::LeftCurlyBracket | TokenKind::Comma if !self.open.is_empty() => KeyPath::Empty,
            TokenKind::LeftSquareBracket if self.header => KeyPath::Empty,
            TokenKind::Dot if self.path == KeyPath::Name => KeyPath::Dot,
            kind if is_text(kind) && matches!(self.path, KeyPath::Empty | KeyPath::Dot) => KeyPath::Name,
            _ => KeyPath::Broken,
        };
    }

    /// Whether the next token is a key or a part of one: names with dots between them, then a `=`
    /// and a value; or names before the `]` of a table's header. A token alone on its line may be
    /// anything; so may one at the end of a line with a `=`, as in base64.
    fn is_key(&self, text: &str, coming: &[Token]) -> bool {
        let bare = |token: &Token| {
            let name = text.get(token.span().start()..token.span().end()).unwrap_or_default();
            token.kind() != TokenKind::Atom
                || name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte))
        };

        // A table's name is never a single quoted text, but an array may be: `["hunter2"]`.
        let quoted = coming.first().is_some_and(|token| token.kind() != TokenKind::Atom);
        if self.value || (self.header && quoted && self.path != KeyPath::Dot) {
            return false;
        }
        if !matches!(self.path, KeyPath::Empty | KeyPath::Dot) {
            return false;
        }

        let mut coming = coming.iter().filter(|token| token.kind() != TokenKind::Whitespace);
        let mut is_dot_next = false;
        loop {
            match coming.next() {
                Some(token) if is_text(token.kind()) && bare(token) && !is_dot_next => is_dot_next = true,
                Some(token) if token.kind() == TokenKind::Dot => is_dot_next = false,
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
            // Not TOML.
            ("token = hunter2", "token = *******"),
            ("token \"hunter2\" x = 1", "***** ********* * = *"),
            ("token \"hunter2\"x= 1", "***** **********= *"),
            ("token hunter2 = 1", "***** ******* = *"),
            ("a = { token \"hunter2\" x = 1, y = 2 }", "a = { ***** ********* * = *, y = * }"),
            ("[a \"hunter2\".x]", "[* *********.*]"),
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
                // A part of the text may begin within a value. There the mark must never be shown,
                // except as a key with something behind it.
                prop_assert!(!masked(part, None).contains("MARK"), "{}", part);
            }
        }
    }
}
