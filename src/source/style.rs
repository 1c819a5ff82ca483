//! How a column's values are written, from the configuration.

use serde::Serialize;

/// How the values of a column are written; by default as the database has them.
///
/// `holds` says what a column's values *are*, where its type does not; `values` chooses the format
/// for them. `labels` and `base` turn them into other texts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Style {
    /// The format; `None`: that of the relation or resource around the column.
    pub values: Option<Values>,
    /// What the values are, if the column's type does not say it.
    pub holds: Option<ValueType>,
    /// How many decimals decimal numbers are written with.
    pub decimals: Option<u8>,
    /// Texts in place of values; a value without a label stays as it is.
    pub labels: Vec<(String, String)>,
    /// Put before paths of files: a path or URL that ends in `/`.
    pub base: Option<String>,
}

impl Style {
    /// The largest number of decimals: more than any database keeps.
    pub const MOST_DECIMALS: u8 = 100;

    /// Whether each value can be told from its text: not if two values have one label.
    pub fn tells_values_apart(&self) -> bool {
        let mut shown: Vec<&str> = self.labels.iter().map(|(_, label)| &**label).collect();
        shown.sort_unstable();
        shown.windows(2).all(|pair| pair[0] != pair[1])
    }
}

/// The format of values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum Values {
    /// As the database has them.
    #[default]
    Database,
    /// As `json.dumps(list(queryset.values()), cls=DjangoJSONEncoder)` does.
    Django {
        /// The setting `USE_TZ`: whether times without an offset are in UTC, and are written so.
        use_tz: bool,
    },
}

impl Values {
    /// All names in a configuration.
    pub const NAMES: &[&str] = &["database", "django"];

    /// The format with this name.
    pub fn named(name: &str) -> Option<Values> {
        match name {
            "database" => Some(Values::Database),
            "django" => Some(Values::Django { use_tz: true }),
            _ => None,
        }
    }
}

/// What the values of a column are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub enum ValueType {
    /// Whole numbers.
    Integer,
    /// Decimal numbers, exact.
    Decimal,
    /// Doubles.
    Float,
    /// Truth values: `0` and `1`, `t` and `f`, `true` and `false`.
    Boolean,
    /// Texts; numbers and truth values are written as texts too.
    Text,
    /// Days.
    Date,
    /// Times of day.
    Time,
    /// Dates with a time of day.
    DateTime,
    /// Spans of time: intervals, or whole numbers of microseconds.
    Duration,
    /// UUIDs: 32 hexadecimal digits, with hyphens or without, or 16 bytes.
    Uuid,
    /// JSON texts, which are embedded.
    Json,
    /// Bytes, which are written in base64.
    Bytes,
}

impl ValueType {
    const TABLE: &[(&str, ValueType)] = &[
        ("integer", ValueType::Integer),
        ("decimal", ValueType::Decimal),
        ("float", ValueType::Float),
        ("boolean", ValueType::Boolean),
        ("text", ValueType::Text),
        ("date", ValueType::Date),
        ("time", ValueType::Time),
        ("datetime", ValueType::DateTime),
        ("duration", ValueType::Duration),
        ("uuid", ValueType::Uuid),
        ("json", ValueType::Json),
        ("bytes", ValueType::Bytes),
    ];

    /// The type with this name in a configuration.
    pub fn named(name: &str) -> Option<ValueType> {
        ValueType::TABLE.iter().find(|(known, _)| *known == name).map(|(_, holds)| *holds)
    }

    /// All names in a configuration.
    pub fn names() -> Vec<&'static str> {
        ValueType::TABLE.iter().map(|(name, _)| *name).collect()
    }

    /// Its name in a configuration.
    pub fn name(self) -> &'static str {
        let row = ValueType::TABLE.iter().find(|(_, holds)| *holds == self);
        row.map_or("", |(name, _)| name)
    }
}
