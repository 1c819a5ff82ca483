//! Flaws: values that a list shows otherwise than the database has them.
//!
//! One rule holds for every value without a form in a list: the row is not lost and the list is not
//! broken. The value becomes text or NULL and is counted, and the log warns once for each field
//! with such values.

use std::sync::atomic::{AtomicBool, Ordering};

/// Why a list shows a value otherwise than the database has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Flaw {
    /// Text that is not UTF-8, or half a surrogate pair: becomes U+FFFD.
    NotUtf8 = 1,
    /// Text of a JSON column that is not JSON: becomes a string.
    NotJson = 1 << 1,
    /// JSON that is nested deeper than most clients can read: becomes a string.
    TooDeep = 1 << 2,
    /// JSON with a number that clients would read as infinity: becomes a string.
    BeyondDouble = 1 << 3,
    /// A value without a form here ([`Value::Formless`](crate::source::Value::Formless)): becomes
    /// text or NULL.
    NoForm = 1 << 4,
    /// A value that was not read, because it or its row is too large
    /// ([`Value::TooLarge`](crate::source::Value::TooLarge)): becomes NULL.
    TooLarge = 1 << 5,
}

impl Flaw {
    const ALL: [Flaw; 6] =
        [Flaw::NotUtf8, Flaw::NotJson, Flaw::TooDeep, Flaw::BeyondDouble, Flaw::NoForm, Flaw::TooLarge];

    /// What the list shows instead, and why.
    pub fn told(self) -> &'static str {
        match self {
            Flaw::NotUtf8 => "text that is not UTF-8 has U+FFFD in its place",
            Flaw::NotJson => "text that is not JSON stands as text",
            Flaw::TooDeep => "JSON nested beyond 128 levels stands as text",
            Flaw::BeyondDouble => "JSON with a number beyond a double's range stands as text",
            Flaw::NoForm => {
                "a value that is not what its type or `as` says (a date that is none, a text that is no UUID), or that cannot be \
                 given (a curve, an expression that raises), is text or null"
            }
            Flaw::TooLarge => "a value beyond 64 MiB, or the largest of a row beyond 128 MiB, is null",
        }
    }
}

/// A set of [`Flaw`]s.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flaws(u8);

impl Flaws {
    /// No flaw.
    pub const NONE: Flaws = Flaws(0);

    /// Adds a flaw.
    pub fn add(&mut self, flaw: Flaw) {
        self.0 |= flaw as u8;
    }

    /// Adds all flaws of another set.
    pub fn add_all(&mut self, flaws: Flaws) {
        self.0 |= flaws.0;
    }

    /// Whether the set is empty.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each flaw in it.
    pub fn iter(self) -> impl Iterator<Item = Flaw> {
        Flaw::ALL.into_iter().filter(move |flaw| self.0 & *flaw as u8 != 0)
    }
}

/// How many values of each field have which flaw. The number of fields bounds its size.
#[derive(Debug, Default)]
pub(crate) struct FlawCounts(Vec<FlawCount>);

/// Values of one field with one flaw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FlawCount {
    /// The field's index in the resource.
    pub(crate) field: usize,
    pub(crate) flaw: Flaw,
    pub(crate) values: u64,
    /// The canonical key of the first such row.
    pub(crate) first: Vec<u8>,
}

impl FlawCounts {
    /// Counts the flaws of one value, in the row with this canonical key.
    pub(crate) fn note(&mut self, field: usize, flaws: Flaws, key: &[u8]) {
        for flaw in flaws.iter() {
            match self.0.iter_mut().find(|known| known.field == field && known.flaw == flaw) {
                Some(known) => known.values += 1,
                None => self.0.push(FlawCount { field, flaw, values: 1, first: key.to_vec() }),
            }
        }
    }

    /// Takes the counts out.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = FlawCount> + use<> {
        std::mem::take(&mut self.0).into_iter()
    }
}

/// The fields that the log has warned about.
#[derive(Debug)]
pub(crate) struct Told(Vec<AtomicBool>);

impl Told {
    /// Without a warning yet, for this many fields.
    pub(crate) fn new(fields: usize) -> Told {
        Told((0..fields).map(|_| AtomicBool::new(false)).collect())
    }

    /// Whether this is the first call for this field.
    pub(crate) fn is_first(&self, field: usize) -> bool {
        // Called for each run of rows with such a value, so mostly nothing is written.
        self.0.get(field).is_some_and(|told| !told.load(Ordering::Relaxed) && !told.swap(true, Ordering::Relaxed))
    }
}
