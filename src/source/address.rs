//! Addresses of databases as people write them: those that a driver reads, and what to write in
//! place of those that none does.
//!
//! A message about an address never holds its password, no matter what is wrong with the address.

use std::path::Path;
#[cfg(feature = "server")]
use std::path::PathBuf;

use super::DATABASES;
use crate::{
    error::{Error, Kind, Result},
    kind, suggest,
};

/// The names of these databases in other programs.
const OTHERS: &[(&str, &str)] = &[
    ("pg", "postgres"),
    ("pgsql", "postgres"),
    ("psql", "postgres"),
    ("postgis", "postgres"),
    ("mysql2", "mysql"),
    ("mysqli", "mysql"),
    ("trilogy", "mysql"),
    ("sqlite3", "sqlite"),
    ("spatialite", "sqlite"),
    ("file", "sqlite"),
];
/// The keys that mark a text as libpq's `key=value` form.
const WORDS: &[&str] = &["host", "hostaddr", "port", "dbname", "user", "password", "sslmode", "service"];
/// The endings of SQLite's files.
const ENDINGS: &[&str] = &[".sqlite", ".sqlite3", ".db", ".db3", ".s3db", ".sl3"];
/// Shown in place of a password.
const PASSWORD: &str = "PASSWORD";

/// The URL of a text: a URL stays as it is, the name of a file becomes one of SQLite.
///
/// # Errors
/// [`Kind::Config`] with what to write instead.
pub(crate) fn read(text: &str) -> Result<String> {
    let text = text.trim();
    if words(text).is_some() || text.starts_with("jdbc:") {
        return Err(mistaken(text));
    }

    let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| is_scheme(scheme)) else {
        return if names_file(text) { Ok(format!("sqlite:{text}")) } else { Err(mistaken(text)) };
    };

    if kind::find(DATABASES, scheme).is_none() {
        // A file may have a colon in its name.
        return if is_file(text) { Ok(format!("sqlite:{text}")) } else { Err(mistaken(text)) };
    }

    if scheme == "sqlite" {
        return elsewhere(rest).map_or_else(|| Ok(text.to_owned()), Err);
    }

    if unescaped(rest) {
        let remedy = format!(
            "percent-encode it, %40 for @, %2F for /, %23 for #, %3F for ?, %25 for %: {}",
            shown(scheme, rest)
        );
        let message = "the user or password in the database's URL has a character that ends it";
        return Err(Error::new(Kind::Config, message).remedy(remedy));
    }

    Ok(text.to_owned())
}

/// The file of root certificates that a URL names, in libpq's or in MySQL's parameter.
#[cfg(feature = "server")]
pub(crate) fn root_file(url: &str) -> Option<PathBuf> {
    let (_, query) = url.split_once('?')?;
    let named = |pair: &str| {
        let (key, file) = pair.split_once('=')?;
        let is_file = ["sslrootcert", "ssl-ca", "ssl_ca"].contains(&key) && file != "system";
        is_file.then(|| percent_encoding::percent_decode_str(file).decode_utf8_lossy().into_owned().into())
    };
    query.split('&').filter_map(named).next_back()
}

/// The same URL. If it has no password, it gets the one of the environment: `PGPASSWORD` as in
/// libpq, `MYSQL_PWD` as in MySQL's client.
#[cfg(feature = "server")]
pub(crate) fn with_password(url: &str, environment: &dyn Fn(&str) -> Option<String>) -> String {
    let encoded = |name: &str| {
        let password = environment(name).filter(|password| !password.is_empty())?;
        Some(percent_encoding::utf8_percent_encode(&password, percent_encoding::NON_ALPHANUMERIC).to_string())
    };

    let added = || {
        let (scheme, rest) = url.split_once("://")?;
        let (head, query) = rest.split_once('?').unwrap_or((rest, ""));
        let user = head.rsplit_once('@').map(|(user, _)| user);
        if user.is_some_and(|user| user.contains(':')) || query.split('&').any(|pair| pair.starts_with("password=")) {
            return None;
        }
        match scheme {
            "postgres" | "postgresql" => {
                let joined = if rest.contains('?') { '&' } else { '?' };
                Some(format!("{url}{joined}password={}", encoded("PGPASSWORD")?))
            }
            "mysql" | "mariadb" => {
                let user = user?;
                Some(format!("{scheme}://{user}:{}{}", encoded("MYSQL_PWD")?, &rest[user.len()..]))
            }
            _ => None,
        }
    };

    added().unwrap_or_else(|| url.to_owned())
}

/// Whether the user or password holds a character that must be escaped. Otherwise a part of the
/// password would be taken for a host, and looked up.
fn unescaped(rest: &str) -> bool {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let Some(user) = userinfo(rest) else { return false };
    let ends = |c: char| "@/?#[]".contains(c) || c.is_whitespace();
    // Without a password this is a host with a path, and the `@` belongs to the path.
    (begins_with_password(user) || user.contains('@')) && user.contains(ends)
}

/// The part before the host, as far as that can be told.
fn userinfo(rest: &str) -> Option<&str> {
    let last = rest.rfind('@')?;
    let query = rest[..last].find('?').filter(|query| rest[*query..last].contains('='));
    let end = match query {
        None => last,
        // The last `@` may belong to a query's value, or to a password that looks like a query.
        Some(query) => rest[..query].rfind('@').or_else(|| begins_with_password(rest).then_some(last))?,
    };
    Some(&rest[..end])
}

/// Whether the text begins with a user and a password, not with a host and its port.
fn begins_with_password(rest: &str) -> bool {
    let begin = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let after = begin.split_once(':').map(|(_, after)| after);
    after.is_some_and(|after| after.is_empty() || !after.bytes().all(|byte| byte.is_ascii_digit()))
}

fn is_scheme(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "+-.".contains(c);
    text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.chars().all(plain)
}

fn is_file(text: &str) -> bool {
    !text.is_empty() && Path::new(text).is_file()
}

fn names_file(text: &str) -> bool {
    let lower = text.to_ascii_lowercase();
    let ends = ENDINGS.iter().any(|ending| lower.ends_with(ending));
    is_file(text) || ends || ["./", "../", "/", "~/"].iter().any(|begin| text.starts_with(begin))
}

/// The error for a SQLite URL with three slashes, which SQLAlchemy and Rails read as a path
/// relative to the current folder.
fn elsewhere(rest: &str) -> Option<Error> {
    let path = rest.strip_prefix("//")?.split('?').next()?;
    let here = path.strip_prefix('/')?;
    if Path::new(path).exists() || !is_file(here) {
        return None;
    }
    let message =
        format!("there is no file {path}, with three slashes from the root, and there is {here} in this folder");
    Some(Error::new(Kind::Config, message).remedy(format!("write sqlite:{here}")))
}

/// The error for a text that is no URL of a database here, with what to write.
fn mistaken(text: &str) -> Error {
    if let Some(url) = words(text) {
        return Error::new(Kind::Config, "the database is given in libpq's words, and not as a URL")
            .remedy(format!("write {url}"));
    }

    if let Some(url) = text.strip_prefix("jdbc:") {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        let scheme = meant(scheme).unwrap_or("postgres");
        return Error::new(Kind::Config, "`jdbc:` is a form of Java's")
            .remedy(format!("write {}", shown(scheme, rest)));
    }

    let (scheme, rest) = text.split_once(':').unwrap_or(("", text));
    if let Some(scheme_here) = meant(scheme) {
        return Error::new(Kind::Config, kind::unknown("database", text))
            .remedy(format!("write {}", shown(scheme_here, rest)));
    }

    let examples = ["sqlite", "postgres", "mysql"].iter().filter_map(|name| kind::find(DATABASES, name));
    let examples: Vec<&str> = examples.map(|kind| kind.example).collect();
    let remedy = format!("this build has {}; write for instance {}", kind::names(DATABASES), examples.join(" or "));
    Error::new(Kind::Config, kind::unknown("database", text)).remedy(remedy)
}

/// The kind that a scheme means, if it is of another program (`postgresql+psycopg2`, `mysql2`) or
/// misspelled.
fn meant(scheme: &str) -> Option<&'static str> {
    let scheme = scheme.to_ascii_lowercase();
    let base = scheme.split('+').next().unwrap_or_default();
    let other = OTHERS.iter().find(|(name, _)| *name == base).map(|(_, here)| *here);
    let known = || kind::find(DATABASES, base).map(|kind| kind.name);
    let near = || suggest::closest(base, DATABASES.iter().map(|kind| kind.name).filter(|_| base.len() > 3));
    let near = || near().and_then(|near| kind::find(DATABASES, near)).map(|kind| kind.name);
    other.filter(|here| kind::find(DATABASES, here).is_some()).or_else(known).or_else(near)
}

/// The URL to write, without its password and its query.
fn shown(scheme: &str, rest: &str) -> String {
    let rest = rest.strip_prefix("//").unwrap_or(rest);
    if scheme == "sqlite" {
        let path = rest.split('?').next().unwrap_or_default();
        // The path relative to this folder, as SQLAlchemy and Rails write it, if there is such a
        // file.
        let here = path.strip_prefix('/').filter(|here| is_file(here) || !Path::new(path).exists());
        return format!("sqlite:{}", here.unwrap_or(path));
    }

    let user = userinfo(rest);
    let place = user.map_or(rest, |user| &rest[user.len() + 1..]);
    let place = place.split('?').next().unwrap_or_default();
    let plain =
        |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._~:,/[]%".contains(c));
    // A secret in a query may hold an `@`, and the text behind that looks like a host.
    let query_is_harmless = !["pass", "pwd", "secret"].iter().any(|word| rest.to_ascii_lowercase().contains(word));
    // Without an `@`, what looks like a port may be a password.
    let place_is_harmless = user.map_or(!begins_with_password(rest), |_| query_is_harmless);
    let place = Some(place).filter(plain).filter(|_| place_is_harmless).unwrap_or("HOST/DATABASE");
    let name = user.and_then(|user| user.split([':', '/', '?', '#', '@']).next()).filter(plain);
    match user {
        None => format!("{scheme}://{place}"),
        Some(user) if user.contains(':') => format!("{scheme}://{}:{PASSWORD}@{place}", name.unwrap_or("USER")),
        Some(_) => format!("{scheme}://{}@{place}", name.unwrap_or("USER")),
    }
}

/// The URL for libpq's `key=value` form; `None` if the text is not of that form.
fn words(text: &str) -> Option<String> {
    let pairs: Vec<(&str, &str)> = text.split_whitespace().filter_map(|word| word.split_once('=')).collect();
    let of = |wanted: &str| {
        let found = pairs.iter().find(|(key, _)| *key == wanted);
        found.map(|(_, value)| value.trim_matches('\''))
    };

    if !pairs.first().is_some_and(|(key, _)| WORDS.contains(key)) {
        return None;
    }

    let plain = |text: &&str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "-._/".contains(c));
    let host = of("host").or(of("hostaddr")).filter(plain).unwrap_or("localhost");
    let user = of("user").filter(plain);
    let password = of("password").map(|_| format!(":{PASSWORD}")).unwrap_or_default();
    let user = user.or(of("password").map(|_| "USER")).map(|user| format!("{user}{password}@")).unwrap_or_default();
    let port = of("port").filter(plain).map(|port| format!(":{port}")).unwrap_or_default();
    let database = of("dbname").filter(plain).unwrap_or("DATABASE");
    let mode = of("sslmode").filter(plain).map(|mode| format!("?sslmode={mode}")).unwrap_or_default();
    // A folder of sockets cannot stand in a URL.
    if host.starts_with('/') {
        let joined = if mode.is_empty() { "?" } else { "&" };
        return Some(format!("postgres://{user}/{database}{mode}{joined}host={host}"));
    }

    Some(format!("postgres://{user}{host}{port}/{database}{mode}"))
}

#[cfg(all(test, feature = "sqlite", feature = "postgres", feature = "mysql"))]
mod tests {
    use super::*;

    const SECRET: &str = "HUNTER2";

    fn remedy(text: &str) -> String {
        let error = read(text).expect_err(text);
        assert!(!error.to_string().contains(SECRET) && !error.to_string().contains("TER2"), "{text}: {error}");
        error.advice().unwrap_or_default().to_owned()
    }

    #[test]
    fn what_drivers_read_and_names_of_files_are_taken() {
        for url in [
            "sqlite:app.sqlite",
            "sqlite://app.sqlite",
            "sqlite:/abs/app.sqlite?immutable=1",
            "postgres://h/d",
            "postgresql://u:p%40ss%2F@h:1,i:2/d?sslmode=require",
            "postgres://u@%2Frun%2Fpostgresql/d",
            "postgres:///d?host=/run/postgresql",
            "postgres://h:5432/d?application_name=a@b",
            "mysql://u:p@[::1]:3306/d",
            "mariadb://u:@h/d",
        ] {
            assert_eq!(read(url).unwrap(), url);
            assert_eq!(read(&format!(" {url}\n")).unwrap(), url, "what a secret's file ends with");
        }

        for file in ["app.sqlite", "./x.db", "../up/x", "file.sqlite3", "/abs/x", "Data.DB"] {
            assert_eq!(read(file).unwrap(), format!("sqlite:{file}"));
        }
    }

    #[test]
    fn what_other_programs_write_is_told_as_it_is_written_here() {
        for (text, right) in [
            ("host=db dbname=shop user=app password=HUNTER2", "postgres://app:PASSWORD@db/shop"),
            ("dbname=shop", "postgres://localhost/shop"),
            (
                "user=app password='HUN TER2' host=db port=5433 dbname=shop sslmode=require",
                "postgres://app:PASSWORD@db:5433/shop?sslmode=require",
            ),
            ("host=/run/postgresql dbname=shop", "postgres:///shop?host=/run/postgresql"),
            ("jdbc:postgresql://db:5432/shop?user=app&password=HUNTER2", "postgresql://db:5432/shop"),
            ("jdbc:mysql://db/shop", "mysql://db/shop"),
            ("jdbc:sqlite:app.sqlite", "sqlite:app.sqlite"),
            ("postgresql+psycopg2://app:HUNTER2@db/shop", "postgresql://app:PASSWORD@db/shop"),
            ("postgresql+asyncpg://app:HUN/TER2@db/shop", "postgresql://app:PASSWORD@db/shop"),
            ("postgres+psycopg://app@db/shop", "postgres://app@db/shop"),
            ("mysql+pymysql://app:HUN@TER2@db/shop", "mysql://app:PASSWORD@db/shop"),
            ("mysql+pymysql://app:HUN?x=TER2@db/shop", "mysql://app:PASSWORD@db/shop"),
            ("mysql2://app:HUNTER2@db:3306/shop", "mysql://app:PASSWORD@db:3306/shop"),
            ("postgis://app:HUN?TER2@db/shop", "postgres://app:PASSWORD@db/shop"),
            ("postgis://app:HUNTER2/shop", "postgres://HOST/DATABASE"),
            ("mysql2:app:HUNTER2", "mysql://HOST/DATABASE"),
            ("postgers://app:HUNTER2@db/shop", "postgres://app:PASSWORD@db/shop"),
            ("Postgres://app:HUNTER2@db/shop", "postgres://app:PASSWORD@db/shop"),
            ("sqlite3:db/app.sqlite3", "sqlite:db/app.sqlite3"),
            ("sqlite+aiosqlite:///app.sqlite", "sqlite:app.sqlite"),
            ("file:app.sqlite?mode=ro", "sqlite:app.sqlite"),
        ] {
            let remedy = remedy(text);
            assert_eq!(remedy, format!("write {right}"), "{text}");
        }

        for stranger in
            ["mongodb://app:HUNTER2@db/shop", "sqlserver://db", "http://db", "app:HUNTER2@db/shop", "db", ""]
        {
            assert!(remedy(stranger).contains("write for instance sqlite:"), "{stranger}");
        }
    }

    #[test]
    fn a_password_with_a_character_that_ends_it_is_told_how_to_write() {
        for scheme in ["postgres", "postgresql", "mysql", "mariadb"] {
            for password in [
                "HUN@TER2",
                "HUN/TER2",
                "HUN#TER2",
                "HUN?TER2",
                "@/?#HUNTER2",
                "HUNTER2@",
                "/HUNTER2",
                "HUN TER2",
                "1@HUNTER2",
            ] {
                for (place, query) in [("db/shop", ""), ("db:1,[::1]:2/shop", "?sslmode=require"), ("db", "")] {
                    let remedy = remedy(&format!("{scheme}://app:{password}@{place}{query}"));
                    assert!(remedy.contains("%40 for @"), "{password}: {remedy}");
                    assert!(remedy.ends_with(&format!("{scheme}://app:PASSWORD@{place}")), "{password}: {remedy}");
                }
            }
        }
    }

    #[test]
    fn the_environments_password_is_taken_where_the_url_has_none() {
        let environment = |name: &str| Some(format!("{name} @")).filter(|_| name != "HOME");
        for (url, with) in [
            ("postgres://h/d", "postgres://h/d?password=PGPASSWORD%20%40"),
            ("postgresql://u@h/d?sslmode=require", "postgresql://u@h/d?sslmode=require&password=PGPASSWORD%20%40"),
            ("postgres://u:p@h/d", "postgres://u:p@h/d"),
            ("postgres://h/d?password=p", "postgres://h/d?password=p"),
            ("mysql://u@h/d?ssl-mode=required", "mysql://u:MYSQL%5FPWD%20%40@h/d?ssl-mode=required"),
            ("mysql://u:p@h/d", "mysql://u:p@h/d"),
            ("mysql://h/d", "mysql://h/d"),
            ("sqlite:x@y.db", "sqlite:x@y.db"),
        ] {
            assert_eq!(with_password(url, &environment), with);
            assert_eq!(with_password(url, &|_| Some(String::new())), url);
        }
    }
}
