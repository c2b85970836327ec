//! What an environment holds, and what its end would free.

use beadm_rs::be::space::{Space, of};

use super::made::{Made, dataset};

fn space(made: &Made, name: &str) -> Space {
    let environment = made.survey.environment(&name.parse().unwrap()).unwrap();
    of(&environment, &made.survey)
}

/// Snapshots of 1, 20 and 300 bytes since the one before, 4,000 since.
fn with_snapshots() -> Made {
    let mut made = Made::new();
    let root = made.dataset("rpool/ROOT/a");
    root.written = 4_000;
    root.used = 4_500;
    for (name, written) in [("1", 1), ("2", 20), ("3", 300)] {
        made.snapshot(&format!("rpool/ROOT/a@{name}")).written = written;
    }
    made
}

fn cloned_from(made: &mut Made, snapshot: usize, clone: &str) {
    made.on("rpool/ROOT/a").snapshots[snapshot]
        .clones
        .push(dataset(clone));
    let origin = made.on("rpool/ROOT/a").snapshots[snapshot].name.clone();
    made.dataset(clone).origin = Some(origin);
}

#[test]
fn without_clones_all_that_was_ever_written_goes() {
    assert_eq!(
        space(&with_snapshots(), "a"),
        Space {
            held: 4_500,
            freed: 4_321
        }
    );
}

#[test]
fn what_a_clone_hangs_on_stays_and_everything_before_it() {
    for (at, freed) in [(0, 4_320), (1, 4_300), (2, 4_000)] {
        let mut made = with_snapshots();
        cloned_from(&mut made, at, "rpool/ROOT/b");
        assert_eq!(space(&made, "a").freed, freed);
    }
    // The newest one decides.
    let mut made = with_snapshots();
    cloned_from(&mut made, 0, "rpool/ROOT/b");
    cloned_from(&mut made, 1, "rpool/other");
    assert_eq!(space(&made, "a").freed, 4_300);
}

#[test]
fn the_snapshot_it_came_from_goes_with_it_where_it_is_this_programs_and_nobody_elses() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/a");
    made.clone("rpool/ROOT/a@1", "rpool/ROOT/b");
    made.on("rpool/ROOT/a").snapshots[0].used = 50;
    made.on("rpool/ROOT/b").written = 7;
    assert_eq!(space(&made, "b").freed, 57);
    // Somebody holds it.
    made.on("rpool/ROOT/a").snapshots[0].holds = 1;
    assert_eq!(space(&made, "b").freed, 7);
    made.on("rpool/ROOT/a").snapshots[0].holds = 0;
    // Somebody else took it.
    let marks = std::mem::take(&mut made.on("rpool/ROOT/a").snapshots[0].marks);
    assert_eq!(space(&made, "b").freed, 7);
    made.on("rpool/ROOT/a").snapshots[0].marks = marks;
    // Another one hangs on it.
    cloned_from(&mut made, 0, "rpool/ROOT/c");
    assert_eq!(space(&made, "b").freed, 7);
}

#[test]
fn children_and_boot_count() {
    let mut made = with_snapshots();
    made.dataset("rpool/ROOT/a/var").written = 50_000;
    made.pool("bpool");
    made.survey.boot_roots.push(dataset("bpool/BOOT"));
    made.dataset("bpool/BOOT");
    let boot = made.dataset("bpool/BOOT/a");
    boot.written = 600_000;
    boot.used = 600_000;
    assert_eq!(
        space(&made, "a"),
        Space {
            held: 604_500,
            freed: 654_321
        }
    );
}
