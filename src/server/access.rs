//! The access log: one line for each request.

use std::{net::IpAddr, sync::Arc, time::Instant};

use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, header};
use tracing::field::display;

use super::{masked::masked, origin::Remote, watch::Watch};
use crate::{
    error::Error,
    metrics::{Fate, Outcome, Tally},
    trace::Trace,
    web::Body,
};

/// How many bytes of a client's `User-Agent` are logged.
const AGENT: usize = 200;

/// A line of the log. It is written on drop: when the response has ended, or the client has left.
pub(super) struct Line {
    began: Instant,
    fate: Arc<Watch>,
    /// The other end of the connection.
    peer: Remote,
    /// The client: the peer, or the client that a trusted proxy names.
    client: IpAddr,
    agent: Option<HeaderValue>,
    id: HeaderValue,
    trace: Option<Arc<Trace>>,
    method: Method,
    uri: Uri,
    /// `None` if the client left before there was a response.
    answered: Option<Answered>,
    tally: Option<Tally>,
}

/// What is known once there is a response.
struct Answered {
    status: StatusCode,
    /// When its first bytes were ready, in milliseconds.
    first_ms: f64,
    format: Option<&'static str>,
    error: Option<Error>,
}

impl Line {
    /// Made before the work begins, so that a client that leaves before the first byte has a line
    /// too.
    pub(super) fn new<B>(
        request: &Request<B>,
        began: Instant,
        (id, trace): (HeaderValue, Option<Arc<Trace>>),
        (peer, client): (Remote, IpAddr),
        fate: &Arc<Watch>,
    ) -> Line {
        Line {
            began,
            fate: Arc::clone(fate),
            peer,
            client,
            agent: request.headers().get(header::USER_AGENT).cloned(),
            id,
            trace,
            method: request.method().clone(),
            uri: request.uri().clone(),
            answered: None,
            tally: None,
        }
    }

    /// Notes the response. For a list, the line is written at the end of its stream.
    pub(super) fn answered(mut self, response: &mut Response<Body>) {
        self.answered = Some(Answered {
            status: response.status(),
            first_ms: self.milliseconds(),
            format: response.body().format(),
            error: response.extensions_mut().remove::<Error>(),
        });
        if response.body().is_stream() {
            response.body_mut().on_end(move |tally| {
                let mut line = self;
                line.tally = Some(*tally);
            });
        }
    }

    fn milliseconds(&self) -> f64 {
        (self.began.elapsed().as_secs_f64() * 1e6).round() / 1000.0
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        let Line { peer, client, method, uri, .. } = &*self;
        let is_list = self.answered.as_ref().is_some_and(|answered| answered.format.is_some());
        let uri = masked(uri, !is_list);
        let ms = self.milliseconds();
        let id = self.id.to_str().unwrap_or_default();
        let trace_id = self.trace.as_ref().and_then(|trace| trace.id()).map(display);
        let agent = self.agent.as_ref().map(|agent| &agent.as_bytes()[..agent.len().min(AGENT)]);
        let user_agent = agent.map(String::from_utf8_lossy);
        let user_agent = user_agent.as_deref();

        let Some(Answered { status, first_ms, format, error }) = &self.answered else {
            // There was no response: the outcome is that of the connection.
            let outcome = self.fate.now();
            tracing::info!(
                target: "chunkflow::access",
                %client, %peer, id, trace_id, %method, %uri, user_agent, %outcome, ms
            );
            return;
        };

        let status = status.as_u16();
        let error = error.as_ref().map(|error| error.told());
        let error = error.as_deref();
        let tally = self.tally.as_ref();
        let rows = tally.map(|tally| tally.rows);
        let bytes = tally.map(|tally| tally.bytes);
        let hits = tally.map(|tally| tally.hits);
        let loads = tally.map(|tally| tally.loads);
        let outcome = tally.map(|tally: &Tally| -> Outcome { tally.outcome }).map(display);
        let first_ms = tally.map(|_| *first_ms);
        tracing::info!(
            target: "chunkflow::access",
            %client, %peer, id, trace_id, %method, %uri, user_agent, status, format, rows, bytes, hits, loads, outcome,
            error, first_ms, ms
        );
    }
}
