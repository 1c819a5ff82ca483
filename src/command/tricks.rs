//! The demo's data: a list of tricks for programmers, always the same rows, with text that breaks
//! simple programs.

use std::{
    fs::{self, File},
    path::Path,
};

use anyhow::{Context, Result, bail};
use indicatif::{ProgressBar, ProgressDrawTarget};
use rusqlite::{Connection, OpenFlags, Statement, params};

use super::{
    part::{self, Part},
    progress::with_rate,
};

/// `ckfl`: marks a file as made here. The version changes with the rows.
const APPLICATION: i32 = 0x636b_666c;
const VERSION: i32 = 1;

const SCHEMA: &str = "
CREATE TABLE tricks_category (id INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
CREATE TABLE tricks_technology (id INTEGER PRIMARY KEY, slug TEXT NOT NULL UNIQUE, name TEXT NOT NULL);
CREATE TABLE tricks_trick (
    id INTEGER PRIMARY KEY,
    slug TEXT NOT NULL,
    title TEXT,
    body TEXT,
    publishing_status TEXT NOT NULL,
    created TEXT NOT NULL,
    modified TEXT
);
CREATE TABLE tricks_trick_categories (
    id INTEGER PRIMARY KEY,
    trick_id INTEGER NOT NULL REFERENCES tricks_trick (id),
    category_id INTEGER NOT NULL REFERENCES tricks_category (id),
    UNIQUE (trick_id, category_id)
);
CREATE TABLE tricks_trick_technologies (
    id INTEGER PRIMARY KEY,
    trick_id INTEGER NOT NULL REFERENCES tricks_trick (id),
    technology_id INTEGER NOT NULL REFERENCES tricks_technology (id),
    UNIQUE (trick_id, technology_id)
);
";

const INDEXES: &str = "
CREATE UNIQUE INDEX tricks_trick_slug ON tricks_trick (slug);
CREATE INDEX tricks_trick_created ON tricks_trick (created, id);
";

const CATEGORIES: [&str; 12] = [
    "async",
    "caching",
    "command-line",
    "databases",
    "debugging",
    "deployment",
    "forms",
    "performance",
    "security",
    "streaming",
    "templates",
    "testing",
];

const TECHNOLOGIES: [&str; 40] = [
    "ansible",
    "apache",
    "axum",
    "bash",
    "bootstrap",
    "caddy",
    "celery",
    "css",
    "debian",
    "django",
    "docker",
    "fastapi",
    "flask",
    "git",
    "go",
    "grafana",
    "haproxy",
    "htmx",
    "java",
    "javascript",
    "kubernetes",
    "laravel",
    "linux",
    "mariadb",
    "memcached",
    "mysql",
    "nginx",
    "node",
    "php",
    "postgresql",
    "prometheus",
    "python",
    "rails",
    "redis",
    "ruby",
    "rust",
    "sqlite",
    "systemd",
    "typescript",
    "varnish",
];

const VERBS: [&str; 16] = [
    "Cache", "Stream", "Test", "Trace", "Compress", "Batch", "Retry", "Index", "Paginate", "Mock", "Profile", "Deploy",
    "Secure", "Parse", "Queue", "Log",
];
const OBJECTS: [&str; 16] = [
    "a slow query",
    "a long list",
    "every request",
    "the settings",
    "a background job",
    "a file upload",
    "the admin",
    "a form",
    "a migration",
    "the session",
    "a template",
    "an API",
    "a webhook",
    "a signal",
    "the cache itself",
    "a health check",
];
const MANNERS: [&str; 8] = [
    "in one line",
    "without a lock",
    "with a generator",
    "on every save",
    "before it hurts",
    "the boring way",
    "under load",
    "for free",
];

/// Titles that break simple programs. Each occurs once among the first tricks, and again in every
/// thousand.
const HARD: [&str; 16] = [
    "Say \"quoted\" and 'quoted' and `quoted`",
    "A backslash \\ and a slash / and \\u0041, not escaped",
    "Emoji 🦀 in a family 👨‍👩‍👧‍👦 and a flag 🏳️‍🌈",
    "من اليمين إلى اليسار, then left again",
    "עברית עם 123 מספרים",
    "Tab\there, line\nfeed, return\rand bell\u{7}",
    "Line separator\u{2028}and paragraph separator\u{2029}inside",
    "Next line\u{85}in Latin-1's place, and delete\u{7f}",
    "NUL\u{0}in the middle",
    "</script><script>alert(1)</script> & <b>bold</b>",
    "Комбинирующие е́ знаки и Zalgo t̷o̸o̵",
    "日本語のタイトル、全角スペース　あり",
    "=1+1, a formula for a spreadsheet; and a comma, too",
    " leading and trailing space ",
    "\u{feff}byte order mark and \u{200b}zero width",
    "\u{1}\u{2}\u{3}\u{1f}control\u{10ffff}",
];

/// Makes the file, unless it exists already.
///
/// # Errors
/// When another file has the name, or the file cannot be written.
pub(super) fn make(path: &Path, rows: u32, terminal: bool) -> Result<()> {
    if path.exists() {
        return check(path, rows);
    }
    let Some(part) = part::beside(path) else { bail!("{} is no name of a file", path.display()) };
    let unmade = || format!("the demo's file {} cannot be made; name another with --database", path.display());
    let held = File::create_new(&part).with_context(unmade)?;
    part::hold(&held);
    let part = Part(part);
    let bar = progress_bar(rows, terminal);
    fill(&part.0, rows, &bar).with_context(unmade)?;
    fs::rename(&part.0, path).with_context(|| format!("the demo's file cannot be named {}", path.display()))?;
    bar.finish_and_clear();
    Ok(())
}

/// Whether an existing file is the demo's, with this many rows.
fn check(path: &Path, rows: u32) -> Result<()> {
    let look = || -> rusqlite::Result<(i32, i32, u32)> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let number = |sql: &str| connection.query_row(sql, [], |row| row.get::<_, i64>(0));
        Ok((
            number("PRAGMA application_id")? as i32,
            number("PRAGMA user_version")? as i32,
            number("SELECT count(*) FROM tricks_trick")? as u32,
        ))
    };

    match look() {
        Ok((APPLICATION, VERSION, there)) if there == rows => Ok(()),
        Ok((APPLICATION, VERSION, there)) => {
            bail!(
                "{} holds {there} tricks, not {rows}: pass --rows {there}, or name another file with --database",
                path.display()
            )
        }
        _ => bail!("{} is there and is not this demo's file: name another with --database", path.display()),
    }
}

fn progress_bar(rows: u32, terminal: bool) -> ProgressBar {
    if !terminal || rows < 10_000 {
        return ProgressBar::hidden();
    }
    let style = with_rate("making tricks {wide_bar} {human_pos}/{human_len} rows  {rate}  {eta} left");
    ProgressBar::with_draw_target(Some(rows.into()), ProgressDrawTarget::stderr()).with_style(style)
}

fn fill(path: &Path, rows: u32, bar: &ProgressBar) -> rusqlite::Result<()> {
    let mut connection = Connection::open(path)?;
    // The file is named only when it is complete, so it need not survive a crash.
    connection.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; PRAGMA cache_size = -65536;")?;
    let transaction = connection.transaction()?;
    transaction.execute_batch(SCHEMA)?;
    for (table, names) in [("tricks_category", &CATEGORIES[..]), ("tricks_technology", &TECHNOLOGIES[..])] {
        for name in names {
            transaction.execute(
                &format!("INSERT INTO {table} (slug, name) VALUES (?1, ?2)"),
                params![name, name.replace('-', " ")],
            )?;
        }
    }

    {
        let mut trick = transaction.prepare("INSERT INTO tricks_trick VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?;
        let mut category =
            transaction.prepare("INSERT INTO tricks_trick_categories (trick_id, category_id) VALUES (?1, ?2)")?;
        let mut technology =
            transaction.prepare("INSERT INTO tricks_trick_technologies (trick_id, technology_id) VALUES (?1, ?2)")?;
        for id in 1..=rows {
            insert(id, &mut trick, &mut category, &mut technology)?;
            if id % 10_000 == 0 {
                bar.set_position(id.into());
            }
        }
    }

    transaction.execute_batch(INDEXES)?;
    transaction.pragma_update(None, "application_id", APPLICATION)?;
    transaction.pragma_update(None, "user_version", VERSION)?;
    transaction.commit()?;
    connection.execute_batch("ANALYZE")?;
    connection.close().map_err(|(_, error)| error)
}

fn insert<'c>(
    id: u32,
    trick: &mut Statement<'c>,
    category: &mut Statement<'c>,
    technology: &mut Statement<'c>,
) -> rusqlite::Result<()> {
    let mut dice = Dice(u64::from(id));
    let title = title(id, &mut dice);
    let slug = slug(id, &title);
    let body = (dice.roll(20) > 0).then(|| body(&mut dice));
    let status = ["draft", "published_outdated", "published"][match dice.roll(20) {
        0 if id > 1 => 0,
        1 | 2 => 1,
        _ => 2,
    }];
    let day = |dice: &mut Dice, from: u64| {
        let day = from + dice.roll(1000);
        (
            day,
            format!(
                "20{:02}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
                20 + day / 336,
                1 + day % 336 / 28,
                1 + day % 28,
                dice.roll(24),
                dice.roll(60),
                dice.roll(60)
            ),
        )
    };

    let (from, created) = day(&mut dice, 0);
    let modified = (dice.roll(4) > 0).then(|| day(&mut dice, from + 1).1);
    trick.execute(params![id, slug, title, body, status, created, modified])?;
    for (statement, names, most) in [(category, CATEGORIES.len(), 4), (technology, TECHNOLOGIES.len(), 6)] {
        let mut chosen: Vec<u64> = (0..dice.roll(most)).map(|_| 1 + dice.roll(names as u64)).collect();
        chosen.sort_unstable();
        chosen.dedup();
        for related in chosen {
            statement.execute(params![id, related as i64])?;
        }
    }

    Ok(())
}

/// NULL, empty, 10 KB long, one of the hard titles, or made of words.
fn title(id: u32, dice: &mut Dice) -> Option<String> {
    let words = |dice: &mut Dice| {
        let verb = dice.pick(&VERBS);
        let object = dice.pick(&OBJECTS);
        let manner = dice.pick(&MANNERS);
        format!("{verb} {object} {manner}")
    };

    match id % 1000 {
        n @ 5..=20 => Some(HARD[n as usize - 5].to_owned()),
        21 => None,
        22 => Some(String::new()),
        23 => {
            let mut long = String::new();
            while long.len() < 10_240 {
                long.push_str(&words(dice));
                long.push_str(", ");
            }
            Some(long)
        }
        _ => Some(words(dice)),
    }
}

/// A slug made from the title; now and then one that a URL must encode.
fn slug(id: u32, title: &Option<String>) -> String {
    match id % 1000 {
        5 => format!("ünïcode & spaces/slash?query#{id}"),
        6 => format!("100%-sure-{id}"),
        _ => {
            let words = title.as_deref().unwrap_or_default().chars().take(60);
            let plain: String =
                words.map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '-' }).collect();
            format!("{}-{id}", plain.split('-').filter(|word| !word.is_empty()).collect::<Vec<_>>().join("-"))
        }
    }
}

fn body(dice: &mut Dice) -> String {
    let sentences = 1 + dice.roll(3);
    (0..sentences).map(|_| format!("{} {} {}. ", dice.pick(&VERBS), dice.pick(&OBJECTS), dice.pick(&MANNERS))).collect()
}

/// SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): the same rolls on every machine.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % sides
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.roll(from.len() as u64) as usize]
    }
}
