//! What two environments are compared with, and what is left of a synchronization
//! that was interrupted.

use beadm_rs::boot::Bootfs;
use beadm_rs::diff::side::{Part, Side};
use beadm_rs::os::Object;
use beadm_rs::plan::bases::release;
use beadm_rs::plan::sync::{Request, environments};
use beadm_rs::plan::{destroy, recover};
use beadm_rs::sync::sides;

use super::made::{Made, dataset, operations};

pub(super) const OLD: &str = "rpool/ROOT/old";
pub(super) const NEW: &str = "rpool/ROOT/new";

/// `new`, cloned from `old`.
pub(super) fn two() -> Made {
    let mut made = Made::new();
    made.dataset(OLD);
    made.clone("rpool/ROOT/old@origin", NEW);
    made.running(OLD);
    made.next(OLD);
    made
}

/// Two snapshots that are a pair.
fn pair(made: &mut Made, operation: &str, names: [&str; 2]) {
    for name in names {
        let snapshot = made.snapshot(name);
        let mark = format!("{} {operation} pair", snapshot.guid);
        snapshot.marks.insert("op".to_owned(), mark);
    }
}

fn side(name: &str) -> Side {
    Side {
        name: dataset(name).leaf().to_owned(),
        running: false,
        parts: vec![Part {
            place: "".into(),
            object: Object::Dataset(dataset(name)),
        }],
        notes: Vec::new(),
    }
}

fn bases(made: &Made, source: &str, target: &str) -> [String; 2] {
    let sides = sides::sides(&made.survey, side(source), side(target));
    [sides.base_source, sides.base_target].map(|base| {
        let part = base.parts.first();
        part.map_or_else(|| "none".to_owned(), |part| part.object.to_string())
    })
}

#[test]
fn the_base_is_the_newest_pair_and_without_one_the_common_origin() {
    let mut made = two();
    let origin = "rpool/ROOT/old@origin";
    assert_eq!(bases(&made, OLD, NEW), [origin, origin]);
    pair(
        &mut made,
        "00000000000000a1",
        ["rpool/ROOT/old@1.from", "rpool/ROOT/new@1.to"],
    );
    pair(
        &mut made,
        "00000000000000a2",
        ["rpool/ROOT/new@2.from", "rpool/ROOT/old@2.to"],
    );
    let newest = ["rpool/ROOT/old@2.to", "rpool/ROOT/new@2.from"];
    assert_eq!(bases(&made, OLD, NEW), newest);
    assert_eq!(bases(&made, NEW, OLD), [newest[1], newest[0]]);
    // A clone has the pairs of what it came from.
    made.clone("rpool/ROOT/new@later", "rpool/ROOT/third");
    assert_eq!(bases(&made, OLD, "rpool/ROOT/third"), newest);
    // A mark that came along with a copied property is none.
    for snapshot in &mut made.on(OLD).snapshots {
        if let Some(mark) = snapshot.marks.get_mut("op") {
            *mark = mark.replacen(' ', "0 ", 1);
        }
    }
    assert_eq!(bases(&made, OLD, NEW), [origin, origin]);
    made.dataset("rpool/ROOT/alone");
    assert_eq!(bases(&made, OLD, "rpool/ROOT/alone"), ["none", "none"]);
}

const INTENT: &str = r#"{"v":1,"id":"00000000000000ab","at":"2026-01-01T00:00:00Z","op":"sync","from":["rpool/ROOT/old"],"to":["rpool/ROOT/new"],"snapshot":"s"}"#;

/// The snapshots of the operation, as far as it came.
fn interrupted(marks: &[(&str, &str)]) -> Made {
    let mut made = two();
    pair(
        &mut made,
        "0000000000000011",
        ["rpool/ROOT/old@1.from", "rpool/ROOT/new@1.to"],
    );
    made.mark("rpool/ROOT", "op", INTENT);
    for (name, purpose) in marks {
        let snapshot = made.snapshot(name);
        let mark = format!("{} 00000000000000ab {purpose}", snapshot.guid);
        snapshot.marks.insert("op".to_owned(), mark);
    }
    made
}

#[test]
fn before_the_pair_is_there_the_files_are_put_back() {
    let mut made = interrupted(&[
        ("rpool/ROOT/old@s.from", "sync"),
        ("rpool/ROOT/new@s.before", "sync"),
    ]);
    // Somebody else's, of a name that fits.
    made.snapshot("rpool/ROOT/new@s.to");
    let plan = recover::plan(&made.survey, &Bootfs).unwrap().unwrap();
    assert_eq!(
        operations(&plan),
        [
            "put back what was changed in the files of rpool/ROOT/new",
            "destroy rpool/ROOT/old@s.from",
            "destroy rpool/ROOT/new@s.before",
            "unmark rpool/ROOT op",
        ]
    );
}

#[test]
fn once_the_pair_is_there_it_is_complete_and_the_one_before_stays() {
    let made = interrupted(&[
        ("rpool/ROOT/old@s.from", "pair"),
        ("rpool/ROOT/new@s.before", "sync"),
        ("rpool/ROOT/new@s.to", "pair"),
    ]);
    let plan = recover::plan(&made.survey, &Bootfs).unwrap().unwrap();
    assert_eq!(
        operations(&plan),
        [
            "remove the note of what was changed from rpool/ROOT/new",
            "destroy rpool/ROOT/new@s.before",
            "unmark rpool/ROOT op",
        ]
    );
}

/// So many synchronizations of `old` with `new`.
fn synchronized(made: &mut Made, times: u32) {
    for time in 1..=times {
        let operation = format!("00000000000000a{time}");
        let names = [format!("{OLD}@{time}.from"), format!("{NEW}@{time}.to")];
        pair(made, &operation, [&names[0], &names[1]]);
    }
}

fn released(made: &Made) -> Vec<String> {
    operations(&release(&made.survey).unwrap())
}

#[test]
fn the_pairs_of_the_last_three_synchronizations_are_kept() {
    let mut made = two();
    synchronized(&mut made, 3);
    assert_eq!(released(&made), Vec::<String>::new());
    let mut made = two();
    synchronized(&mut made, 5);
    assert_eq!(
        released(&made),
        [
            "destroy rpool/ROOT/new@2.to",
            "destroy rpool/ROOT/old@2.from",
            "destroy rpool/ROOT/new@1.to",
            "destroy rpool/ROOT/old@1.from",
        ]
    );
    let newest = ["rpool/ROOT/old@5.from", "rpool/ROOT/new@5.to"];
    assert_eq!(bases(&made, OLD, NEW), newest);
    // What somebody holds stays.
    made.on(OLD).snapshots[1].holds = 1;
    assert!(!released(&made).contains(&"destroy rpool/ROOT/old@1.from".to_owned()));
}

#[test]
fn what_two_environments_are_compared_with_stays_however_old() {
    let mut made = two();
    made.clone("rpool/ROOT/old@early", "rpool/ROOT/third");
    pair(
        &mut made,
        "00000000000000ff",
        ["rpool/ROOT/old@0.from", "rpool/ROOT/third@0.to"],
    );
    synchronized(&mut made, 5);
    let gone = released(&made);
    assert_eq!(gone.len(), 4, "{gone:?}");
    assert!(gone.iter().all(|gone| !gone.contains("@0.")), "{gone:?}");
    // A half alone is of no use to anybody.
    let halves = &mut made.on("rpool/ROOT/third").snapshots;
    halves.retain(|snapshot| !snapshot.name.component().starts_with('0'));
    assert!(released(&made).contains(&"destroy rpool/ROOT/old@0.from".to_owned()));
}

#[test]
fn nothing_is_released_while_something_is_being_tried() {
    let mut made = two();
    synchronized(&mut made, 5);
    let trial = r#"{"version":1,"target":"2","back":"1","tries":3,"since":"2026-01-01T00:00:00Z"}"#;
    made.mark("rpool/ROOT", "trial", trial);
    assert_eq!(released(&made), Vec::<String>::new());
}

#[test]
fn with_an_environment_the_other_halves_of_its_pairs_go() {
    let mut made = two();
    pair(
        &mut made,
        "00000000000000a1",
        ["rpool/ROOT/old@1.from", "rpool/ROOT/new@1.to"],
    );
    let request = destroy::Request {
        name: "new".parse().unwrap(),
        force: false,
        origins: destroy::Origins::Keep,
    };
    let plan = destroy::plan(&made.survey, &Bootfs, &request).unwrap();
    assert_eq!(
        operations(&plan),
        [
            "mark rpool/ROOT op",
            "destroy rpool/ROOT/new@1.to",
            "destroy rpool/ROOT/new",
            "destroy rpool/ROOT/old@1.from",
            "unmark rpool/ROOT op",
        ]
    );
}

#[test]
fn the_running_environment_and_one_by_itself_are_no_targets() {
    let made = two();
    let refused = |source: &str, target: &str| {
        let request = Request {
            source: source.parse().unwrap(),
            target: target.parse().unwrap(),
            at_boot: false,
        };
        environments(&made.survey, &request).unwrap_err().reason
    };
    assert_eq!(
        refused("new", "old"),
        "the target is the running environment, and its programs write the same files"
    );
    assert_eq!(
        refused("new", "new"),
        "that is one and the same environment"
    );
}
