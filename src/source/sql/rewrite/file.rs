//! Turns paths of files into URLs, as Django's storages do.

use std::borrow::Cow;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

/// What Python's `quote` encodes, without the characters that Django's `filepath_to_uri` leaves
/// alone.
const UNSAFE: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'_')
    .remove(b'.')
    .remove(b'-')
    .remove(b'~')
    .remove(b'/')
    .remove(b'!')
    .remove(b'*')
    .remove(b'(')
    .remove(b')')
    .remove(b'\'');

/// The URL or path that paths are relative to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) struct Base {
    /// Scheme and host, if it has them.
    origin: String,
    /// The path, which begins and ends with `/`.
    path: String,
}

impl Base {
    /// Reads `/media/` or `https://cdn.example.com/media/`; `None` for anything else.
    pub(super) fn parse(text: &str) -> Option<Base> {
        let scheme = ["https://", "http://", "//"].into_iter().find(|scheme| text.starts_with(scheme));
        let host = scheme.map_or(0, |scheme| {
            let rest = &text[scheme.len()..];
            scheme.len() + rest.find('/').unwrap_or(rest.len())
        });
        let (origin, path) = text.split_at(host);
        let has_host = scheme.is_none_or(|scheme| origin.len() > scheme.len());
        let is_path = path.starts_with('/') || (path.is_empty() && scheme.is_some());
        if !has_host || !is_path || text.contains(['?', '#']) || text.contains(char::is_whitespace) {
            return None;
        }

        let slash = if path.ends_with('/') { "" } else { "/" };
        Some(Base { origin: origin.to_owned(), path: format!("{path}{slash}") })
    }

    /// The base as text.
    pub(super) fn text(&self) -> String {
        format!("{}{}", self.origin, self.path)
    }

    /// Appends the URL of a file: the base, then the file's path, percent-encoded. An empty path
    /// has no URL.
    pub(super) fn write(&self, file: &[u8], out: &mut Vec<u8>) {
        if file.is_empty() {
            return;
        }

        out.extend_from_slice(self.origin.as_bytes());
        // A Windows path.
        let file: Cow<'_, [u8]> = if file.contains(&b'\\') {
            file.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect::<Vec<u8>>().into()
        } else {
            file.into()
        };

        let quoted = percent_encode(&file, UNSAFE).to_string();
        let relative = quoted.trim_start_matches('/');
        let is_plain = !relative.split('/').any(|step| matches!(step, "" | "." | ".."));
        if is_plain {
            out.extend_from_slice(self.path.as_bytes());
            out.extend_from_slice(relative.as_bytes());
        } else {
            out.extend_from_slice(self.joined(relative).as_bytes());
        }
    }

    /// As Python's `urljoin`: without `.`, `..` (RFC 3986 §5.2.4) and empty segments.
    fn joined(&self, relative: &str) -> String {
        if relative.is_empty() {
            return self.path.clone();
        }

        let steps: Vec<&str> = self.path.trim_end_matches('/').split('/').chain(relative.split('/')).collect();
        let last = steps.len() - 1;
        let mut resolved: Vec<&str> = vec![];
        for (at, step) in steps.iter().enumerate() {
            match *step {
                "" if at > 0 && at < last => {}
                ".." => drop(resolved.pop()),
                "." => {}
                step => resolved.push(step),
            }
        }

        if matches!(steps[last], "." | "..") {
            resolved.push("");
        }

        let joined = resolved.join("/");
        if joined.starts_with('/') { joined } else { format!("/{joined}") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_joined_with_its_base_as_djangos_storage_joins_it() {
        let url = |base: &str, file: &str| {
            let mut out = vec![];
            Base::parse(base).unwrap().write(file.as_bytes(), &mut out);
            String::from_utf8(out).unwrap()
        };

        // FileSystemStorage(base_url=…).url(…) for each.
        for (file, written) in [
            ("a.png", "/media/a.png"),
            ("Ünï ©.png", "/media/%C3%9Cn%C3%AF%20%C2%A9.png"),
            ("a/b's (1)!*~.png", "/media/a/b's%20(1)!*~.png"),
            ("a?b#c;d:e@f&g=h+i,j%20.png", "/media/a%3Fb%23c%3Bd%3Ae%40f%26g%3Dh%2Bi%2Cj%2520.png"),
            ("/a//b.png", "/media/a/b.png"),
            ("a\\b.png", "/media/a/b.png"),
            ("a/../b/./c.png", "/media/b/c.png"),
            ("../a.png", "/a.png"),
            ("a/..", "/media/"),
            ("a/", "/media/a/"),
            ("", ""),
        ] {
            assert_eq!(url("/media/", file), written, "{file}");
        }

        assert_eq!(url("/media", "a.png"), "/media/a.png");
        assert_eq!(url("/", "a.png"), "/a.png");
        assert_eq!(url("https://cdn.example.com/m/", "x/../../a.png"), "https://cdn.example.com/a.png");
        assert_eq!(url("https://cdn.example.com", "a.png"), "https://cdn.example.com/a.png");
        assert_eq!(url("//cdn.example.com/m", "a.png"), "//cdn.example.com/m/a.png");
    }

    #[test]
    fn what_is_no_path_and_no_url_is_no_base() {
        for text in ["", "media/", "ftp://x/", "https://", "https:///x", "/media/?x", "/a b/", "//"] {
            assert_eq!(Base::parse(text), None, "{text}");
        }
    }
}
