//! A list: a resource with its parameters, in one variant.
//!
//! A *variant* is everything that shapes bytes: resource, conditions, format, coding, beginning of
//! links. Its canonical form is written by hand, and the key of each of its chunks begins with its
//! digest. The *places* of a list, where its chunks begin, are the same in every variant of the
//! same rows.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};

use crate::{
    canonical::Canonical,
    chunk::{Chunk, ChunkKey, ListKey, Sum},
    coding::Coding,
    cursor::Cursor,
    flaw::FlawCounts,
    format::{ChunkWriter, Format, Output},
    resource::{Frame, Resource, Scope, Writer, written},
    row::{Field, Part, Value},
    seal::{Seal, Sealer},
    source::{Condition, Session},
    survey::Survey,
};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// State for writing the rows of one list: memory and a cipher that are reused for each row.
pub(crate) struct Pen {
    rows: Box<dyn ChunkWriter>,
    /// Makes the row's cursor, if rows contain it.
    sealer: Option<Sealer>,
    link: Vec<u8>,
    /// The flaws of values since they were last taken out.
    pub(crate) flaws: FlawCounts,
}

/// Everything that shapes the bytes of a list's rows.
#[derive(Clone)]
pub(crate) struct Variant {
    resource: Arc<Resource>,
    /// The seal of its cursors, which no other scope takes.
    seal: Seal,
    /// In canonical order; those of the scope among them.
    conditions: Arc<[Condition]>,
    /// Whether some of them are a request's own.
    is_filtered: bool,
    /// The role and settings that its rows are read with, if policies depend on them.
    session: Option<Arc<Session>>,
    format: Format,
    coding: Option<Coding>,
    /// The scheme and host of absolute links; empty if there are none.
    base: String,
}

impl Variant {
    /// The digest of all that the list's places depend on: its rows and their order.
    fn places(&self) -> [u8; 32] {
        canonical_places(self.resource.whole_digest(), &self.conditions, self.session.as_deref()).digest()
    }

    /// The digest of all that shapes the list's bytes.
    fn digest(&self, places: &[u8; 32]) -> [u8; 32] {
        let seal = self.resource.holds_cursors(self.format).then(|| self.seal.fingerprint());
        let coding = self.coding.map_or("identity", Coding::name);
        canonical_variant(places, self.format.name(), coding, &self.base, seal.as_ref()).digest()
    }
}

fn canonical_places(resource: &[u8; 32], conditions: &[Condition], session: Option<&Session>) -> Canonical {
    let mut bytes = Canonical::of("chunkflow places 1");
    bytes.bytes(resource);
    bytes.bytes(&written(conditions));
    if let Some(session) = session {
        bytes.bytes(&session.written());
    }
    bytes
}

/// `seal` is the fingerprint of the seal, if rows contain their cursors.
fn canonical_variant(places: &[u8; 32], format: &str, coding: &str, base: &str, seal: Option<&[u8; 32]>) -> Canonical {
    let mut bytes = Canonical::of("chunkflow variant 1");
    bytes.bytes(places);
    bytes.text(format);
    bytes.text(coding);
    bytes.text(base);
    bytes.maybe(seal, |bytes, seal| bytes.bytes(seal));
    bytes
}

/// A resource with its parameters, in one variant. All chunks with its key are one series.
pub(crate) struct List {
    variant: Variant,
    key: ListKey,
    /// Identifies its places: the same in every format and coding, and for every host.
    places: ListKey,
    /// Whether the last chunk that was asked for was in no store.
    cold: AtomicBool,
    survey: OnceLock<Arc<Survey>>,
    /// The columns that its conditions are on, each once. Most lists are never judged by a change, so
    /// they are found when they are asked for.
    compared: OnceLock<Box<[String]>>,
    /// For a compressed list: the same list uncompressed.
    plain: Option<Arc<List>>,
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("resource", &self.resource().name())
            .field("format", &self.variant.format)
            .field("coding", &self.variant.coding)
            .finish_non_exhaustive()
    }
}

impl List {
    /// The rows of `resource` that meet the conditions, in a format.
    ///
    /// `base` is the scheme and host of absolute links (`https://www.example.com`). It shapes the
    /// bytes only if there are links.
    pub(crate) fn new(resource: Arc<Resource>, format: Format, conditions: Vec<Condition>, base: &str) -> List {
        List::scoped(resource, &Scope::default(), format, conditions, base)
    }

    /// The same for the rows of a scope.
    pub(crate) fn scoped(
        resource: Arc<Resource>,
        scope: &Scope,
        format: Format,
        mut conditions: Vec<Condition>,
        base: &str,
    ) -> List {
        let is_filtered = !conditions.is_empty();
        conditions.extend_from_slice(scope.conditions());
        let conditions = Condition::canonical(conditions);

        let base = if resource.has_links() { base } else { "" }.to_owned();
        let seal = scope.seal(resource.seal());
        let session = scope.session().cloned();
        let conditions = conditions.into();
        let variant = Variant { seal, conditions, is_filtered, session, format, coding: None, base, resource };
        let places = variant.places();
        List::of(variant, &places, None)
    }

    /// The same list in a coding; `None`: uncompressed.
    pub(crate) fn in_coding(self: Arc<List>, coding: Option<Coding>) -> Arc<List> {
        let Some(coding) = coding else { return self };
        let variant = Variant { coding: Some(coding), ..self.variant.clone() };
        let places = self.places.list();
        Arc::new(List::of(variant, &places, Some(self)))
    }

    fn of(variant: Variant, places: &[u8; 32], plain: Option<Arc<List>>) -> List {
        let resource = variant.resource.digest();
        List {
            key: ListKey::new(&resource, &variant.digest(places)),
            places: ListKey::new(&resource, places),
            cold: AtomicBool::new(false),
            survey: OnceLock::new(),
            compared: OnceLock::new(),
            plain,
            variant,
        }
    }

    /// Whether this is the whole list of the resource in this format and coding, with links that
    /// begin with `base`.
    pub(crate) fn is_whole(
        &self,
        resource: &Arc<Resource>,
        format: Format,
        coding: Option<Coding>,
        base: &str,
    ) -> bool {
        let Variant {
            resource: own, conditions, session, format: own_format, coding: own_coding, base: own_base, ..
        } = &self.variant;
        let same = Arc::ptr_eq(own, resource) && *own_format == format && *own_coding == coding;
        let is_unconditional = conditions.is_empty() && session.is_none();
        same && is_unconditional && (own_base == base || !resource.has_links())
    }

    /// The name of its format.
    #[cfg(feature = "server")]
    pub(crate) fn format_name(&self) -> &'static str {
        self.variant.format.name()
    }

    /// The scheme and host of absolute links; empty if there are none.
    pub(crate) fn base(&self) -> &str {
        &self.variant.base
    }

    /// The coding of its chunks.
    pub(crate) fn coding(&self) -> Option<Coding> {
        self.variant.coding
    }

    /// For a compressed list: the same list uncompressed.
    pub(crate) fn plain(&self) -> Option<&Arc<List>> {
        self.plain.as_ref()
    }

    /// Whether the next chunk is probably in no store.
    pub(crate) fn is_cold(&self) -> bool {
        self.cold.load(Ordering::Relaxed)
    }

    /// Notes whether a chunk was in no store.
    pub(crate) fn note_cold(&self, cold: bool) {
        self.cold.store(cold, Ordering::Relaxed);
    }

    /// What is known of all its chunks in memory.
    pub(crate) fn survey(&self) -> &Survey {
        self.survey.get_or_init(Arc::default)
    }

    /// Shares the survey of equal lists, unless this list has one already.
    pub(crate) fn share_survey(&self, survey: Arc<Survey>) {
        self.survey.get_or_init(|| survey);
    }

    /// The resource.
    pub(crate) fn resource(&self) -> &Arc<Resource> {
        &self.variant.resource
    }

    /// Whether a request has put conditions on it, besides those of its scope.
    pub(crate) fn is_filtered(&self) -> bool {
        self.variant.is_filtered
    }

    /// The seal of its cursors.
    pub(crate) fn seal(&self) -> &Seal {
        &self.variant.seal
    }

    /// Conditions on each row besides those of the resource; in canonical order.
    pub(crate) fn conditions(&self) -> &Arc<[Condition]> {
        &self.variant.conditions
    }

    /// Whether one of its conditions is on this column.
    pub(crate) fn compares(&self, column: &str) -> bool {
        let compared = self.compared.get_or_init(|| {
            let comparisons = self.variant.conditions.iter().flat_map(Condition::comparisons);
            let mut columns: Vec<String> = comparisons.map(|comparison| comparison.column.clone()).collect();
            columns.sort_unstable();
            columns.dedup();
            columns.into()
        });
        compared.binary_search_by(|known| known.as_str().cmp(column)).is_ok()
    }

    /// The role and settings that its rows are read with; `None`: the source's own.
    pub(crate) fn session(&self) -> Option<&Arc<Session>> {
        self.variant.session.as_ref()
    }

    /// The key of the chunk that starts at `cursor`, cut at `cut` rows (0: not cut).
    pub(crate) fn chunk_key(&self, cursor: &Cursor, cut: u32) -> ChunkKey {
        ChunkKey::new(&self.key, cursor, cut)
    }

    /// Identifies it, in its format and coding and for its host.
    pub(crate) fn key(&self) -> &ListKey {
        &self.key
    }

    /// Identifies its places: the same in every format and coding, and for every host.
    pub(crate) fn places(&self) -> &ListKey {
        &self.places
    }

    fn writer(&self) -> &Writer {
        self.resource().writer(self.variant.format)
    }

    fn frame(&self) -> &Frame {
        self.writer().frame(self.coding())
    }

    /// The beginning of a body, and for a compressed one its checksum.
    pub(crate) fn begin(&self) -> (&Bytes, Sum) {
        (&self.frame().begin, self.coding().map_or_else(Sum::default, |_| Sum::of(&self.writer().frame(None).begin)))
    }

    /// The bytes between two rows.
    pub(crate) fn between(&self) -> &Bytes {
        &self.frame().between
    }

    /// The buffers to send for a chunk: after other chunks (`follows`), or as the first. Either may
    /// be empty.
    pub(crate) fn frames(&self, chunk: &Chunk, follows: bool) -> [Bytes; 2] {
        match (self.coding(), follows) {
            _ if chunk.rows == 0 => Default::default(),
            (Some(_), true) => [self.between().clone(), chunk.body.clone()],
            (Some(_), false) | (None, true) => [Bytes::new(), chunk.body.clone()],
            (None, false) => [Bytes::new(), self.rows_of(chunk)],
        }
    }

    /// The rows of an uncompressed chunk, without the separator before the first.
    pub(crate) fn rows_of(&self, chunk: &Chunk) -> Bytes {
        chunk.body.slice(self.between().len().min(chunk.body.len())..)
    }

    /// Adds the separator before a chunk, and the chunk, to the checksum of a compressed body.
    pub(crate) fn sum_up(&self, sum: &mut Sum, follows: bool, chunk: &Chunk) {
        let Some(plain) = &chunk.plain else { return };
        if follows {
            sum.add(&Sum::of(&self.writer().frame(None).between));
        }
        sum.add(plain);
    }

    /// The bytes of a chunk's rows when uncompressed.
    pub(crate) fn plain_bytes(&self, chunk: &Chunk) -> u64 {
        chunk.plain.map_or_else(|| self.rows_of(chunk).len() as u64, |plain| plain.bytes)
    }

    /// The end of a body with `rows` rows; `sum` is the checksum of what came before. If the body
    /// ends before both its limit and the list, `rest` is where the list goes on and how many rows
    /// of the limit are left.
    pub(crate) fn end(&self, rows: u64, mut sum: Sum, rest: Option<(&Cursor, u64)>) -> Bytes {
        let encoder = &self.writer().encoder;
        let end = match rest {
            Some((next, left)) if encoder.names_rows() => encoder.pause(&self.seal().seal(next), left),
            _ => encoder.end(self.resource().options().count.then_some(rows)),
        };
        match self.coding() {
            None => end,
            Some(coding) => {
                sum.add(&Sum::of(&end));
                coding.codec().end(&end, &sum)
            }
        }
    }

    /// Bytes to send between two rows while the next is slow to come; empty if the format has none.
    pub(crate) fn idle(&self, sum: &mut Sum) -> Bytes {
        let plain = self.writer().encoder.idle();
        match self.coding() {
            Some(coding) if !plain.is_empty() => {
                sum.add(&Sum::of(plain));
                coding.codec().stored(plain)
            }
            _ => Bytes::from_static(plain),
        }
    }

    /// State for writing rows one after the other.
    pub(crate) fn pen(&self) -> Pen {
        let sealer = self.resource().holds_cursors(self.variant.format).then(|| self.seal().sealer());
        Pen { rows: self.writer().encoder.rows(), sealer, link: vec![], flaws: FlawCounts::default() }
    }

    /// Appends a row, from the canonical form of its key and the values of the source's columns.
    /// The pen must be of this list; it counts flaws. Returns the row's weight, if the written
    /// bytes tell it.
    pub(crate) fn write_row(&self, key: &[u8], values: &[Value<'_>], pen: &mut Pen, out: &mut Output) -> Option<usize> {
        let Pen { rows, sealer, link, flaws } = pen;
        let cursor = sealer.as_mut().map_or("", |sealer| sealer.seal(key));

        rows.begin_row(cursor, out);
        let mut columns = 0;
        for (index, (_, field)) in self.resource().fields().iter().enumerate() {
            let value = match field {
                Field::Column(column) => values[*column],
                Field::Cursor => Value::Text(cursor.as_bytes()),
                Field::Link(parts) => self.write_link(parts, values, link).map_or_else(|nothing| nothing, Value::Text),
            };
            let from = out.bytes.len();
            rows.field(index, value, out);
            if matches!(field, Field::Column(_)) {
                columns += out.bytes.len() - from;
            }
            if !out.flaws.is_empty() {
                flaws.note(index, std::mem::take(&mut out.flaws), key);
            }
        }

        rows.end_row(out);
        self.writer().encoder.writes_json().then(|| self.resource().scales().weigh_written(key, values, columns))
    }

    /// Appends the rest of a chunk after its last row.
    pub(crate) fn finish_chunk(&self, pen: &mut Pen, out: &mut Output) {
        pen.rows.finish(out);
    }

    /// Writes an absolute URL. If one of its values is NULL or has no form, there is nothing to
    /// link to, and NULL or that value is written instead.
    fn write_link<'l>(
        &self,
        parts: &[Part],
        values: &[Value<'_>],
        link: &'l mut Vec<u8>,
    ) -> Result<&'l [u8], Value<'static>> {
        link.clear();
        link.extend_from_slice(self.variant.base.as_bytes());
        for part in parts {
            match part {
                Part::Literal(text) => link.extend_from_slice(text.as_bytes()),
                Part::Column(column) => match values[*column] {
                    Value::Null | Value::List(_) => return Err(Value::Null),
                    Value::Formless(_) => return Err(Value::Formless(None)),
                    Value::TooLarge => return Err(Value::TooLarge),
                    Value::Bool(truth) => link.extend_from_slice(if truth { b"true" } else { b"false" }),
                    Value::Integer(n) => link.extend_from_slice(itoa::Buffer::new().format(n).as_bytes()),
                    Value::Real(n) => link.extend_from_slice(zmij::Buffer::new().format(n).as_bytes()),
                    Value::Text(text)
                    | Value::Json(text)
                    | Value::Encoded(text, _)
                    | Value::Decimal(text)
                    | Value::Blob(text) => {
                        percent_encode(text, RESERVED).for_each(|part| link.extend_from_slice(part.as_bytes()));
                    }
                },
            }
        }

        Ok(link)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::Operator;

    /// Fails if the canonical form changes: such a change empties the cache of every fleet.
    #[test]
    fn the_canonical_form_of_a_variant_is_this_one() {
        let condition = Condition::is("id", Operator::In, vec!["1".to_owned(), "2".to_owned()]);
        let places = canonical_places(&[7; 32], &[condition], None);
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let number = |number: u64| number.to_le_bytes().to_vec();
        let conditions =
            [text("conditions 1"), number(1), text("id"), text("in"), number(2), text("1"), text("2")].concat();
        let expected =
            [text("chunkflow places 1"), number(32), vec![7; 32], number(conditions.len() as u64), conditions];
        assert_eq!(places.into_bytes(), expected.concat());

        let variant = canonical_variant(&[8; 32], "json", "gzip", "https://a", Some(&[9; 32]));
        let expected = [
            text("chunkflow variant 1"),
            number(32),
            vec![8; 32],
            text("json"),
            text("gzip"),
            text("https://a"),
            vec![1],
            number(32),
            vec![9; 32],
        ];

        assert_eq!(variant.into_bytes(), expected.concat());
    }

    /// The same for rows that policies choose.
    #[test]
    fn the_canonical_form_of_places_with_a_session_is_this_one() {
        let settings = vec![("request.org".to_owned(), "7".to_owned()), ("request.sub".to_owned(), String::new())];
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let number = |number: usize| (number as u64).to_le_bytes().to_vec();
        let within = |part: Vec<u8>| [number(part.len()), part].concat();
        let conditions = [text("conditions 1"), number(0)].concat();
        let both = [number(2), text("request.org"), text("7"), text("request.sub"), text("")].concat();
        for (role, written) in [(Some("reader"), [vec![1], text("reader")].concat()), (None, vec![0])] {
            let session = Session::new(role.map(str::to_owned), settings.clone());
            let places = canonical_places(&[7; 32], &[], Some(&session));
            let session = [text("session 1"), written, both.clone()].concat();
            let expected = [text("chunkflow places 1"), number(32), vec![7; 32], within(conditions.clone())];
            assert_eq!(places.into_bytes(), [expected.concat(), within(session)].concat());
        }
    }

    /// The same for trees of conditions.
    #[test]
    fn the_canonical_form_of_a_tree_of_conditions_is_this_one() {
        let is = |column: &str| Condition::is(column, Operator::NotIlike, vec!["1".to_owned()]);
        let tree = Condition::Any(vec![is("a"), Condition::All(vec![is("b"), Condition::Any(vec![])])]);
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let number = |number: u64| number.to_le_bytes().to_vec();
        let leaf = |column: &str| [text(column), text("not.ilike"), number(1), text("1")].concat();
        let none = [text(""), text("any"), number(0)].concat();
        let all = [text(""), text("all"), number(2), leaf("b"), none].concat();
        let any = [text(""), text("any"), number(2), leaf("a"), all].concat();
        assert_eq!(written(&[tree]), [text("conditions 1"), number(1), any].concat());
    }

    #[test]
    fn each_part_that_differs_makes_another_variant() {
        let digests = [
            canonical_variant(&[1; 32], "json", "gzip", "b", None),
            canonical_variant(&[2; 32], "json", "gzip", "b", None),
            canonical_variant(&[1; 32], "csv", "gzip", "b", None),
            canonical_variant(&[1; 32], "json", "identity", "b", None),
            canonical_variant(&[1; 32], "json", "gzip", "", None),
            canonical_variant(&[1; 32], "json", "gzip", "b", Some(&[0; 32])),
            canonical_variant(&[1; 32], "jsong", "zip", "b", None),
        ]
        .map(|canonical| canonical.digest());
        let distinct: std::collections::BTreeSet<_> = digests.iter().collect();
        assert_eq!(distinct.len(), digests.len());
    }
}
