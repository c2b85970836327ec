//! Histories that once went wrong, the shortest of each kind.

use super::check::names_its_own;
use super::deed::{Command, Deed};
use super::fault::Fault;
use super::history::{Event, History, Interruption};
use super::machine::{Layout, dataset};

fn create(name: u8, from: Option<u8>, snapshot: Option<u8>) -> Deed {
    Deed::Command(Command::Create {
        name,
        from,
        snapshot,
        shallow: false,
        copy: false,
    })
}

fn destroy(be: u8) -> Deed {
    Deed::Command(Command::Destroy {
        be,
        force: false,
        keep_origin: false,
    })
}

fn play(layout: Layout, deeds: impl IntoIterator<Item = Deed>) -> History {
    let events: Vec<Event> = deeds.into_iter().map(Event::undisturbed).collect();
    let mut history = History::on(layout);
    history.play(&events);
    history
}

/// The snapshot it came from has moved to its clone by then, and had another
/// name when the transaction looked at what it was going to do.
#[test]
fn an_environment_that_another_was_cloned_from_is_destroyed() {
    // a from debian, ab from a; without a.
    let history = play(
        Layout::BootPool,
        [create(3, None, None), create(5, Some(0), None), destroy(0)],
    );
    let names: Vec<String> = history
        .picture()
        .environments()
        .iter()
        .map(|root| root.leaf().to_owned())
        .collect();
    assert_eq!(names, ["ab", "debian"]);
}

/// `snapshot_limit` is reached at the second dataset: the first one's snapshot
/// was not marked yet, and stayed.
#[test]
fn snapshots_that_could_not_all_be_taken_are_taken_back() {
    for deed in [
        create(3, None, None),
        Deed::Command(Command::Snapshot(None)),
    ] {
        for parts in 0..8 {
            let mut event = Event::undisturbed(deed.clone());
            event.interruption = Some(Interruption::Fault(Fault { after: 0, parts }));
            History::on(Layout::OnePool).play(&[event]);
        }
    }
}

/// The power was cut between the pools: what booted was half of it, and being
/// in use it could not be completed either. It is refused now.
#[test]
fn what_boots_next_is_not_rolled_back_pool_by_pool() {
    let mut events = [
        create(3, None, None),
        Deed::Command(Command::Snapshot(Some(0))),
        Deed::Command(Command::Activate(0)),
        Deed::Command(Command::Rollback(0, 1)),
    ]
    .map(Event::undisturbed);
    events[3].interruption = Some(Interruption::PowerCut(1));
    History::on(Layout::BootPool).play(&events);
}

/// The oldest snapshots of a promoted environment are those of what it came
/// from, and so is the fstab in them.
#[test]
fn a_rollback_to_before_it_was_cloned_leaves_an_environment_its_own_fstab() {
    let history = play(
        Layout::BootPool,
        [
            create(3, None, None),
            Deed::Command(Command::Activate(0)),
            Deed::Command(Command::Rollback(0, 0)),
        ],
    );
    assert!(names_its_own(&history.picture(), &dataset("rpool/ROOT/a")));
}

/// The snapshot has the fstab of the time before the rename.
#[test]
fn a_clone_of_a_snapshot_older_than_a_rename_has_its_own_fstab() {
    let history = play(
        Layout::BootPool,
        [
            create(3, None, None),
            Deed::Command(Command::Snapshot(Some(0))),
            Deed::Command(Command::Rename(0, 5)),
            create(4, Some(0), Some(0)),
        ],
    );
    assert!(names_its_own(
        &history.picture(),
        &dataset("rpool/ROOT/a-b")
    ));
}
