//! What is noted of where the newest files are: by a switch, at the boot after it, and
//! by who takes an interrupted switch back.

use beadm_rs::boot::{Bootfs, TrialEntry};
use beadm_rs::plan::{activate, files, recover};
use beadm_rs::survey::Files;
use beadm_rs::zfs::Guid;

use super::made::{Made, operations};
use super::sync::{NEW, OLD, two};

fn guid(made: &mut Made, name: &str) -> Guid {
    made.on(name).guid
}

fn noted(made: &Made, from: &str, to: &str) -> Files {
    let at = |name: &str| made.survey.environment(&name.parse().unwrap()).unwrap();
    files::of_switch(&made.survey, &at(from), &at(to))
}

#[test]
fn a_switch_notes_who_may_come_up() {
    let mut made = two();
    made.clone("rpool/ROOT/old@again", "rpool/ROOT/third");
    let [old, new, third] = [OLD, NEW, "rpool/ROOT/third"].map(|name| guid(&mut made, name));
    assert_eq!(noted(&made, "old", "new").among, [old, new]);
    // What the loader goes back to comes up as well.
    made.mark("rpool/ROOT", "confirmed", third.to_string());
    let files = noted(&made, "old", "new");
    assert_eq!(files.among, [old, new, third]);
    assert_eq!((files.newest, files.owed), (old, None));
    // What it was to get itself is not forgotten.
    let before = Files {
        owed: Some(third),
        ..files.clone()
    };
    made.mark("rpool/ROOT", "files", before.encode());
    assert_eq!(noted(&made, "old", "new").owed, Some(third));
    assert_eq!(noted(&made, "new", "old").owed, None);
}

#[test]
fn it_is_noted_with_the_first_change_and_taken_back_with_it() {
    let made = two();
    let request = activate::Request {
        name: "new".parse().unwrap(),
        once: false,
        no_trial: false,
    };
    let mut plan = activate::plan(&made.survey, &Bootfs, &request).unwrap();
    let files = noted(&made, "old", "new");
    files::note(&made.survey, &mut plan, Some(&files));
    let first = plan.steps.first().unwrap();
    let text = |action| format!("{action:?}");
    assert!(text(&first.action).contains(r#"key: "files", text"#));
    assert!(text(&first.undo[0]).contains(r#"Unmark { object: "rpool/ROOT", key: "files" }"#));
    // Where nothing is to be carried and nothing was, nothing is said.
    let mut without = activate::plan(&made.survey, &Bootfs, &request).unwrap();
    let before = without.clone();
    files::note(&made.survey, &mut without, None);
    assert_eq!(without.steps, before.steps);
}

#[test]
fn who_takes_a_switch_back_puts_back_what_was_noted() {
    let mut made = two();
    let (old, new) = (guid(&mut made, OLD), guid(&mut made, NEW));
    let files = noted(&made, "old", "new").encode();
    made.mark("rpool/ROOT", "files", &files);
    let intent = |records: &str| {
        format!(
            r#"{{"v":1,"id":"00000000000000ab","at":"2026-01-01T00:00:00Z","op":"activate","target":"{new}","back":[],"failback":null{records}}}"#
        )
    };
    made.mark("rpool/ROOT", "op", intent(""));
    let plan = recover::plan(&made.survey, &Bootfs).unwrap().unwrap();
    let done = operations(&plan);
    assert!(
        done.contains(&"unmark rpool/ROOT files".to_owned()),
        "{done:?}"
    );
    assert!(
        !done
            .iter()
            .any(|done| done.starts_with("mark rpool/ROOT files")),
        "{done:?}"
    );
    let record = format!(r#"{{"version":1,"newest":"{old}","among":[]}}"#);
    let records = serde_json::json!([["files", record]]);
    made.mark(
        "rpool/ROOT",
        "op",
        intent(&format!(r#","records":{records}"#)),
    );
    let plan = recover::plan(&made.survey, &Bootfs).unwrap().unwrap();
    let done = operations(&plan);
    let at = |what: &str| done.iter().position(|operation| operation == what);
    let back = format!("mark rpool/ROOT files={record}");
    assert!(at(&back).is_some(), "{done:?}");
    assert!(at("unmark rpool/ROOT files") < at(&back), "{done:?}");
}

#[test]
fn the_note_ends_where_nothing_else_comes_up_by_itself() {
    let mut made = two();
    let files = noted(&made, "old", "new");
    let settled = |made: &Made| {
        let running = made.survey.running().unwrap();
        operations(&files::plan_settled(&made.survey, &running, &files))
    };
    let newer = format!(
        "mark rpool/ROOT files={}",
        Files {
            newest: guid(&mut two(), NEW),
            ..files.clone()
        }
        .encode()
    );
    made.running(NEW);
    // Something else boots next.
    assert_eq!(settled(&made), [newer.as_str()]);
    made.next(NEW);
    assert_eq!(settled(&made), ["unmark rpool/ROOT files"]);
    // It is being tried.
    let trial = r#"{"version":1,"target":"1","back":"2","tries":1,"since":"2026-01-01T00:00:00Z"}"#;
    made.mark("rpool/ROOT", "trial", trial);
    assert_eq!(settled(&made), [newer.as_str()]);
    // It came up the second time.
    made.running(OLD);
    assert_eq!(settled(&made), Vec::<String>::new());
    // The loader went back, and its last try is used up.
    made.next(OLD);
    let mut entry = TrialEntry {
        dataset: NEW.parse().unwrap(),
        tries_left: 1,
        tries_done: 2,
    };
    made.survey.boot.trial = Some(entry.clone());
    assert_eq!(settled(&made), Vec::<String>::new());
    entry.tries_left = 0;
    made.survey.boot.trial = Some(entry);
    assert_eq!(settled(&made), ["unmark rpool/ROOT files"]);
    // That last try itself still waits for its confirmation.
    made.running(NEW);
    made.next(NEW);
    assert_eq!(settled(&made), [newer.as_str()]);
}
