//! Nothing that a hub started outlives it for long: at the start what a hub that is gone had left is killed; while we run,
//! those whom we inherit are buried, and who lives under our guards is written down for the next hub.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::{task::spawn_blocking, time::sleep};

use crate::{
    clock,
    lifecycle::Tasks,
    storage::{HubRun, Leftover, QueryError, Storage},
    supervisor::process::{self, Cgroups, Known, Member, Quarry, Swept},
};

/// How often it is looked who lives under our guards.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// So many looks make a sweep.
const SWEEP_EVERY: u32 = 12;

/// Kills what a hub that is gone left behind, and notes that we run. A living neighbour has another data folder, and its run
/// still runs.
pub(super) async fn reconcile(storage: &Storage, hub_id: &str, cgroups: Option<&Arc<Cgroups>>) {
    sweep_gone(storage, hub_id, cgroups).await;
    if let Err(error) = storage.leftovers().begin(&HubRun::of_this_process(hub_id)).await {
        tracing::warn!(%error, "this run could not be noted: after a crash its processes would not be found");
    }
}

/// Does what PID 1 and every subreaper owe, until the process ends, and keeps the records.
pub(super) fn tend(storage: &Storage, hub_id: &str, cgroups: Option<&Arc<Cgroups>>, tasks: &Tasks) {
    // Up to the very end: children die last.
    tasks.spawn_outliving(async {
        if let Err(error) = process::reap().await {
            tracing::error!(%error, "inherited processes will not be buried");
        }
    });
    let mut keeper = Keeper {
        storage: storage.clone(),
        hub_id: hub_id.to_owned(),
        last: BTreeSet::new(),
        kept: BTreeSet::new(),
    };
    let (stop, cgroups) = (tasks.stop_token(), cgroups.cloned());
    tasks.spawn("app.strays", async move {
        for look in 1_u32.. {
            tokio::select! {
                () = sleep(LOOK_EVERY) => {}
                () = stop.cancelled() => return,
            }
            keeper.look().await;
            if look.is_multiple_of(SWEEP_EVERY) {
                sweep_inherited(&keeper.hub_id).await;
                sweep_gone(&keeper.storage, &keeper.hub_id, cgroups.as_ref()).await;
            }
        }
    });
}

/// Kills and buries what is left below us once every guard has ended. PID 1 takes the rest with it.
pub(super) async fn sweep_inherited(hub_id: &str) {
    let hub_id = hub_id.to_owned();
    let swept = spawn_blocking(move || process::sweep(Quarry::Inherited { hub_id: &hub_id })).await;
    tell(swept.unwrap_or_default(), "without a guard");
}

fn tell(swept: Swept, whose: &str) {
    let Swept { killed, left } = swept;
    if killed > 0 {
        tracing::warn!(killed, left, "killed processes that were found {whose}");
    }
}

/// Kills what hubs on this data folder left that are gone. What can't be killed stays recorded, for the next time.
async fn sweep_gone(storage: &Storage, hub_id: &str, cgroups: Option<&Arc<Cgroups>>) {
    let leftovers = storage.leftovers();
    let found = async { Ok::<_, QueryError>((leftovers.runs().await?, leftovers.load_all().await?)) };
    let (runs, recorded) = match found.await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%error, "left-over processes could not be looked up");
            return;
        }
    };
    for run in runs.into_iter().filter(|run| run.hub_id != hub_id && !run.is_running()) {
        let (gone, known) = (run.hub_id.clone(), known_of(&run, &recorded));
        let cgroups = cgroups.cloned();
        let swept = spawn_blocking(move || {
            let in_groups = cgroups.map_or(0, |cgroups| cgroups.sweep(&gone));
            let swept = process::sweep(Quarry::Gone {
                hub_id: &gone,
                known: &known,
            });
            Swept {
                killed: in_groups + swept.killed,
                ..swept
            }
        });
        let swept = swept.await.unwrap_or_default();
        tell(swept, "of a hub that is gone");
        if swept.left == 0
            && let Err(error) = leftovers.end(&run.hub_id).await
        {
            tracing::warn!(%error, "a left-over record could not be removed");
        }
    }
}

/// What `run` had written down and may still live: numbers mean something only in the boot they were given out in.
fn known_of(run: &HubRun, recorded: &[Leftover]) -> Vec<Known> {
    let of_run = |left: &&Leftover| left.hub_id == run.hub_id && left.boot_id == clock::boot_id();
    recorded
        .iter()
        .filter(of_run)
        .filter(|left| left.start_time > 0)
        .map(|left| Known {
            pid: left.pid,
            start_time: left.start_time,
        })
        .collect()
}

/// Writes down who lives under our guards.
struct Keeper {
    storage: Storage,
    hub_id: String,
    /// Whom the last look found. Who is found twice is worth a write to the disk.
    last: BTreeSet<Member>,
    kept: BTreeSet<Member>,
}

impl Keeper {
    async fn look(&mut self) {
        let Ok(found) = spawn_blocking(process::census).await else {
            return;
        };
        let found: BTreeSet<Member> = found.into_iter().collect();
        let stay: BTreeSet<Member> = found.intersection(&self.last).cloned().collect();
        self.last = found;
        if stay == self.kept {
            return;
        }
        let record = |member: &Member| Leftover {
            hub_id: self.hub_id.clone(),
            service: member.service.clone(),
            pid: member.process.pid,
            start_time: member.process.start_time,
            boot_id: clock::boot_id().to_owned(),
            pgid: member.group,
        };
        let new: Vec<Leftover> = stay.difference(&self.kept).map(record).collect();
        let gone: Vec<u32> = self.kept.difference(&stay).map(|member| member.process.pid).collect();
        match self.storage.leftovers().change(&self.hub_id, &gone, &new).await {
            Ok(()) => self.kept = stay,
            Err(error) => tracing::warn!(%error, "processes could not be noted for the next hub"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_another_boot_or_hub_names_nobody() {
        let run = HubRun::of_this_process("7-1");
        let record = |hub_id: &str, pid: u32, start_time: u64, boot_id: &str| Leftover {
            hub_id: hub_id.to_owned(),
            service: "time".to_owned(),
            pid,
            start_time,
            boot_id: boot_id.to_owned(),
            pgid: pid,
        };
        let boot = clock::boot_id();
        let recorded = [
            record("7-1", 1, 5, boot),
            record("7-1", 2, 5, "another boot"),
            record("8-1", 3, 5, boot),
            record("7-1", 4, 0, boot),
        ];
        assert_eq!(known_of(&run, &recorded), [Known { pid: 1, start_time: 5 }]);
    }
}
