//! Keeps other crates from implementing `Database`, so that its trait can grow.

/// Only databases of this crate implement it.
pub trait Sealed {}
