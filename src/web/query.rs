//! The parameters of a request: in its query string, and for `QUERY` (RFC 10008) in a form too.

use std::{borrow::Cow, collections::HashSet};

use http::{Method, Request};

use super::{next, params};
use crate::error::{Error, Kind, Result};

/// A longer query cannot stand in a link to the next page, in bytes: many clients and proxies
/// refuse the link, or the request.
const LINKED: usize = 8 * 1024;

/// The body of a `QUERY` request: parameters as `application/x-www-form-urlencoded`, as they would
/// stand behind `?`. A program that reads the bodies of its requests puts this into the request's
/// extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Form(pub String);

/// The parameters, as a query string.
///
/// # Errors
/// [`Kind::Invalid`] for a parameter that stands in the address and in the form, and for a page that
/// could not link to the next one.
pub(super) fn of<B>(request: &Request<B>) -> Result<Cow<'_, str>> {
    let address = request.uri().query().unwrap_or_default();
    let form = request.extensions().get().map_or("", |Form(form)| &**form);
    if request.method() != Method::QUERY || form.is_empty() {
        return Ok(address.into());
    }

    let in_address = params::pairs(address)?;
    let in_form = params::pairs(form)?;
    let names: HashSet<&str> = in_form.iter().map(|(name, _)| &**name).collect();
    if let Some((twice, _)) = in_address.iter().find(|(name, _)| names.contains(&**name)) {
        return Err(Error::new(Kind::Invalid, format!("`{twice}` stands in the address and in the body"))
            .remedy("give it in one of them"));
    }

    let query = if address.is_empty() { form.to_owned() } else { format!("{address}&{form}") };
    let is_page = in_address.iter().chain(&in_form).any(|(name, _)| name == "limit");
    if is_page && next::length_of(&query) > LINKED {
        let message = format!("a page of a query of more than {LINKED} bytes cannot link to the next one");
        return Err(Error::new(Kind::Invalid, message).remedy("leave `limit` out, or ask for less at once"));
    }
    Ok(query.into())
}
