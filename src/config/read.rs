//! Reads TOML tables key by key, and collects errors instead of stopping at the first.

use std::{
    cell::{Cell, RefCell},
    collections::HashMap,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use serde_json::{Map, Number, Value};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::{
    complaint::{Discretion, Located},
    filled::{Missing, Surroundings},
    shown::may_be_shown,
};
use crate::{bytes_size, suggest};

/// Longer than anybody means, and safe for every clock.
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 3600);

/// Shared by one whole reading: the surroundings, the complaints, and where each key is.
pub(super) struct Reader<'e> {
    surroundings: Surroundings<'e>,
    complaints: RefCell<Vec<Located>>,
    places: RefCell<HashMap<String, Range<usize>>>,
    discretion: RefCell<Discretion>,
    /// Whether the text is not valid TOML, so that values may reach beyond their lines.
    is_torn: Cell<bool>,
}

impl<'e> Reader<'e> {
    pub(super) fn new(surroundings: Surroundings<'e>) -> Reader<'e> {
        Reader {
            surroundings,
            complaints: RefCell::default(),
            places: RefCell::default(),
            discretion: RefCell::default(),
            is_torn: Cell::default(),
        }
    }

    pub(super) fn complain(&self, span: Range<usize>, message: impl Into<String>, remedy: impl Into<String>) {
        self.complaints.borrow_mut().push(Located::new(span, message, remedy));
    }

    /// Complains about a text that is not valid TOML.
    pub(super) fn complain_of_toml(&self, errors: &[toml::de::Error]) {
        self.is_torn.set(!errors.is_empty());
        for error in errors {
            let message = error.message().replace('\n', ", ");
            let remedy = remedy_of_toml(&message);
            self.complain(error.span().unwrap_or(0..0), message, remedy);
        }
    }

    pub(super) fn has_complaints(&self) -> bool {
        !self.complaints.borrow().is_empty()
    }

    pub(super) fn place(&self, path: &str) -> Range<usize> {
        self.places.borrow().get(path).cloned().unwrap_or(0..0)
    }

    /// Where each key is, what of the text may be shown, and what is wrong with it.
    pub(super) fn finish(self) -> (HashMap<String, Range<usize>>, Discretion, Vec<Located>) {
        (self.places.into_inner(), self.discretion.into_inner(), self.complaints.into_inner())
    }

    /// A text with its `${NAME}` and `${file:PATH}` filled in; `None`, with a complaint, if that
    /// fails.
    fn expand(&self, text: &str, span: &Range<usize>) -> Option<String> {
        let mut out = String::new();
        let mut whole = true;
        let mut rest = text;
        while let Some(at) = rest.find("${") {
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find('}') else {
                let remedy = "write ${NAME} for an environment variable, ${file:PATH} for what a file holds";
                self.complain(span.clone(), "a `${` is not closed", remedy);
                return None;
            };
            let name = &rest[at + 2..at + end];
            match self.surroundings.value(name) {
                Ok(value) => {
                    self.discretion.borrow_mut().fill(&value, &format!("${{{name}}}"));
                    out.push_str(&value);
                }
                Err(Missing { message, remedy }) => {
                    whole = false;
                    self.complain(span.clone(), message, remedy);
                }
            }
            rest = &rest[at + end + 1..];
        }

        out.push_str(rest);
        self.discretion.borrow_mut().hide_password(&out, "***");
        whole.then_some(out)
    }
}

/// An entry of a list: a text, or a table in its place.
pub(super) enum Entry<'r, 't> {
    Text(String),
    Table(Section<'r, 't>),
}

/// One table. Each key is taken once; keys that are left at the end are unknown.
pub(super) struct Section<'r, 't> {
    reader: &'r Reader<'r>,
    path: String,
    /// The path in parts, since names may have dots.
    steps: Vec<String>,
    span: Range<usize>,
    table: &'t DeTable<'t>,
    known: Vec<String>,
}

impl<'r, 't> Section<'r, 't> {
    pub(super) fn new(
        reader: &'r Reader<'r>,
        path: String,
        span: Range<usize>,
        table: &'t DeTable<'t>,
    ) -> Section<'r, 't> {
        Section { reader, path, steps: vec![], span, table, known: vec![] }
    }

    /// Where a key is, in complaints.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// All keys, in the order of the text.
    pub(super) fn keys(&self) -> Vec<String> {
        self.table.keys().map(|key| key.get_ref().to_string()).collect()
    }

    /// Complains about a key that must not be here.
    pub(super) fn refuse(&mut self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.known.push(key.to_owned());
        self.complain(key, message, remedy);
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    /// Whether the value of a key is true or false.
    pub(super) fn is_boolean(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_bool())
    }

    /// Whether the value of a key is a table.
    pub(super) fn is_table(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_table())
    }

    pub(super) fn is_list(&self, key: &str) -> bool {
        self.table.get(key).is_some_and(|value| value.get_ref().is_array())
    }

    /// The value of a key; the key counts as known from now on.
    fn value(&mut self, key: &str) -> Option<&'t Spanned<DeValue<'t>>> {
        self.known.push(key.to_owned());
        let (name, value) = self.table.get_key_value(key)?;
        // A complaint about a value shows the value; one about a table shows the table's name.
        let span = if value.get_ref().is_table() { name.span() } else { value.span() };
        self.reader.places.borrow_mut().insert(self.path_of(key), span);
        self.note_discretion(key, value);
        // Without its closing bracket or quote, an array or text includes what follows it, and is
        // not this key's value.
        let swallows = match value.get_ref() {
            DeValue::Array(_) => true,
            DeValue::String(text) => text.contains('\n'),
            _ => false,
        };
        if self.reader.is_torn.get() && swallows { None } else { Some(value) }
    }

    /// Notes whether a value may be shown. A value that looks like an address may hold a user's
    /// name or password under the wrong key, so messages must not contain it. If the text is not
    /// valid TOML, a value without its closing quote includes the comment or value behind it, so
    /// messages contain no value.
    fn note_discretion(&self, key: &str, value: &Spanned<DeValue<'_>>) {
        let mut discretion = self.reader.discretion.borrow_mut();
        let is_torn = self.reader.is_torn.get();
        let address = |text: &str| text.contains("://") || text.contains('@');
        let text = value.get_ref().as_str().filter(|text| is_torn || address(text));
        if let Some(text) = text {
            discretion.hide(text, "***");
        } else if !value.get_ref().is_table() && may_be_shown(&self.steps, key) && !is_torn {
            discretion.shown.push(value.span());
        }
    }

    /// Complains about a value of the wrong type, with what was probably meant. The value itself is
    /// repeated only if it is a name or a number; otherwise it may be a secret.
    fn wrong(&self, value: &Spanned<DeValue<'_>>, key: &str, wanted: &str, example: &str) {
        // A list in place of a single value may belong to another key, so it is not shown.
        if value.get_ref().is_array() {
            self.reader.discretion.borrow_mut().shown.retain(|shown| *shown != value.span());
        }
        let message = format!("`{key}` is {}, not {wanted}", value.get_ref().type_str());
        self.reader.complain(value.span(), message, format!("write for instance {key} = {example}"));
    }

    /// Adds a complaint about the value of a key.
    pub(super) fn complain(&self, key: &str, message: impl Into<String>, remedy: impl Into<String>) {
        let value = self.table.get(key).map_or_else(|| self.span.clone(), Spanned::span);
        self.reader.complain(value, message, remedy);
    }

    pub(super) fn section(&mut self, key: &str) -> Option<Section<'r, 't>> {
        let value = self.value(key)?;
        match value.get_ref() {
            DeValue::Table(table) => {
                let path = self.path_of(key);
                let place = self.reader.place(&path);
                let steps = self.steps.iter().cloned().chain([key.to_owned()]).collect();
                Some(Section { steps, ..Section::new(self.reader, path, place, table) })
            }
            DeValue::Array(array) if key == "fields" => {
                let names = array.iter().filter_map(|name| name.get_ref().as_str());
                let fields: Vec<String> = names.map(|name| format!("{name} = \"{name}\"")).collect();
                self.wrong(value, key, "a table", &format!("{{ {} }}", fields.join(", ")));
                None
            }
            _ => {
                self.wrong(value, key, "a table", "{ … }");
                None
            }
        }
    }

    pub(super) fn string(&mut self, key: &str) -> Option<String> {
        self.string_like(key, |_| "…".to_owned())
    }

    /// A text. `meant` says what to write instead of a bare number.
    pub(super) fn string_like(&mut self, key: &str, meant: impl Fn(&str) -> String) -> Option<String> {
        let value = self.value(key)?;
        let example = match value.get_ref() {
            DeValue::String(text) => return self.reader.expand(text, &value.span()),
            DeValue::Integer(number) => meant(number.as_str()),
            _ => "…".to_owned(),
        };
        self.wrong(value, key, "a text", &format!("\"{example}\""));
        None
    }

    /// The text of a key as written, with its `${NAME}`; a message may contain it.
    pub(super) fn written(&self, key: &str) -> &'t str {
        self.table.get(key).and_then(|value| value.get_ref().as_str()).unwrap_or_default()
    }

    /// Whether a key's text has a `${NAME}`.
    pub(super) fn is_filled(&self, key: &str) -> bool {
        self.written(key).contains("${")
    }

    /// A text that must be there and not be empty; empty, with a complaint, if it is not.
    pub(super) fn required(&mut self, key: &str, remedy: &str) -> String {
        if !self.has(key) {
            self.reader.complain(self.span.clone(), format!("`{key}` is missing"), remedy);
        }
        let text = self.string(key);
        let filled = text.filter(|text| self.says_something(key, text, remedy));
        filled.unwrap_or_default()
    }

    /// A text that may be missing but not be empty: an empty token or secret would silently protect
    /// nothing.
    pub(super) fn filled(&mut self, key: &str, remedy: &str) -> Option<String> {
        let text = self.string(key)?;
        self.says_something(key, &text, remedy).then_some(text)
    }

    fn says_something(&self, key: &str, text: &str, remedy: &str) -> bool {
        let filled = !text.trim().is_empty();
        if !filled {
            self.complain(key, format!("`{key}` is empty"), remedy);
        }
        filled
    }

    pub(super) fn strings(&mut self, key: &str) -> Option<Vec<String>> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            let one = value.get_ref().as_str().filter(|_| may_be_shown(&self.steps, key)).unwrap_or("…");
            self.wrong(value, key, "a list of texts", &format!("[\"{one}\"]"));
            return None;
        };
        let mut texts = vec![];
        for one in array.iter() {
            match one.get_ref() {
                DeValue::String(text) => texts.extend(self.reader.expand(text, &one.span())),
                _ => self.wrong(one, key, "a list of texts", "[\"…\"]"),
            }
        }
        Some(texts)
    }

    /// A table of any values, as JSON. Its texts are taken as they are written.
    pub(super) fn json(&mut self, key: &str) -> Option<Map<String, Value>> {
        let value = self.value(key)?;
        let DeValue::Table(table) = value.get_ref() else {
            self.wrong(value, key, "a table", "{ … }");
            return None;
        };

        let members = members(table);
        if members.is_none() {
            self.complain(key, format!("a number in `{key}` is larger than any number of JSON"), "write it as a text");
        }
        members
    }

    /// A list of texts or tables.
    pub(super) fn entries(&mut self, key: &str) -> Option<Vec<Entry<'r, 't>>> {
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            // `strings` complains if it is no list.
            return self.strings(key).map(|texts| texts.into_iter().map(Entry::Text).collect());
        };

        let mut entries = vec![];
        for (place, one) in array.iter().enumerate() {
            match one.get_ref() {
                DeValue::String(text) => entries.extend(self.reader.expand(text, &one.span()).map(Entry::Text)),
                DeValue::Table(table) => entries.push(Entry::Table(self.entry(key, place, one.span(), table))),
                _ => self.wrong(one, key, "a list of texts", "[\"…\"]"),
            }
        }

        Some(entries)
    }

    /// A table, or a list of tables.
    pub(super) fn table_or_tables(&mut self, key: &str) -> Option<Vec<Section<'r, 't>>> {
        if self.is_list(key) { self.tables(key) } else { self.section(key).map(|one| vec![one]) }
    }

    /// A text, whole number or truth value, or a list of them; `None` if one of them is none.
    pub(super) fn scalars(&mut self, key: &str) -> Option<Vec<serde_json::Value>> {
        const WANTED: &str = "a text, a whole number, true or false, or a list of them";
        let value = self.value(key)?;
        let one = |one: &'t Spanned<DeValue<'t>>| match one.get_ref() {
            DeValue::String(text) => self.reader.expand(text, &one.span()).map(Into::into),
            DeValue::Boolean(truth) => Some((*truth).into()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok().map(Into::into),
            _ => None,
        };

        let scalars = match value.get_ref() {
            DeValue::Array(array) => array.iter().map(one).collect::<Option<Vec<_>>>(),
            _ => one(value).map(|one| vec![one]),
        };
        if scalars.is_none() {
            self.wrong(value, key, WANTED, "[\"editor\"]");
        }
        scalars
    }

    /// A list of tables.
    pub(super) fn tables(&mut self, key: &str) -> Option<Vec<Section<'r, 't>>> {
        const EXAMPLE: &str = "[{ … }]";
        let value = self.value(key)?;
        let DeValue::Array(array) = value.get_ref() else {
            self.wrong(value, key, "a list of tables", EXAMPLE);
            return None;
        };

        let mut tables = vec![];
        for (place, one) in array.iter().enumerate() {
            match one.get_ref() {
                DeValue::Table(table) => tables.push(self.entry(key, place, one.span(), table)),
                _ => self.wrong(one, key, "a list of tables", EXAMPLE),
            }
        }

        Some(tables)
    }

    /// A table in a list.
    fn entry(&self, key: &str, place: usize, span: Range<usize>, table: &'t DeTable<'t>) -> Section<'r, 't> {
        let path = format!("{}.{place}", self.path_of(key));
        self.reader.places.borrow_mut().insert(path.clone(), span.clone());
        let steps = self.steps.iter().cloned().chain([key.to_owned()]).collect();
        Section { steps, ..Section::new(self.reader, path, span, table) }
    }

    /// One text or a list of texts; `None` if one of them cannot be read.
    pub(super) fn texts(&mut self, key: &str) -> Option<Vec<String>> {
        match self.table.get(key).map(Spanned::get_ref) {
            Some(DeValue::Array(array)) => {
                let texts = self.strings(key)?;
                (texts.len() == array.len()).then_some(texts)
            }
            _ => Some(vec![self.string(key)?]),
        }
    }

    pub(super) fn integer(&mut self, key: &str, range: RangeInclusive<u64>) -> Option<u64> {
        let value = self.value(key)?;
        let number = match value.get_ref() {
            DeValue::Integer(number) => u64::from_str_radix(number.as_str(), number.radix()).ok(),
            _ => {
                let digits = value.get_ref().as_str().and_then(|text| text.trim().parse::<u64>().ok());
                let meant = digits.filter(|number| range.contains(number)).unwrap_or(*range.start());
                self.wrong(value, key, "a whole number", &meant.to_string());
                return None;
            }
        };

        let within = number.filter(|number| range.contains(number));
        if within.is_none() {
            let remedy = format!("write a number from {} to {}", range.start(), range.end());
            self.reader.complain(value.span(), format!("`{key}` is out of bounds"), remedy);
        }

        within
    }

    pub(super) fn boolean(&mut self, key: &str) -> Option<bool> {
        let value = self.value(key)?;
        let truth = value.get_ref().as_bool();
        if truth.is_none() {
            let no = value
                .get_ref()
                .as_str()
                .is_some_and(|text| ["false", "no", "off", "0"].iter().any(|no| no.eq_ignore_ascii_case(text.trim())));
            self.wrong(value, key, "true or false", if no { "false" } else { "true" });
        }
        truth
    }

    pub(super) fn duration(&mut self, key: &str) -> Option<Duration> {
        let text = self.string_like(key, |number| format!("{number}s"))?;
        let parsed = text.parse::<jiff::SignedDuration>().ok().and_then(|duration| Duration::try_from(duration).ok());
        if parsed.is_none() {
            self.complain(
                key,
                format!("`{}` is no span of time", self.written(key)),
                if is_number(self.written(key)) {
                    format!("write for instance {key} = \"{text}s\", with a unit: ms, s, m or h")
                } else {
                    "write for instance \"500ms\", \"30s\", \"5m\" or \"1h\"".to_owned()
                },
            );
        }

        let within = parsed.filter(|duration| *duration <= LONGEST);
        if parsed.is_some() && within.is_none() {
            let message = format!("`{}` is longer than ten years", self.written(key));
            self.complain(key, message, "write for instance \"5m\" or \"1h\"");
        }

        within
    }

    /// A duration above zero.
    pub(super) fn limit(&mut self, key: &str) -> Option<Duration> {
        let duration = self.duration(key)?;
        if duration.is_zero() {
            self.complain(key, format!("`{key}` is zero"), "every wait needs a limit; write for instance \"10s\"");
        }
        Some(duration)
    }

    pub(super) fn size(&mut self, key: &str) -> Option<u64> {
        self.size_up_to(key, u64::MAX, "")
    }

    /// A size of at most `most` bytes; `largest` is that bound as text.
    pub(super) fn size_up_to(&mut self, key: &str, most: u64, largest: &str) -> Option<u64> {
        let text = self.string_like(key, |number| format!("{number}B"))?;
        let parsed = bytes_size::parse(&text);
        if parsed.is_none() {
            let message = format!("`{}` is no size", self.written(key));
            self.complain(key, message, "write for instance \"64KiB\" or \"256MiB\"");
        }
        let within = parsed.filter(|size| *size <= most);
        if parsed.is_some() && within.is_none() {
            self.complain(key, format!("`{key}` is out of bounds"), format!("write {largest} at most"));
        }
        within
    }

    /// Complains about all keys that were not taken.
    pub(super) fn finish(self) {
        let known: Vec<&str> = self.known.iter().map(|key| &**key).collect();
        // If the text is not valid TOML, an extra quote or a broken line may make a value look like
        // a key. Then only keys that resemble known ones are reported.
        let may_be_a_value = |key: &Spanned<_>, name: &str| {
            let is_bare = key.span().len() == name.len();
            let is_slip = suggest::closest(name, known.iter().copied()).is_some();
            self.reader.is_torn.get() && !(is_bare && is_slip)
        };
        let unknown = self.table.keys().filter(|key| !known.contains(&&**key.get_ref()));
        for key in unknown.filter(|key| !may_be_a_value(key, key.get_ref())) {
            let place = if self.path.is_empty() { "here".to_owned() } else { format!("in [{}]", self.path) };
            let remedy = suggest::remedy("keys", key.get_ref(), &known);
            self.reader.complain(key.span(), format!("unknown key `{}` {place}", key.get_ref()), remedy);
        }
    }
}

/// A value as JSON; `None` for a number that JSON does not hold.
fn json(value: &DeValue<'_>) -> Option<Value> {
    Some(match value {
        DeValue::String(text) => Value::from(&**text),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix()).ok()?.into(),
        DeValue::Float(number) => Value::Number(Number::from_f64(number.as_str().parse().ok()?)?),
        DeValue::Boolean(truth) => Value::from(*truth),
        DeValue::Datetime(time) => Value::from(time.to_string()),
        DeValue::Array(values) => values.iter().map(|value| json(value.get_ref())).collect::<Option<_>>()?,
        DeValue::Table(table) => Value::Object(members(table)?),
    })
}

fn members(table: &DeTable<'_>) -> Option<Map<String, Value>> {
    table.iter().map(|(name, value)| Some((name.get_ref().to_string(), json(value.get_ref())?))).collect()
}

fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// The remedy for a text that is not TOML.
fn remedy_of_toml(message: &str) -> &'static str {
    if message.starts_with("duplicate key") {
        "each [table] and each key of it stands once: put what both say into one, or name the second otherwise"
    } else if message.contains("must be quoted") || message.contains("invalid float") {
        "put the value in quotes: key = \"value\""
    } else {
        "mend the TOML here (https://toml.io)"
    }
}
