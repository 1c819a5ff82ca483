//! Lists, as the operator's requests name them, and why one of them was not changed.

use std::sync::Arc;

use crate::{
    error::{Error, Kind, Result},
    resource::Resource,
    web::Chunkflow,
};

/// The resource with this name.
///
/// # Errors
/// [`Kind::Missing`] if there is none.
pub(super) fn named(chunkflow: &Chunkflow, name: &str) -> Result<Arc<Resource>> {
    chunkflow.resource(name).ok_or_else(|| Error::new(Kind::Missing, format!("there is no resource `{name}`")))
}

/// The error for the operator: the store did not take `what`, and why.
pub(super) fn not_stored(error: &Error, what: &str, again: &str) -> Error {
    let remedy = error.advice().map_or_else(|| format!("see that the store runs, and {again}"), str::to_owned);
    Error::new(Kind::Refused, format!("the store did not take {what}: {}", error.told())).remedy(remedy)
}
