//! Resources that show some members of another, in any order: what requests select.
//!
//! But for the bytes of its rows and where chunks begin, such a part is the whole: it has the
//! whole's name, identity, counters and seal, so that a purge, a told change or a cursor of the
//! whole is one of each part. No chunk is shared between two parts, since each has boundaries of
//! its own and reads only what it shows.

use std::sync::{Arc, OnceLock, Weak};

use quick_cache::sync::Cache;

use super::{Resource, writers};
use crate::{
    canonical::Canonical,
    row::{Column, Field, Fields, Part},
    weight::Scales,
};

/// For so many selections of one resource the part is kept.
const KEPT: usize = 64;

/// The parts of a resource that were made last, by the indexes of their members.
#[derive(Default)]
pub(super) struct Parts(OnceLock<Cache<Vec<usize>, Arc<Resource>>>);

impl Parts {
    fn cache(&self) -> &Cache<Vec<usize>, Arc<Resource>> {
        self.0.get_or_init(|| Cache::new(KEPT))
    }
}

/// What a resource shows of another.
pub(super) struct OfWhole {
    /// The other, which keeps its parts and so is not kept by them.
    whole: Weak<Resource>,
    digest: [u8; 32],
    /// The indexes of the members among those of the other.
    members: Vec<usize>,
}

impl Resource {
    /// The resource that shows these members of this one, by their indexes, in this order.
    pub(crate) fn showing(self: &Arc<Resource>, members: &[usize]) -> Arc<Resource> {
        if members.iter().copied().eq(0..self.fields.len()) {
            return Arc::clone(self);
        }

        let of_whole: Vec<usize> = members.iter().map(|member| self.index_in_whole(*member)).collect();
        let whole = self.whole();
        if !Arc::ptr_eq(&whole, self) {
            // A part of a part is one of the whole, so that both ways to it lead to the same
            // chunks.
            return whole.showing(&of_whole);
        }

        if let Some(part) = self.parts.cache().get(members) {
            return part;
        }
        let part = Arc::new(self.part(members, of_whole));
        self.parts.cache().insert(members.to_vec(), Arc::clone(&part));
        part
    }

    /// The resource without the members of these names.
    pub(crate) fn without(self: &Arc<Resource>, names: &[&str]) -> Arc<Resource> {
        let members = self.members().enumerate().filter(|(_, member)| !names.contains(member));
        self.showing(&members.map(|(index, _)| index).collect::<Vec<_>>())
    }

    /// The resource with all members; the same one if it is that, or if that is gone.
    pub(crate) fn whole(self: &Arc<Resource>) -> Arc<Resource> {
        let whole = self.part.as_ref().and_then(|part| part.whole.upgrade());
        whole.unwrap_or_else(|| Arc::clone(self))
    }

    /// Whether it shows some members of another resource.
    pub(crate) fn is_part(&self) -> bool {
        self.part.is_some()
    }

    /// The index of a member among those of the whole.
    pub(super) fn index_in_whole(&self, member: usize) -> usize {
        self.part.as_ref().map_or(member, |part| part.members[member])
    }

    /// The part with these members, whose indexes in the whole are `of_whole`.
    fn part(self: &Arc<Resource>, members: &[usize], of_whole: Vec<usize>) -> Resource {
        let fields: Fields = members.iter().map(|member| self.fields[*member].clone()).collect();
        let columns: Vec<Column> = members.iter().map(|member| self.members[*member].clone()).collect();

        let used = columns_of(&fields);
        let (source, fields) = match self.source.narrowed(&used) {
            Some(narrow) => (narrow, moved(fields, &used)),
            None => (Arc::clone(&self.source), fields),
        };

        let whole_digest = self.part.as_ref().map_or(self.digest, |part| part.digest);
        let canonical = canonical_part(&whole_digest, &of_whole);
        let whole = self.part.as_ref().map_or_else(|| Arc::downgrade(self), |part| Weak::clone(&part.whole));

        Resource {
            name: self.name.clone(),
            options: self.options.clone(),
            writers: writers(&fields, &columns, &*source, &self.options.envelope),
            scales: Scales::new(&fields, &columns),
            seal: self.seal.clone(),
            has_links: fields.iter().any(|(_, field)| matches!(field, Field::Link(_))),
            has_cursors: fields.iter().any(|(_, field)| *field == Field::Cursor),
            source,
            fields,
            members: columns,
            behind: self.behind.of(members),
            id: self.id,
            digest: canonical.digest(),
            remake: self.remake.clone(),
            look_ups: self.look_ups.clone(),
            outdated: Arc::clone(&self.outdated),
            counts: Arc::clone(&self.counts),
            part: Some(OfWhole { whole, digest: whole_digest, members: of_whole }),
            parts: Parts::default(),
        }
    }
}

/// A part, by the digest of the whole and the indexes of its members there.
fn canonical_part(whole: &[u8; 32], members: &[usize]) -> Canonical {
    let mut bytes = Canonical::of("chunkflow select 1");
    bytes.bytes(whole);
    bytes.each(members.iter(), |bytes, member| bytes.number(*member));
    bytes
}

/// The source's columns that fields are made of, in their own order.
fn columns_of(fields: &Fields) -> Vec<usize> {
    let mut columns = vec![];
    for (_, field) in fields {
        match field {
            Field::Column(column) => columns.push(*column),
            Field::Cursor => {}
            Field::Link(parts) => columns.extend(parts.iter().filter_map(|part| match part {
                Part::Column(column) => Some(*column),
                Part::Literal(_) => None,
            })),
        }
    }

    columns.sort_unstable();
    columns.dedup();
    columns
}

/// The fields over a source that has only these columns.
fn moved(mut fields: Fields, columns: &[usize]) -> Fields {
    let place = |column: &mut usize| *column = columns.partition_point(|one| one < column);
    for (_, field) in &mut fields {
        match field {
            Field::Column(column) => place(column),
            Field::Cursor => {}
            Field::Link(parts) => {
                for part in parts {
                    if let Part::Column(column) = part {
                        place(column);
                    }
                }
            }
        }
    }

    fields
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// Fails if the canonical form changes: such a change empties the cache of every fleet.
    #[test]
    fn the_canonical_form_of_a_selection_is_this_one() {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let number = |number: u64| number.to_le_bytes().to_vec();
        let expected = [text("chunkflow select 1"), number(32), vec![7; 32], number(2), number(3), number(0)].concat();
        assert_eq!(canonical_part(&[7; 32], &[3, 0]).into_bytes(), expected);
    }

    proptest! {
        #[test]
        fn two_different_selections_never_have_the_same_bytes(
            selections in prop::collection::vec((0_u8..3, prop::collection::vec(0_usize..3, 0..4)), 2..100),
        ) {
            let mut seen = HashMap::new();
            for selection @ (whole, members) in &selections {
                let same = seen.insert(canonical_part(&[*whole; 32], members).into_bytes(), selection);
                prop_assert!(same.is_none_or(|same| same == selection), "{same:?} {selection:?}");
            }
        }
    }
}
