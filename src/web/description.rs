//! `/openapi.json`: the description of the lists, kept until the lists change.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use http::{Request, Response, StatusCode};

use super::{
    Body,
    openapi::{Version, document},
    reply::{json_text, pretty, problem},
};
use crate::{
    error::{Error, Kind, Result},
    resource::{Resource, View},
};

/// The server's address if no better one is known.
const NOWHERE: &str = "/";

/// The last description in each OpenAPI version. It is kept without a host, so that a client cannot
/// fill memory with invented hosts.
#[derive(Default)]
pub(super) struct Description {
    usual: ArcSwapOption<Made>,
    streams: ArcSwapOption<Made>,
}

/// A description without the server's address.
struct Made {
    /// The lists that it describes.
    of: Vec<Weak<Resource>>,
    before_address: String,
    behind_address: String,
}

impl Description {
    /// Answers a request for it of somebody who may read these lists.
    pub(super) fn answer<B>(&self, views: &[View], request: &Request<B>, origin: Option<&str>) -> Response<Body> {
        let version = match version(request.uri().query().unwrap_or_default()) {
            Ok(version) => version,
            Err(error) => return problem(error),
        };

        let origin = origin.filter(|origin| !origin.is_empty()).unwrap_or(NOWHERE);
        json_text(StatusCode::OK, self.made(views, version).with_address(origin))
    }

    /// The description of the current lists.
    fn made(&self, views: &[View], version: Version) -> Arc<Made> {
        let kept = match version {
            Version::Usual => &self.usual,
            Version::Streams => &self.streams,
        };
        if let Some(made) = kept.load_full().filter(|made| made.is_of(views)) {
            return made;
        }

        let made = Arc::new(Made::new(views, version));
        kept.store(Some(Arc::clone(&made)));
        made
    }
}

impl Made {
    fn new(views: &[View], version: Version) -> Made {
        let text = String::from_utf8(pretty(&document(views, version, NOWHERE))).expect("JSON is UTF-8");
        // The server's address comes before everything about lists.
        let address = format!("\"url\": {}", quoted(NOWHERE));
        let (before, behind) = text.split_once(&address).expect("the server has an address");
        Made {
            of: views.iter().map(|view| Arc::downgrade(&view.resource)).collect(),
            before_address: format!("{before}\"url\": "),
            behind_address: behind.to_owned(),
        }
    }

    fn is_of(&self, views: &[View]) -> bool {
        let are_same = |(one, other): (&Weak<Resource>, &View)| one.as_ptr() == Arc::as_ptr(&other.resource);
        self.of.len() == views.len() && self.of.iter().zip(views).all(are_same)
    }

    fn with_address(&self, origin: &str) -> Bytes {
        [&*self.before_address, &*quoted(origin), &*self.behind_address].concat().into()
    }
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

fn version(query: &str) -> Result<Version> {
    match query {
        "" | "openapi=3.1" => Ok(Version::Usual),
        "openapi=3.2" => Ok(Version::Streams),
        _ => Err(Error::new(Kind::Invalid, "the description of the lists takes no such parameter")
            .remedy("write ?openapi=3.2 for the version that describes streams, or nothing for 3.1")),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::{Chunkflow, Fetch, Memory, ResourceOptions, closure};

    fn list(name: &str) -> Resource {
        let nothing = |_: Fetch<u32>| async { Ok::<_, std::io::Error>(Vec::<BTreeMap<&str, u32>>::new()) };
        let source = closure(&["url"], |row: &BTreeMap<&str, u32>| row["url"], nothing);
        Resource::new(name, Arc::new(source), ResourceOptions::default()).unwrap()
    }

    #[test]
    fn a_description_is_made_once_for_all_hosts_until_the_lists_are_others() {
        let description = Description::default();
        let some = Chunkflow::new(Arc::new(Memory::new(1 << 20))).with(list("a"));
        let more = some.clone().with(list("b"));

        let some = some.seen_by(None);
        let first = description.made(&some, Version::Usual);
        assert!(Arc::ptr_eq(&first, &description.made(&some, Version::Usual)));
        assert!(!Arc::ptr_eq(&first, &description.made(&some, Version::Streams)));
        let second = description.made(&more.seen_by(None), Version::Usual);
        assert!(!Arc::ptr_eq(&first, &second));

        for origin in ["https://www.example.com", "a\"b", NOWHERE] {
            let read: serde_json::Value = serde_json::from_slice(&second.with_address(origin)).unwrap();
            assert_eq!(read["servers"][0]["url"], origin);
            assert_eq!(read["paths"].as_object().unwrap().len(), 2);
        }
    }
}
