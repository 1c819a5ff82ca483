//! A resource is a list with a name.

mod access;
mod behind;
mod case;
mod guard;
mod keyed;
mod look_up;
mod made;
mod scope;
mod shape;
mod showing;
mod view;
mod writer;

use std::{
    fmt,
    sync::{Arc, OnceLock, atomic::AtomicBool},
    time::Duration,
};

use bytes::Bytes;

pub use self::{access::Access, case::Case};
use self::{
    behind::Behind,
    shape::shape,
    showing::{OfWhole, Parts},
};
pub(crate) use self::{
    look_up::{KEYS_AT_ONCE, LookUp, LookUps, Looked},
    made::Remake,
    scope::Scope,
    shape::written,
    view::View,
    writer::{Frame, Writer},
};
use crate::{
    boundary::Sizes,
    canonical::Canonical,
    cursor::Cursor,
    described::{Described, JsonType},
    error::{Error, Kind, Result},
    flaw::FlawCount,
    format::{Envelope, Format, Member},
    metrics::{Counts, Metrics},
    paths,
    row::{Column, Field, Fields, Part, Shape},
    seal::Seal,
    secret::Secret,
    source::{Source, is_parameter},
    trace::TraceId,
    weight::Scales,
};

/// The settings of a resource; the defaults are what an expert would choose.
///
/// ```
/// # use std::time::Duration;
/// let options = chunkflow::ResourceOptions::default().with(|options| options.ttl = Duration::from_secs(60));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct ResourceOptions {
    /// The members of each row, in order; `None`: the source's columns under their own names.
    pub fields: Option<Fields>,
    /// How long a chunk is fresh. It is refreshed up to a tenth later, each chunk at its own time,
    /// so that a list's chunks do not expire together.
    pub ttl: Duration,
    /// How much longer it may be served, while it is refreshed or the source is away.
    pub stale: Duration,
    /// The average contents of a chunk.
    pub sizes: Sizes,
    /// Whether a body ends with the number of its rows.
    pub count: bool,
    /// What stands around the rows in JSON.
    pub envelope: Envelope,
    /// How members are named after columns.
    pub case: Case,
    /// Whether clients that ask for it get the list compressed.
    pub compress: bool,
    /// Encrypts the cursors that clients get. `None`: cursors show the values of the order columns,
    /// and anybody can make one up. Use the same secret for all resources, and on all servers that
    /// take each other's cursors.
    pub secret: Option<Secret>,
    /// The name of its database in metrics; empty if it has none.
    pub database: String,
    /// Who may read it, and which of its rows and members.
    pub access: Access,
}

impl Default for ResourceOptions {
    /// Five minutes fresh, an hour stale, 50 rows first and then 64 KiB, no count, compressed on
    /// demand, no secret, for everybody.
    fn default() -> ResourceOptions {
        ResourceOptions {
            fields: None,
            ttl: Duration::from_secs(300),
            stale: Duration::from_secs(3600),
            sizes: Sizes::default(),
            count: false,
            envelope: Envelope::default(),
            case: Case::default(),
            compress: true,
            secret: None,
            database: String::new(),
            access: Access::default(),
        }
    }
}

impl ResourceOptions {
    /// The same, changed by `change`.
    #[must_use]
    pub fn with(mut self, change: impl FnOnce(&mut ResourceOptions)) -> ResourceOptions {
        change(&mut self);
        self
    }
}

/// A list with a name: a source, the members of its rows, and the settings of its chunks.
pub struct Resource {
    name: String,
    source: Arc<dyn Source>,
    options: ResourceOptions,
    fields: Fields,
    /// The name and shape of each member.
    members: Vec<Column>,
    writers: Vec<Writer>,
    scales: Scales,
    seal: Seal,
    has_links: bool,
    has_cursors: bool,
    /// Identifies it in stores; the same for resources that show some of its members.
    id: [u8; 16],
    /// The columns behind its members, which nobody may name from whom a member is hidden.
    behind: Behind,
    digest: [u8; 32],
    remake: Option<Remake>,
    /// Looks up changed rows, if it is over a table.
    look_ups: Option<Arc<LookUps>>,
    outdated: Arc<AtomicBool>,
    /// Its counters; unset until it is served.
    counts: Arc<OnceLock<Counts>>,
    /// What it shows of another resource, if it does not show all.
    part: Option<OfWhole>,
    /// The resources that show some of its members.
    parts: Parts,
}

/// Whether a text can name a resource: any that a path can carry. Clients remove `.` and `..` from
/// paths, and everything below `/-/` belongs to the server.
pub(crate) fn is_name(text: &str) -> bool {
    !text.is_empty()
        && !text.chars().any(char::is_control)
        && ![".", ".."].contains(&text)
        && !text.starts_with(paths::BELOW)
}

/// The JSON types of each field, from what is known of the source's columns.
fn described(fields: &Fields, known: &[Described]) -> Vec<Described> {
    let column = |index: usize| known.get(index).cloned().unwrap_or_default();
    let link = |parts: &[Part]| {
        let may_be_null = |part: &Part| match part {
            Part::Literal(_) => false,
            Part::Column(index) => column(*index).takes(JsonType::Null),
        };
        let link = Described { format: Some("uri"), ..Described::of(&[JsonType::String]) };
        if parts.iter().any(may_be_null) { link.or(JsonType::Null) } else { link }
    };

    let field = |(_, field): &(String, Field)| match field {
        Field::Column(index) => column(*index),
        Field::Cursor => Described::of(&[JsonType::String]),
        Field::Link(parts) => link(parts),
    };

    fields.iter().map(field).collect()
}

impl fmt::Debug for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resource").field("name", &self.name).field("options", &self.options).finish_non_exhaustive()
    }
}

impl Resource {
    /// The resource named `name` over `source`.
    ///
    /// # Errors
    /// [`Kind::Config`] when the name cannot be in a path, a field names a column that the source does
    /// not have, or the source has not what its access needs.
    pub fn new(name: &str, source: Arc<dyn Source>, options: ResourceOptions) -> Result<Resource> {
        let resource = Resource::over(name, source, options)?;
        match resource.unguarded().first() {
            Some(wrong) => Err(guard::error_of(wrong)),
            None => Ok(resource),
        }
    }

    /// The same, before its access is checked.
    fn over(name: &str, source: Arc<dyn Source>, options: ResourceOptions) -> Result<Resource> {
        if !is_name(name) {
            return Err(Error::new(Kind::Config, format!("`{name}` cannot be the name of a resource"))
                .remedy("use any text without control characters, but `.`, `..` and what begins with `-/`"));
        }

        if let Some(filter) = source.filters().iter().find(|filter| is_parameter(&filter.column)) {
            let message =
                format!("`{}` is a parameter of every list, and cannot be a filter of `{name}`", filter.column);
            return Err(Error::new(Kind::Config, message).remedy("leave it out of the filters"));
        }

        let own = || {
            source
                .columns()
                .iter()
                .enumerate()
                .map(|(index, column)| (options.case.of(&column.name), Field::Column(index)))
                .collect()
        };

        if options.count && !options.envelope.can_count() {
            let message = "the envelope of a counted list has no place for the number of its rows";
            return Err(Error::new(Kind::Config, message).remedy("take `count` out, or name another envelope"));
        }

        let fields: Fields = options.fields.clone().unwrap_or_else(own);
        let columns =
            fields.iter().map(|(name, field)| column(name, field, source.columns())).collect::<Result<Vec<_>>>()?;
        let behind = Behind::of_fields(&fields, source.columns());
        let columns: Vec<Column> = columns.into_iter().map(|column| options.case.of_shape(column)).collect();
        if options.case != Case::default() {
            case::check_names(&columns)?;
        }

        let mut places = Canonical::of("chunkflow cursors 1");
        places.text(name);
        places.bytes(&source.places());
        let places = places.digest();
        let seal = Seal::new(options.secret.as_ref(), &places, source.order().len());
        let mut canonical = Canonical::of("chunkflow resource 3");
        canonical.bytes(&source.fingerprint());
        canonical.bytes(&shape(name, &*source, &fields, &columns, options.sizes));
        let digest = canonical.digest();

        let later = source.touch_rules().filter(|rules| rules.asks_later);
        let look_ups = later.map(|rules| Arc::new(LookUps::by(&source, rules)));
        Ok(Resource {
            name: name.to_owned(),
            writers: writers(&fields, &columns, &*source, &options.envelope),
            scales: Scales::new(&fields, &columns),
            has_links: fields.iter().any(|(_, field)| matches!(field, Field::Link(_))),
            has_cursors: fields.iter().any(|(_, field)| *field == Field::Cursor),
            source,
            options,
            fields,
            members: columns,
            seal,
            behind,
            id: digest[..16].try_into().expect("sixteen bytes"),
            digest,
            remake: None,
            look_ups,
            outdated: Arc::default(),
            counts: Arc::default(),
            part: None,
            parts: Parts::default(),
        })
    }

    /// The name, which is also its path.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What looks up changed rows, if it is over a table.
    pub(crate) fn look_ups(&self) -> Option<&LookUps> {
        self.look_ups.as_deref()
    }

    /// The source of its rows.
    pub fn source(&self) -> &Arc<dyn Source> {
        &self.source
    }

    /// Its counters; without any set, counters that are not exposed.
    pub(crate) fn counts(&self) -> &Counts {
        self.counts.get_or_init(Counts::default)
    }

    /// Sets its counters, unless it has some already.
    pub(crate) fn count_in(&self, counts: impl FnOnce() -> Counts) {
        self.counts.get_or_init(counts);
    }

    /// Its counters in these metrics; `by_name` if requests find it by its name.
    pub(crate) fn counts_among(&self, metrics: &Metrics, by_name: bool) -> Counts {
        let formats: Vec<&'static str> = Format::all().map(Format::name).collect();
        let (list, database) = if by_name {
            (metrics.list(&self.name, &formats), metrics.database(&self.options.database))
        } else {
            metrics.guest(&self.name, &self.options.database, &formats)
        };

        Counts::new(list, database, self.fields.len())
    }

    /// Makes it use the counters of the resource that it replaces.
    pub(crate) fn count_as(&self, before: &Resource) {
        let Counts { list, database, .. } = before.counts().clone();
        self.count_in(|| Counts::new(list, database, self.fields.len()));
    }

    /// Its settings.
    pub fn options(&self) -> &ResourceOptions {
        &self.options
    }

    /// The names of the members of each row.
    pub fn members(&self) -> impl Iterator<Item = &str> {
        self.fields.iter().map(|(name, _)| &**name)
    }

    /// The JSON types of each member, as far as the source knows them, in the order of the members.
    pub fn described(&self) -> impl Iterator<Item = (&str, Described)> {
        let names = self.fields.iter().map(|(name, _)| name.as_str());
        let described = described(&self.fields, self.source.described());
        names.zip(described.into_iter().map(|described| self.options.case.of_described(described)))
    }

    /// Warns once for each field with values that the list shows otherwise than the database has
    /// them.
    pub(crate) fn warn_of(&self, count: &FlawCount, request: Option<&str>, trace: Option<TraceId>) {
        if self.counts().told.is_first(self.index_in_whole(count.field)) {
            let name = &self.fields[count.field].0;
            let place = Cursor::from_canonical(Bytes::copy_from_slice(&count.first));
            let row = place.map_or_else(String::new, |place| place.told(self.source.order()));
            let what = count.flaw.told();
            let trace_id = trace.map(tracing::field::display);
            let resource = &*self.name;
            tracing::warn!(id = request, trace_id, resource, field = name, row, "{what}; each such value is counted");
        }
    }

    /// Whether rows hold absolute links, so that their bytes depend on the request's scheme and
    /// host.
    pub fn has_links(&self) -> bool {
        self.has_links
    }

    /// A cursor as the text that clients get, and that `after` takes.
    pub fn sealed(&self, cursor: &Cursor) -> String {
        self.seal.seal(cursor)
    }

    /// The cursor of such a text.
    ///
    /// # Errors
    /// [`Kind::Invalid`] if it was made for another list, or with another secret.
    pub fn unsealed(&self, text: &str) -> Result<Cursor> {
        self.seal.unseal(text)
    }

    /// The seal of its cursors.
    pub(crate) fn seal(&self) -> &Seal {
        &self.seal
    }

    /// Weighs its rows, for cutting chunks.
    pub(crate) fn scales(&self) -> &Scales {
        &self.scales
    }

    /// Whether rows contain their cursors in this format.
    pub(crate) fn holds_cursors(&self, format: Format) -> bool {
        self.has_cursors || self.writer(format).encoder.names_rows()
    }

    /// The members of each row, and their origins.
    pub(crate) fn fields(&self) -> &Fields {
        &self.fields
    }

    /// Whether its rows can be written in a format: one with a header needs to know all members.
    pub(crate) fn has_format(&self, format: Format) -> bool {
        !format.spec().has_header || self.members.iter().all(|member| member.shape != Shape::Members)
    }

    /// Writes its rows in a format.
    pub(crate) fn writer(&self, format: Format) -> &Writer {
        &self.writers[format.index()]
    }

    /// A digest of everything that shapes the bytes of its rows.
    pub(crate) fn whole_digest(&self) -> &[u8; 32] {
        &self.digest
    }

    /// Identifies the resource in a store. Resources that show some of its members have the same.
    pub fn digest(&self) -> [u8; 16] {
        self.id
    }
}

/// A writer for each format.
fn writers(fields: &Fields, columns: &[Column], source: &dyn Source, envelope: &Envelope) -> Vec<Writer> {
    let described = described(fields, source.described());
    let members: Vec<Member> =
        columns.iter().cloned().zip(described).map(|(column, described)| Member::new(column, described)).collect();
    Format::all().map(|format| Writer::new((format.spec().encoder)(&members, envelope))).collect()
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
