//! The answer to `/`: a page for people with a browser, and the same as JSON for programs.

use std::sync::Arc;

use http::{HeaderValue, Request, Response, StatusCode, header};
use serde::Serialize;

use super::{Body, joined, page::Page, path_of, reply::json};
use crate::{
    format::{FORMATS, weight},
    resource::View,
};

/// The page, without the beginning that it shares with other pages.
const PAGE: &str = include_str!("page.html");

/// The answer to `/`.
#[derive(Clone)]
pub(super) struct Landing {
    /// The page; `None`: browsers get JSON too.
    page: Option<Arc<Page>>,
}

impl Landing {
    /// With or without the page for browsers.
    pub(super) fn new(has_page: bool) -> Landing {
        Landing { page: has_page.then(|| Arc::new(Page::new(PAGE))) }
    }

    /// Answers a request for `/` of somebody who may read these lists.
    pub(super) fn answer<B>(&self, views: &[View], request: &Request<B>) -> Response<Body> {
        let accept = joined(request.headers(), &header::ACCEPT);
        let wants_page = weight(&accept, "text/html") > weight(&accept, "application/json");

        match &self.page {
            Some(page) if wants_page => page.response(),
            _ => index(views),
        }
    }
}

/// The resources, as JSON for programs.
fn index(views: &[View]) -> Response<Body> {
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
        order: Vec<&'a str>,
        orders: &'a [String],
        filters: Vec<&'a str>,
    }

    fn entry(view: &View) -> Entry<'_> {
        let resource = &view.resource;
        let path = path_of(resource.name());
        Entry {
            name: resource.name(),
            formats: FORMATS.iter().map(|format| format!("{path}.{}", format.name)).collect(),
            path,
            fields: resource.members().collect(),
            order: view.order(),
            orders: &view.orders,
            filters: view.filters().map(|filter| &*filter.column).collect(),
        }
    }

    let index = Index {
        chunkflow: env!("CARGO_PKG_VERSION"),
        openapi: "/openapi.json",
        resources: views.iter().map(entry).collect(),
    };

    let mut response = json(StatusCode::OK, &index);
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("Accept"));
    response
}

#[cfg(test)]
mod tests {
    use super::{super::page::whole, *};

    #[test]
    fn the_page_is_one_small_file_that_names_no_other_server_but_in_a_link() {
        let page = whole(PAGE);
        assert_eq!((page.matches("<script").count(), page.matches("<style").count()), (1, 1));
        assert!(page.len() <= 30_000, "{} bytes", page.len());
        for elsewhere in page.match_indices("://") {
            let before = &page[..elsewhere.0];
            let is_link = before.ends_with("<a href=\"https") || before.ends_with("xmlns='http");
            let is_namespace = before.ends_with("createElementNS(\"http");
            assert!(is_link || is_namespace, "{}", &page[elsewhere.0 - 30..elsewhere.0 + 30]);
        }
        for risk in ["innerHTML", "outerHTML", "insertAdjacent", "document.write", "eval(", " style=", " onclick="] {
            assert!(!page.contains(risk), "{risk}");
        }
    }
}
