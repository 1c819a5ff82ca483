//! A request's line and fields as they reach the code that answers: nothing panics, the status is one of those
//! that are documented, and a body that is a list decodes to one.
#![no_main]

use std::{collections::BTreeMap, io::Read, sync::Arc, sync::LazyLock};

use chunkflow::{Chunkflow, Fetch, Memory, Resource, ResourceOptions, closure};
use http_body_util::BodyExt;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

static SERVER: LazyLock<(Runtime, Chunkflow)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let source = closure(
        &["id"],
        |row: &BTreeMap<&str, u32>| row["id"],
        |fetch: Fetch<u32>| async move {
            let rows = (fetch.after.map_or(1, |id| id + 1)..=200).take(fetch.limit).map(|id| [("id", id)].into());
            Ok::<_, std::io::Error>(rows.collect())
        },
    );
    let resource = Resource::new("numbers", Arc::new(source), ResourceOptions::default()).unwrap();
    let chunkflow = Chunkflow::new(Arc::new(Memory::new(1 << 20))).with(resource);
    (runtime, chunkflow)
});

/// `METHOD TARGET`, then `NAME: VALUE` on lines of their own, as HTTP/1 has them.
fn parsed(bytes: &[u8]) -> Option<http::Request<()>> {
    let mut lines = bytes.split(|byte| *byte == b'\n');
    let mut line = lines.next()?.splitn(2, |byte| *byte == b' ');
    let mut request = http::Request::builder().method(line.next()?).uri(line.next()?);
    for line in lines {
        let mut field = line.splitn(2, |byte| *byte == b':');
        request = request.header(field.next()?, field.next()?);
    }
    request.body(()).ok()
}

fuzz_target!(|bytes: &[u8]| {
    let Some(request) = parsed(bytes) else { return };
    let (runtime, chunkflow) = &*SERVER;
    let response = runtime.block_on(chunkflow.respond(&request));
    let (head, body) = response.into_parts();
    let body = runtime.block_on(body.collect()).expect("nothing fails here").to_bytes();
    assert!([200, 204, 400, 404, 405, 406].contains(&head.status.as_u16()), "{}", head.status);
    let mut plain = vec![];
    match head.headers.get("content-encoding").map(|coding| coding.as_bytes()) {
        _ if head.status != 200 || request.method() == http::Method::HEAD => return,
        Some(b"gzip") => drop(flate2::read::GzDecoder::new(&body[..]).read_to_end(&mut plain).expect("a whole body")),
        Some(_) => return,
        None => plain.extend_from_slice(&body),
    }
    let kind = head.headers["content-type"].to_str().unwrap();
    assert!(!kind.starts_with("application/json") || plain.starts_with(b"{") && plain.ends_with(b"}"));
});
