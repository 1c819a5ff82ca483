//! The plan of some columns of a list: it reads what these columns need, and nothing else.

use super::plan::{One, Output, Plan, Relation};

/// Which elements of a list stay; they keep their order.
struct Kept(Vec<usize>);

impl Kept {
    fn of(places: impl Iterator<Item = usize>) -> Kept {
        let mut kept: Vec<usize> = places.collect();
        kept.sort_unstable();
        kept.dedup();
        Kept(kept)
    }

    /// The new place of an element that stays.
    fn at(&self, place: usize) -> usize {
        self.0.partition_point(|kept| *kept < place)
    }

    /// The elements that stay.
    fn from<T: Clone>(&self, all: &[T]) -> Vec<T> {
        self.0.iter().map(|place| all[*place].clone()).collect()
    }
}

impl Output {
    /// The selects that it shows as they are, the key of an object's related row among them.
    fn selects(self) -> std::ops::Range<usize> {
        match self {
            Output::Select(select) => select..select + 1,
            Output::Object { first, len } => first - 1..first + len,
            Output::RewrittenObject { key, .. } => key..key + 1,
            Output::Relation(_) | Output::Rewritten(_) => 0..0,
        }
    }

    /// The rewrites that it shows.
    fn rewrites(self) -> std::ops::Range<usize> {
        match self {
            Output::Rewritten(rewrite) => rewrite..rewrite + 1,
            Output::RewrittenObject { first, len, .. } => first..first + len,
            Output::Select(_) | Output::Object { .. } | Output::Relation(_) => 0..0,
        }
    }
}

impl Plan {
    /// The plan of the same rows in the same order, with these columns only. It reads the values of
    /// the order and of the key, and what the columns are made of.
    pub(in crate::source) fn narrowed(&self, columns: &[usize]) -> Plan {
        let outputs: Vec<Output> = columns.iter().map(|column| self.outputs[*column]).collect();

        let rewrites = Kept::of(outputs.iter().flat_map(|output| output.rewrites()));
        let ones = Kept::of((0..self.ones.len()).filter(|one| columns.contains(&self.ones[*one].output)));
        let relations = Kept::of(outputs.iter().filter_map(|output| match output {
            Output::Relation(relation) => Some(*relation),
            _ => None,
        }));

        let of_outputs = outputs.iter().flat_map(|output| output.selects());
        let of_rewrites = rewrites.0.iter().map(|rewrite| self.rewrites[*rewrite].0);
        let of_ones = ones.0.iter().map(|one| self.ones[*one].select);
        let of_relations = relations.0.iter().map(|relation| self.relations[*relation].parent);
        let of_key = self.key.iter().copied();
        let selects = Kept::of(of_key.chain(of_outputs).chain(of_rewrites).chain(of_ones).chain(of_relations));

        // An object's selects and rewrites still lie side by side, since all of them stay.
        let moved = |output: &Output| match *output {
            Output::Select(select) => Output::Select(selects.at(select)),
            Output::Object { first, len } => Output::Object { first: selects.at(first - 1) + 1, len },
            Output::Relation(relation) => Output::Relation(relations.at(relation)),
            Output::Rewritten(rewrite) => Output::Rewritten(rewrites.at(rewrite)),
            Output::RewrittenObject { key, first, len } => {
                Output::RewrittenObject { key: selects.at(key), first: rewrites.at(first), len }
            }
        };
        let one = |one: One| One {
            select: selects.at(one.select),
            output: columns.iter().position(|column| *column == one.output).unwrap_or_default(),
            ..one
        };
        let relation = |relation: Relation| Relation { parent: selects.at(relation.parent), ..relation };
        let places = columns.iter().copied();
        let (rules_of_ones, rules_of_relations) = self.rules.split_at(self.ones.len());

        Plan {
            selects: selects.from(&self.selects),
            key: self.key.iter().map(|select| selects.at(*select)).collect(),
            own_key: self.own_key.map(|select| selects.at(select)),
            rewrites: rewrites
                .from(&self.rewrites)
                .into_iter()
                .map(|(of, rewrite)| (selects.at(of), rewrite))
                .collect(),
            guesses: vec![],
            relations: relations.from(&self.relations).into_iter().map(relation).collect(),
            ones: ones.from(&self.ones).into_iter().map(one).collect(),
            rules: [ones.from(rules_of_ones), relations.from(rules_of_relations)].concat(),
            related_rewrites: relations.from(&self.related_rewrites),
            outputs: outputs.iter().map(moved).collect(),
            columns: places.clone().map(|column| self.columns[column].clone()).collect(),
            described: places.map(|column| self.described[column].clone()).collect(),
            ..self.clone()
        }
    }
}
