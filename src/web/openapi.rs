//! The OpenAPI description of the lists (<https://spec.openapis.org/oas/v3.1.1>).
//!
//! Clients are generated from it, so each schema accepts every row that the list can show. OpenAPI
//! 3.1 cannot describe a stream of objects. 3.2 can; it is written for `?openapi=3.2`.

use std::collections::HashSet;

use serde::{Serialize, Serializer, ser::SerializeMap};

use super::path_of;
use crate::{
    coding::CODINGS,
    described::{Described, JsonType},
    format::{Envelope, FORMATS, Layout},
    kind::names,
    resource::{Resource, View},
    source::{Filter, Operand, PARAMETERS},
};

/// A version of OpenAPI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Version {
    /// 3.1
    Usual,
    /// 3.2, which describes streams.
    Streams,
}

/// A JSON value whose members keep their order, for readers.
pub(super) enum Json {
    Text(String),
    Number(u64),
    Bool(bool),
    List(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Serialize for Json {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Json::Text(text) => serializer.serialize_str(text),
            Json::Number(number) => serializer.serialize_u64(*number),
            Json::Bool(truth) => serializer.serialize_bool(*truth),
            Json::List(values) => serializer.collect_seq(values),
            Json::Object(members) => {
                let mut map = serializer.serialize_map(Some(members.len()))?;
                members.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
        }
    }
}

impl From<&str> for Json {
    fn from(text: &str) -> Json {
        Json::Text(text.to_owned())
    }
}

impl From<String> for Json {
    fn from(text: String) -> Json {
        Json::Text(text)
    }
}

impl From<Vec<Json>> for Json {
    fn from(values: Vec<Json>) -> Json {
        Json::List(values)
    }
}

fn object<const N: usize>(members: [(&str, Json); N]) -> Json {
    Json::Object(members.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn refers_to(kind: &str, name: &str) -> Json {
    object([("$ref", format!("#/components/{kind}/{name}").into())])
}

/// The description of these lists, for a server at this address.
pub(super) fn document(views: &[View], version: Version, origin: &str) -> Json {
    let names = schema_names(views.iter().map(|view| view.resource.name()));
    let mut paths = vec![];
    let mut schemas = vec![("Problem".to_owned(), problem_schema())];
    for (view, name) in views.iter().zip(&names) {
        let resource = &view.resource;
        let mut operations = vec![("get".to_owned(), operation(view, name, version))];
        // Earlier versions know no such method.
        if version == Version::Streams {
            operations.push(("query".to_owned(), query(resource, name, version)));
        }
        paths.push((path_of(resource.name()), Json::Object(operations)));
        schemas.push((name.clone(), row_schema(resource)));
    }

    object([
        ("openapi", if version == Version::Usual { "3.1.0" } else { "3.2.0" }.into()),
        ("info", info()),
        ("servers", vec![object([("url", origin.into())])].into()),
        ("paths", Json::Object(paths)),
        ("components", components(schemas)),
    ])
}

fn info() -> Json {
    object([
        ("title", "Lists by Chunkflow".into()),
        ("version", env!("CARGO_PKG_VERSION").into()),
        (
            "description",
            "Each list of any length is one response. A response that ends well is whole; a list that is \
             cut by a failure ends its connection or stream with an error. A value that is larger than the \
             server's bound (64 MiB unless it says otherwise) is `null` in every member."
                .into(),
        ),
    ])
}

/// A name for the rows of each list, for a generator's types and functions: letters, digits and
/// single `_` between them. No two names have the same letters and digits, ignoring case, since
/// generators change names to the style of their language.
fn schema_names<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut taken = HashSet::from(["problem".to_owned()]);
    let unique = |name: &str| {
        let words = name.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
        let mut plain: String = words.collect::<Vec<_>>().join("_").chars().take(60).collect();
        if !plain.starts_with(|c: char| c.is_ascii_alphabetic()) {
            plain.insert_str(0, if plain.is_empty() { "list" } else { "list_" });
        }

        let mut unique = plain.clone();
        let mut number = 2;
        while !taken.insert(unique.replace('_', "").to_ascii_lowercase()) {
            unique = format!("{plain}_{number}");
            number += 1;
        }
        unique
    };

    names.map(unique).collect()
}

fn operation(view: &View, name: &str, version: Version) -> Json {
    let resource = &view.resource;
    let filters: Vec<Json> = view.filters().map(filter).collect();
    let trees: &[&str] = if filters.is_empty() { &[] } else { &["or", "and"] };
    let usual = PARAMETERS.iter().chain(trees).map(|name| match *name {
        "select" => select(resource),
        "order" => order(&view.orders),
        name => refers_to("parameters", name),
    });
    object([
        ("operationId", format!("list_{name}").into()),
        ("summary", format!("The rows of {}", resource.name()).into()),
        ("description", in_order(view).into()),
        ("parameters", Json::List(usual.chain(filters).collect())),
        ("responses", answers(resource, name, version)),
    ])
}

/// The same list by `QUERY` (RFC 10008).
fn query(resource: &Resource, name: &str, version: Version) -> Json {
    let form = object([("type", "object".into())]);
    let content = object([("application/x-www-form-urlencoded", object([("schema", form)]))]);

    object([
        ("operationId", format!("query_{name}").into()),
        ("summary", format!("The rows of {}, by parameters in the body", resource.name()).into()),
        (
            "requestBody",
            object([
                ("description", "The parameters of `get`, as they would stand in the address; at most 64 KiB.".into()),
                ("content", content),
            ]),
        ),
        ("responses", answers(resource, name, version)),
    ])
}

fn answers(resource: &Resource, name: &str, version: Version) -> Json {
    let responses =
        [("400", "Invalid"), ("404", "Missing"), ("406", "NotAcceptable"), ("429", "Busy"), ("503", "Away")];
    let mut answers = vec![("200".to_owned(), rows(resource, name, version))];
    answers.extend(responses.map(|(status, name)| (status.to_owned(), refers_to("responses", name))));
    answers.push(("default".to_owned(), refers_to("responses", "Failed")));
    Json::Object(answers)
}

/// In which order the rows come, as far as this may be told.
fn in_order(view: &View) -> String {
    if view.hides_order() {
        "In the list's own order.".to_owned()
    } else {
        format!("In the order {}.", view.order().join(", "))
    }
}

/// The parameter for the order of the rows.
fn order(orders: &[String]) -> Json {
    let orders: Vec<Json> = orders.iter().map(|order| order.as_str().into()).collect();

    object([
        ("name", "order".into()),
        ("in", "query".into()),
        ("description", "The order of the rows, `-` before a descending column; without it the list's own.".into()),
        ("schema", object([("type", "string".into()), ("enum", orders.into())])),
    ])
}

/// The parameter for the members of each row.
fn select(resource: &Resource) -> Json {
    let members: Vec<Json> = resource.members().map(Json::from).collect();
    let items = object([("type", "string".into()), ("enum", members.into())]);

    object([
        ("name", "select".into()),
        ("in", "query".into()),
        (
            "description",
            "The members that each row has, in this order, between commas; without it all. The schema of a row \
             describes all."
                .into(),
        ),
        ("schema", object([("type", "array".into()), ("items", items), ("minItems", Json::Number(1))])),
        ("style", "form".into()),
        ("explode", Json::Bool(false)),
    ])
}

fn filter(filter: &Filter) -> Json {
    let (values, example) = match filter.operand {
        Operand::Integer => ("a whole number", "gt.100"),
        Operand::Number => ("a number", "lte.9.5"),
        Operand::Text => ("a text", "eq.text"),
    };

    let operators = "eq, neq, gt, gte, lt, lte, like (`*` for any text), ilike (the same in upper or lower case), \
                     in (`in.(a,b)`), is (`is.null`, `is.not_null`), each also with `not.` before it";

    object([
        ("name", filter.column.as_str().into()),
        ("in", "query".into()),
        (
            "description",
            format!("`OPERATOR.VALUE`, where the value is {values}; operators: {operators}. All must hold.").into(),
        ),
        ("schema", object([("type", "array".into()), ("items", object([("type", "string".into())]))])),
        ("style", "form".into()),
        ("example", vec![example.into()].into()),
    ])
}

/// A list as a response, in each format.
fn rows(resource: &Resource, name: &str, version: Version) -> Json {
    let row = refers_to("schemas", name);
    let rows = object([("type", "array".into()), ("items", row)]);
    let envelope = match &resource.options().envelope {
        Envelope::None => rows,
        Envelope::Member(results) => {
            let mut members = vec![(results.clone(), rows)];
            let mut required = vec![results.as_str().into()];
            if resource.options().count {
                let count = object([("type", "integer".into()), ("minimum", Json::Number(0))]);
                members.push((Envelope::COUNT.to_owned(), count));
                required.push(Envelope::COUNT.into());
            }
            object([("type", "object".into()), ("required", required.into()), ("properties", Json::Object(members))])
        }
    };

    let mut envelope = Some(envelope);
    let content = FORMATS.iter().map(|format| {
        let schema = match format.open.layout {
            Layout::Envelope => ("schema", envelope.take().unwrap_or(Json::List(vec![]))),
            Layout::Lines if version == Version::Streams => ("itemSchema", line(resource, name)),
            Layout::Events if version == Version::Streams => ("itemSchema", event(name)),
            _ => ("schema", object([("type", "string".into())])),
        };
        (format.open.accepts[0].to_owned(), object([schema]))
    });

    let content = content.collect();

    object([
        ("description", "The list, whole where it ends well.".into()),
        (
            "headers",
            object([
                ("Link", refers_to("headers", "Link")),
                ("Cache-Status", refers_to("headers", "Cache-Status")),
                ("X-Request-Id", refers_to("headers", "X-Request-Id")),
            ]),
        ),
        ("content", Json::Object(content)),
    ])
}

/// A line: a row, or the end of a counted list.
fn line(resource: &Resource, name: &str) -> Json {
    let row = refers_to("schemas", name);
    if !resource.options().count {
        return row;
    }

    let count = Described::object(vec![("count".to_owned(), Described::of(&[JsonType::Integer]))]);
    let end = Described::object(vec![("_end".to_owned(), count)]);
    object([("anyOf", vec![row, schema(&end)].into())])
}

/// An event whose data is a row (OpenAPI 3.2 §4.14.4).
fn event(name: &str) -> Json {
    let data = object([
        ("type", "string".into()),
        ("contentMediaType", "application/json".into()),
        ("contentSchema", refers_to("schemas", name)),
    ]);
    object([
        ("type", "object".into()),
        ("properties", object([("id", object([("type", "string".into())])), ("data", data)])),
    ])
}

/// The schema of a row.
fn row_schema(resource: &Resource) -> Json {
    let members = resource.described().map(|(name, described)| (name.to_owned(), described)).collect();
    let row = Described::object(members);

    let mut keywords = vec![("title".to_owned(), resource.name().into())];
    keywords.extend(self::keywords(&row));
    Json::Object(keywords)
}

fn schema(described: &Described) -> Json {
    Json::Object(keywords(described))
}

/// The schema's keywords for these values. All members of an object are required.
fn keywords(described: &Described) -> Vec<(String, Json)> {
    let mut keywords = vec![];
    let mut add = |name: &str, value: Json| keywords.push((name.to_owned(), value));

    match &described.types[..] {
        [] => {}
        [one] => add("type", one.name().into()),
        several => add("type", Json::List(several.iter().map(|one| one.name().into()).collect())),
    }

    if let Some(format) = described.format {
        add("format", format.into());
    }

    if described.is_base64 {
        add("contentEncoding", "base64".into());
    }

    if let Some(items) = &described.items {
        add("items", schema(items));
    }

    if described.types.contains(&JsonType::Object) {
        let member = |(name, described): &(String, Described)| (name.clone(), schema(described));
        add("properties", Json::Object(described.members.iter().map(member).collect()));
        add("required", Json::List(described.members.iter().map(|(name, _)| name.as_str().into()).collect()));
    }

    keywords
}

fn components(schemas: Vec<(String, Json)>) -> Json {
    let text = || object([("type", "string".into())]);
    let limit = object([
        ("name", "limit".into()),
        ("in", "query".into()),
        ("description", "How many rows at most; `Link` leads to the next page.".into()),
        ("schema", object([("type", "integer".into()), ("minimum", Json::Number(0))])),
        ("example", Json::Number(100)),
    ]);
    let after = object([
        ("name", "after".into()),
        ("in", "query".into()),
        ("description", "A cursor that this list has handed out, in `Link` or in a member: the rows behind it.".into()),
        ("schema", text()),
    ]);
    let download = object([
        ("name", "download".into()),
        ("in", "query".into()),
        ("description", "The name of a file that a browser saves the list as; empty: that of the list.".into()),
        ("schema", text()),
    ]);
    let at_least = object([
        ("name", "at_least".into()),
        ("in", "query".into()),
        ("description", "What `changed` has returned: the list shows that change, on every server.".into()),
        ("schema", text()),
    ]);
    let tree = |name: &str, which: &str| {
        object([
            ("name", name.into()),
            ("in", "query".into()),
            (
                "description",
                format!(
                    "Conditions of which {which} must hold: `(COLUMN.OPERATOR.VALUE,COLUMN.not.OPERATOR.VALUE,…)`, on \
                     the columns that are parameters too. `or(…)`, `and(…)`, `not.or(…)` and `not.and(…)` may stand \
                     among them. Values with a comma or a parenthesis stand in quotation marks."
                )
                .into(),
            ),
            ("schema", object([("type", "array".into()), ("items", text())])),
            ("style", "form".into()),
        ])
    };
    let header = |description: &str| object([("description", description.into()), ("schema", text())]);

    object([
        ("schemas", Json::Object(schemas)),
        (
            "parameters",
            object([
                ("limit", limit),
                ("after", after),
                ("download", download),
                ("at_least", at_least),
                ("or", tree("or", "at least one")),
                ("and", tree("and", "each")),
            ]),
        ),
        (
            "headers",
            object([
                ("Link", header("With `limit`: `<?…>; rel=\"next\"` on each page that is not the last (RFC 8288).")),
                ("Cache-Status", header("How the first chunk was come by (RFC 9211).")),
                ("X-Request-Id", header("What the server's log calls the request.")),
            ]),
        ),
        (
            "responses",
            object([
                ("Invalid", problem_response("A parameter, or the request itself, is not understood.")),
                ("Missing", problem_response("There is no such list or format.")),
                ("NotAcceptable", problem_response(&not_acceptable())),
                ("Busy", problem_response("More than one client may ask for: again after `Retry-After` seconds.")),
                (
                    "Away",
                    problem_response(
                        "The database or the server has no room or is away: again after `Retry-After` seconds.",
                    ),
                ),
                ("Failed", problem_response("The list cannot be served, or its source took too long.")),
            ]),
        ),
    ])
}

fn not_acceptable() -> String {
    let formats = names(FORMATS);
    let codings = names(CODINGS);

    format!("No format ({formats}) or coding (identity, {codings}) that the request accepts is here.")
}

fn problem_response(description: &str) -> Json {
    let content = object([("schema", refers_to("schemas", "Problem"))]);
    object([("description", description.into()), ("content", object([("application/problem+json", content)]))])
}

/// A problem (RFC 9457).
fn problem_schema() -> Json {
    let text = |description: &str| object([("type", "string".into()), ("description", description.into())]);
    let status = object([("type", "integer".into())]);
    let example = object([
        ("type", "urn:chunkflow:problem:bad-request".into()),
        ("title", "Bad Request".into()),
        ("status", Json::Number(400)),
        ("detail", "`limit` is not a number of rows".into()),
        ("remedy", "write for instance limit=100".into()),
    ]);

    object([
        ("type", "object".into()),
        ("required", ["type", "title", "status", "detail"].map(Json::from).into_iter().collect::<Vec<_>>().into()),
        (
            "properties",
            object([
                ("type", text("What kind of problem it is, as a URN.")),
                ("title", text("The same in words.")),
                ("status", status),
                ("detail", text("What is wrong with this request.")),
                ("remedy", text("What to do about it.")),
            ]),
        ),
        ("examples", vec![example].into()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_list_has_a_name_of_its_own_that_a_language_can_call_a_type() {
        let names = ["a b", "a_b", "A__B", "aB", "中国", "1st", "problem", "__", &"long".repeat(100)];
        let unique = schema_names(names.into_iter());
        let expected = ["a_b", "a_b_2", "A_B_3", "aB_4", "list", "list_1st", "problem_2", "list_2"];
        assert_eq!(unique[..8], expected.map(String::from));
        assert!(unique[8].len() < 70);
    }
}
