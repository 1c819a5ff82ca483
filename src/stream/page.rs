//! Pages: what a `limit` asks of a list.
//!
//! A page is gathered before its first byte, so that its head can say where the list goes on.
//! Whether it does never depends on what is in memory, on the format or on the coding: a page that
//! is not the last always says so. Only how many rows it holds depends on their weight.

use std::sync::Arc;

use super::{Stream, WHOLE, round};
use crate::{
    chunk::Chunk,
    cursor::Cursor,
    error::Result,
    list::List,
    loader::{Demand, Found, Loader, Place},
};

/// A page ends behind the chunk with which its rows weigh so many bytes.
///
/// With one chunk more it stays within what a stream with a length may hold, unless single rows
/// weigh as much.
const FULL: u64 = (WHOLE - 512 * 1024) as u64;

/// How far a page has come.
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

    /// Rows that the limit still allows.
    pub(super) fn left(&self) -> u64 {
        self.limit - self.rows
    }

    /// Whether it ends here, though the list may go on.
    pub(super) fn is_full(&self) -> bool {
        self.left() == 0 || self.bytes >= FULL
    }

    /// Takes in a chunk, all of whose rows the limit allows.
    fn take(&mut self, list: &List, chunk: &Chunk) {
        self.rows += u64::from(chunk.rows);
        self.bytes += list.plain_bytes(chunk);
    }

    /// The place of its next chunk.
    fn place(&self, list: &Arc<List>, cursor: Cursor) -> Place {
        // A chunk surely larger than the limit is not worth loading whole.
        let least = u64::from(list.resource().options().sizes.rows / 4);
        let cut = if self.left() < least { self.left() as u32 } else { 0 };
        Place::new(Arc::clone(list), cursor, cut).asked_by(self.demand.clone())
    }

    /// Whether the limit allows all rows of a chunk.
    fn fits(&self, chunk: &Chunk) -> bool {
        u64::from(chunk.rows) <= self.left()
    }

    /// The same place, cut where the limit ends the page: what to ask for where a chunk does not
    /// fit.
    fn cut_off(&self, place: &Place) -> Place {
        // It holds fewer rows than a chunk.
        place.cut_at(u32::try_from(self.left()).unwrap_or(u32::MAX))
    }

    /// Takes in its next chunk.
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

    /// Takes in its next chunk, if that is in memory.
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

    /// Where to look whether any row is behind it, once its limit has ended it; `None` where that
    /// is known already.
    ///
    /// A chunk that was cut knows it. One whose last row happens to be the page's may end where its
    /// read ended: then the first chunk of the page behind it tells.
    pub(super) fn unsure(&self, list: &Arc<List>, next: &Cursor) -> Option<Place> {
        let unsure = self.left() == 0 && !self.cut;
        unsure.then(|| Page::new(self.limit, self.demand.clone()).place(list, next.clone()))
    }
}

impl Stream {
    /// Lines up the page that begins here, whole, and finds out where the list goes on.
    ///
    /// # Errors
    /// When a chunk cannot be had: no page is better than one that ends there without a word.
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
            // Without room for more the page ends early, but never without a row.
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
