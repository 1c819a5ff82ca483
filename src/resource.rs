//! A resource is a list with a name; a list is a resource with its parameters.

mod made;
mod shape;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use sha2::{Digest, Sha256};

pub use self::made::Remake;
use self::shape::{shape, written};
use crate::{
    boundary::Sizes,
    chunk::{Chunk, ChunkKey, ListKey, Sum},
    coding::{CODINGS, Coding},
    cursor::Cursor,
    error::{Error, Kind, Result},
    flaw::{FlawCount, FlawCounts, Told},
    format::{Encoder, FORMATS, Output},
    kind::Kind as KindOf,
    metrics::{Counts, Metrics},
    row::{Column, Field, Fields, Part, Shape, Value},
    seal::{Seal, Sealer},
    secret::Secret,
    source::{Condition, Described, JsonType, Source},
    survey::Survey,
    weight::Scales,
};

/// Everything but RFC 3986's unreserved characters.
const RESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// What can be set about a resource; the defaults are what an expert would choose.
#[derive(Clone, Debug)]
pub struct ResourceOptions {
    /// The members of each row, in order; `None`: the source's columns under their own names.
    pub fields: Option<Fields>,
    /// How long a chunk is fresh. It is refreshed up to a tenth later, each chunk at its own time, so that a
    /// list's chunks do not expire together.
    pub ttl: Duration,
    /// How much longer it may be served while it is refreshed, or while the source is away.
    pub stale: Duration,
    /// What a chunk should hold.
    pub sizes: Sizes,
    /// Whether a body ends in its number of rows.
    pub count: bool,
    /// Whether a client that asks for it gets the list compressed.
    pub compress: bool,
    /// What encrypts the cursors that clients get; `None`: they show the values of the order columns, and who wants to
    /// can make one up. Give all resources the same, and every server that is to take their cursors.
    pub secret: Option<Secret>,
    /// What its database is called in metrics; empty where it has no name.
    pub database: String,
}

impl Default for ResourceOptions {
    /// Five minutes fresh, an hour stale, 50 rows first and then 64 KiB, no count, compressed on demand, no secret.
    fn default() -> ResourceOptions {
        ResourceOptions {
            fields: None,
            ttl: Duration::from_secs(300),
            stale: Duration::from_secs(3600),
            sizes: Sizes::default(),
            count: false,
            compress: true,
            secret: None,
            database: String::new(),
        }
    }
}

/// A list with a name: a source, the members of its rows, and how its chunks are kept.
pub struct Resource {
    name: String,
    source: Arc<dyn Source>,
    options: ResourceOptions,
    fields: Fields,
    told: Told,
    writers: Vec<Writer>,
    scales: Scales,
    seal: Seal,
    has_links: bool,
    has_cursors: bool,
    digest: [u8; 32],
    remake: Option<Remake>,
    outdated: AtomicBool,
    /// Where it is counted.
    counts: Counts,
}

/// A format's encoder for the rows of one resource, with the bytes that never change: as they are, and in each coding.
struct Writer {
    encoder: Box<dyn Encoder>,
    plain: Frame,
    coded: Vec<Frame>,
}

/// What stands before the first row of a body and between two.
struct Frame {
    begin: Bytes,
    between: Bytes,
}

impl Writer {
    fn new(encoder: Box<dyn Encoder>) -> Writer {
        let plain = Frame { begin: encoder.begin(), between: encoder.between() };
        let coded = |coding: &KindOf<&dyn Coding>| Frame {
            begin: coding.open.begin(&plain.begin),
            between: coding.open.stored(&plain.between),
        };
        Writer { coded: CODINGS.iter().map(coded).collect(), plain, encoder }
    }
}

/// Whether a text can name a resource: any that a path can carry. Clients take `.` and `..` out of paths, and
/// below `/-/` is the server's own.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control) && ![".", ".."].contains(&text) && !text.starts_with("-/")
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("name", &self.name).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Resource {
    /// The resource called `name` over `source`.
    ///
    /// # Errors
    /// [`Kind::Config`] when the name cannot stand in a path, or a field names a column that the source does not have.
    pub fn new(name: &str, source: Arc<dyn Source>, options: ResourceOptions) -> Result<Resource> {
        if !is_name(name) {
            return Err(Error::new(Kind::Config, format!("`{name}` cannot be the name of a resource"))
                .remedy("use any text without control characters, but `.`, `..` and what begins with `-/`"));
        }
        let own = || {
            source
                .columns()
                .iter()
                .enumerate()
                .map(|(index, column)| (column.name.clone(), Field::Column(index)))
                .collect()
        };
        let fields: Fields = options.fields.clone().unwrap_or_else(own);
        let columns =
            fields.iter().map(|(name, field)| column(name, field, source.columns())).collect::<Result<Vec<_>>>()?;
        let writers = FORMATS.iter().map(|format| Writer::new((format.open.encoder)(&columns))).collect();
        let has_links = fields.iter().any(|(_, field)| matches!(field, Field::Link(_)));
        let has_cursors = fields.iter().any(|(_, field)| *field == Field::Cursor);
        let places = digest(&[b"chunkflow cursors 1", name.as_bytes(), &source.places()]);
        let seal = Seal::new(options.secret.as_ref(), &places, source.order().len());
        let shape = shape(name, &*source, &fields, &columns, options.sizes);
        let digest = digest(&[b"chunkflow resource 3", &source.fingerprint(), &shape]);
        let told = Told::new(fields.len());
        let scales = Scales::new(&fields, &columns);
        Ok(Resource {
            name: name.to_owned(),
            source,
            options,
            fields,
            told,
            writers,
            scales,
            seal,
            has_links,
            has_cursors,
            digest,
            remake: None,
            outdated: AtomicBool::new(false),
            counts: Counts::default(),
        })
    }

    /// The name, as it stands in the path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the rows come from.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Where it is counted.
    pub(crate) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The same resource, counted among these metrics.
    pub(crate) fn counted_in(self, metrics: &Metrics) -> Resource {
        let formats: Vec<&'static str> = FORMATS.iter().map(|format| format.name).collect();
        let list = metrics.list(&self.name, &formats);
        let database = metrics.database(&self.options.database);
        Resource { counts: Counts { list, database }, ..self }
    }

    /// The same resource, counted where the one before it was.
    pub(crate) fn counted_as(self, before: &Resource) -> Resource {
        Resource { counts: before.counts.clone(), ..self }
    }

    /// What was set.
    pub fn options(&self) -> &ResourceOptions {
        &self.options
    }

    /// The names of the members of each row.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    /// What the values of each member are in JSON, as far as the source knows, in the order of the members.
    pub fn described(&self) -> impl Iterator<Item = (&str, Described)> {
        let known = self.source.described();
        let column = |index: usize| known.get(index).cloned().unwrap_or_default();
        let link = move |parts: &[Part]| {
            let may_be_null = |part: &Part| match part {
                Part::Literal(_) => false,
                Part::Column(index) => column(*index).takes(JsonType::Null),
            };
            let link = Described { format: Some("uri"), ..Described::of(&[JsonType::String]) };
            if parts.iter().any(may_be_null) { link.or(JsonType::Null) } else { link }
        };

        self.fields.iter().map(move |(name, field)| {
            let described = match field {
                Field::Column(index) => column(*index),
                Field::Cursor => Described::of(&[JsonType::String]),
                Field::Link(parts) => link(parts),
            };
            (name.as_str(), described)
        })
    }

    /// Warns that a field has values that stand otherwise than they were, unless that was said already.
    pub(crate) fn warn_of(&self, count: &FlawCount, request: Option<&str>) {
        if self.told.is_first(count.field) {
            let name = &self.fields[count.field].0;
            let place = Cursor::from_canonical(Bytes::copy_from_slice(&count.first));
            let row = place.map_or_else(String::new, |place| place.told(self.source.order()));
            let what = count.flaw.told();
            tracing::warn!(id = request, resource = self.name, field = name, row, "{what}; each such value is counted");
        }
    }

    /// Whether rows hold absolute links, so that their bytes depend on the request's scheme and host.
    pub fn has_links(&self) -> bool {
        self.has_links
    }

    /// What makes texts of its cursors, and takes them back.
    pub fn seal(&self) -> &Seal {
        &self.seal
    }

    /// What a row weighs where chunks are cut, from the canonical form of its key and the values of the source's columns.
    pub(crate) fn weigh(&self, key: &[u8], values: &[Value<'_>]) -> usize {
        self.scales.weigh(key, values)
    }

    /// Whether the cursors of rows stand in their bytes, in the format with this index.
    fn holds_cursors(&self, format: usize) -> bool {
        self.has_cursors || self.writers[format].encoder.names_rows()
    }

    /// What a store knows the resource by.
    pub fn digest(&self) -> [u8; 16] {
        self.digest[..16].try_into().expect("sixteen bytes")
    }
}

fn column(name: &str, field: &Field, columns: &[Column]) -> Result<Column> {
    let find = |index: usize| {
        columns.get(index).ok_or_else(|| {
            Error::new(Kind::Config, format!("field `{name}` names column {index}, which the source does not have"))
        })
    };
    match field {
        Field::Column(index) => Ok(Column { name: name.to_owned(), shape: find(*index)?.shape.clone() }),
        Field::Cursor => Ok(Column { name: name.to_owned(), shape: Shape::Scalar }),
        Field::Link(parts) => {
            for part in parts {
                if let Part::Column(index) = part {
                    find(*index)?;
                }
            }
            Ok(Column { name: name.to_owned(), shape: Shape::Scalar })
        }
    }
}

/// SHA-256 of parts, each with its length, so that no two lists of parts are alike.
fn digest(parts: &[&[u8]]) -> [u8; 32] {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

/// What rows of one list are written with: memory and a cipher that are not made anew for each.
pub(crate) struct Pen {
    /// Where the row's cursor stands in it.
    sealer: Option<Sealer>,
    link: Vec<u8>,
    /// Values that stand otherwise than they were, since this was last taken out.
    pub(crate) flaws: FlawCounts,
}

/// A resource with its parameters: what one series of chunks stands for.
pub(crate) struct List {
    resource: Arc<Resource>,
    format: usize,
    conditions: Arc<[Condition]>,
    base: String,
    key: ListKey,
    /// What its places are known by: the same in every format and coding, and for every host.
    places: ListKey,
    /// Whether the chunk that was asked for last was in no store.
    cold: AtomicBool,
    survey: Survey,
    /// Where it is compressed: the coding, and the same list as it is.
    coded: Option<(usize, Arc<List>)>,
}

impl fmt::Debug for List {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("List")
            .field("resource", &self.resource.name)
            .field("format", &FORMATS[self.format].name)
            .field("coding", &self.coding().map(|coding| CODINGS[coding].name))
            .finish_non_exhaustive()
    }
}

impl List {
    /// The rows of `resource` that fulfil the conditions, in the format with this index in [`FORMATS`].
    ///
    /// `base` is the scheme and host of absolute links (`https://www.example.com`); it is part of the chunks'
    /// key where there are links.
    pub(crate) fn new(resource: Arc<Resource>, format: usize, mut conditions: Vec<Condition>, base: &str) -> List {
        conditions.sort();
        conditions.dedup();
        let base = if resource.has_links() { base } else { "" };
        let format_name = FORMATS[format].name;
        let seal = resource.holds_cursors(format).then(|| resource.seal.fingerprint());
        let filters = (!conditions.is_empty()).then(|| written(&conditions));

        let mut parts: Vec<&[u8]> =
            vec![b"chunkflow list 2", &resource.digest, base.as_bytes(), format_name.as_bytes(), b"identity"];
        // The kinds of what may follow are told apart by what stands before them.
        if let Some(filters) = &filters {
            parts.extend([&b"conditions"[..], filters]);
        }
        if let Some(seal) = &seal {
            parts.extend([&b"cursors"[..], seal]);
        }
        let places = digest(&[b"chunkflow places 1", &resource.digest, filters.as_deref().unwrap_or_default()]);
        List {
            base: base.to_owned(),
            format,
            conditions: conditions.into(),
            key: ListKey::new(&resource.digest(), &digest(&parts)),
            places: ListKey::new(&resource.digest(), &places),
            resource,
            cold: AtomicBool::new(false),
            survey: Survey::default(),
            coded: None,
        }
    }

    /// The same list in the coding with this index in [`CODINGS`]; `None`: as it is.
    pub(crate) fn in_coding(self: Arc<List>, coding: Option<usize>) -> Arc<List> {
        let Some(coding) = coding else { return self };
        let digest = digest(&[b"chunkflow coded 1", &self.key.0, CODINGS[coding].name.as_bytes()]);
        Arc::new(List {
            resource: Arc::clone(&self.resource),
            format: self.format,
            conditions: Arc::clone(&self.conditions),
            base: self.base.clone(),
            key: ListKey::new(&self.resource.digest(), &digest),
            places: self.places,
            cold: AtomicBool::new(false),
            survey: Survey::default(),
            coded: Some((coding, self)),
        })
    }

    /// Whether this is the whole list of the resource in this format and coding, with this base of its links.
    pub(crate) fn is_whole(&self, resource: &Arc<Resource>, format: usize, coding: Option<usize>, base: &str) -> bool {
        let same = Arc::ptr_eq(&self.resource, resource) && self.format == format && self.coding() == coding;
        same && self.conditions.is_empty() && (self.base == base || !resource.has_links())
    }

    /// The name of its format.
    #[cfg(feature = "server")]
    pub(crate) fn format_name(&self) -> &'static str {
        FORMATS[self.format].name
    }

    /// What absolute links begin with; empty where there are none.
    pub(crate) fn base(&self) -> &str {
        &self.base
    }

    /// The coding of its chunks.
    pub(crate) fn coding(&self) -> Option<usize> {
        self.coded.as_ref().map(|coded| coded.0)
    }

    /// Where it is compressed, the same list as it is.
    pub(crate) fn plain(&self) -> Option<&Arc<List>> {
        self.coded.as_ref().map(|coded| &coded.1)
    }

    /// Whether the next chunk is hardly in a shared store.
    pub(crate) fn is_cold(&self) -> bool {
        self.cold.load(Ordering::Relaxed)
    }

    /// Takes note of whether a chunk was in no store.
    pub(crate) fn note_cold(&self, cold: bool) {
        self.cold.store(cold, Ordering::Relaxed);
    }

    /// What is known of all its chunks in memory.
    pub(crate) fn survey(&self) -> &Survey {
        &self.survey
    }

    /// The resource.
    pub(crate) fn resource(&self) -> &Arc<Resource> {
        &self.resource
    }

    /// What each row fulfils, beside what the resource itself demands; in canonical order.
    pub(crate) fn conditions(&self) -> &Arc<[Condition]> {
        &self.conditions
    }

    /// The key of the chunk that starts at `cursor`, cut at `cut` rows (0: not cut).
    pub(crate) fn chunk_key(&self, cursor: &Cursor, cut: u32) -> ChunkKey {
        ChunkKey::new(&self.key, cursor, cut)
    }

    /// The key of the same place, whatever the variant of the list.
    pub(crate) fn place_key(&self, cursor: &Cursor, cut: u32) -> ChunkKey {
        ChunkKey::new(&self.places, cursor, cut)
    }

    /// What its chunks have in common.
    pub(crate) fn key(&self) -> &ListKey {
        &self.key
    }

    fn writer(&self) -> &Writer {
        &self.resource.writers[self.format]
    }

    fn frame(&self) -> &Frame {
        let writer = self.writer();
        self.coding().map_or(&writer.plain, |coding| &writer.coded[coding])
    }

    /// What a body begins with, and the sum of that where it is compressed.
    pub(crate) fn begin(&self) -> (&Bytes, Sum) {
        (&self.frame().begin, self.coding().map_or_else(Sum::default, |_| Sum::of(&self.writer().plain.begin)))
    }

    /// What stands between two rows.
    pub(crate) fn between(&self) -> &Bytes {
        &self.frame().between
    }

    /// The buffers of a chunk on their way out, behind others or as the first; either may be empty.
    pub(crate) fn frames(&self, chunk: &Chunk, follows: bool) -> [Bytes; 2] {
        match (self.coding(), follows) {
            _ if chunk.rows == 0 => Default::default(),
            (Some(_), true) => [self.between().clone(), chunk.body.clone()],
            (Some(_), false) | (None, true) => [Bytes::new(), chunk.body.clone()],
            (None, false) => [Bytes::new(), self.rows_of(chunk)],
        }
    }

    /// The rows of a chunk that is not coded, without what stands before the first.
    pub(crate) fn rows_of(&self, chunk: &Chunk) -> Bytes {
        chunk.body.slice(self.between().len().min(chunk.body.len())..)
    }

    /// Takes what stands between two chunks, and the second of them, into the sum of a compressed body.
    pub(crate) fn sum_up(&self, sum: &mut Sum, follows: bool, chunk: &Chunk) {
        let Some(plain) = &chunk.plain else { return };
        if follows {
            sum.add(&Sum::of(&self.writer().plain.between));
        }
        sum.add(plain);
    }

    /// The bytes of a chunk's rows, before any compression.
    pub(crate) fn plain_bytes(&self, chunk: &Chunk) -> u64 {
        chunk.plain.map_or_else(|| self.rows_of(chunk).len() as u64, |plain| plain.bytes)
    }

    /// What a body of so many rows ends with; `sum` is of what came before it. Where it ends before the
    /// limit that was asked for and before the list does, `rest` is where the list goes on, and how many
    /// rows of the limit are left.
    pub(crate) fn end(&self, rows: u64, mut sum: Sum, rest: Option<(&Cursor, u64)>) -> Bytes {
        let encoder = &self.writer().encoder;
        let end = match rest {
            Some((next, left)) if encoder.names_rows() => encoder.pause(&self.resource.seal.seal(next), left),
            _ => encoder.end(self.resource.options.count.then_some(rows)),
        };
        match self.coding() {
            None => end,
            Some(coding) => {
                sum.add(&Sum::of(&end));
                CODINGS[coding].open.end(&end, &sum)
            }
        }
    }

    /// What may stand between two rows while the next is long in coming; empty where the format has nothing.
    pub(crate) fn idle(&self, sum: &mut Sum) -> Bytes {
        let plain = self.writer().encoder.idle();
        match self.coding() {
            Some(coding) if !plain.is_empty() => {
                sum.add(&Sum::of(plain));
                CODINGS[coding].open.stored(plain)
            }
            _ => Bytes::from_static(plain),
        }
    }

    /// What rows are written with, one after the other.
    pub(crate) fn pen(&self) -> Pen {
        let sealer = self.resource.holds_cursors(self.format).then(|| self.resource.seal.sealer());
        Pen { sealer, link: vec![], flaws: FlawCounts::default() }
    }

    /// Appends a row, from the canonical form of its key and the values of the source's columns, with a pen of
    /// this list, which counts those that could not be written as they are.
    pub(crate) fn write_row(&self, key: &[u8], values: &[Value<'_>], pen: &mut Pen, out: &mut Output) {
        let encoder = &self.writer().encoder;
        let Pen { sealer, link, flaws } = pen;
        let cursor = sealer.as_mut().map_or("", |sealer| sealer.seal(key));

        encoder.begin_row(cursor, out);
        for (index, (_, field)) in self.resource.fields.iter().enumerate() {
            let value = match field {
                Field::Column(column) => values[*column],
                Field::Cursor => Value::Text(cursor.as_bytes()),
                Field::Link(parts) => self.write_link(parts, values, link).map_or_else(|nothing| nothing, Value::Text),
            };
            encoder.field(index, value, out);
            if !out.flaws.is_empty() {
                flaws.note(index, std::mem::take(&mut out.flaws), key);
            }
        }
        encoder.end_row(out);
    }

    /// Writes an absolute URL; where one of its values is NULL or has no form, there is nothing to link to, and
    /// that is what stands in its place.
    fn write_link<'l>(
        &self,
        parts: &[Part],
        values: &[Value<'_>],
        link: &'l mut Vec<u8>,
    ) -> Result<&'l [u8], Value<'static>> {
        link.clear();
        link.extend_from_slice(self.base.as_bytes());
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
