//! `limit`, `after`, `download` and filters.

use crate::support::{File, Numbers, Running, ids, numbered, serve_numbers};

#[test]
fn a_limit_gives_the_first_rows_and_the_place_to_go_on() {
    let source = Numbers::new(1_000, 300);
    let server = serve_numbers(&source);
    for step in [1, 7, 50, 333, 999, 1_000, 5_000] {
        let mut target = format!("/numbers?limit={step}");
        let mut seen = vec![];
        loop {
            let reply = server.get(&target);
            let part = ids(&reply);
            assert!(part.len() <= step);
            seen.extend(part);
            match reply.next("/numbers") {
                Some(next) => target = next,
                None => break,
            }
        }
        assert_eq!(seen, (1..=1_000).collect::<Vec<_>>(), "in steps of {step}");
    }

    assert_eq!(server.get("/numbers?limit=0").body, br#"{"results":[]}"#);
    assert_eq!(ids(&server.get("/numbers?limit=18446744073709551615")).len(), 1_000);
}

#[test]
fn filters_give_the_rows_that_sql_gives() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, price REAL, note TEXT);
         INSERT INTO item VALUES (1,'a',1.5,NULL),(2,'b',2,'x'),(3,'b,c',3.25,'y'),(4,'O''Reilly',-4,''),(5,'a',0,'50%'),(6,NULL,NULL,'50')",
    );

    let server = file.serve("table = \"item\"\nfilters = [\"id\", \"name\", \"price\", \"note\"]");
    for (query, expected) in [
        ("id=eq.3", vec![3]),
        ("id=gt.2&id=lte.5", vec![3, 4, 5]),
        ("id=neq.3", vec![1, 2, 4, 5, 6]),
        ("id=in.(1,5,99)", vec![1, 5]),
        ("id=in.()", vec![]),
        ("name=eq.a", vec![1, 5]),
        ("name=in.(%22b,c%22,b)", vec![2, 3]),
        ("name=eq.O'Reilly", vec![4]),
        ("name=eq.O%27Reilly", vec![4]),
        ("name=eq.%27%20OR%201=1%20--", vec![]),
        ("name=like.b*", vec![2, 3]),
        ("note=like.50%25", vec![5, 6]),
        ("note=is.null", vec![1]),
        ("note=is.not_null&price=gte.2", vec![2, 3]),
        ("price=lt.1.5", vec![4, 5]),
        ("price=gt.-1e3", vec![1, 2, 3, 4, 5]),
        ("note=eq.", vec![4]),
    ] {
        assert_eq!(ids(&server.get(&format!("/list?{query}"))), expected, "{query}");
        assert_eq!(ids(&server.get(&format!("/list?{query}"))), expected, "{query}, warm");
    }
}

#[test]
fn a_place_with_an_encoded_name_is_replaced_in_the_next_link_too() {
    let server = serve_numbers(&Numbers::new(20, 1));
    let next = |reply: &crate::support::Reply| reply.next("/numbers").unwrap();
    let second = next(&server.get("/numbers?limit=2")).replace("after=", "%61fter=");
    let third = server.get(&next(&server.get(&second)));
    assert_eq!(ids(&third), [5, 6]);
    assert_eq!(server.get("/numbers?limit=0").header("cache-status"), "chunkflow; fwd=miss");
}

#[test]
fn a_pattern_that_would_take_forever_is_refused_and_a_slow_one_is_stopped() {
    let file = File::with(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, text TEXT);
         WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 20000) INSERT INTO item SELECT i, replace(hex(zeroblob(2000)), '0', 'a') FROM n;",
    );
    let config = file.config("table = \"item\"\nfilters = [\"text\"]");
    let config = config.replace("main = \"sqlite:", "main = { url = \"sqlite:").replacen(
        "\"\n\n",
        "\", pool = 1, timeout = \"300ms\" }\n\n",
        1,
    );
    let server = Running::config(&config);
    assert_eq!(server.get(&format!("/list?text=like.*{}b*", "a".repeat(200))).status, 400);
    assert_eq!(server.get(&format!("/list?text=like.*{}b*", "a".repeat(120))).status, 504);
    assert_eq!(server.get("/list?limit=1").status, 200, "and the only connection is free again");
}

#[test]
fn filters_with_lists_of_every_length_are_one_statement() {
    let file = numbered(3_000);
    let server = file.serve("table = \"item\"");
    for length in [1, 2, 500, 999] {
        let list: Vec<String> = (1..=length).map(|id| (id * 3).to_string()).collect();
        assert_eq!(ids(&server.get(&format!("/list?id=in.({})", list.join(",")))).len(), length);
    }
}

#[test]
fn a_list_is_saved_under_its_own_name_or_the_one_that_is_asked_for() {
    let file = numbered(10);
    let server = file.serve("table = \"item\"");
    let named = |target: &str| server.get(target).header("content-disposition").to_owned();
    for (target, expected) in [
        ("/list?download", r#"attachment; filename="list.json""#),
        ("/list.csv?download=", r#"attachment; filename="list.csv""#),
        ("/list.ndjson?limit=3&download=items+of+today.txt", r#"attachment; filename="items of today.txt""#),
        (
            "/list?download=a%22b%5B1%5D.json",
            r#"attachment; filename="a_b[1].json"; filename*=UTF-8''a%22b%5B1%5D.json"#,
        ),
        (
            "/list?download=%E2%82%AC%20rates.json",
            r#"attachment; filename="_ rates.json"; filename*=UTF-8''%E2%82%AC%20rates.json"#,
        ),
        ("/list?limit=3", ""),
    ] {
        assert_eq!(named(target), expected, "{target}");
        let head = crate::support::ask(server.address, "HEAD", target, &[]);
        assert_eq!(head.header("content-disposition"), expected, "{target}");
    }

    let page = server.get("/list?download=page.json&limit=3");
    assert!(page.header("link").starts_with("<?download=page.json&limit=3&after="), "{}", page.header("link"));

    for wrong in ["download=a/b", "download=..%5Cb", "download=..", "download=a%0Ab", "download=a&download=b"] {
        let reply = server.get(&format!("/list?{wrong}"));
        assert_eq!((reply.status, reply.header("content-disposition")), (400, ""), "{wrong}");
    }
    assert_eq!(server.get(&format!("/list?download={}", "a".repeat(256))).status, 400);
    assert_eq!(server.get("/nothing?download").header("content-disposition"), "", "a problem is no file");
}
