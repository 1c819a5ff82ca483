//! Every type of each database with every attribute it takes: what stands in the list is what SQL
//! itself says, and nothing is without a form.

mod mariadb;
mod postgres;
mod sqlite;

use serde_json::Value;

use crate::support::Running;

/// The values of a list with one field, as they stand there.
fn raw_values(server: &Running, list: &str) -> Vec<String> {
    let text = String::from_utf8(server.get(&format!("/{list}.ndjson")).body).unwrap();
    text.lines().map(|line| line.strip_prefix("{\"v\":").unwrap().strip_suffix('}').unwrap().to_owned()).collect()
}

fn nothing_is_without_a_form(server: &Running, what: &str) {
    let metrics = server.chunkflow.metrics();
    assert_eq!([metrics.values_without_form(), metrics.replaced_utf8()], [0, 0], "{what}");
}

/// Values that are not what SQL says, all of them: a test of many types says everything at once.
#[derive(Default)]
struct Differences(Vec<String>);

impl Differences {
    /// Compares what is shown with what SQL says, both JSON: digit by digit, but for `float`s and
    /// the order of members.
    fn compare(&mut self, shown: &str, expected: &str, float: bool, what: &str) {
        let number = |text: &str| text.parse::<f64>().ok().filter(|_| float);
        let value = |text: &str| serde_json::from_str::<Value>(text).ok().filter(|value| !value.is_number());
        let expected = expected.trim();
        let same = shown == expected
            || number(shown).is_some_and(|shown| Some(shown) == number(expected))
            || value(shown).is_some_and(|shown| Some(shown) == value(expected));
        if !same {
            self.0.push(format!("{what}: {shown:.200}, and SQL says {expected:.200}"));
        }
    }

    fn none(self) {
        assert!(self.0.is_empty(), "{}", self.0.join("\n"));
    }
}
