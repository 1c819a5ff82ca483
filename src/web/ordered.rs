//! `?order=-created`: a list in another of the orders that its resource declares.

use std::sync::Arc;

use super::{params, slot::Slot};
use crate::{
    error::{Error, Kind, Result},
    identity::Identity,
    suggest,
};

/// The slot of the order that a query asks for; without one the resource's own. That `order` stands
/// once is checked where the other parameters are.
///
/// # Errors
/// [`Kind::Invalid`] for an order that is not declared or not open to this identity, and for a query
/// that is no text; those of a list that it may not read.
pub(super) fn of(slot: &Arc<Slot>, query: &str, identity: Option<&Identity>) -> Result<Arc<Slot>> {
    // Most queries have none, and this is before every warm answer.
    if !query.contains("order") && !query.contains('%') {
        return Ok(Arc::clone(slot));
    }

    let pairs = params::pairs(query)?;
    match pairs.iter().find(|(name, _)| name == "order") {
        Some((_, order)) => named(&open_to(slot, identity)?, order),
        None => Ok(Arc::clone(slot)),
    }
}

/// The one of these slots whose order has this name.
///
/// # Errors
/// [`Kind::Invalid`] if there is none.
pub(super) fn named(slots: &[&Arc<Slot>], order: &str) -> Result<Arc<Slot>> {
    let found = slots.iter().find(|slot| slot.is_in_order(order));
    found.map(|slot| Arc::clone(slot)).ok_or_else(|| {
        let known: Vec<String> = slots.iter().map(|slot| slot.order()).collect();
        let known: Vec<&str> = known.iter().map(|order| &**order).collect();
        let error = Error::new(Kind::Invalid, format!("there is no order `{order}`"));
        error.remedy(suggest::remedy("orders", order, &known))
    })
}

/// The slots of a resource's orders that this identity may ask for: those that name no column
/// behind a member that is hidden from it, since an order tells which values are larger.
///
/// # Errors
/// Those of a list that it may not read.
pub(super) fn open_to<'s>(slot: &'s Arc<Slot>, identity: Option<&Identity>) -> Result<Vec<&'s Arc<Slot>>> {
    let view = slot.now().view(identity)?;
    let is_open = |slot: &&Arc<Slot>| slot.named_columns().iter().all(|column| view.is_open(column));
    Ok(slot.in_all_orders().filter(is_open).collect())
}
