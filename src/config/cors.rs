//! `cors` in `[server]`

use super::read::Section;
use crate::web;

/// Which origins' pages may read responses (the CORS protocol of the Fetch standard, §3.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cors {
    /// Scheme and host, with the port if it is not the default: `https://app.example.com`. `*`
    /// alone: every origin.
    pub origins: Vec<String>,
    /// Whether requests may carry the browser's cookies and other credentials; not with `*`.
    pub credentials: bool,
}

impl Cors {
    /// The pages of these origins, without credentials.
    pub fn of(origins: &[&str]) -> Cors {
        Cors { origins: origins.iter().map(|origin| (*origin).to_owned()).collect(), credentials: false }
    }

    pub(super) fn read(mut section: Section<'_, '_>) -> Cors {
        let origins = section.strings("origins");
        let credentials = section.boolean("credentials").unwrap_or_default();
        let origins = match origins {
            Some(origins) if !origins.is_empty() => origins,
            _ => {
                section.complain(
                    "origins",
                    "`cors` names no origin",
                    "write for instance cors = { origins = [\"https://app.example.com\"] }, or take `cors` out",
                );
                vec![]
            }
        };

        let is_any = origins.iter().any(|origin| origin == "*");
        if is_any && origins.len() > 1 {
            section.complain(
                "origins",
                "`*` stands for every origin, and others beside it",
                "name the origins, or `*` alone",
            );
        }

        if is_any && credentials {
            section.complain(
                "credentials",
                "browsers send no credentials where every origin may read",
                "name the origins that may, or take `credentials` out",
            );
        }

        for origin in origins.iter().filter(|origin| *origin != "*" && !is_origin(origin)) {
            section.complain(
                "origins",
                format!("`{origin}` is no origin"),
                "write scheme and host as browsers do, in small letters, with :PORT where that is unusual and nothing \
                 behind it: \"https://app.example.com\"",
            );
        }

        section.finish();
        Cors { origins, credentials }
    }
}

/// Whether a text is an origin as browsers write it (RFC 6454 §6.2).
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return false };
    let usual = match scheme {
        "http" => ":80",
        "https" => ":443",
        // Applications have such origins: `capacitor://localhost`, `app://-`.
        _ => "",
    };
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"+-.".contains(&byte));
    let is_small = !host.bytes().any(|byte| byte.is_ascii_uppercase());
    is_scheme && is_small && (web::is_host(host) || host == "-") && (usual.is_empty() || !host.ends_with(usual))
}

#[cfg(test)]
mod tests {
    use super::is_origin;

    #[test]
    fn an_origin_is_what_browsers_send() {
        for origin in [
            "https://app.example.com",
            "http://localhost:3000",
            "https://[::1]:8443",
            "https://192.168.1.2",
            "capacitor://localhost",
            "moz-extension://0f3b4a",
        ] {
            assert!(is_origin(origin), "{origin}");
        }
        for other in [
            "",
            "null",
            "*",
            "app.example.com",
            "https://",
            "https://app.example.com/",
            "https://app.example.com/path",
            "https://App.example.com",
            "HTTPS://app.example.com",
            "https://app.example.com:443",
            "http://app.example.com:80",
            "https://user@app.example.com",
            "https://*.example.com",
            "https://app.example.com, https://other.example.com",
            "://app.example.com",
        ] {
            assert!(!is_origin(other), "{other}");
        }
    }
}
