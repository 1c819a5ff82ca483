//! When a login ends: `exp`, in seconds since 1970 (RFC 7519 §4.1.4).

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::{Map, Value};

/// The latest end, about a thousand years after 1970. A later one becomes this one, since not every
/// clock can show it.
const FAR: Duration = Duration::from_secs(1000 * 366 * 24 * 3600);

/// The end that these claims name; `None` if they have no `exp`.
///
/// # Errors
/// When `exp` is no number of seconds since 1970, whole or not.
pub(super) fn of(claims: &Map<String, Value>) -> Result<Option<SystemTime>, NoMoment> {
    let Some(exp) = claims.get("exp") else { return Ok(None) };
    let seconds = exp.as_f64().filter(|seconds| *seconds >= 0.0).ok_or(NoMoment)?;
    Ok(Some(UNIX_EPOCH + Duration::from_secs_f64(seconds.min(FAR.as_secs_f64()))))
}

/// `exp` is there, and is no number of seconds since 1970.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NoMoment;

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn end(exp: Value) -> Result<Option<Duration>, NoMoment> {
        let claims = Map::from_iter([("exp".to_owned(), exp)]);
        of(&claims).map(|end| end.map(|end| end.duration_since(UNIX_EPOCH).unwrap()))
    }

    #[test]
    fn an_end_is_seconds_since_1970_and_never_beyond_all_clocks() {
        assert_eq!(of(&Map::new()), Ok(None));
        for (exp, seconds) in [
            (json!(0), 0.0),
            (json!(4_102_444_800_u64), 4_102_444_800.0),
            (json!(4_102_444_800.5), 4_102_444_800.5),
            // Milliseconds by mistake, and what is more than that.
            (json!(4_102_444_800_000_u64), FAR.as_secs_f64()),
            (json!(u64::MAX), FAR.as_secs_f64()),
            (json!(1e300), FAR.as_secs_f64()),
        ] {
            assert_eq!(end(exp.clone()), Ok(Some(Duration::from_secs_f64(seconds))), "{exp}");
        }
    }

    #[test]
    fn what_is_no_number_of_seconds_since_1970_is_no_end_and_not_endless_either() {
        for exp in [json!(-1), json!(-0.5), json!("4102444800"), json!(null), json!(true), json!([1]), json!({})] {
            assert_eq!(end(exp.clone()), Err(NoMoment), "{exp}");
        }
    }
}
