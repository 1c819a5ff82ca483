//! The promise about rows while the data changes: a row that exists and does not change appears
//! exactly once.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use rusqlite::params;

use crate::support::{File, ids};

/// Rows whose id is divisible by three are never touched; the others are inserted, changed and
/// deleted.
fn churn(file: &File, stop: &AtomicBool, written: &AtomicUsize) {
    let connection = file.open();
    let mut random = 42u64;
    let mut roll = |sides: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % sides
    };

    while !stop.load(Ordering::Relaxed) {
        let id = 3 * roll(3_000) as i64 + 1 + roll(2) as i64;
        let result = match roll(3) {
            0 => connection.execute("INSERT OR IGNORE INTO item VALUES (?1, ?2, 'new')", params![id, roll(50) as i64]),
            1 => connection.execute("DELETE FROM item WHERE id = ?1", [id]),
            _ => connection
                .execute("UPDATE item SET place = ?2, name = 'moved' WHERE id = ?1", params![id, roll(50) as i64]),
        };
        result.unwrap();
        written.fetch_add(1, Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(200));
    }
}

#[test]
fn no_untouched_row_is_doubled_or_lost_while_others_come_change_and_go() {
    let file = File::with(
        "PRAGMA journal_mode = WAL;
         CREATE TABLE item (id INTEGER PRIMARY KEY, place INTEGER NOT NULL, name TEXT);
         CREATE INDEX item_place ON item (place DESC, id);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 9000) INSERT INTO item SELECT i, i % 50, 'name ' || i FROM n;",
    );

    let lists = [
        ("cached", "order = [\"id\"]\nttl = \"60s\"", 12),
        ("short-lived, ordered by another column", "order = [\"-place\"]\nttl = \"40ms\"\nstale = \"40ms\"", 12),
        ("never cached", "order = [\"-place\", \"-id\"]\nttl = \"0s\"\nstale = \"0s\"", 4),
    ];

    let stop = AtomicBool::new(false);
    let written = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| churn(&file, &stop, &written));
        let streams: Vec<_> = lists
            .iter()
            .map(|(name, settings, rounds)| {
                let server =
                    file.serve(&format!("table = \"item\"\nchunk_rows = 20\nchunk_bytes = \"1KiB\"\n{settings}"));
                scope.spawn(move || {
                    for round in 0..*rounds {
                        let mut seen: HashMap<u64, u32> = HashMap::new();
                        ids(&server.get("/list")).into_iter().for_each(|id| *seen.entry(id).or_default() += 1);
                        for id in (3..=9_000).step_by(3) {
                            assert_eq!(seen.get(&id), Some(&1), "row {id}, {name}, round {round}");
                        }
                    }
                })
            })
            .collect();
        let ended: Vec<_> = streams.into_iter().map(|stream| stream.join()).collect();
        stop.store(true, Ordering::Relaxed);
        ended.into_iter().for_each(|ended| ended.unwrap());
    });

    assert!(written.load(Ordering::Relaxed) > 100, "somebody wrote all the while");
}
