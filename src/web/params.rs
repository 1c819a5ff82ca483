//! The query string: `limit`, `after`, `select`, `order`, `download`, `at_least`, and conditions as
//! PostgREST writes them.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use super::{download, select};
use crate::{
    change::Token,
    cursor::Cursor,
    error::{Error, Kind, Result},
    format::LEFT,
    resource::View,
    source::{Condition, PARAMETERS, Reader},
};

/// The longest query string, in bytes. A server takes no head as long as that; a program that calls
/// the library may.
const MAX_QUERY: usize = 64 * 1024;

/// The contents of a query string.
#[derive(Debug)]
pub(super) struct Params {
    pub(super) after: Cursor,
    pub(super) limit: Option<u64>,
    pub(super) conditions: Vec<Condition>,
    /// The names of the members to show, in this order.
    pub(super) select: Option<Vec<String>>,
    /// The name of the file to save the list as; empty if the server chooses it.
    pub(super) download: Option<String>,
    /// The list must show all changes up to this one.
    pub(super) at_least: Option<Token>,
}

/// Reads a query string for what a request may see of a resource. Anything unknown is an error that
/// names what is allowed.
pub(super) fn parse(query: &str, view: &View) -> Result<Params> {
    if query.len() > MAX_QUERY {
        return Err(invalid(format!("the parameters have more than {MAX_QUERY} bytes")).remedy("ask for less at once"));
    }

    let mut conditions = Reader::new(view.filters(), &PARAMETERS);
    let mut params = Params {
        after: Cursor::start(),
        limit: None,
        conditions: vec![],
        select: None,
        download: None,
        at_least: None,
    };
    let mut seen = vec![];
    for (name, value) in pairs(query)? {
        // Conditions may have a column several times: all of them hold.
        if PARAMETERS.contains(&&*name) {
            if seen.contains(&name) {
                return Err(invalid(format!("`{name}` stands more than once")).remedy("give it once"));
            }
            seen.push(name.clone());
        }

        match &*name {
            "limit" => params.limit = Some(limit(&value)?),
            "after" => params.after = cursor(&value, view)?,
            "select" => params.select = Some(select::names(&value)?),
            "download" => params.download = Some(download::name(&value)?),
            "at_least" => params.at_least = Some(value.parse()?),
            // The resource is the one of this order already.
            "order" => {}
            _ => conditions.read(&name, &value)?,
        }
    }

    params.conditions = conditions.finish();
    Ok(params)
}

/// The names and values of a query string.
pub(crate) fn pairs(query: &str) -> Result<Vec<(Cow<'_, str>, Cow<'_, str>)>> {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| Ok((decode(name)?, decode(value)?))).collect()
}

impl Params {
    /// Goes on behind the event with this id. If the id says how many rows of a limit are left, the
    /// limit becomes at most that.
    pub(super) fn resume(&mut self, id: &str, view: &View) -> Result<()> {
        let (place, left) = match id.split_once(LEFT) {
            Some((place, left)) => (place, Some(limit(left)?)),
            None => (id, None),
        };
        self.after = cursor(place, view)?;
        self.limit = self.limit.map(|limit| limit.min(left.unwrap_or(limit)));
        Ok(())
    }
}

/// The cursor that was handed out as this text.
fn cursor(text: &str, view: &View) -> Result<Cursor> {
    let place = view.seal().unseal(text)?;
    if !view.resource.source().takes(&place) {
        return Err(invalid("the cursor holds no place of this list")
            .remedy("pass `after` exactly as it was handed out by the same list, or leave it out to start anew"));
    }
    Ok(place)
}

/// Whether a pair of a query string is `after`, with its name encoded in any way.
pub(super) fn is_after(pair: &str) -> bool {
    decode(pair.split('=').next().unwrap_or_default()).is_ok_and(|name| name == "after")
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

/// Decodes form-encoded names and values.
fn decode(text: &str) -> Result<Cow<'_, str>> {
    let spaced: Cow<'_, str> = if text.contains('+') { text.replace('+', " ").into() } else { text.into() };
    if !spaced.contains('%') {
        return Ok(spaced);
    }
    let decoded = percent_decode_str(&spaced).decode_utf8().map(Cow::into_owned);
    decoded
        .map(Cow::Owned)
        .map_err(|_| invalid("the query string is not UTF-8").remedy("percent-encode its values as UTF-8"))
}

fn limit(text: &str) -> Result<u64> {
    let number =
        Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    number.ok_or_else(|| invalid("`limit` is not a number of rows").remedy("write for instance limit=100"))
}

/// Reads conditions on columns of each kind, alone and in trees, for the fuzz target: it must never
/// panic, and what it has read must be in its one form.
#[cfg(any(fuzzing, test))]
pub(crate) fn fuzz_filter(text: &str) {
    use crate::source::{Filter, Operand, TREES};
    let operands = [("i", Operand::Integer), ("n", Operand::Number), ("t", Operand::Text), ("t.t", Operand::Text)];
    let filters = operands.map(|(name, operand)| Filter { range: Some(-128..=127), ..Filter::new(name, operand) });

    for pair in text.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or(("t", pair));
        let (Ok(name), Ok(value)) = (decode(name), decode(value)) else { continue };
        let _ = limit(&value);
        let _ = select::names(&value);
        let columns = filters.iter().map(|filter| &*filter.column);
        for name in columns.chain(TREES).chain([&*name]) {
            let mut reader = Reader::new(filters.iter(), &PARAMETERS);
            let read = reader.read(name, &value);
            let conditions = reader.finish();
            assert!(read.is_ok() || conditions.is_empty());
            assert_eq!(Condition::canonical(conditions.clone()), conditions);
            assert!(conditions.iter().flat_map(Condition::comparisons).count() <= 32);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_filter_is_read_or_refused_without_a_panic(
            text in ".*|(eq|in|is|like|gt)\\.[(\",)\\\\a.]{0,12}|(or|not.and)=[(](or[(]|t[.](not[.])?(eq|in)|[(\",)\\\\1.]){0,16}",
        ) {
            fuzz_filter(&text);
        }
    }
}
