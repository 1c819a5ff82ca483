//! The model of told changes: servers over one store, writers who tell what they have changed, and
//! clients who read lists, all in one thread whose clock stands still while anything can run.
//!
//! Each run is drawn from its seed. Only the order in which tokio wakes several tasks that wait for
//! one load is not: it draws that by itself. So a run that has failed is repeated until it fails
//! again. What every list shows is checked against the history of the tables:
//!
//! - a list that begins after a tell has returned on its server shows no row as it was before; nor
//!   does one on another server two seconds later, or at once if it is asked for with the token;
//! - a row that nobody changes meanwhile is in it once if it belongs there, and else not at all;
//! - each row is one that the tables had, and meets the list's conditions.
//!
//! `tests/it/told/model.rs` checks the same over real servers, with real time.

#![expect(clippy::print_stderr, reason = "it runs at length, and says how far it is")]

mod aged;
mod clients;
mod failover;
mod faults;
mod fleet;
mod history;
mod hot;
mod late;
mod plan;
mod wanted;
mod writers;

use std::{
    env,
    time::{Duration, Instant},
};

use futures_util::future::{join, join_all};

use self::{fleet::World, plan::Plan};

/// How many runs there are, where nobody asks for more.
const RUNS: u64 = 1_200;

/// For how many seconds the runs go on, in place of `RUNS`.
const SECONDS: &str = "CHUNKFLOW_MODEL_SECONDS";
/// The seed of the first run.
const SEED: &str = "CHUNKFLOW_MODEL_SEED";
/// How often a run is repeated, if a seed is given and no time.
const REPEATS: u64 = 200;

/// Says which run has failed.
struct Running(u64);

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let Running(seed) = self;
            eprintln!("to repeat this run of the model: {SEED}={seed} cargo test --lib web::model");
        }
    }
}

/// Runs something with this seed, in a time of its own.
fn in_time<T>(seed: u64, work: impl AsyncFnOnce() -> T) -> T {
    let _running = Running(seed);
    fastrand::seed(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(work())
}

/// A run. Returns how many lists were checked, and a digest of all that happened.
fn run(seed: u64, change: impl FnOnce(Plan) -> Plan) -> (u64, u64) {
    in_time(seed, async || {
        let plan = change(Plan::draw());
        let world = World::new(plan);
        let writers = join_all((0..plan.writers).map(|_| writers::write(&world)));
        let clients = join_all((0..plan.clients).map(|_| clients::read(&world)));
        join(join(writers, clients), faults::make(&world)).await;
        world.history().outcome()
    })
}

/// A number in the environment.
fn number(name: &str) -> Option<u64> {
    let text = env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is no number: {text}")))
}

#[test]
fn in_no_interleaving_does_a_list_show_a_row_as_before_its_change_was_told_or_lose_or_double_another() {
    let began = Instant::now();
    let seconds = number(SECONDS).map(Duration::from_secs);
    let first = number(SEED).unwrap_or(0);
    if seconds.is_none() && number(SEED).is_some() {
        for _ in 0..REPEATS {
            run(first, |plan| plan);
        }
        return;
    }

    let mut said = 0;
    let mut lists = 0;
    for seed in first.. {
        lists += run(seed, |plan| plan).0;
        let runs = seed - first + 1;
        let is_over = seconds.map_or(runs >= RUNS, |seconds| began.elapsed() >= seconds);
        let so_far = began.elapsed().as_secs();
        if is_over || (seconds.is_some() && so_far >= said + 10) {
            said = so_far;
            eprintln!("model: {runs} runs with {lists} lists in {so_far} s, all right");
        }
        if is_over {
            break;
        }
    }
}

#[test]
fn a_run_with_the_same_seed_is_the_same_run_if_no_two_clients_wait_for_one_load() {
    let alone = |plan| Plan { clients: 1, ..plan };
    for seed in 0..20 {
        assert_eq!(run(seed, alone), run(seed, alone), "seed {seed}");
    }
}
