//! `/openapi.json`: the description of the lists, kept until the lists change.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, Weak},
};

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
    unpoisoned::Unpoisoned,
};

/// The server's address if no better one is known.
const NOWHERE: &str = "/";

/// How many descriptions are kept in each version. Which members somebody sees and which lists are
/// open decides the description, so there are as many as audiences.
const KEPT: usize = 16;

/// The last descriptions in each OpenAPI version. They are kept without a host, so that a client
/// cannot fill memory with invented hosts.
#[derive(Default)]
pub(super) struct Description {
    usual: Kept,
    streams: Kept,
}

/// The descriptions that were asked for last, the last one first.
#[derive(Default)]
struct Kept(Mutex<VecDeque<Arc<Made>>>);

impl Kept {
    /// The description of what somebody sees, if it is kept.
    fn of(&self, views: &[View]) -> Option<Arc<Made>> {
        let mut kept = self.0.lock().unpoisoned();
        let at = kept.iter().position(|made| made.is_of(views))?;
        let made = kept.remove(at)?;
        kept.push_front(Arc::clone(&made));
        Some(made)
    }

    fn keep(&self, made: &Arc<Made>) {
        let mut kept = self.0.lock().unpoisoned();
        kept.push_front(Arc::clone(made));
        kept.truncate(KEPT);
    }
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
        if let Some(made) = kept.of(views) {
            return made;
        }

        let made = Arc::new(Made::new(views, version));
        kept.keep(&made);
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
    fn the_descriptions_of_a_few_audiences_are_kept_and_of_many_the_last_ones() {
        let description = Description::default();
        let all = Chunkflow::new(Arc::new(Memory::new(1 << 20))).with(list("a")).with(list("b"));
        let whole = all.seen_by(None);
        let [one, other] = [&whole[..1], &whole[1..]];
        let first = description.made(one, Version::Usual);
        for _ in 0..3 {
            description.made(other, Version::Usual);
            assert!(Arc::ptr_eq(&first, &description.made(one, Version::Usual)));
        }

        let audiences: Vec<_> = (0..2 * KEPT).map(|_| all.clone().with(list("c")).seen_by(None)).collect();
        for audience in &audiences {
            description.made(audience, Version::Usual);
        }
        assert_eq!(description.usual.0.lock().unwrap().len(), KEPT);
        assert!(!Arc::ptr_eq(&first, &description.made(one, Version::Usual)));
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
