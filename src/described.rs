//! The JSON types of a list's values, as far as its source knows them before it reads.

/// The JSON types of a column's values, as far as its source knows them. Used to describe a list,
/// never to read it.
///
/// A value is of one of these types, or it is too large for a list and becomes `null`
/// ([`RowBounds`](crate::source::RowBounds)).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Described {
    /// The types that values may have; empty: any type.
    pub types: Vec<JsonType>,
    /// JSON Schema's `format` of each text.
    pub format: Option<&'static str>,
    /// Whether each text is bytes in base64.
    pub is_base64: bool,
    /// For objects: their members, by name, in order.
    pub members: Vec<(String, Described)>,
    /// For arrays: their elements, if that is known.
    pub items: Option<Box<Described>>,
}

/// A type of JSON (RFC 8259), as JSON Schema names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JsonType {
    /// `null`
    Null,
    /// `true` or `false`
    Boolean,
    /// A number without a fraction
    Integer,
    /// A number
    Number,
    /// A text
    String,
    /// An array
    Array,
    /// An object
    Object,
}

impl JsonType {
    /// Its name in a schema.
    pub fn name(self) -> &'static str {
        match self {
            JsonType::Null => "null",
            JsonType::Boolean => "boolean",
            JsonType::Integer => "integer",
            JsonType::Number => "number",
            JsonType::String => "string",
            JsonType::Array => "array",
            JsonType::Object => "object",
        }
    }
}

impl Described {
    /// Values of these types.
    pub fn of(types: &[JsonType]) -> Described {
        Described { types: types.to_vec(), ..Described::default() }
    }

    /// Objects with these members.
    pub fn object(members: Vec<(String, Described)>) -> Described {
        Described { members, ..Described::of(&[JsonType::Object]) }
    }

    /// Whether a value may be of this type.
    pub fn takes(&self, other: JsonType) -> bool {
        self.types.is_empty() || self.types.contains(&other)
    }

    /// The same, but a value may also be of this type.
    #[must_use]
    pub fn or(mut self, other: JsonType) -> Described {
        if !self.takes(other) {
            self.types.push(other);
        }
        self
    }
}
