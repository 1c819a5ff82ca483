//! `?select=title,url`: the members that rows have, and their order.

use std::sync::Arc;

use crate::{
    error::{Error, Kind, Result},
    resource::Resource,
    suggest,
};

/// The names in a list like `title,url`. A name with a comma or a quote stands in quotes, in which
/// a backslash makes the next character literal.
///
/// # Errors
/// [`Kind::Invalid`] for an empty list, an empty name or a quote that is not closed.
pub(super) fn names(text: &str) -> Result<Vec<String>> {
    let malformed = || invalid("`select` is no list of members").remedy("write for instance select=title,url");

    let mut names = vec![];
    let mut chars = text.chars().peekable();
    loop {
        let mut name = String::new();
        if chars.next_if_eq(&'"').is_some() {
            loop {
                match chars.next().ok_or_else(malformed)? {
                    '"' => break,
                    '\\' => name.push(chars.next().ok_or_else(malformed)?),
                    c => name.push(c),
                }
            }
        } else {
            while let Some(c) = chars.next_if(|c| *c != ',') {
                name.push(c);
            }
            if name.is_empty() {
                return Err(malformed());
            }
        }

        names.push(name);
        match chars.next() {
            None => return Ok(names),
            Some(',') => {}
            Some(_) => return Err(malformed()),
        }
    }
}

/// The resource that shows the members with these names, of those that this one shows.
///
/// # Errors
/// [`Kind::Invalid`] for a name that is none of them, or that stands twice.
pub(super) fn of(resource: &Arc<Resource>, names: &[String]) -> Result<Arc<Resource>> {
    let mut members = vec![];
    for name in names {
        let found = resource.members().position(|member| member == name);
        let index = found.ok_or_else(|| {
            let known: Vec<&str> = resource.members().collect();
            invalid(format!("there is no member `{name}` to select")).remedy(suggest::remedy("members", name, &known))
        })?;
        if members.contains(&index) {
            return Err(invalid(format!("`select` names `{name}` twice")).remedy("name each member once"));
        }
        members.push(index);
    }

    Ok(resource.showing(&members))
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Kind::Invalid, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_selection_is_names_between_commas() {
        assert_eq!(names("title,url").unwrap(), ["title", "url"]);
        assert_eq!(names("\"a,b\",c d,\"\\\"\"").unwrap(), ["a,b", "c d", "\""]);
        for wrong in ["", ",", "a,", ",a", "a,,b", "\"a", "\"a\"b", "\"\\"] {
            let error = names(wrong).unwrap_err();
            assert!(error.kind() == Kind::Invalid && error.advice().is_some(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn any_names_can_be_selected_in_quotes(wanted in prop::collection::vec(".*", 1..5)) {
            let quoted = |name: &String| format!("\"{}\"", name.replace('\\', "\\\\").replace('"', "\\\""));
            let text = wanted.iter().map(quoted).collect::<Vec<_>>().join(",");
            prop_assert_eq!(names(&text).unwrap(), wanted);
        }
    }
}
