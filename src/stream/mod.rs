//! A stream walks the chunks of a list from a cursor to the end, as the body of one response.
//!
//! It is a sequence of finished buffers: a warm chunk is neither encoded nor copied here. While a
//! chunk goes out, the stream fetches the next one; only a compressed list reads further ahead. A
//! failure ends the body with an error, so that the client sees it.

mod budget;
mod page;
mod round;
mod whole;

use std::{
    collections::VecDeque,
    fmt,
    future::Future,
    net::IpAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::HeaderValue;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

pub(crate) use self::budget::Budget;
use self::{budget::Share, round::Way};
use crate::{
    change::Token,
    chunk::{Chunk, Sum},
    cursor::Cursor,
    error::{Error, Kind, Result},
    list::List,
    loader::{Ahead, Demand, Fetch, Found, Loader, Place, Provenance},
    metrics::{Fate, FoundBy, Outcome, Tally, Way as UnderWay},
    source::{BoxFuture, Requester},
    survey::Trail,
    trace::{self, Traced},
};

/// A list whose chunks are all at hand, and have at most this many bytes, is sent with its length.
const WHOLE: usize = 4 * 1024 * 1024;

/// Sent bytes are added to the counters each time this many have gone out, not for each chunk.
const COUNTED: u64 = 1024 * 1024;

/// What a request asks of a list.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) list: Arc<List>,
    pub(crate) after: Cursor,
    pub(crate) limit: Option<u64>,
    /// The requester whom its loads count for.
    pub(crate) requester: Requester,
    /// The request's id in the log, if it has one.
    pub(crate) id: Option<HeaderValue>,
    pub(crate) traced: Traced,
    /// The list must show all changes up to this one.
    pub(crate) at_least: Option<Token>,
    /// When the request began.
    pub(crate) began: Instant,
    /// After this long without a byte the stream sends a heartbeat, if the format has one. Zero:
    /// never.
    pub(crate) heartbeat: Duration,
    /// Whether it only fills a shared store: then it reads no faster than that store takes chunks.
    pub(crate) warms: bool,
}

/// A stream as the operator sees it. A list that goes out at once is never shown: it is over too
/// soon.
#[cfg_attr(not(feature = "server"), allow(dead_code, reason = "only a server has an operator"))]
struct Seen {
    /// The client's address, if it is known.
    client: Option<IpAddr>,
    /// Knows why the stream was dropped before its end.
    fate: Option<Arc<dyn Fate>>,
    under_way: Option<Arc<UnderWay>>,
}

impl Seen {
    fn fate(&self) -> Outcome {
        match (&self.under_way, &self.fate) {
            (Some(under_way), _) => under_way.fate(),
            (None, Some(fate)) => fate.now(),
            (None, None) => Outcome::Left,
        }
    }
}

/// The body of one response.
pub(crate) struct Stream {
    loader: Arc<Loader>,
    list: Arc<List>,
    demand: Demand,
    frames: VecDeque<Bytes>,
    next: Next,
    /// The places that it has passed, so that it ends if chunks lead back to one.
    way: Way,
    /// The next chunks, where they are noted already.
    trail: Trail,
    length: Option<u64>,
    /// The cursor behind the last row of a page, where the list goes on.
    goes_on: Option<Cursor>,
    /// Where the first chunk came from; `None` if none was asked for.
    first: Option<Provenance>,
    began: Instant,
    tally: Tally,
    /// How many of its bytes are in the counters.
    counted: u64,
    /// Where the operator sees its progress.
    seen: Option<Seen>,
    /// The checksum, so far, of what a compressed body decodes to.
    sum: Sum,
    heartbeat: Duration,
    /// When the next heartbeat is due; set while the stream waits for a chunk.
    silence: Option<Pin<Box<Sleep>>>,
    /// Its share of the budget.
    held: Share,
    /// Whether its first chunk came; only then does it count as a stream.
    begun: bool,
    on_end: Option<OnEnd>,
}

type OnEnd = Box<dyn FnOnce(&Tally) + Send>;

enum Next {
    Ready(Found),
    Waiting(BoxFuture<'static, Result<Found>>),
    Failed(Error, bool),
    Ended,
}

impl fmt::Debug for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stream").field("tally", &self.tally).finish_non_exhaustive()
    }
}

impl Stream {
    /// Begins a stream. Returns with the first chunk in hand, or with the error.
    ///
    /// `budget` bounds the bytes that streams with a known length hold in memory.
    pub(crate) async fn begin(loader: &Arc<Loader>, ask: Ask, budget: &Arc<Budget>) -> Result<Box<Stream>> {
        loader.first_look().await;
        if let Some(token) = ask.at_least {
            loader.reach(token).await?;
        }

        // Boxed at once: otherwise it would be moved many times on its way into a response.
        let mut stream = Box::new(Stream {
            loader: Arc::clone(loader),
            demand: Demand {
                id: ask.id,
                requester: ask.requester,
                traced: ask.traced,
                began: loader.now(),
                known: loader.heard(),
                waits_for_room: ask.warms,
            },
            frames: VecDeque::new(),
            next: Next::Ended,
            way: Way::from(ask.after.clone()),
            trail: Trail::default(),
            length: None,
            goes_on: None,
            first: None,
            began: ask.began,
            tally: Tally::default(),
            counted: 0,
            seen: None,
            sum: Sum::default(),
            heartbeat: ask.heartbeat,
            silence: None,
            held: Share::new(budget),
            begun: false,
            on_end: None,
            list: ask.list,
        });

        let (begin, sum) = stream.list.begin();
        stream.line_up(begin.clone());
        stream.sum = sum;

        if let Some(limit) = ask.limit {
            stream.gather(ask.after, limit).await?;
        } else {
            let whole = ask.after.is_start();
            stream.go_to(ask.after, None);
            let found = stream.arrival().await?;
            stream.first = Some(found.provenance);

            if whole {
                stream.take_whole(found);
            } else {
                stream.take(found);
                stream.measure(None);
            }
        }

        stream.begun = true;
        loader.metrics().streams.add(1);
        loader.metrics().first_byte.observe(stream.began.elapsed());
        Ok(stream)
    }

    /// Where the first chunk came from.
    pub(crate) fn first(&self) -> Option<Provenance> {
        self.first
    }

    /// The cursor of the next page; `None` behind the last page, and without a limit.
    pub(crate) fn goes_on(&self) -> Option<&Cursor> {
        self.goes_on.as_ref()
    }

    /// The length of the whole body, if it is known before its first byte.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// Sends a heartbeat after at most this long, if heartbeats are on.
    #[cfg(feature = "server")]
    pub(crate) fn probe(&mut self, every: Duration) {
        if !self.heartbeat.is_zero() {
            self.heartbeat = self.heartbeat.min(every);
            self.silence = None;
        }
    }

    /// What it has done so far.
    pub(crate) fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Shows the stream to the operator once it lasts long enough to be seen. `fate` knows why it
    /// is dropped before its end.
    #[cfg(feature = "server")]
    pub(crate) fn show(&mut self, client: Option<IpAddr>, fate: Option<Arc<dyn Fate>>) {
        self.seen = Some(Seen { client, fate, under_way: None });
    }

    /// The stream as the operator sees it from now on, if it is shown.
    #[cfg(feature = "server")]
    pub(crate) fn under_way(&mut self) -> Option<Arc<UnderWay>> {
        let seen = self.seen.as_mut()?;
        let under_way = seen.under_way.get_or_insert_with(|| {
            let list = &self.list.resource().counts().list;
            self.loader.metrics().under_way.enter(list, seen.client, self.began, seen.fate.clone())
        });
        under_way.rows.store(self.tally.rows, Ordering::Relaxed);
        under_way.bytes.store(self.tally.bytes, Ordering::Relaxed);
        Some(Arc::clone(under_way))
    }

    /// Its list.
    #[cfg(feature = "server")]
    pub(crate) fn list(&self) -> &Arc<List> {
        &self.list
    }

    /// Calls `then` when the stream has ended, whether it failed or not.
    pub(crate) fn on_end(&mut self, then: impl FnOnce(&Tally) + Send + 'static) {
        self.on_end = Some(Box::new(then));
    }

    /// Begins to fetch the chunk at `cursor`.
    fn go_to(&mut self, cursor: Cursor, ahead: Option<Arc<Ahead>>) {
        let place = Place::new(Arc::clone(&self.list), cursor, 0).asked_by(self.demand.clone()).reading_on();
        self.next = match ahead {
            Some(ahead) => Next::Waiting(Box::pin(ahead.wait(place))),
            None => match self.loader.fetch(&place) {
                Fetch::Ready(found) => Next::Ready(found),
                Fetch::Waiting(waiter) => Next::Waiting(Box::pin(waiter.wait())),
            },
        };
    }

    /// The chunk that follows this one, if it is noted and needs no look-up.
    fn along_trail(&mut self, chunk: &Arc<Chunk>) -> Option<Found> {
        let chunk = self.trail.behind(chunk, || self.loader.now())?;
        self.list.resource().counts().list.found(FoundBy::Near).inc();
        // Only of a first chunk is it asked how long it stays fresh.
        Some(Found { chunk, provenance: Provenance::Fresh(0), ahead: None })
    }

    fn poll_arrival(&mut self, context: &mut Context<'_>) -> Poll<Result<Found>> {
        match std::mem::replace(&mut self.next, Next::Ended) {
            Next::Ready(found) => Poll::Ready(Ok(found)),
            Next::Waiting(mut waiting) => {
                let arrived = waiting.as_mut().poll(context);
                if arrived.is_pending() {
                    self.next = Next::Waiting(waiting);
                }
                arrived
            }
            Next::Failed(error, _) => Poll::Ready(Err(error)),
            Next::Ended => Poll::Ready(Err(Error::new(Kind::Internal, "a stream went on behind its end"))),
        }
    }

    /// Ready when a heartbeat is due and lined up.
    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if self.heartbeat.is_zero() {
            return Poll::Pending;
        }
        let silence = self.silence.get_or_insert_with(|| Box::pin(sleep(self.heartbeat)));
        ready!(silence.as_mut().poll(context));
        self.silence = None;
        let idle = self.list.idle(&mut self.sum);
        if idle.is_empty() {
            self.heartbeat = Duration::ZERO;
            return Poll::Pending;
        }
        self.frames.push_back(idle);
        Poll::Ready(())
    }

    async fn arrival(&mut self) -> Result<Found> {
        std::future::poll_fn(|context| self.poll_arrival(context)).await
    }

    /// Lines up a chunk's bytes, and what follows it.
    fn take(&mut self, found: Found) {
        self.note(found.provenance);
        self.pass(&found.chunk);
        match &found.chunk.next {
            Some(next) if !self.way.goes_on_to(next) => self.turn_back(),
            Some(next) => match self.along_trail(&found.chunk) {
                Some(found) => self.next = Next::Ready(found),
                None => self.go_to(next.clone(), found.ahead),
            },
            None => self.end(None),
        }
    }

    /// Ends in a failure, since the chunks lead back to a place that was passed. Before that the
    /// chunks are forgotten.
    fn turn_back(&mut self) {
        let forgotten = round::forget(Arc::clone(&self.loader), Arc::clone(&self.list));
        self.next = Next::Waiting(Box::pin(async { Err(forgotten.await) }));
    }

    fn note(&mut self, provenance: Provenance) {
        match provenance {
            Provenance::Fresh(_) | Provenance::Stale { .. } => self.tally.hits += 1,
            Provenance::Loaded | Provenance::Joined => self.tally.loads += 1,
        }
    }

    /// Lines up a chunk's bytes and counts its rows.
    fn pass(&mut self, chunk: &Chunk) {
        let follows = self.tally.rows > 0;
        for frame in self.list.frames(chunk, follows) {
            self.line_up(frame);
        }
        if chunk.rows > 0 {
            self.list.sum_up(&mut self.sum, follows, chunk);
        }
        self.tally.rows += u64::from(chunk.rows);
    }

    /// Notes the progress that the operator sees.
    fn note_sent(&mut self) {
        if let Some(Seen { under_way: Some(under_way), .. }) = &self.seen {
            under_way.rows.store(self.tally.rows, Ordering::Relaxed);
            under_way.bytes.store(self.tally.bytes, Ordering::Relaxed);
        }
        if self.tally.bytes - self.counted >= COUNTED {
            self.count_sent();
        }
    }

    /// Adds the bytes sent since the last count to the counters.
    fn count_sent(&mut self) {
        self.list.resource().counts().list.sent.add(self.tally.bytes - self.counted);
        self.counted = self.tally.bytes;
    }

    /// Lines up the end of the body. Where a page could not hold all rows of its limit, that end
    /// says where the list goes on and how many of the rows are left.
    fn end(&mut self, rest: Option<(&Cursor, u64)>) {
        let end = self.list.end(self.tally.rows, self.sum, rest);
        self.line_up(end);
        self.next = Next::Ended;
    }

    /// Lines up a frame, unless it is empty: an empty frame would never be polled, and the stream
    /// would seem unfinished.
    fn line_up(&mut self, frame: Bytes) {
        if !frame.is_empty() {
            self.frames.push_back(frame);
        }
    }

    fn lined_up(&self) -> usize {
        self.frames.iter().map(Bytes::len).sum()
    }
}

impl Body for Stream {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>>>> {
        let this = &mut *self;
        loop {
            if let Some(frame) = this.frames.pop_front() {
                if frame.is_empty() {
                    continue;
                }
                this.tally.bytes += frame.len() as u64;
                this.note_sent();
                return Poll::Ready(Some(Ok(Frame::data(frame))));
            }
            match &mut this.next {
                Next::Ended => {
                    this.tally.outcome = Outcome::Complete;
                    return Poll::Ready(None);
                }
                Next::Failed(_, told @ false) => {
                    // hyper drops what it has buffered when an error follows a frame in the same
                    // poll, so let it write first.
                    *told = true;
                    context.waker().wake_by_ref();
                    return Poll::Pending;
                }
                Next::Failed(error, true) => {
                    this.tally.outcome = Outcome::Cut;
                    return Poll::Ready(Some(Err(error.clone())));
                }
                Next::Ready(_) | Next::Waiting(..) => match this.poll_arrival(context) {
                    Poll::Pending => ready!(this.poll_silence(context)),
                    Poll::Ready(arrived) => {
                        this.silence = None;
                        match arrived {
                            Ok(found) => this.take(found),
                            Err(error) => this.next = Next::Failed(error, false),
                        }
                    }
                },
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.frames.is_empty() && matches!(self.next, Next::Ended)
    }

    fn size_hint(&self) -> SizeHint {
        match self.length {
            Some(length) => SizeHint::with_exact(length - self.tally.bytes),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if !self.begun {
            return;
        }

        if self.is_end_stream() {
            self.tally.outcome = Outcome::Complete;
        }

        if self.tally.outcome == Outcome::Left
            && let Some(seen) = &self.seen
        {
            self.tally.outcome = seen.fate();
        }

        self.count_sent();
        let metrics = self.loader.metrics();
        if let Some(Seen { under_way: Some(under_way), .. }) = self.seen.take() {
            metrics.under_way.leave(&under_way);
        }

        metrics.streams.add(-1);
        metrics.ended(self.tally.outcome);
        metrics.stream.observe(self.began.elapsed());
        let Tally { rows, bytes, outcome, .. } = self.tally;
        trace::streamed(self.demand.traced.span(), rows, bytes, outcome.name(), outcome == Outcome::Cut);
        if let Some(then) = self.on_end.take() {
            then(&self.tally);
        }
    }
}
