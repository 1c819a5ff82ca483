//! What stands at `/`: a page for people who look around with a browser, and the same for programs
//! as JSON.
//!
//! The page is one file that asks for nothing of other servers. Its policy (Content Security Policy
//! Level 3, W3C) names its own script and style by their hashes, so that a browser runs nothing else,
//! whatever the rows hold.

use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    Body, Chunkflow, joined, path_of,
    reply::{insert_always, json, readable},
};
use crate::{
    format::{FORMATS, weight},
    resource::Resource,
};

/// The page as it is sent.
const PAGE: &str = include_str!("page.html");

/// What stands at `/`.
#[derive(Clone)]
pub(super) struct Landing {
    /// The headers of the page; `None` where browsers get JSON too.
    page: Option<Arc<HeaderMap>>,
}

impl Landing {
    /// With the page for browsers, or without.
    pub(super) fn new(has_page: bool) -> Landing {
        Landing { page: has_page.then(|| Arc::new(page_headers())) }
    }

    /// Answers a request for `/`.
    pub(super) fn answer<B>(&self, chunkflow: &Chunkflow, request: &Request<B>) -> Response<Body> {
        let method = request.method();
        let accept = joined(request.headers(), &header::ACCEPT);
        let wants_page = weight(&accept, "text/html") > weight(&accept, "application/json");

        match &self.page {
            Some(headers) if wants_page => readable(method, page(headers)),
            _ => index(chunkflow, method),
        }
    }
}

fn page(headers: &HeaderMap) -> Response<Body> {
    let mut response = Response::new(Body::from(Bytes::from_static(PAGE.as_bytes())));
    *response.headers_mut() = headers.clone();
    response
}

fn page_headers() -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept"));
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    let policy = HeaderValue::try_from(policy()).expect("ASCII");
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    insert_always(&mut headers);
    headers
}

/// What the page may do: run its own script, and ask the server that it is from.
fn policy() -> String {
    let script = hash_of("script");
    let style = hash_of("style");

    format!(
        "default-src 'none'; script-src {script}; style-src {style}; img-src data:; connect-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

/// The hash of what stands in the page's only element of this name.
fn hash_of(element: &str) -> String {
    let (open, close) = (format!("<{element}>"), format!("</{element}>"));
    let text = PAGE.split_once(&open).and_then(|(_, rest)| rest.split_once(&close)).map_or("", |(text, _)| text);
    format!("'sha256-{}'", STANDARD.encode(Sha256::digest(text)))
}

/// What there is here, for programs that look around.
fn index(chunkflow: &Chunkflow, method: &Method) -> Response<Body> {
    #[derive(Serialize)]
    struct Index<'a> {
        chunkflow: &'a str,
        openapi: &'a str,
        resources: Vec<Entry<'a>>,
    }
    #[derive(Serialize)]
    struct Entry<'a> {
        name: &'a str,
        path: String,
        formats: Vec<String>,
        fields: Vec<&'a str>,
        order: &'a [String],
        filters: Vec<&'a str>,
    }
    fn entry(resource: &Resource) -> Entry<'_> {
        let path = path_of(resource.name());
        Entry {
            name: resource.name(),
            formats: FORMATS.iter().map(|format| format!("{path}.{}", format.name)).collect(),
            path,
            fields: resource.members().collect(),
            order: resource.source().order(),
            filters: resource.source().filters().iter().map(|filter| &*filter.column).collect(),
        }
    }

    let resources = chunkflow.resources();
    let index = Index {
        chunkflow: env!("CARGO_PKG_VERSION"),
        openapi: "/openapi.json",
        resources: resources.iter().map(|resource| entry(resource)).collect(),
    };
    let mut response = json(StatusCode::OK, &index);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    readable(method, response)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_is_one_small_file_that_names_no_other_server_but_in_a_link() {
        assert!(PAGE.len() <= 30_000, "{} bytes", PAGE.len());
        for elsewhere in PAGE.match_indices("://") {
            let before = &PAGE[..elsewhere.0];
            let is_link = before.ends_with("<a href=\"https") || before.ends_with("xmlns='http");
            let is_namespace = before.ends_with("createElementNS(\"http");
            assert!(is_link || is_namespace, "{}", &PAGE[elsewhere.0 - 30..elsewhere.0 + 30]);
        }
        for risk in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", " style=", " onclick="] {
            assert!(!PAGE.contains(risk), "{risk}");
        }
    }

    #[test]
    fn the_policy_lets_the_page_s_own_script_and_style_run_and_nothing_else() {
        let policy = policy();
        assert_eq!(PAGE.matches("<script").count(), 1);
        assert_eq!(PAGE.matches("<style").count(), 1);
        assert_ne!(hash_of("script"), hash_of("nothing"));
        assert!(policy.starts_with("default-src 'none'; script-src 'sha256-"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }
}
