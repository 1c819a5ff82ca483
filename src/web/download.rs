//! `?download`: a list as a file (`Content-Disposition`, RFC 6266).

use http::HeaderValue;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::{
    error::{Error, Kind, Result},
    format::Format,
    resource::Resource,
};

/// The longest file name in bytes, as in most file systems.
const LONGEST: usize = 255;
/// All but RFC 8187's `attr-char`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The name of a file, from a request; empty if the server should choose it.
///
/// # Errors
/// [`Kind::Invalid`] for a name that no file can have, or that leads to another folder.
pub(super) fn name(text: &str) -> Result<String> {
    let is_path = text.contains(['/', '\\']) || [".", ".."].contains(&text);
    if is_path || text.len() > LONGEST || text.chars().any(char::is_control) {
        return Err(Error::new(Kind::Invalid, "`download` is no name of a file")
            .remedy("write for instance download=tricks.csv, or download alone"));
    }
    Ok(text.to_owned())
}

/// Makes a browser save the response: under this name, else under the resource's.
pub(super) fn disposition(name: &str, resource: &Resource, format: Format) -> HeaderValue {
    let usual = format!("{}.{}", resource.name().replace(['/', '\\'], "_"), format.name());
    let name = if name.is_empty() { &usual } else { name };

    // Clients use the second form if they know it.
    let plain = |c: char| if c.is_ascii() && !c.is_ascii_control() && !"\"\\%".contains(c) { c } else { '_' };
    let mut value = format!("attachment; filename=\"{}\"", name.chars().map(plain).collect::<String>());
    if name.chars().any(|c| plain(c) != c) {
        value += &format!("; filename*=UTF-8''{}", percent_encode(name.as_bytes(), ESCAPED));
    }
    HeaderValue::try_from(value).expect("ASCII without control characters")
}
