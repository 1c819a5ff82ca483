//! What goes wrong with the store and the servers, and purges.

use std::time::Duration;

use super::fleet::World;
use crate::store::pretended::Names;

/// Makes as many faults as the run has.
pub(super) async fn make(world: &World) {
    let mut kept: Option<(u64, Names)> = None;
    for _ in 0..world.plan.faults {
        tokio::time::sleep(Duration::from_millis(fastrand::u64(0..2500))).await;
        let machine = &world.machine;
        let is_of_journal = |name: &String| name.contains("j:{");
        match fastrand::u32(0..9) {
            0 => machine.names().clear(),
            1 => machine.names().retain(|name, _| is_of_journal(name) || fastrand::bool()),
            // Entries without their head, and the head without its entries.
            2 => machine.names().retain(|name, _| !is_of_journal(name) || name.ends_with('}') || fastrand::bool()),
            3 => machine.names().retain(|name, _| !is_of_journal(name) || !name.ends_with('}')),
            4 => {
                let moment = world.history().moment();
                kept = Some((moment, machine.names().clone()));
            }
            5 => {
                if let Some((moment, names)) = kept.take() {
                    *machine.names() = names;
                    world.history().went_back(moment);
                }
            }
            6 => world.restart(),
            7 => world.cut_off(Duration::from_millis(fastrand::u64(50..4000))).await,
            _ => {
                let chunkflow = world.any().chunkflow;
                if let Some(list) = chunkflow.resource("list") {
                    // A purge that fails is one that nobody relies on here.
                    let _ = chunkflow.purge(&list).await;
                }
            }
        }
    }
}
