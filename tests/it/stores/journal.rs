//! The journal in real Redis and Memcached, and what happens to it when they fail.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use chunkflow::{
    Kind as ErrorKind, Secret, Token,
    store::{Agreement, News, StoreOptions, open_store},
};
use futures_util::future::join_all;
use tokio::runtime::Runtime;

use super::options;
use crate::{
    firewall::Firewall,
    machines::{Cluster, Sentinels, cli, delete, order},
    servers::{Kind, Server},
    support::{runtime, until},
};

/// A server, as far as the journal goes.
struct Member {
    runtime: Arc<Runtime>,
    agreement: Arc<dyn Agreement>,
}

impl Member {
    fn of(options: &StoreOptions) -> Member {
        Member::on(&Arc::new(runtime()), options)
    }

    fn on(runtime: &Arc<Runtime>, options: &StoreOptions) -> Member {
        let store = runtime.block_on(async { open_store(options).unwrap() });
        Member { runtime: Arc::clone(runtime), agreement: Arc::clone(store.agreement().unwrap()) }
    }

    fn try_tell(&self, entry: &str) -> chunkflow::Result<Token> {
        self.runtime.block_on(self.agreement.tell(entry.to_owned().into()))
    }

    fn tell(&self, entry: &str) -> Token {
        self.try_tell(entry).unwrap()
    }

    fn try_news(&self, since: Option<Token>) -> chunkflow::Result<News> {
        self.runtime.block_on(self.agreement.news(since))
    }

    fn head(&self) -> Token {
        self.try_news(None).unwrap().head
    }

    /// What it hears behind `since`.
    fn hears(&self, since: Token) -> (Option<Vec<Bytes>>, Token) {
        let News { head, entries, .. } = self.try_news(Some(since)).unwrap();
        (entries, head)
    }
}

/// Epoch and number of a position, as in the name of its entry.
fn place(at: Token) -> String {
    format!("{:016x}.{}", at.epoch, at.number)
}

const KINDS: [Kind; 2] = [Kind::Redis, Kind::Memcached];

fn entries(texts: &[&str]) -> Option<Vec<Bytes>> {
    Some(texts.iter().map(|text| Bytes::from(text.to_string())).collect())
}

fn address(url: &str, prefix: &str) -> StoreOptions {
    StoreOptions::new(url).with(|store| {
        store.prefix = format!("{prefix}:");
        store.near = 0;
    })
}

/// Eight servers tell 200 entries each at the same time, and a ninth looks every few milliseconds.
fn eight_tell(options: &StoreOptions) {
    let runtime = Arc::new(runtime());
    let members: Vec<Member> = (0..8).map(|_| Member::on(&runtime, options)).collect();
    let reader = Member::on(&runtime, options);
    let start = reader.head();
    let tellers = members.iter().enumerate().map(|(teller, member)| async move {
        let mut told = vec![];
        for n in 0..200 {
            let body = Bytes::from(format!("{teller} {n}"));
            told.push((member.agreement.tell(body.clone()).await.unwrap().number, body));
        }
        told
    });
    let reading = async {
        let mut heard: Vec<Bytes> = vec![];
        let mut since = start;
        while heard.len() < 1_600 {
            let News { head, entries, .. } = reader.agreement.news(Some(since)).await.unwrap();
            heard.extend(entries.expect("nothing is lost"));
            since = head;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        heard
    };
    let (told, heard) = runtime.block_on(async { tokio::join!(join_all(tellers), reading) });

    let mut told = told.concat();
    told.sort_unstable();
    let numbers: Vec<u64> = told.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, (start.number + 1..=start.number + 1_600).collect::<Vec<_>>());
    assert_eq!(heard, told.into_iter().map(|(_, body)| body).collect::<Vec<_>>());
}

#[test]
fn of_eight_servers_that_tell_the_journal_at_once_no_two_share_a_number_and_a_reader_hears_all_in_order() {
    for kind in KINDS {
        eight_tell(&options(Server::shared(kind), "journal-eight", 0));
    }
}

#[test]
fn an_entry_of_the_journal_that_the_store_has_dropped_is_a_loss() {
    for kind in KINDS {
        let server = Server::shared(kind);
        let member = Member::of(&options(server, "journal-hole", 0));
        let start = member.tell("a");
        let hole = member.tell("b");
        let last = member.tell("c");
        delete(server, &format!("journal-hole:j:{{journal-hole:}}:{}", place(hole)));
        assert_eq!(member.hears(start), (None, last), "{kind:?}");
        assert_eq!(member.hears(hole), (entries(&["c"]), last), "{kind:?}");
    }
}

#[test]
fn a_journal_whose_head_or_all_of_it_is_dropped_goes_on_in_another_epoch() {
    for kind in KINDS {
        let server = Server::start(kind);
        let [member, other] = [(); 2].map(|()| Member::of(&options(&server, "journal", 0)));
        let mut since = other.head();
        for loss in ["the head", "all", "all again"] {
            member.tell("a");
            match loss {
                "the head" => delete(&server, "journal:j:{journal:}"),
                _ => order(&server, &["FLUSHALL"], "flush_all"),
            }
            let (lost, next) = other.hears(since);
            assert!(lost.is_none() && next.epoch != since.epoch, "{kind:?}, {loss}");
            let last = member.tell("b");
            assert_eq!(other.hears(next), (entries(&["b"]), last), "{kind:?}, {loss}");
            since = last;
        }
    }
}

#[test]
fn a_restart_of_the_store_loses_the_journal_and_a_store_that_is_away_takes_no_entry_and_says_so_in_time() {
    for kind in KINDS {
        let server = Server::start(kind);
        let member = Member::of(&options(&server, "journal", 0));
        let start = member.tell("a");
        for (away, back) in [(("kill", "killed"), ("start", "ready")), (("pause", "paused"), ("go", "going"))] {
            server.order(away.0, away.1);
            for _ in 0..8 {
                let began = Instant::now();
                let errors = [member.try_tell("b").unwrap_err(), member.try_news(Some(start)).unwrap_err()];
                assert!(began.elapsed() < Duration::from_millis(1_500), "{kind:?}: {:?}", began.elapsed());
                let kinds = [ErrorKind::Unavailable, ErrorKind::Timeout, ErrorKind::Refused];
                assert!(errors.iter().all(|error| kinds.contains(&error.kind())), "{kind:?}: {errors:?}");
            }
            server.order(back.0, back.1);
            until("it takes entries again", || member.try_tell("c").is_ok());
        }
        let (lost, next) = member.hears(start);
        assert!(lost.is_none() && next.epoch != start.epoch, "{kind:?}");
    }
}

#[test]
fn after_connections_that_fell_silent_the_journal_goes_on_and_nothing_is_there_twice() {
    for kind in KINDS {
        let server = Server::start(kind);
        let way = Firewall::before(server.port);
        let scheme = if kind == Kind::Redis { "redis" } else { "memcached" };
        let member = Member::of(&address(&format!("{scheme}://{}", way.address), "journal"));
        let start = member.tell("start");
        let mut told = vec![];
        for round in 0..3 {
            // Over each of its connections.
            (0..3).for_each(|n| told.push((member.tell(&format!("{round} {n}")), format!("{round} {n}"))));
            // Only connections that have not answered since count as silent.
            std::thread::sleep(Duration::from_millis(10));
            way.silence();
            assert_eq!(member.try_tell("lost").unwrap_err().kind(), ErrorKind::Timeout, "{kind:?}");
            until("it tells again", || member.try_tell("again").map(|at| told.push((at, "again".into()))).is_ok());
        }

        let (heard, head) = member.hears(start);
        assert_eq!(head, told.last().unwrap().0, "{kind:?}");
        let heard = heard.expect("nothing is lost");
        assert_eq!(heard.len(), told.len(), "{kind:?}: {heard:?}");
        for (at, entry) in told {
            assert_eq!(heard[(at.number - start.number) as usize - 1], entry, "{kind:?}");
        }
    }
}

#[test]
fn a_redis_that_went_back_is_a_loss_to_all_where_others_have_written_over_it() {
    for others in [1, 2, 3] {
        let server = Server::start(Kind::Redis);
        let [knows, late] = [(); 2].map(|()| Member::of(&options(&server, "journal", 0)));
        let start = late.tell("a");
        let name = "journal:j:{journal:}";
        let earlier = cli(&server, &["GET", name]);
        knows.tell("b");
        let since = knows.tell("c");
        // As a replica that has not heard of the last two.
        cli(&server, &["SET", name, earlier.trim()]);
        for _ in 0..others {
            late.tell("other");
        }

        let (lost, next) = knows.hears(since);
        assert!(lost.is_none() && next.epoch != start.epoch, "{others}: {next}");
        assert_eq!(late.hears(start), (None, next), "{others}");
        let last = late.tell("d");
        assert_eq!(knows.hears(next), (entries(&["d"]), last), "{others}");
    }
}

#[test]
fn a_memcached_writer_that_died_before_it_moved_the_head_does_not_stop_the_others() {
    let server = Server::start(Kind::Memcached);
    let member = Member::of(&options(&server, "journal", 0));
    let start = member.tell("a");
    // The next entry is there, and nobody will move the head to it.
    let next = Token { number: 2, mark: 0, ..start };
    let name = format!("journal:j:{{journal:}}:{}", place(next));
    order(&server, &[], &format!("set {name} 0 60 1\r\nx"));
    let last = member.tell("b");
    assert_eq!((last.epoch, last.number), (start.epoch, 3));
    assert_eq!(member.hears(start), (None, last), "what it has written was no entry");
    assert_eq!(member.hears(next), (entries(&["b"]), last));
}

#[test]
fn a_store_under_pressure_that_drops_entries_never_hides_one() {
    let bounded = ["--maxmemory", "3mb", "--maxmemory-policy", "allkeys-lru"];
    for (kind, arguments) in [(Kind::Redis, &bounded[..]), (Kind::Memcached, &["-m", "3"])] {
        let server = Server::start_with(kind, arguments);
        let [member, reader] = [(); 2].map(|()| Member::of(&options(&server, "journal", 0)));
        let mut since = reader.head();
        let mut told = 0;
        let mut heard = 0;
        let mut losses = 0;
        for round in 0..40 {
            // Longer each time, until it is more than the store holds.
            for n in 0..round * 4 {
                if member.try_tell(&format!("{told} {}", "x".repeat(40_000 + n))).is_ok() {
                    told += 1;
                }
            }
            let (entries, next) = reader.hears(since);
            match entries {
                Some(entries) => {
                    let numbers = entries
                        .iter()
                        .map(|entry| String::from_utf8_lossy(entry).split(' ').next().unwrap().parse::<u64>().unwrap());
                    assert_eq!(numbers.collect::<Vec<_>>(), (heard..told).collect::<Vec<_>>(), "{kind:?}");
                }
                None => losses += 1,
            }
            heard = told;
            since = next;
        }
        assert!(losses > 0 && losses < 40, "{kind:?}: {losses}");
    }
}

#[test]
fn with_a_secret_only_entries_by_servers_that_know_it_are_heard() {
    let secret = |texts: &[&str]| {
        let long = |text: &&str| format!("{text}, a secret of thirty-two bytes or more");
        Secret::new(&texts.iter().map(long).collect::<Vec<_>>()).unwrap()
    };
    for kind in KINDS {
        let server = Server::shared(kind);
        let with = |texts: Option<&[&str]>| {
            let options = options(server, "journal-secret", 0);
            Member::of(&options.with(|store| store.secret = texts.map(secret)))
        };
        let [old, both, new, none] = [Some(&["a"][..]), Some(&["b", "a"]), Some(&["b"]), None].map(with);
        let start = old.tell("old");
        let middle = both.tell("new");
        assert_eq!(
            both.hears(Token { number: start.number - 1, mark: 0, ..start }),
            (entries(&["old", "new"]), middle)
        );
        assert_eq!(old.hears(start), (None, middle), "{kind:?}: a server that does not know the new one yet");
        assert_eq!(new.hears(start), (entries(&["new"]), middle), "{kind:?}");
        let last = none.tell("forged");
        assert_eq!(new.hears(middle), (None, last), "{kind:?}");
        assert_eq!(none.hears(start), (entries(&["new", "forged"]), last), "{kind:?}");
    }
}

#[test]
fn a_cluster_keeps_the_journal_on_one_master_and_after_its_death_goes_on_or_begins_anew() {
    let cluster = Cluster::start();
    eight_tell(&address(&cluster.url, "eight"));

    // One journal on each master, since each prefix has its place.
    let prefixes = ["one", "two", "three", "four", "five", "six"];
    let members: Vec<Member> = prefixes.iter().map(|prefix| Member::of(&address(&cluster.url, prefix))).collect();
    let starts: Vec<Token> = members.iter().map(|member| member.tell("a")).collect();
    cluster.kill_first();
    for (member, start) in members.iter().zip(starts) {
        let mut since = start;
        until("it takes entries again", || member.try_tell("b").is_ok());
        let (heard, next) = member.hears(since);
        assert!(heard.is_none_or(|heard| !heard.is_empty() && heard.iter().all(|entry| entry == "b")));
        since = next;
        let last = member.tell("c");
        assert_eq!(member.hears(since), (entries(&["c"]), last));
    }
}

/// A replica that never heard of the last two of three entries, and leads now.
struct FailedOver {
    _sentinels: Sentinels,
    /// A server that told them, and one that has heard of the first alone.
    knows: Member,
    late: Member,
    start: Token,
    since: Token,
}

fn failed_over() -> FailedOver {
    let sentinels = Sentinels::start();
    let [knows, late] = [(); 2].map(|()| Member::of(&address(&sentinels.url, "journal")));
    let start = late.tell("a");
    let has = |server: &Server| cli(server, &["GET", "journal:j:{journal:}"]);
    until("the replica has it", || has(&sentinels.replica) == has(&sentinels.master));

    // The replica hears nothing any more of what the master is told.
    cli(&sentinels.replica, &["replicaof", "127.0.0.1", "1"]);
    let earlier = has(&sentinels.replica);
    knows.tell("b");
    let since = knows.tell("c");
    sentinels.kill_master();
    assert_eq!(has(&sentinels.replica), earlier);
    FailedOver { _sentinels: sentinels, knows, late, start, since }
}

#[test]
fn after_a_failover_by_sentinel_a_server_puts_back_what_the_replica_has_not_heard_and_nothing_is_lost() {
    let FailedOver { _sentinels, knows, late, start, since } = failed_over();
    until("a server that has heard more looks", || {
        knows.try_news(Some(since)).is_ok_and(|news| news.entries.is_some_and(|entries| entries.is_empty()))
    });
    assert_eq!(late.hears(start), (entries(&["b", "c"]), since));
    let last = late.tell("d");
    assert_eq!((last.epoch, last.number), (start.epoch, since.number + 1));
    assert_eq!(knows.hears(since), (entries(&["d"]), last));
}

#[test]
fn after_a_failover_by_sentinel_what_others_have_written_over_is_a_loss_and_nothing_is_hidden() {
    let FailedOver { _sentinels, knows, late, start, since } = failed_over();
    until("it takes entries", || late.try_tell("other").is_ok());
    until("a server that has heard more says so", || {
        knows.try_news(Some(since)).is_ok_and(|news| news.entries.is_none() && news.head.epoch != start.epoch)
    });
    until("and the other hears of it", || late.try_news(Some(start)).is_ok_and(|news| news.entries.is_none()));
    let next = knows.head();
    let last = late.tell("d");
    assert_eq!(knows.hears(next), (entries(&["d"]), last));
}

#[test]
fn the_journal_of_several_memcached_nodes_is_on_one_and_while_that_is_away_telling_and_reading_fail() {
    let nodes: Vec<Server> = (0..3).map(|_| Server::start(Kind::Memcached)).collect();
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let [member, other] =
        [(); 2].map(|()| Member::of(&address(&format!("memcached://{}", hosts.join(",")), "journal")));
    let start = member.tell("a");
    let mut away = 0;
    for node in &nodes {
        node.order("kill", "killed");
        // More often than it takes until a node is left alone.
        let told = (0..8).map(|_| member.try_tell("b")).collect::<Vec<_>>();
        let all = told.iter().all(Result::is_ok);
        assert!(all || told.iter().all(Result::is_err), "{told:?}");
        assert_eq!(other.try_news(Some(start)).is_ok(), all, "both servers see the same");
        away += u32::from(!all);
        node.order("start", "ready");
        until("it takes entries again", || member.try_tell("c").is_ok() && other.try_news(None).is_ok());
    }
    assert_eq!(away, 1);
    assert_eq!(other.hears(start).0, None, "what the node held is lost");
}

#[test]
fn a_user_with_the_rights_that_chunks_need_may_keep_a_journal_too() {
    let server = Server::start(Kind::Redis);
    cli(&server, &["ACL", "SETUSER", "chunkflow", "on", ">secret", "~journal:*", "+get", "+set", "+eval", "+del"]);
    let url = format!("redis://chunkflow:secret@127.0.0.1:{}", server.port);
    let member = Member::of(&address(&url, "journal"));
    let start = member.head();
    let last = member.tell("a");
    assert_eq!(member.hears(start), (entries(&["a"]), last));
}

#[test]
fn a_journal_is_kept_through_twemproxy_before_several_redis() {
    let nodes = [(); 2].map(|()| Server::start(Kind::Redis));
    let ports = nodes.each_ref().map(|node| node.port.to_string());
    let proxy = Server::start_with(Kind::Twemproxy, &["true", &ports[0], &ports[1]]);
    eight_tell(&address(&format!("redis://127.0.0.1:{}", proxy.port), "journal"));
}

/// An entry as docs/stores.md draws it, without a secret.
fn drawn(epoch: u64, number: u64, mark: u64, before: u64, body: &[u8]) -> Vec<u8> {
    let mut rest: Vec<u8> = [epoch, number, mark, before].iter().flat_map(|value| value.to_le_bytes()).collect();
    rest.extend([body.len() as u32, 0].iter().flat_map(|length| length.to_le_bytes()));
    rest.extend(body);
    [&b"ckj1"[..], &crc32fast::hash(&rest).to_le_bytes(), &rest].concat()
}

#[test]
fn a_program_in_another_language_writes_as_the_page_on_stores_says_and_servers_hear_it() {
    let page = include_str!("../../../docs/stores.md");
    let script = page.split_once("```lua\n").unwrap().1.split_once("```").unwrap().0;
    let server = Server::start(Kind::Redis);
    let client = redis::Client::open(super::url(&server)).unwrap();
    let mut connection = client.get_connection().unwrap();
    let mut eval = |from: &str, to: &str, entry: &[u8]| -> (String, u8) {
        let at = to.rsplit_once('.').unwrap().0;
        let mut command = redis::cmd("EVAL");
        command.arg(script).arg(2).arg("journal:j:{journal:}").arg(format!("journal:j:{{journal:}}:{at}"));
        command.arg(from).arg(to).arg(entry).arg(60_000).query(&mut connection).unwrap()
    };

    // It is the first.
    let first = "00000000000000ff.1.0000000000000007";
    let entry = drawn(0xff, 1, 7, 6, b"first");
    assert_eq!(eval("", first, &entry), (first.into(), 1));
    assert_eq!(eval("", first, &entry), (first.into(), 1), "if no answer came it asks again");
    let member = Member::of(&options(&server, "journal", 0));
    let start: Token = "00000000000000ff.0".parse().unwrap();
    assert_eq!(member.hears(start).0, entries(&["first"]));

    // Another was faster.
    let second = member.tell("second");
    assert!(second.to_string().starts_with("00000000000000ff.2."), "{second}");
    let late = "00000000000000ff.2.0000000000000008";
    let (head, kept) = eval(first, late, &drawn(0xff, 2, 8, 7, b"late"));
    assert_eq!((head.rsplit_once('.').unwrap().0, kept), ("00000000000000ff.2", 0));
    let before = u64::from_str_radix(head.rsplit_once('.').unwrap().1, 16).unwrap();
    let third = "00000000000000ff.3.0000000000000008";
    assert_eq!(eval(&head, third, &drawn(0xff, 3, 8, before, b"third")), (third.into(), 1));
    assert_eq!(eval(first, late, &drawn(0xff, 2, 8, 7, b"late")), (third.into(), 0));
    assert_eq!(member.hears(start).0, entries(&["first", "second", "third"]));
}
