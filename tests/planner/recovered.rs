//! What `recover` takes away: the unfinished operation's own, and nothing that
//! only looks like it.

use beadm_rs::boot::Bootfs;
use beadm_rs::plan::recover;

use super::made::{Made, operations};

const INTENT: &str = r#"{"v":1,"id":"00000000000000ab","at":"2026-01-01T00:00:00Z","op":"create","roots":["rpool/ROOT/new"],"from":["rpool/ROOT/old"],"snapshot":"s","own":true}"#;

#[test]
fn a_snapshot_of_the_same_name_that_somebody_else_took_stays() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/old");
    made.dataset("rpool/ROOT/old/var");
    made.dataset("rpool/ROOT/old/srv");
    made.running("rpool/ROOT/old");
    made.next("rpool/ROOT/old");
    made.mark("rpool/ROOT", "op", INTENT);
    // Its own; somebody's; and one whose mark came along with a copied property.
    let own = made.snapshot("rpool/ROOT/old@s");
    let mark = format!("{} 00000000000000ab create", own.guid);
    own.marks.insert("op".to_owned(), mark.clone());
    made.snapshot("rpool/ROOT/old/var@s");
    let copied = made.snapshot("rpool/ROOT/old/srv@s");
    copied.marks.insert("op".to_owned(), mark);
    let plan = recover::plan(&made.survey, &Bootfs).unwrap().unwrap();
    let destroyed: Vec<String> = operations(&plan)
        .into_iter()
        .filter(|line| line.starts_with("destroy"))
        .collect();
    assert_eq!(destroyed, ["destroy rpool/ROOT/old@s"]);
}

const IN_TWO_POOLS: &str = r#"{"v":1,"id":"00000000000000ab","at":"2026-01-01T00:00:00Z","op":"rename","moves":[["111","rpool/ROOT/old","rpool/ROOT/new"],["112","bpool/BOOT/old","bpool/BOOT/new"]]}"#;

fn halfway() -> Made {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/new");
    made.next("rpool/ROOT/new");
    made.mark("rpool/ROOT", "op", IN_TWO_POOLS);
    made
}

#[test]
fn what_lies_in_a_pool_that_is_not_there_is_not_taken_for_done() {
    let mut made = halfway();
    let refusal = recover::plan(&made.survey, &Bootfs).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "refused to recover: rename rpool/ROOT/old to rpool/ROOT/new was interrupted, a part of \
         it is in pool bpool, and that is not imported"
    );
    assert_eq!(
        refusal.remedy.unwrap(),
        "zpool import bpool, as rpool is; where it is lost for good: \
         zfs inherit org.beadm-rs:op rpool/ROOT"
    );
    // Imported, but not where the other one is.
    made.pool("bpool");
    made.pool("rpool").altroot = Some("/mnt".into());
    let refusal = recover::plan(&made.survey, &Bootfs).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "refused to recover: pool bpool was not imported with the same altroot as pool rpool"
    );
    made.pool("bpool").altroot = Some("/mnt".into());
    recover::plan(&made.survey, &Bootfs).unwrap();
}

const SNAPSHOT_IN_TWO_POOLS: &str = r#"{"v":1,"id":"00000000000000ab","at":"2026-01-01T00:00:00Z","op":"destroy-snapshot","root":"rpool/ROOT/old","snapshot":"s","guids":["111","112"],"others":["bpool/BOOT/old"]}"#;

#[test]
fn the_rest_of_a_snapshot_is_not_taken_for_destroyed_either() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/old");
    made.mark("rpool/ROOT", "op", SNAPSHOT_IN_TWO_POOLS);
    let refusal = recover::plan(&made.survey, &Bootfs).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "refused to recover: destroy rpool/ROOT/old@s was interrupted, a part of it is in pool \
         bpool, and that is not imported"
    );
}
