//! The types of columns that a list may be ordered by, filtered by and joined by, each with values
//! and how they are shown.

use crate::servers::Db;

/// A type of a key's column.
pub struct Kind {
    /// As it stands in `CREATE TABLE`.
    pub sql: &'static str,
    /// Values as SQL's literals, none equal to another.
    pub values: &'static [&'static str],
    /// Texts that a request may compare with beside the values': too long, refused by a domain, or
    /// alike.
    pub probes: &'static [&'static str],
    /// A value as the list shows it, as text in SQL, with `?` in the column's place.
    pub shown: &'static str,
}

const fn kind(sql: &'static str, values: &'static [&'static str], shown: &'static str) -> Kind {
    Kind { sql, values, probes: &[], shown }
}

const fn probed(
    sql: &'static str,
    values: &'static [&'static str],
    shown: &'static str,
    probes: &'static [&'static str],
) -> Kind {
    Kind { sql, values, probes, shown }
}

impl Kind {
    /// The column `k` as plain SQL compares it: PostgreSQL has no operators for a domain over an
    /// enum.
    pub fn compared(&self) -> &'static str {
        if self.sql == "feeling" { r#"k::"odd Schema"."my ""mood""""# } else { "k" }
    }

    /// The column `k` as a number of any size, where it is a whole number.
    pub fn as_any_number(&self, db: &Db) -> Option<&'static str> {
        let name = self.sql.split([' ', '(']).next().unwrap_or_default().to_lowercase();
        let whole = ["tinyint", "smallint", "int", "integer", "bigint", "oid", "positive", "bit"].contains(&&*name);
        match db.name() {
            "postgres" => (whole && name != "bit" && !self.sql.contains('[')).then_some("k::bigint::numeric"),
            "mariadb" => whole.then_some("CAST(k + 0 AS DECIMAL(65, 0))"),
            _ => whole.then_some("k"),
        }
    }

    /// Whether a column may be declared to point to a key of this type: PostgreSQL's check of
    /// foreign keys does not know arrays whose elements have a length, nor domains over enums.
    pub fn can_be_referenced(&self) -> bool {
        !["char(3)[]", "feeling"].contains(&self.sql)
    }
}

/// The types of a kind of database. What must be there before is made by [`prepare`].
pub fn of(db: &Db) -> &'static [Kind] {
    match db.name() {
        "postgres" => POSTGRES,
        "mariadb" => MARIADB,
        _ => SQLITE,
    }
}

/// What a column may become whose values are kept as texts.
pub fn altered(db: &Db) -> &'static [Kind] {
    const POSTGRES: &[Kind] = &[
        kind("text", &["'a'"], TEXT),
        kind("text COLLATE \"C\"", &["'a'"], TEXT),
        kind("text COLLATE \"de-x-icu\"", &["'a'"], TEXT),
    ];

    const MARIADB: &[Kind] = &[
        kind("VARCHAR(200) COLLATE utf8mb4_bin", &["'a'"], CHARS),
        kind("VARCHAR(200) COLLATE utf8mb4_general_ci", &["'a'"], CHARS),
        kind("VARCHAR(200) COLLATE utf8mb4_unicode_520_ci", &["'a'"], CHARS),
    ];

    const SQLITE: &[Kind] = &[
        kind("TEXT", &["'a'"], "?"),
        kind("TEXT COLLATE NOCASE", &["'a'"], "?"),
        kind("TEXT COLLATE RTRIM", &["'a'"], "?"),
    ];

    match db.name() {
        "postgres" => POSTGRES,
        "mariadb" => MARIADB,
        _ => SQLITE,
    }
}

/// Makes the types that are no database's own.
pub fn prepare(db: &Db) {
    if db.name() == "postgres" {
        db.execute(
            r#"CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE EXTENSION ltree;
            CREATE COLLATION blind (provider = icu, locale = 'und-u-ks-level1', deterministic = false);
            CREATE SCHEMA "odd Schema";
            CREATE TYPE "odd Schema"."my ""mood""" AS ENUM ('sad', 'ok', 'happy');
            CREATE TYPE "odd Schema".pair AS (a int, b text);
            CREATE DOMAIN feeling AS "odd Schema"."my ""mood""" CHECK (VALUE <> 'ok');
            CREATE DOMAIN unit AS char(3);
            CREATE DOMAIN "odd Schema"."deeper" AS unit CHECK (VALUE <> 'XXX');
            CREATE DOMAIN mask AS bit(3);
            CREATE DOMAIN word AS varchar(4) COLLATE "de-x-icu";
            CREATE DOMAIN blindly AS text COLLATE blind;
            CREATE DOMAIN positive AS int CHECK (VALUE > 0);
            CREATE DOMAIN price AS numeric(10,2);
            CREATE DOMAIN ints AS int[];
            CREATE DOMAIN duo AS "odd Schema".pair;"#,
        );
    }
}

const TEXT: &str = "?::text";
const JSON: &str = "to_json(?)::text";
const BLANKS: &str = "convert_from(bpcharsend(?::bpchar), 'UTF8')";
const MOMENT: &str = "replace(?::text, ' ', 'T')";
const MOMENT_TZ: &str = "replace(replace(?::text, ' ', 'T'), '+00', 'Z')";
const FLOAT: &str = "CASE WHEN ? NOT IN ('NaN', 'Infinity', '-Infinity') THEN ?::text END";
const BASE64: &str = "encode(?, 'base64')";

const CODES: &[&str] = &["'G'", "'GAL'", "'LB'", "''", "'É'", "'cze'", "'CZE'"];
const BITS: &[&str] = &["'000'", "'001'", "'100'", "'111'"];

const POSTGRES: &[Kind] = &[
    kind("smallint", &["-32768", "0", "7", "32767"], TEXT),
    kind("int", &["-2147483648", "0", "7", "2147483647"], TEXT),
    kind("bigint", &["-9223372036854775808", "7", "3000000000", "9007199254740993", "9223372036854775807"], TEXT),
    kind("oid", &["0", "7", "3000000000", "4294967295"], TEXT),
    probed("positive", &["1", "7", "2147483647"], TEXT, &["-5"]),
    probed("numeric(10,2)", &["-1.50", "0.00", "7.00", "7.01", "99999999.99"], TEXT, &["7.004", "7"]),
    kind(
        "numeric",
        &["'NaN'", "0.000100", "7", "123456789012345678901234567890.5"],
        "CASE WHEN ? <> 'NaN' THEN ?::text END",
    ),
    kind("price", &["1.10", "7.00", "1.11"], TEXT),
    kind("real", &["'NaN'", "'-Infinity'", "0.1", "0.2", "7"], FLOAT),
    kind("double precision", &["'NaN'", "'Infinity'", "0.1", "0.30000000000000004", "7", "-0.5"], FLOAT),
    kind("bool", &["true", "false"], TEXT),
    kind("money", &["'1.00'", "'-7.50'"], TEXT),
    kind("char(1)", &["'G'", "''", "'é'"], BLANKS),
    probed("char(3)", CODES, BLANKS, &["GALA", "G  ", "G    ", " G"]),
    kind("char(5) COLLATE \"de-x-icu\"", CODES, BLANKS),
    kind("char(4) COLLATE blind", &["'a'", "'b'", "''", "'ab'"], BLANKS),
    probed("unit", CODES, BLANKS, &["GALA", "g"]),
    probed("\"odd Schema\".\"deeper\"", CODES, BLANKS, &["GALA", "XXX"]),
    probed("varchar(4)", &["'a'", "'a '", "'a  '", "'A'", "''", "'abcd'", "'ß'"], TEXT, &["abcde", "a   "]),
    kind("text", &["'a'", "'a '", "'A'", "''", "E'q\"\\\\n\\n'", "'{a,b}'", "'NULL'", "'ss'", "'ß'"], TEXT),
    kind("text COLLATE blind", &["'a'", "'b'", "''", "'ss'"], TEXT),
    kind("blindly", &["'a'", "'b'", "''", "'ss'"], TEXT),
    kind("word", &["'z'", "'ä'", "'a'", "'A'", "''"], TEXT),
    probed("ext.citext", &["'a'", "'B'", "'c'", "''", "'_'", "'Z'"], TEXT, &["A"]),
    kind("name", &["'a'", "'A'", "''"], TEXT),
    kind("\"char\"", &["'a'", "'A'", "'z'"], TEXT),
    probed("bit(3)", BITS, TEXT, &["1", "1000"]),
    kind("bit(1)", &["'0'", "'1'"], TEXT),
    kind("bit(9)", &["'000000001'", "'100000000'"], TEXT),
    kind("varbit(9)", &["'0'", "'1'", "'10'", "'100'", "''"], TEXT),
    kind("mask", BITS, TEXT),
    kind("date", &["'2026-02-28'", "'0044-03-15 BC'", "'infinity'", "'12026-01-01'"], TEXT),
    kind("time(0)", &["'01:02:03'", "'24:00:00'"], TEXT),
    kind("time(3)", &["'01:02:03.5'", "'01:02:03.501'"], TEXT),
    kind("timetz(1)", &["'01:02:03.5+02'", "'01:02:03.5+01'"], TEXT),
    probed("timestamp(0)", &["'2026-01-02 03:04:05'", "'2026-01-02 03:04:06'"], MOMENT, &["2026-01-02 03:04:05.4"]),
    kind("timestamp(3)", &["'2026-01-02 03:04:05.678'", "'2026-01-02 03:04:05.679'", "'-infinity'"], MOMENT),
    kind("timestamptz(2)", &["'2026-01-02 03:04:05.67+02'", "'2026-01-02 01:04:05.68Z'"], MOMENT_TZ),
    kind("interval", &["'1 day'", "'25:00:00'", "'-1 mon +2 days'", "'00:00:00.000001'"], TEXT),
    kind("interval second(1)", &["'00:00:01.5'", "'00:00:01.6'"], TEXT),
    kind("interval year to month", &["'1 year 2 mons'", "'1 mon'"], TEXT),
    kind("uuid", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"], TEXT),
    kind(
        "inet",
        &["'192.168.0.1'", "'192.168.0.1/24'", "'::1'"],
        "CASE WHEN masklen(?) IN (32, 128) THEN host(?) ELSE ?::text END",
    ),
    kind("cidr", &["'10.0.0.0/8'", "'10.0.0.0/16'"], TEXT),
    kind("macaddr", &["'08:00:2b:01:02:03'", "'08:00:2b:01:02:04'"], TEXT),
    kind("macaddr8", &["'08:00:2b:ff:fe:01:02:03'"], TEXT),
    kind("bytea", &["'\\x'", "'\\x00ff'", "'\\x5c22'"], BASE64),
    kind("\"odd Schema\".\"my \"\"mood\"\"\"", &["'sad'", "'happy'", "'ok'"], TEXT),
    probed("feeling", &["'sad'", "'happy'"], TEXT, &["ok", "glad"]),
    kind("\"odd Schema\".pair", &["'(1,x)'", "'(1,\"y \"\"z\")'", "'(2,)'"], JSON),
    kind("duo", &["'(1,x)'", "'(2,y)'"], JSON),
    kind("jsonb", &["'1'", "'\"a\"'", "'{\"a\": [1]}'"], TEXT),
    kind("int[]", &["'{1,2}'", "'{1}'", "'{}'", "'{{1,2},{3,4}}'"], JSON),
    kind("ints", &["'{1,2}'", "'{7}'"], JSON),
    kind("char(3)[]", &["'{G,GAL}'", "'{G}'"], JSON),
    kind("text[]", &["'{a,b}'", "'{\"a,b\"}'", "'{NULL}'", "'{\"\\\"\\\\\\\\\"}'"], JSON),
    kind("int4range", &["'[1,10)'", "'empty'", "'[1,)'"], TEXT),
    kind("numrange", &["'[1.5,2]'", "'(,2)'"], TEXT),
    kind("tsrange", &["'[2026-01-01 10:00,2026-01-02)'", "'[2026-01-01,)'"], TEXT),
    kind("int4multirange", &["'{[1,3),[5,7)}'", "'{}'"], TEXT),
    kind("tsvector", &["'a b'", "'c'"], TEXT),
    kind("pg_lsn", &["'16/B374D848'", "'0/1'"], TEXT),
    kind("regclass", &["'pg_class'", "'pg_type'"], TEXT),
    kind("regproc", &["'now'", "'to_json'"], TEXT),
    kind("ltree", &["'a.b'", "'a'", "'B'"], TEXT),
];

const CHARS: &str = "CONVERT(? USING utf8mb4)";
const CAST: &str = "CAST(? AS CHAR)";
const FRACTION: &str = "TRIM(TRAILING '0' FROM REPLACE(CAST(? AS CHAR), ' ', 'T'))";
const BYTES: &str = "TO_BASE64(?)";

const MARIADB: &[Kind] = &[
    kind("TINYINT", &["-128", "0", "7", "127"], CAST),
    kind("SMALLINT UNSIGNED", &["0", "7", "65535"], CAST),
    kind("INT", &["-2147483648", "0", "7"], CAST),
    kind("BIGINT", &["-9223372036854775808", "7", "9007199254740993", "9223372036854775807"], CAST),
    kind("BIGINT UNSIGNED", &["0", "7", "18446744073709551614", "18446744073709551615"], CAST),
    probed("DECIMAL(10,2)", &["-1.50", "0.00", "7.00", "7.01"], CAST, &["7.004", "7"]),
    kind("DECIMAL(30,10)", &["7.0000000000", "12345678901234567890.0000000001"], CAST),
    kind("DECIMAL(65,0)", &["7", "99999999999999999999999999999999999999999999999999999999999999999"], CAST),
    kind("FLOAT", &["0.1", "0.2", "7"], CAST),
    kind("DOUBLE", &["0.1", "0.30000000000000004", "7"], CAST),
    kind("BIT(1)", &["0", "1"], "CAST(? + 0 AS CHAR)"),
    kind("BIT(9)", &["0", "7", "511"], "CAST(? + 0 AS CHAR)"),
    kind("YEAR", &["1999", "2026", "2155"], CAST),
    probed("CHAR(3) COLLATE utf8mb4_general_ci", &["'G'", "'GAL'", "''", "'é'"], CHARS, &["g", "G   ", "GALA"]),
    kind("CHAR(3) COLLATE utf8mb4_bin", &["'G'", "'g'", "'GAL'", "''"], CHARS),
    kind("CHAR(3) COLLATE utf8mb4_nopad_bin", &["'G'", "'g'", "''"], CHARS),
    probed("VARCHAR(4) COLLATE utf8mb4_nopad_bin", &["'a'", "'a '", "'A'", "''"], CHARS, &["a  ", "abcde"]),
    kind("VARCHAR(4) COLLATE utf8mb4_unicode_520_ci", &["'a'", "'b'", "''", "'z'"], CHARS),
    kind("VARCHAR(4) CHARACTER SET latin1 COLLATE latin1_german2_ci", &["'a'", "'z'", "'é'"], CHARS),
    kind("VARCHAR(4) CHARACTER SET cp1251", &["'a'", "'ж'"], CHARS),
    kind("VARCHAR(4) CHARACTER SET ucs2", &["'a'", "'ж'"], CHARS),
    kind("BINARY(3)", &["'ab'", "'abc'"], BYTES),
    kind("VARBINARY(4)", &["'ab'", "x'6162FF'", "''"], BYTES),
    probed("DATE", &["'2026-02-28'", "'0044-03-15'"], CAST, &["2026-02-27"]),
    kind("DATETIME", &["'2026-01-02 03:04:05'", "'2026-01-02 03:04:06'"], "REPLACE(CAST(? AS CHAR), ' ', 'T')"),
    probed(
        "DATETIME(3)",
        &["'2026-01-02 03:04:05.67'", "'2026-01-02 03:04:05.671'"],
        FRACTION,
        &["2026-01-02T03:04:05.6704"],
    ),
    kind(
        "TIMESTAMP(2)",
        &["'2026-01-02 03:04:05.6'", "'2026-01-02 03:04:05.61'"],
        "CONCAT(TRIM(TRAILING '0' FROM REPLACE(CAST(? AS CHAR), ' ', 'T')), 'Z')",
    ),
    kind("TIME(1)", &["'-01:02:03.5'", "'100:00:00.1'"], FRACTION),
    kind("UUID", &["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "'00000000-0000-0000-0000-000000000000'"], CAST),
    kind("INET4", &["'192.168.0.1'", "'0.0.0.0'"], CAST),
    kind("INET6", &["'2001:db8::1'", "'::'"], CAST),
];

const SQLITE: &[Kind] = &[
    kind("INTEGER", &["-5", "0", "7", "9223372036854775807"], "?"),
    kind("INT NOT NULL", &["-5", "0", "7"], "?"),
    kind("BIGINT", &["-9223372036854775808", "7"], "?"),
    kind("TEXT", &["'a'", "'a '", "'A'", "''", "'7'"], "?"),
    kind("TEXT NOT NULL", &["'a'", "'B'", "'b'"], "?"),
    probed("CHAR(3) COLLATE NOCASE", &["'G'", "'GAL'", "''", "'é'", "'_'"], "?", &["g", "GALA", "G  "]),
    probed("VARCHAR(4) NOT NULL COLLATE RTRIM", &["'a'", "'b '", "''"], "?", &["a  ", "b"]),
    kind("REAL", &["0.5", "7.0", "-1.25"], "?"),
    kind("NUMERIC NOT NULL", &["7", "1.5"], "?"),
    kind("DECIMAL(5,2)", &["7", "1.25", "1.255"], "?"),
    kind("DATE", &["'2026-02-28'", "'2026-03-01'"], "?"),
    kind("DATETIME NOT NULL", &["'2026-02-28 10:00:00'", "'2026-02-28T10:00:00'"], "?"),
    kind("BOOLEAN", &["0", "1"], "?"),
    kind("", &["1", "'1'", "1.5", "'a'"], "?"),
];
