//! A fleet with one store, and tenants who ask for all kinds of lists of it.

use std::sync::Arc;

use chunkflow::{Change, Identity};
use fastrand::Rng;
use serde_json::{Value, json};

use super::{Program, Read, who};
use crate::{
    servers::{Db, Kind, Server, every_kind},
    support::parse,
};

/// A row of the table.
#[derive(Clone, Debug, PartialEq)]
struct Row {
    id: i64,
    org: Option<i64>,
    team: Option<&'static str>,
    size: Option<i64>,
    secret: String,
}

/// Teams that a database could mistake for one another, if it compared texts otherwise than it is
/// asked to.
const TEAMS: [&str; 6] = ["red", "o'red", "re,d", "50%", "r_d", "(red)"];

impl Row {
    fn new(id: i64, rng: &mut Rng) -> Row {
        let maybe = |rng: &mut Rng, most: i64| (rng.u8(..8) > 0).then(|| rng.i64(0..most));
        Row {
            id,
            org: maybe(rng, 4),
            team: (rng.u8(..8) > 0).then(|| TEAMS[rng.usize(..TEAMS.len())]),
            size: maybe(rng, 10),
            secret: format!("s{}", rng.u16(..)),
        }
    }

    /// Its values as SQL writes them.
    fn values(&self) -> String {
        let text = |text: &str| format!("'{}'", text.replace('\'', "''"));
        let number = |number: Option<i64>| number.map_or("NULL".to_owned(), |number| number.to_string());
        let team = self.team.map_or("NULL".to_owned(), text);
        format!("({}, {}, {team}, {}, {})", self.id, number(self.org), number(self.size), text(&self.secret))
    }
}

/// The table in the database, and what is in it.
struct Table<'d> {
    db: &'d Db,
    rows: Vec<Row>,
    next: i64,
}

impl Table<'_> {
    fn new<'d>(db: &'d Db, rng: &mut Rng) -> Table<'d> {
        db.execute(
            "CREATE TABLE item (id INTEGER PRIMARY KEY, org INTEGER, team VARCHAR(20), size INTEGER, secret VARCHAR(20));",
        );
        let rows: Vec<Row> = (1..=400).map(|id| Row::new(id, rng)).collect();
        let values: Vec<String> = rows.iter().map(Row::values).collect();
        db.execute(&format!("INSERT INTO item VALUES {};", values.join(", ")));
        Table { db, rows, next: 401 }
    }

    /// Writes a row anew, adds one or takes one out, but not this one. Returns the row's key.
    fn change(&mut self, rng: &mut Rng, but: Option<i64>) -> i64 {
        let at = rng.usize(..self.rows.len());
        let id = self.rows[at].id;
        if rng.u8(..4) == 0 || Some(id) == but {
            let row = Row::new(self.next, rng);
            self.next += 1;
            self.db.execute(&format!("INSERT INTO item VALUES {};", row.values()));
            self.rows.push(row);
            return self.next - 1;
        }

        if rng.u8(..4) == 0 {
            self.db.execute(&format!("DELETE FROM item WHERE id = {id};"));
            self.rows.remove(at);
            return id;
        }

        let row = Row::new(id, rng);
        let values = row.values();
        self.db.execute(&format!("DELETE FROM item WHERE id = {id}; INSERT INTO item VALUES {values};"));
        self.rows[at] = row;
        id
    }

    /// The rows as the database sorts them.
    fn sorted(&self, by: &str) -> Vec<&Row> {
        let ids = self.db.query(&format!("SELECT id FROM item ORDER BY {by}")).unwrap().concat();
        let row = |id: &String| self.rows.iter().find(|row| row.id.to_string() == *id).expect("it is there");
        let sorted: Vec<&Row> = ids.iter().map(row).collect();
        assert_eq!(sorted.len(), self.rows.len());
        sorted
    }
}

/// Somebody, and which rows are theirs.
struct Tenant {
    identity: Option<Identity>,
    orgs: Vec<i64>,
    teams: Vec<&'static str>,
    is_admin: bool,
    /// Whether the claims open the list at all.
    is_known: bool,
}

fn tenant(rng: &mut Rng) -> Tenant {
    let orgs: Vec<i64> = (0..rng.usize(..4)).map(|_| rng.i64(0..5)).collect();
    let teams: Vec<&str> = (0..rng.usize(..5)).map(|_| TEAMS[rng.usize(..TEAMS.len())]).collect();
    let is_admin = rng.bool();
    let role = if is_admin { "admin" } else { "user" };

    let org = match &orgs[..] {
        [one] if rng.bool() => json!(one),
        [one] if rng.bool() => json!(one.to_string()),
        orgs => json!(orgs),
    };
    let team = if let [one] = teams[..] { json!(one) } else { json!(teams) };
    let claims = json!({ "sub": rng.u32(..).to_string(), "role": role, "org": org, "team": team });
    let broken = rng.u8(..10);
    let identity = match broken {
        0 => None,
        1 => Some(who(json!({ "sub": "x", "org": org }))),
        2 => Some(who(json!({ "sub": "x", "team": team, "org": { "id": 1 } }))),
        _ => Some(who(claims)),
    };
    Tenant { identity, orgs, teams, is_admin, is_known: broken > 2 }
}

/// Whether a query lets a row through.
type LetsThrough = Box<dyn Fn(&Row) -> bool>;

/// A query, and which rows it lets through.
fn query(rng: &mut Rng) -> (String, LetsThrough) {
    let number = rng.i64(0..10);
    let place = rng.i64(0..400);
    match rng.u8(..10) {
        7 => (
            format!("or=(org.eq.{},size.lt.{number},team.is.null)", number % 4),
            Box::new(move |row| {
                row.org == Some(number % 4) || row.size.is_some_and(|size| size < number) || row.team.is_none()
            }),
        ),
        8 => (
            format!("not.or=(org.eq.1,size.gte.{number})"),
            Box::new(move |row| row.org.is_some_and(|org| org != 1) && row.size.is_some_and(|size| size < number)),
        ),
        9 => (
            format!("org=not.in.(1,{number})&id=not.gt.{place}"),
            Box::new(move |row| row.org.is_some_and(|org| org != 1 && org != number) && row.id <= place),
        ),
        0 | 1 => (String::new(), Box::new(|_| true)),
        2 => (format!("size=eq.{number}"), Box::new(move |row| row.size == Some(number))),
        3 => (format!("id=gt.{place}"), Box::new(move |row| row.id > place)),
        4 => (format!("size=is.null&id=lte.{place}"), Box::new(move |row| row.size.is_none() && row.id <= place)),
        // Nobody's scope is widened by asking for more.
        5 => (
            format!("org=in.(0,1,2,3,{number})"),
            Box::new(move |row| row.org.is_some_and(|org| org < 4 || org == number)),
        ),
        _ => (format!("team=eq.{}", "red"), Box::new(|row| row.team == Some("red"))),
    }
}

/// The orders of the list, as a request asks for them and as SQL writes them.
const ORDERS: [(&str, &str); 4] =
    [("", "id"), ("order=-size", "size DESC, id"), ("order=team,-id", "team, id DESC"), ("order=id", "id")];

/// A fleet of three with one Redis.
fn fleet(db: &Db) -> Vec<Program> {
    let list = "table = \"item\"\nfilters = [\"id\", \"org\", \"team\", \"size\", \"secret\"]\n\
                orders = [\"-size\", \"team,-id\"]\nchunk_rows = 8\nchunk_bytes = \"1B\"\nttl = \"1h\"\n\
                access = \"authenticated\"\nscope = { org = \"org\", team = \"team\" }\n\
                hidden_unless = { role = [\"admin\"], fields = [\"secret\"] }";
    let text = format!(
        "[auth.jwt]\nsecret = \"a secret of a test, which is long enough\"\n\
         [store]\nurl = \"redis://127.0.0.1:{}\"\nprefix = \"tenants-{}:\"\n{}\n",
        Server::shared(Kind::Redis).port,
        db.name(),
        db.config(list),
    );
    let program = |_| {
        let runtime = Arc::new(crate::support::runtime());
        let config = parse(&text).unwrap_or_else(|wrong| panic!("{wrong}"));
        let chunkflow = runtime.block_on(config.open()).unwrap_or_else(|wrong| panic!("{wrong}"));
        Program { chunkflow, runtime }
    };
    (0..3).map(program).collect()
}

/// The cursor of the next page.
fn after(read: &Read) -> Option<String> {
    let link = read.headers.get("link")?.to_str().unwrap();
    Some(link.split_once("after=").unwrap().1.split_once('>').unwrap().0.to_owned())
}

#[test]
fn no_response_holds_a_row_that_is_not_the_asking_tenant_s_and_none_lacks_one_that_is() {
    for (db, seed) in every_kind().iter().zip(1..) {
        let mut rng = Rng::with_seed(seed);
        let mut table = Table::new(db, &mut rng);
        let fleet = fleet(db);
        let mut token: Option<String> = None;
        // A change is told to one server, and the others are asked at least for that.
        let change = |table: &mut Table<'_>, rng: &mut Rng, but| {
            let change = Change::of("list", [table.change(rng, but).to_string()]);
            let program = &fleet[rng.usize(..3)];
            program.runtime.block_on(program.chunkflow.changed(&[change])).unwrap().to_string()
        };

        let mut answered = 0;
        let mut paged = 0;
        for _ in 0..300 {
            let tenant = tenant(&mut rng);
            let (query, lets_through) = query(&mut rng);
            let limit = if rng.u8(..3) > 0 { Some(rng.usize(..12)) } else { None };
            let selects = rng.u8(..4) == 0;
            let (order, by) = ORDERS[rng.usize(..ORDERS.len())];
            let mut parts: Vec<String> =
                [query, order.to_owned()].into_iter().filter(|part| !part.is_empty()).collect();
            parts.extend(limit.map(|limit| format!("limit={limit}")));
            parts.extend(selects.then(|| "select=team,id".to_owned()));
            if rng.u8(..3) == 0 {
                token = Some(change(&mut table, &mut rng, None));
            }

            // The row behind which a page begins, and its cursor.
            let mut behind: Option<(i64, String)> = None;
            loop {
                let mut parts = parts.clone();
                parts.extend(token.as_ref().map(|token| format!("at_least={token}")));
                parts.extend(behind.as_ref().map(|(_, after)| format!("after={after}")));
                let target = format!("/list?{}", parts.join("&"));
                let read = fleet[rng.usize(..3)].get(tenant.identity.as_ref(), &target);
                let told = format!("{} {:?}: {target}", db.name(), tenant.identity.as_ref().map(Identity::claims));
                if !tenant.is_known {
                    assert!([401, 403].contains(&read.status), "{told}: {read:?}");
                    break;
                }

                let is_theirs = |row: &&Row| {
                    row.org.is_some_and(|org| tenant.orgs.contains(&org))
                        && row.team.is_some_and(|team| tenant.teams.contains(&team))
                };
                let shown = |row: &Row| {
                    if selects {
                        return json!({ "team": row.team, "id": row.id });
                    }
                    let mut shown = json!({ "id": row.id, "org": row.org, "team": row.team, "size": row.size });
                    if tenant.is_admin {
                        shown["secret"] = json!(row.secret);
                    }
                    shown
                };
                let sorted = table.sorted(by);
                let place = |(id, _): &(i64, String)| 1 + sorted.iter().position(|row| row.id == *id).unwrap();
                let begin = behind.as_ref().map_or(0, place);
                let rest = sorted[begin..].iter().copied().filter(is_theirs).filter(|row| lets_through(row));
                let expected: Vec<&Row> = rest.take(limit.unwrap_or(usize::MAX)).collect();
                assert_eq!(read.status, 200, "{told}: {read:?}");
                let rows: Vec<Value> = expected.iter().map(|row| shown(row)).collect();
                assert_eq!(read.rows(), rows, "{told}");
                answered += usize::from(!expected.is_empty());
                paged += usize::from(behind.is_some() && !expected.is_empty());

                let next = after(&read).filter(|_| rng.u8(..6) > 0);
                let Some((last, after)) = expected.last().copied().zip(next) else { break };
                behind = Some((last.id, after));
                if rng.bool() {
                    token = Some(change(&mut table, &mut rng, behind.as_ref().map(|(id, _)| *id)));
                }
            }
        }
        assert!(answered > 100 && paged > 30, "{answered} lists had rows, {paged} of them behind a page");
    }
}
