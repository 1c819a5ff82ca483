//! Pages: what a `limit` asks of a list.
//!
//! A page is gathered before its first byte, so that the response's head can say where the list
//! goes on. Every page but the last says so, no matter what is in memory and which format or coding
//! it has. Only the number of its rows depends on their weight.

use std::sync::Arc;

use super::{Stream, WHOLE, round};
use crate::{
    chunk::Chunk,
    cursor::Cursor,
    error::Result,
    list::List,
    loader::{Demand, Found, Loader, Place},
};

/// A page ends with the chunk that brings its rows to this many bytes.
///
/// With one chunk more it stays within what a stream with a length may hold, unless single rows are
/// as large as that.
const FULL: u64 = (WHOLE - 512 * 1024) as u64;

/// The progress of a page.
#[derive(Clone, Debug)]
pub(super) struct Page {
    limit: u64,
    demand: Demand,
    rows: u64,
    /// Bytes of its rows, before any compression: a page holds the same rows in every coding.
    bytes: u64,
    /// Whether its last chunk was cut at the limit.
    cut: bool,
}

impl Page {
    pub(super) fn new(limit: u64, demand: Demand) -> Page {
        Page { limit, demand, rows: 0, bytes: 0, cut: false }
    }

    /// How many rows the limit still allows.
    pub(super) fn left(&self) -> u64 {
        self.limit - self.rows
    }

    /// Whether the page ends here, even if the list goes on.
    pub(super) fn is_full(&self) -> bool {
        self.left() == 0 || self.bytes >= FULL
    }

    /// Adds a chunk; the limit must allow all of its rows.
    fn take(&mut self, list: &List, chunk: &Chunk) {
        self.rows += u64::from(chunk.rows);
        self.bytes += list.plain_bytes(chunk);
    }

    /// The place of its next chunk.
    fn place(&self, list: &Arc<List>, cursor: Cursor) -> Place {
        // A chunk that is surely larger than the limit is not loaded whole.
        let least = u64::from(list.resource().options().sizes.rows / 4);
        let cut = if self.left() < least { self.left() as u32 } else { 0 };
        Place::new(Arc::clone(list), cursor, cut).asked_by(self.demand.clone())
    }

    /// Whether the limit allows all rows of this chunk.
    fn fits(&self, chunk: &Chunk) -> bool {
        u64::from(chunk.rows) <= self.left()
    }

    /// The same place, cut where the limit ends the page. Asked for where a whole chunk does not
    /// fit.
    fn cut_off(&self, place: &Place) -> Place {
        // That is fewer rows than a chunk has.
        place.cut_at(u32::try_from(self.left()).unwrap_or(u32::MAX))
    }

    /// Fetches and adds the page's next chunk.
    async fn next(&mut self, loader: &Arc<Loader>, list: &Arc<List>, cursor: Cursor) -> Result<Found> {
        let place = self.place(list, cursor);
        self.cut = place.is_cut();
        let mut found = loader.fetch(&place).wait().await?;

        if !self.fits(&found.chunk) {
            self.cut = true;
            found = loader.fetch(&self.cut_off(&place)).wait().await?;
        }
        self.take(list, &found.chunk);
        Ok(found)
    }

    /// Adds the page's next chunk, if that is in memory.
    pub(super) fn peek(&mut self, loader: &Loader, list: &Arc<List>, cursor: Cursor) -> Option<Found> {
        let place = self.place(list, cursor);
        self.cut = place.is_cut();
        let mut found = loader.peek(&place).filter(|found| self.fits(&found.chunk));

        if found.is_none() {
            self.cut = true;
            found = loader.peek(&self.cut_off(&place));
        }
        self.take(list, &found.as_ref()?.chunk);
        found
    }

    /// Once the limit has ended the page: the place to ask whether a row follows. `None` where that
    /// is known already.
    ///
    /// A chunk that was cut knows it. A chunk whose last row is also the page's last may end only
    /// because its read did. Then the first chunk of the next page tells.
    pub(super) fn unsure(&self, list: &Arc<List>, next: &Cursor) -> Option<Place> {
        let unsure = self.left() == 0 && !self.cut;
        unsure.then(|| Page::new(self.limit, self.demand.clone()).place(list, next.clone()))
    }
}

impl Stream {
    /// Lines up the whole page that begins here, and finds out where the list goes on.
    ///
    /// # Errors
    /// When a chunk cannot be had: no page is better than one that ends early without saying so.
    pub(super) async fn gather(&mut self, after: Cursor, limit: u64) -> Result<()> {
        let mut page = Page::new(limit, self.demand.clone());
        let mut next = Some(after).filter(|_| limit > 0);

        while let Some(cursor) = next.take() {
            let found = page.next(&self.loader, &self.list, cursor).await?;
            self.first = self.first.or(Some(found.provenance));
            self.note(found.provenance);
            self.pass(&found.chunk);
            next.clone_from(&found.chunk.next);

            if next.as_ref().is_some_and(|next| !self.way.goes_on_to(next)) {
                return Err(round::forget(Arc::clone(&self.loader), Arc::clone(&self.list)).await);
            }
            // Without room for more, the page ends early, but never without a row.
            if page.is_full() || !self.held.take(found.chunk.body.len()) {
                break;
            }
        }

        if let Some(cursor) = &next
            && let Some(behind) = page.unsure(&self.list, cursor)
            && let Ok(found) = self.loader.fetch(&behind).wait().await
            && found.chunk.rows == 0
        {
            next = None;
        }

        let rest = next.as_ref().filter(|_| page.left() > 0);
        self.end(rest.map(|next| (next, page.left())));
        self.goes_on = next;
        self.length = Some(self.lined_up() as u64);
        Ok(())
    }
}
