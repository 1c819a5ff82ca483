//! What sources over SQL databases share: resolving names, the text of queries, buffers of rows,
//! related lists.
//!
//! A database turns its own catalogue into a [`catalogue::Catalogue`], describes its SQL in a
//! [`dialect::Dialect`], and runs the queries of [`select`]. All else is here.

pub(super) mod advice;
pub(super) mod careful;
pub(super) mod catalogue;
pub(super) mod definition;
mod described;
pub(super) mod dialect;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) mod driver;
pub(super) mod failure;
mod filters;
pub(super) mod keyset;
mod lengths;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) mod looked;
mod narrow;
pub(super) mod places;
pub(super) mod plan;
pub(super) mod planner;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) mod pool;
pub(super) mod related;
mod relations;
pub(super) mod rewrite;
pub(super) mod run;
pub(super) mod select;
#[cfg(all(test, any(feature = "postgres", feature = "mysql")))]
mod stub;
#[cfg(any(feature = "postgres", feature = "mysql"))]
pub(super) mod table;
pub(super) mod touch;
pub(super) mod traced;
pub(super) mod tries;
pub(super) mod width;
