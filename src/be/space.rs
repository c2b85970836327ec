//! How much space an environment holds, and how much its end would free.
//!
//! Freed is not what `used` says as soon as something hangs on the
//! environment: destroying it promotes what was cloned from it, and the
//! snapshots up to the newest such clone move over and stay. What goes is
//! everything written after that snapshot: each block born between two
//! snapshots and alive at the second is in the second's `written`, exactly
//! once, so the sum of `written` over the younger snapshots and the head is
//! exact (`dsl_dataset_space_written`; block cloning and dedup left aside).

use super::{Apart, BootEnvironment};
use crate::survey::Survey;
use crate::zfs::Dataset;

/// Bytes an environment holds and would free.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Space {
    /// `used` of its trees: what it does not share, snapshots included.
    pub held: u64,
    /// What `destroy` would free.
    pub freed: u64,
}

/// The space of one environment. The survey has to have its snapshots.
#[must_use]
pub fn of(environment: &BootEnvironment<'_>, survey: &Survey) -> Space {
    let held = environment.roots().iter().map(|root| root.used).sum();
    let freed = environment
        .everything()
        .filter(|dataset| {
            !environment
                .apart()
                .iter()
                .any(|(other, why)| *why == Apart::Excluded && other.guid == dataset.guid)
        })
        .map(|dataset| freed_by(dataset, environment, survey))
        .sum();
    Space { held, freed }
}

fn freed_by(dataset: &Dataset, environment: &BootEnvironment<'_>, survey: &Survey) -> u64 {
    let outside = |name: &crate::zfs::DatasetName| {
        environment
            .roots()
            .iter()
            .all(|root| !name.is_within(&root.name))
    };
    let kept = dataset
        .snapshots
        .iter()
        .rposition(|snapshot| snapshot.clones.iter().any(outside));
    let younger = dataset.snapshots.iter().skip(kept.map_or(0, |at| at + 1));
    let own = younger.map(|snapshot| snapshot.written).sum::<u64>() + dataset.written;
    // The snapshot it was cloned from goes with it where this tool made it for
    // that and nothing else needs it.
    let origin = dataset
        .origin
        .as_ref()
        .and_then(|origin| survey.snapshot(origin))
        .filter(|snapshot| {
            kept.is_none()
                && survey.is_reclaimable(snapshot)
                && snapshot.clones.iter().all(|clone| *clone == dataset.name)
        })
        .map_or(0, |snapshot| snapshot.used);
    own + origin
}
