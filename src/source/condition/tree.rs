//! How a request writes its conditions: one for each parameter, or trees of them,
//! `or=(a.eq.1,and(b.gt.1,c.not.is.null))`.

use super::{
    Condition, Filter, TREES, invalid,
    value::{self, Written},
};
use crate::{
    error::{Error, Result},
    suggest,
};

/// The largest number of comparisons: more than any honest request has.
const MAX_COMPARISONS: usize = 32;
/// How deep trees may be nested.
const MAX_DEPTH: usize = 8;

/// Reads the conditions of one request.
pub(crate) struct Reader<'f> {
    filters: Vec<&'f Filter>,
    /// Parameters that are no conditions, for errors.
    beside: &'f [&'f str],
    comparisons: usize,
    conditions: Vec<Condition>,
}

impl<'f> Reader<'f> {
    /// For conditions on these columns. `beside` are the other parameters that may stand there.
    pub(crate) fn new(filters: impl Iterator<Item = &'f Filter>, beside: &'f [&'f str]) -> Reader<'f> {
        Reader { filters: filters.collect(), beside, comparisons: 0, conditions: vec![] }
    }

    /// Reads a parameter.
    ///
    /// # Errors
    /// [`Kind::Invalid`](crate::Kind::Invalid) for a parameter that is no filter, with what there
    /// is; for a value that it does not take; and if there are too many conditions.
    pub(crate) fn read(&mut self, name: &str, value: &str) -> Result<()> {
        let condition = if TREES.contains(&name) {
            let mut tree = Tree { reader: self, name, text: value, rest: value };
            let condition = tree.group(name.ends_with("or"), name.starts_with("not."), 1)?;
            tree.end()?;
            condition
        } else {
            let filter = self.named(name)?;
            self.count()?;
            filter.condition(value)?
        };
        self.conditions.push(condition);
        Ok(())
    }

    /// The conditions, each of which must hold, in their one form.
    pub(crate) fn finish(self) -> Vec<Condition> {
        Condition::canonical(self.conditions)
    }

    fn named(&self, name: &str) -> Result<&'f Filter> {
        self.filters.iter().find(|filter| filter.column == name).copied().ok_or_else(|| {
            let mut allowed = self.beside.to_vec();
            if !self.filters.is_empty() {
                allowed.extend(TREES);
            }
            allowed.extend(self.filters.iter().map(|filter| &*filter.column));
            invalid(format!("there is no parameter `{name}`")).remedy(suggest::remedy("parameters", name, &allowed))
        })
    }

    fn count(&mut self) -> Result<()> {
        self.comparisons += 1;
        if self.comparisons > MAX_COMPARISONS {
            return Err(invalid(format!("a request has at most {MAX_COMPARISONS} filters"))
                .remedy("ask for less at once; `in` lists up to 1000 values"));
        }
        Ok(())
    }
}

/// A tree that is being read.
struct Tree<'t, 'r, 'f> {
    reader: &'r mut Reader<'f>,
    /// The parameter's name.
    name: &'t str,
    text: &'t str,
    rest: &'t str,
}

impl<'t, 'f> Tree<'t, '_, 'f> {
    /// Reads `(…,…)`. A negated group is the other one of negated parts.
    fn group(&mut self, is_any: bool, is_negated: bool, depth: usize) -> Result<Condition> {
        if depth > MAX_DEPTH {
            return Err(invalid(format!("the conditions of `{}` are nested deeper than {MAX_DEPTH}", self.name))
                .remedy("write them flatter"));
        }

        self.sign('(')?;
        let mut parts = vec![];
        loop {
            parts.push(self.part(is_negated, depth)?);
            if !self.skip(',') {
                break;
            }
        }
        self.sign(')')?;

        Ok(if is_any == is_negated { Condition::All(parts) } else { Condition::Any(parts) })
    }

    /// Reads `or(…)`, `and(…)`, one of them with `not.` before it, or a comparison.
    fn part(&mut self, is_negated: bool, depth: usize) -> Result<Condition> {
        self.rest = self.rest.trim_start_matches(' ');
        let group = TREES.iter().find_map(|word| Some((word, self.rest.strip_prefix(word)?)));
        match group.filter(|(_, rest)| rest.starts_with('(')) {
            Some((word, rest)) => {
                self.rest = rest;
                self.group(word.ends_with("or"), is_negated != word.starts_with("not."), depth + 1)
            }
            None => self.comparison(is_negated),
        }
    }

    /// Reads `column.eq.1`, `column.not.in.(1,2)`, `"col.umn".like.a*`.
    fn comparison(&mut self, is_negated: bool) -> Result<Condition> {
        let filter = self.filter()?;
        self.reader.count()?;
        let (is_opposite, operator, operand) = operator(self.rest).ok_or_else(|| value::unknown_operator(filter))?;

        let quoted: String;
        let (written, rest) = if operator == "in" {
            let list = operand.strip_prefix('(').and_then(|inner| value::list(inner, Some(')')));
            let (values, rest) = list.ok_or_else(|| value::no_list(filter))?;
            (Written::List(values), rest)
        } else if let Some(inner) = operand.strip_prefix('"') {
            let (text, rest) = value::quoted(inner).ok_or_else(|| self.malformed())?;
            quoted = text;
            (Written::Text(&quoted), rest)
        } else {
            let (text, rest) = operand.split_at(operand.find([',', ')']).unwrap_or(operand.len()));
            (Written::Text(text), rest)
        };
        self.rest = rest;

        value::made(filter, is_negated != is_opposite, operator, written)
    }

    /// Reads the name of a filter and the dot behind it. A name may hold dots: the longest is meant
    /// that an operator follows. In quotation marks it is read as it stands there.
    fn filter(&mut self) -> Result<&'f Filter> {
        if let Some(inner) = self.rest.strip_prefix('"') {
            let (name, rest) = value::quoted(inner).ok_or_else(|| self.malformed())?;
            let filter = self.reader.named(&name)?;
            self.rest = rest.strip_prefix('.').ok_or_else(|| self.malformed())?;
            return Ok(filter);
        }

        let behind = |filter: &&'f Filter| {
            let rest = self.rest.strip_prefix(&*filter.column)?.strip_prefix('.')?;
            Some((*filter, rest))
        };
        let named: Vec<(&'f Filter, &'t str)> = self.reader.filters.iter().filter_map(behind).collect();
        let is_followed = |(_, rest): &&(&Filter, &str)| operator(rest).is_some();
        let longest = |all: &mut dyn Iterator<Item = &(&'f Filter, &'t str)>| {
            all.max_by_key(|(filter, _)| filter.column.len()).copied()
        };
        let found = longest(&mut named.iter().filter(is_followed)).or_else(|| longest(&mut named.iter()));

        let Some((filter, rest)) = found else {
            let word = self.rest.split(['.', ',', '(', ')']).next().unwrap_or_default();
            if word.is_empty() {
                return Err(self.malformed());
            }
            return self.reader.named(word).and(Err(self.malformed()));
        };
        self.rest = rest;
        Ok(filter)
    }

    fn skip(&mut self, sign: char) -> bool {
        let rest = self.rest.strip_prefix(sign);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn sign(&mut self, sign: char) -> Result<()> {
        if self.skip(sign) { Ok(()) } else { Err(self.malformed()) }
    }

    fn end(&self) -> Result<()> {
        if self.rest.is_empty() { Ok(()) } else { Err(self.malformed()) }
    }

    fn malformed(&self) -> Error {
        let name = self.name;
        let behind = self.text[..self.text.len() - self.rest.len()].chars().count();
        invalid(format!("`{name}` holds no tree of conditions: it cannot be read behind its character {behind}"))
            .remedy(format!("write {name}=(a.eq.1,and(b.gt.2,c.not.is.null)), and a value with , or ) in it in quotes"))
    }
}

/// The beginning of `eq.1` or `not.eq.1`: whether it is negated, the operator, and what follows its
/// dot.
fn operator(text: &str) -> Option<(bool, &str, &str)> {
    let (is_negated, text) = text.strip_prefix("not.").map_or((false, text), |text| (true, text));
    let (operator, operand) = text.split_once('.')?;
    value::is_operator(operator).then_some((is_negated, operator, operand))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        error::Kind,
        source::{Operand, Operator},
    };

    fn read_all(parameters: &[(&str, &str)]) -> Result<Vec<Condition>> {
        let filters = ["a", "b", "c", "author.name", "a.b", "x,y"].map(|name| Filter::new(name, Operand::Text));
        let mut reader = Reader::new(filters.iter(), &["limit"]);
        parameters.iter().try_for_each(|(name, value)| reader.read(name, value))?;
        Ok(reader.finish())
    }

    /// The one condition of a parameter, as a short text.
    fn read(name: &str, value: &str) -> String {
        told(&read_all(&[(name, value)]).unwrap())
    }

    fn told(conditions: &[Condition]) -> String {
        let told = conditions.iter().map(|condition| match condition {
            Condition::Is(one) => format!("{} {:?} {}", one.column, one.operator, one.values.join("|")),
            Condition::All(parts) => format!("all[{}]", told(parts)),
            Condition::Any(parts) => format!("any[{}]", told(parts)),
        });
        told.collect::<Vec<_>>().join(", ")
    }

    #[test]
    fn trees_are_read_as_postgrest_writes_them() {
        assert_eq!(read("or", "(a.eq.1,b.gt.2)"), "any[a Eq 1, b Gt 2]");
        assert_eq!(read("and", "(a.eq.1,b.gt.2)"), "a Eq 1, b Gt 2");
        assert_eq!(read("or", "(a.not.eq.1,and(b.gt.1,c.lt.2))"), "any[a Neq 1, all[b Gt 1, c Lt 2]]");
        assert_eq!(read("not.or", "(a.eq.1,b.gt.2)"), "a Neq 1, b Lte 2");
        assert_eq!(read("not.and", "(a.eq.1,not.or(b.gt.2,c.is.null))"), "any[a Neq 1, b Gt 2, c IsNull ]");
        assert_eq!(read("or", "(a.in.(1,2),b.not.in.(\"x)\",y))"), "any[a In 1|2, b NotIn x)|y]");
        assert_eq!(read("or", r#"(a.eq."1,\"2\")", b.like.*)"#), r#"any[a Eq 1,"2"), b Like *]"#);
        assert_eq!(read("or", "(author.name.eq.x,c.not.ilike.y)"), "any[author.name Eq x, c NotIlike y]");
        assert_eq!(read("or", r#"(a.b.eq.1,"a".eq.eq.2,"x,y".eq.)"#), "any[a Eq eq.2, a.b Eq 1, x,y Eq ]");
        assert_eq!(read("or", "(a.eq.f(x,b.eq.1)"), "any[a Eq f(x, b Eq 1]");
        assert_eq!(read("a", "not.lte.1"), "a Gt 1");
    }

    #[test]
    fn what_is_no_tree_is_refused_with_a_remedy() {
        for wrong in [
            "",
            "()",
            "(",
            "(a.eq.1",
            "(a.eq.1))",
            "(a.eq.1)b",
            "(a.eq.1,)",
            "(,a.eq.1)",
            "a.eq.1",
            "(a)",
            "(a.)",
            "(a.eq)",
            "(a.xx.1)",
            "(none.eq.1)",
            "(limit.eq.1)",
            "(or.eq.1)",
            "(or(a.eq.1)",
            "(not.a.eq.1)",
            "(xor(a.eq.1))",
            "(a.eq.\"1)",
            "(a.eq.\"1\"2)",
            "(a.in.1)",
            "(a.in.(1)",
            "(a.in.(1)2)",
            "(\"a.eq.1)",
            "(\"a\"eq.1)",
            "(or())",
        ] {
            for name in TREES {
                let error = read_all(&[(name, wrong)]).unwrap_err();
                assert!(error.kind() == Kind::Invalid && error.advice().is_some(), "{wrong}");
            }
        }
    }

    #[test]
    fn a_request_has_a_bounded_number_of_comparisons_and_a_bounded_depth() {
        let many = |count: usize| format!("({})", vec!["a.eq.1"; count].join(","));
        assert!(read_all(&[("or", &many(31)), ("b", "eq.1")]).is_ok());
        assert!(read_all(&[("or", &many(32)), ("b", "eq.1")]).is_err());
        assert!(read_all(&[("or", &many(33))]).is_err());
        assert!(read_all(&[("b", "eq.1"); 33]).is_err());
        let deep = |depth: usize| format!("({}a.eq.1{})", "or(".repeat(depth - 1), ")".repeat(depth - 1));
        assert!(read_all(&[("and", &deep(MAX_DEPTH))]).is_ok());
        assert!(read_all(&[("and", &deep(MAX_DEPTH + 1))]).is_err());
        assert!(read_all(&[("and", &"(or".repeat(100_000))]).is_err());
        assert!(read_all(&[("and", &deep(100_000))]).is_err());
    }

    /// A tree as a request writes it, and what it must be.
    fn written() -> impl Strategy<Value = (String, Condition)> {
        let comparison = |(name, text): (&'static str, String)| {
            let quoted = text.replace('\\', "\\\\").replace('"', "\\\"");
            (format!("{name}.eq.\"{quoted}\""), Condition::is(name, Operator::Eq, vec![text]))
        };
        let leaf = (prop::sample::select(&["a", "b", "author.name"][..]), "[^\0]{0,6}").prop_map(comparison);
        leaf.prop_recursive(3, 20, 3, |inner| {
            let parts = prop::collection::vec(inner, 1..4);
            (parts, any::<bool>(), any::<bool>()).prop_map(|(parts, is_any, is_negated)| {
                let (texts, conditions): (Vec<String>, Vec<Condition>) = parts.into_iter().unzip();
                let word = if is_any { "or" } else { "and" };
                let not = if is_negated { "not." } else { "" };
                let group = if is_any { Condition::Any(conditions) } else { Condition::All(conditions) };
                let group = if is_negated { negated(group) } else { group };
                (format!("{not}{word}({})", texts.join(",")), group)
            })
        })
    }

    fn negated(condition: Condition) -> Condition {
        let all = |parts: Vec<Condition>| parts.into_iter().map(negated).collect();
        match condition {
            Condition::Is(one) => Condition::is(one.column, one.operator.opposite(), one.values),
            Condition::All(parts) => Condition::Any(all(parts)),
            Condition::Any(parts) => Condition::All(all(parts)),
        }
    }

    proptest! {
        #[test]
        fn a_tree_is_what_was_written((text, condition) in written()) {
            prop_assert_eq!(read_all(&[("and", &format!("({text})"))]).unwrap(), Condition::canonical(vec![condition]));
        }

        #[test]
        fn any_tree_is_read_or_refused_without_a_panic(text in "[(),.\"\\\\ abnotrdeqi1中]{0,40}") {
            for name in TREES {
                let _ = read_all(&[(name, &text)]);
            }
        }
    }
}
