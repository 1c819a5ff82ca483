//! Tests of single values.

use proptest::prelude::*;

use super::{
    file::Base,
    moment::{Precision, Zone},
    *,
};
use crate::flaw::Flaw;

fn of(to: To) -> Rewrite {
    Rewrite { to, ..Rewrite::SAME }
}

/// The rewritten value as JSON, and whether it counts as one without a form.
fn shown(rewrite: &Rewrite, value: Value<'_>) -> (String, bool) {
    let mut held = ValueBuffer::new(1);
    rewrite.write(value, &mut held).unwrap();
    let mut out = text::Output::default();
    text::scalar(held.value(held.slots[0]), &mut out);
    (String::from_utf8(out.bytes).unwrap(), out.flaws.iter().any(|flaw| flaw == Flaw::NoForm))
}

fn whole(rewrite: &Rewrite, value: Value<'_>) -> String {
    let (shown, is_formless) = shown(rewrite, value);
    assert!(!is_formless, "{shown}");
    shown
}

#[test]
fn a_value_that_is_not_what_it_should_be_stands_as_its_own_text_and_is_counted() {
    let moments = To::DateTime(Precision::Milliseconds, Zone::Utc);
    for (to, value, stands) in [
        (To::Uuid { is_sure: true }, Value::Text(b"no uuid"), "\"no uuid\""),
        (To::Uuid { is_sure: true }, Value::Integer(7), "\"7\""),
        (To::Uuid { is_sure: true }, Value::Text(b""), "\"\""),
        (To::Date, Value::Text(b"infinity"), "\"infinity\""),
        (To::Date, Value::Integer(20_260_102), "\"20260102\""),
        (moments, Value::Text(b"yesterday"), "\"yesterday\""),
        (To::Duration, Value::Text(b"a while"), "\"a while\""),
        (To::Duration, Value::Real(1.5), "\"1.5\""),
        (To::Integer, Value::Text(b"seven"), "\"seven\""),
        (To::Integer, Value::Real(1.5), "\"1.5\""),
        (To::Boolean, Value::Text(b"perhaps"), "\"perhaps\""),
        (To::Float, Value::Text(b"x"), "\"x\""),
    ] {
        assert_eq!(shown(&of(to), value), (stands.to_owned(), true));
    }
}

#[test]
fn null_and_what_has_no_form_already_stay_as_they_are() {
    for to in [To::Uuid { is_sure: true }, To::Date, To::Duration, To::Boolean, To::Text, To::Json] {
        let rewrite = Rewrite { labels: vec![(String::new(), "empty".into())], ..of(to) };
        assert_eq!(whole(&rewrite, Value::Null), "null");
        assert_eq!(shown(&rewrite, Value::Formless(None)), ("null".into(), true));
        assert_eq!(shown(&rewrite, Value::TooLarge), ("null".into(), false), "for another reason");
        assert_eq!(shown(&rewrite, Value::Formless(Some(b"x"))), ("\"x\"".into(), true));
    }
}

#[test]
fn a_uuid_has_hyphens_whatever_the_database_keeps() {
    let uuid = of(To::Uuid { is_sure: true });
    let written = "\"0123abcd-4567-89ef-0123-456789abcdef\"";
    let bytes = b"\x01\x23\xab\xcd\x45\x67\x89\xef\x01\x23\x45\x67\x89\xab\xcd\xef";
    for value in [
        Value::Text(b"0123abcd456789ef0123456789abcdef"),
        Value::Text(b"0123ABCD-4567-89EF-0123-456789ABCDEF"),
        Value::Blob(bytes),
    ] {
        assert_eq!(whole(&uuid, value), written);
    }
    // A column that only may hold UUIDs may hold any text.
    let perhaps = of(To::Uuid { is_sure: false });
    assert_eq!(whole(&perhaps, Value::Text(b"0123abcd456789ef0123456789abcdef")), written);
    assert_eq!(whole(&perhaps, Value::Text(b"a text")), "\"a text\"");
}

#[test]
fn labels_are_found_by_what_would_be_shown() {
    let labelled = |to, labels: &[(&str, &str)]| {
        let mut labels: Vec<(String, String)> =
            labels.iter().map(|(value, label)| ((*value).into(), (*label).into())).collect();
        labels.sort();
        Rewrite { labels, ..of(to) }
    };

    let choices = labelled(To::Same, &[("p", "Published"), ("1", "One"), ("", "None")]);
    assert_eq!(whole(&choices, Value::Text(b"p")), "\"Published\"");
    assert_eq!(whole(&choices, Value::Integer(1)), "\"One\"");
    assert_eq!(whole(&choices, Value::Text(b"")), "\"None\"");
    assert_eq!(whole(&choices, Value::Text(b"other")), "\"other\"");
    assert_eq!(whole(&choices, Value::Integer(2)), "2");
    // The same for a truth value, in each form that databases use.
    let truths = labelled(To::Boolean, &[("true", "yes"), ("false", "no")]);
    for value in [Value::Integer(1), Value::Bool(true), Value::Text(b"t")] {
        assert_eq!(whole(&truths, value), "\"yes\"");
    }
}

#[test]
fn an_array_is_rewritten_element_by_element() {
    let decimals = To::Decimal { decimals: None, fifteen_digits: false, as_text: true };
    let array = |to| Rewrite { of_elements: true, ..of(to) };
    let json = |text| Value::Encoded(text, crate::flaw::Flaws::NONE);
    assert_eq!(whole(&array(decimals), json(b"[[1.50,null],[-0.0000001,2]]")), "[[\"1.50\",null],[\"-1E-7\",\"2\"]]");
    let moments = To::DateTime(Precision::Milliseconds, Zone::AsItStands);
    assert_eq!(whole(&array(moments), json(b"[\"2026-01-02T03:04:05.678901Z\"]")), "[\"2026-01-02T03:04:05.678Z\"]");
    assert_eq!(whole(&array(To::Same), json(br#"["a\"]b\\",true,1]"#)), r#"["a\"]b\\",true,1]"#);
    assert_eq!(whole(&array(To::Duration), Value::Json(b"[\"1 day\", null]")), "[\"P1DT00H00M00S\", null]");
    assert_eq!(shown(&array(To::Date), json(b"[\"x\",\"2026-01-02\"]")), ("[\"x\",\"2026-01-02\"]".into(), true));
    assert_eq!(whole(&array(To::Date), json(b"[]")), "[]");
}

/// A rewrite of every kind.
fn every_kind() -> Vec<To> {
    let decimal = |decimals| To::Decimal { decimals, fifteen_digits: true, as_text: false };
    vec![
        To::Same,
        To::Integer,
        decimal(None),
        decimal(Some(3)),
        To::Float,
        To::Boolean,
        To::Text,
        To::Date,
        To::Time(Precision::All),
        To::DateTime(Precision::Milliseconds, Zone::Utc),
        To::Duration,
        To::Uuid { is_sure: true },
        To::Json,
        To::Bytes,
        To::File(Base::parse("/m/").unwrap()),
    ]
}

proptest! {
    #[test]
    fn whatever_a_column_holds_the_list_is_json(
        bytes: Vec<u8>,
        text in "[-+0-9.eE:TZ a-fx/\\\\\"\\[\\],{}é]{0,24}|[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}[T ][0-9:.,+]{0,20}",
        n: i64,
        real: f64,
    ) {
        for to in every_kind() {
            for of_elements in [false, true] {
                let rewrite = Rewrite { of_elements, ..of(to.clone()) };
                for bytes in [&bytes[..], text.as_bytes()] {
                    let all = [
                        Value::Integer(n), Value::Real(real), Value::Text(bytes), Value::Blob(bytes),
                        Value::Json(bytes), Value::Decimal(bytes), Value::Formless(Some(bytes)),
                    ];
                    for value in all {
                        let (shown, _) = shown(&rewrite, value);
                        let read = serde_json::from_str::<serde::de::IgnoredAny>(&shown);
                        prop_assert!(read.is_ok(), "{:?} {:?}: {}", to, value, shown);
                    }
                }
            }
        }
    }
}

#[test]
fn no_two_rewrites_have_the_same_bytes() {
    let decimal = |decimals| To::Decimal { decimals, fifteen_digits: false, as_text: true };
    let base = |text| To::File(Base::parse(text).unwrap());
    let mut all: Vec<Rewrite> = [
        To::Same,
        To::Integer,
        decimal(None),
        decimal(Some(0)),
        decimal(Some(2)),
        To::Decimal { decimals: None, fifteen_digits: true, as_text: true },
        To::Decimal { decimals: None, fifteen_digits: false, as_text: false },
        To::Float,
        To::Boolean,
        To::Text,
        To::Date,
        To::Time(Precision::All),
        To::Time(Precision::Milliseconds),
        To::DateTime(Precision::All, Zone::AsItStands),
        To::DateTime(Precision::All, Zone::Utc),
        To::DateTime(Precision::All, Zone::Naive),
        To::DateTime(Precision::Milliseconds, Zone::Utc),
        To::Duration,
        To::Uuid { is_sure: true },
        To::Uuid { is_sure: false },
        To::Json,
        To::Bytes,
        base("/media/"),
        base("/files/"),
    ]
    .map(of)
    .into();
    all.push(Rewrite { of_elements: true, ..of(To::Date) });
    for labels in [&[("a", "b")][..], &[("a", "c")], &[("a", "b"), ("c", "d")]] {
        let labels = labels.iter().map(|(value, label)| ((*value).to_owned(), (*label).to_owned())).collect();
        all.push(Rewrite { labels, ..Rewrite::SAME });
    }

    let mut bytes: Vec<Vec<u8>> = all
        .iter()
        .map(|rewrite| {
            let mut bytes = Canonical::default();
            rewrite.write_to(&mut bytes);
            bytes.into_bytes()
        })
        .collect();
    bytes.sort();
    bytes.dedup();
    assert_eq!(bytes.len(), all.len());
}
