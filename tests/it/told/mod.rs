//! Changes that a program tells: which lists show them, and what that costs.

mod collated;
mod counted;
mod kinds;
mod model;
mod moved;
mod purged;
mod related;
mod restarted;
mod standby;

use chunkflow::{Change, Chunkflow, metrics::MetricsFormat};
use http::Request;
use http_body_util::BodyExt;
use serde_json::Value;

use crate::support::Running;

/// Configuration of lists whose chunks have about eight rows.
const SMALL: &str = "chunk_rows = 8\nchunk_bytes = \"1B\"\nttl = \"1h\"\nstale = \"1h\"\n";

/// The rows of a list, or a problem.
async fn rows(chunkflow: &Chunkflow, target: &str) -> Result<Vec<Value>, String> {
    let request = Request::get(target).header("host", "localhost").body(()).unwrap();
    let response = chunkflow.respond(&request).await;
    let status = response.status();
    let body = response.into_body().collect().await.map_err(|error| format!("cut: {error}"))?.to_bytes();
    let body: Value = serde_json::from_slice(&body).map_err(|error| format!("{status}: {error}: {body:?}"))?;
    match body.get("results") {
        Some(Value::Array(rows)) => Ok(rows.clone()),
        _ => Err(format!("{status}: {body}")),
    }
}

impl Running {
    /// The rows of a list.
    fn rows(&self, target: &str) -> Vec<Value> {
        self.block_on(rows(&self.chunkflow, target)).unwrap()
    }

    /// Tells changes of rows of the resource `list`, by their keys.
    fn told<K: ToString>(&self, keys: &[K]) {
        let changes: Vec<Change> = keys.iter().map(|key| Change::of("list", [key.to_string()])).collect();
        self.block_on(self.chunkflow.changed(&changes)).unwrap();
    }

    /// Questions to the database so far, whether a row that was told belongs in a chunk.
    fn questions(&self) -> u64 {
        let text = self.chunkflow.exposition(MetricsFormat::Text);
        let line = text.lines().find(|line| line.starts_with("chunkflow_change_questions_total "));
        line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap()
    }

    /// Reads of the database so far, each by one query, and the rows that they read.
    fn reads(&self) -> (u64, u64) {
        (self.chunkflow.metrics().reads(), self.chunkflow.metrics().rows_read())
    }

    /// Chunks that were not at hand so far.
    fn misses(&self) -> u64 {
        self.chunkflow.metrics().misses()
    }
}
