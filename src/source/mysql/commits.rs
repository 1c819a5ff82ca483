//! Commits by their global transaction ids (GTID).
//!
//! MySQL manual, 19.1.3: a set of `SERVER:FIRST-LAST`, for instance `@@gtid_executed` behind the
//! commit. MariaDB documentation, *Global Transaction ID*: `DOMAIN-SERVER-NUMBER`, for instance
//! `@@last_gtid` behind the commit, several with commas between them.

use std::collections::HashMap;

use mysql_async::{Conn, Row, prelude::Queryable};

use super::wire;
use crate::error::{Error, Kind, Result};

/// The longest set of ids, in bytes.
const LONGEST: usize = 4096;

/// Checks that a text can be a commit of one of the two servers.
///
/// # Errors
/// [`Kind::Invalid`] if it cannot.
pub(super) fn check(text: &str, is_mariadb: bool) -> Result<()> {
    let is_sound = if is_mariadb { domains(text).is_some() } else { is_set(text) };
    if is_sound && text.len() <= LONGEST {
        return Ok(());
    }

    let (server, remedy) = match is_mariadb {
        true => ("MariaDB", "give what `SELECT @@last_gtid` returns behind the commit (0-1-7341)"),
        false => ("MySQL", "give what `SELECT @@GLOBAL.gtid_executed` returns behind the commit"),
    };
    Err(Error::new(Kind::Invalid, format!("this is no position of a commit in {server}")).remedy(remedy))
}

/// Whether reads over this connection see these commits, which were checked.
pub(super) async fn are_shown(conn: &mut Conn, commits: &[&str], is_mariadb: bool) -> mysql_async::Result<bool> {
    if !is_mariadb {
        let all = commits.join(",");
        let row: Option<Row> = conn.exec_first("SELECT GTID_SUBSET(?, @@GLOBAL.gtid_executed)", (all,)).await?;
        return Ok(row.and_then(|mut row| row.take::<i64, _>(0)) == Some(1));
    }

    // On a primary the last own commits, on a replica what it has applied.
    let row: Option<Row> = conn.query_first("SELECT @@GLOBAL.gtid_current_pos").await?;
    let there = row.as_ref().and_then(|row| wire::text(row, 0)).unwrap_or_default();
    let there = domains(&there).unwrap_or_default();
    let wanted = commits.iter().filter_map(|commit| domains(commit)).flatten();
    Ok(wanted.into_iter().all(|(domain, number)| there.get(&domain).is_some_and(|last| *last >= number)))
}

/// The last number in each domain. `None` if the text is no list of MariaDB's ids.
fn domains(text: &str) -> Option<HashMap<u32, u64>> {
    let mut last: HashMap<u32, u64> = HashMap::new();
    for id in text.split(',').map(str::trim) {
        let mut parts = id.split('-');
        let mut part = || parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()));
        let (domain, _, number) =
            (part()?.parse::<u32>().ok()?, part()?.parse::<u32>().ok()?, part()?.parse::<u64>().ok()?);
        if parts.next().is_some() {
            return None;
        }
        let known = last.entry(domain).or_default();
        *known = number.max(*known);
    }
    Some(last)
}

/// Whether a text has the form of MySQL's sets: a UUID, perhaps tags, and ranges of numbers.
fn is_set(text: &str) -> bool {
    let is_uuid = |part: &str| part.len() == 36 && part.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    text.split(',').map(str::trim).all(|set| {
        let mut parts = set.split(':');
        parts.next().is_some_and(is_uuid) && parts.clone().next().is_some() && parts.all(is_part)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commit_is_an_id_or_a_set_as_its_server_writes_them() {
        let set = "3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5:11-18";
        let two = format!("{set},\n2174b383-5441-11e8-b90a-c80aa9429562:some_tag:7");
        for right in [set, &two] {
            check(right, false).unwrap();
            check(right, true).unwrap_err();
        }
        for right in ["0-1-7341", "0-1-7341,1-2-3", "4294967295-1-18446744073709551615"] {
            check(right, true).unwrap();
            check(right, false).unwrap_err();
        }
        for wrong in ["", "x", "0-1", "0-1-2-3", "-1-2", "0-1-x", "0--1", "0-1-2,", "4294967296-1-1", "3e11fa47:1"] {
            check(wrong, true).unwrap_err();
            check(wrong, false).unwrap_err();
        }
        check(&format!("{set}:'"), false).unwrap_err();
        check(&["0-1-2"; 1000].join(","), true).unwrap_err();
    }

    #[test]
    fn of_several_ids_in_a_domain_the_last_counts() {
        assert_eq!(domains("0-1-5,0-2-7,3-1-1,0-1-6"), Some(HashMap::from([(0, 7), (3, 1)])));
    }
}
