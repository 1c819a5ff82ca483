//! What keeps other crates from kinds of database of their own, so that there can be more to one.

/// Only databases of this crate have it.
pub trait Sealed {}
