//! A fleet with one store, and tenants who ask for all kinds of lists of it.

use chunkflow::{Access, Identity, source::Spec, store::open_store};
use fastrand::Rng;
use serde_json::{Value, json};

use super::{Program, who};
use crate::{
    servers::{Db, Kind, Server, every_kind},
    stores::options,
};

/// A row of the table.
#[derive(Clone, Debug)]
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

fn table(db: &Db, rng: &mut Rng) -> Vec<Row> {
    db.execute(
        "CREATE TABLE item (id INTEGER PRIMARY KEY, org INTEGER, team VARCHAR(20), size INTEGER, secret VARCHAR(20));",
    );
    let maybe = |rng: &mut Rng, most: i64| (rng.u8(..8) > 0).then(|| rng.i64(0..most));
    let rows: Vec<Row> = (1..=400)
        .map(|id| Row {
            id,
            org: maybe(rng, 4),
            team: (rng.u8(..8) > 0).then(|| TEAMS[rng.usize(..TEAMS.len())]),
            size: maybe(rng, 10),
            secret: format!("s{id}"),
        })
        .collect();

    let text = |text: Option<&str>| text.map_or("NULL".to_owned(), |text| format!("'{}'", text.replace('\'', "''")));
    let number = |number: Option<i64>| number.map_or("NULL".to_owned(), |number| number.to_string());
    let values: Vec<String> = rows
        .iter()
        .map(|row| {
            format!("({}, {}, {}, {}, '{}')", row.id, number(row.org), text(row.team), number(row.size), row.secret)
        })
        .collect();
    db.execute(&format!("INSERT INTO item VALUES {};", values.join(", ")));
    rows
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

#[test]
fn no_response_holds_a_row_that_is_not_the_asking_tenant_s_and_none_lacks_one_that_is() {
    for (db, seed) in every_kind().iter().zip(1..) {
        let mut rng = Rng::with_seed(seed);
        let rows = table(db, &mut rng);
        let spec = Spec::of("item").with(|spec| {
            spec.filters = Some(["id", "org", "team", "size", "secret"].map(str::to_owned).to_vec());
        });
        let access = || {
            Access::authenticated().scoped("org", "org").scoped("team", "team").hiding(["secret"], "role", ["admin"])
        };
        let options = options(Server::shared(Kind::Redis), &format!("tenants-{}", db.name()), 1 << 20);
        let fleet: Vec<Program> = (0..3)
            .map(|_| {
                let runtime = std::sync::Arc::new(crate::support::runtime());
                let chunkflow = runtime.block_on(async {
                    let database = super::opened(db).await;
                    let store = open_store(&options).unwrap();
                    chunkflow::Chunkflow::new(store).with(super::list(&database, &spec, access()).await)
                });
                Program { chunkflow, runtime }
            })
            .collect();

        let mut answered = 0;
        for _ in 0..400 {
            let tenant = tenant(&mut rng);
            let (query, lets_through) = query(&mut rng);
            let limit = if rng.bool() { Some(rng.usize(..30)) } else { None };
            let selects = rng.u8(..4) == 0;
            let mut parts: Vec<String> = vec![];
            parts.extend(Some(query).filter(|query| !query.is_empty()));
            parts.extend(limit.map(|limit| format!("limit={limit}")));
            parts.extend(selects.then(|| "select=team,id".to_owned()));
            let target = format!("/list?{}", parts.join("&"));

            let read = fleet[rng.usize(..3)].get(tenant.identity.as_ref(), &target);
            let told = format!("{} {:?}: {target}", db.name(), tenant.identity.as_ref().map(Identity::claims));
            if !tenant.is_known {
                assert!([401, 403].contains(&read.status), "{told}: {read:?}");
                continue;
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
            let expected = rows.iter().filter(is_theirs).filter(|row| lets_through(row));
            let expected: Vec<Value> = expected.take(limit.unwrap_or(usize::MAX)).map(shown).collect();
            assert_eq!(read.status, 200, "{told}: {read:?}");
            assert_eq!(read.rows(), expected, "{told}");
            answered += usize::from(!expected.is_empty());
        }
        assert!(answered > 100, "{answered} lists had rows");
    }
}
