//! Chains of clones, and the order in which promotions take them apart.

use beadm_rs::boot::Bootfs;
use beadm_rs::plan::graph::{Blocked, Graph};
use beadm_rs::plan::{activate, destroy};

use super::made::{Made, dataset, operations, refusal};

/// c of b of a.
fn chain() -> Made {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/a");
    made.clone("rpool/ROOT/a@1", "rpool/ROOT/b");
    made.clone("rpool/ROOT/b@2", "rpool/ROOT/c");
    made.running("rpool/ROOT/a");
    made.next("rpool/ROOT/a");
    made
}

fn activation(made: &Made, name: &str) -> beadm_rs::plan::Planned {
    let request = activate::Request {
        name: name.parse().unwrap(),
        once: false,
        no_trial: false,
    };
    activate::plan(&made.survey, &Bootfs, &request)
}

fn destruction(made: &Made, name: &str) -> beadm_rs::plan::Planned {
    let request = destroy::Request {
        name: name.parse().unwrap(),
        force: false,
        origins: destroy::Origins::Own,
    };
    destroy::plan(&made.survey, &Bootfs, &request)
}

#[test]
fn the_end_of_a_chain_is_promoted_over_each_link() {
    let mut made = chain();
    let a = made.guid("rpool/ROOT/a");
    let c = made.guid("rpool/ROOT/c");
    let plan = activation(&made, "c").unwrap();
    assert_eq!(
        operations(&plan),
        [
            "mark rpool/ROOT op".to_owned(),
            format!("mark rpool/ROOT/c failback={a}"),
            "promote rpool/ROOT/c".to_owned(),
            // It hangs on a only since the one before it.
            "promote rpool/ROOT/c unchecked".to_owned(),
            "set bootfs=rpool/ROOT/c on pool rpool".to_owned(),
            format!("mark rpool/ROOT confirmed={c}"),
            "unmark rpool/ROOT op".to_owned(),
        ]
    );
}

#[test]
fn promotions_are_taken_back_in_reverse() {
    let made = chain();
    let plan = activation(&made, "c").unwrap();
    let undo: Vec<String> = plan.steps[0]
        .undo
        .iter()
        .map(|action| match action {
            beadm_rs::plan::Action::Transact { operations, .. } => operations
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join("; "),
            other => other.to_string(),
        })
        .collect();
    assert_eq!(
        undo,
        ["promote rpool/ROOT/a; promote rpool/ROOT/b; \
          clear org.beadm-rs:failback on rpool/ROOT/c; clear org.beadm-rs:op on rpool/ROOT"]
    );
}

#[test]
fn the_middle_of_a_chain_goes_and_its_clone_takes_its_place() {
    let made = chain();
    let plan = destruction(&made, "b").unwrap();
    assert_eq!(
        operations(&plan),
        [
            "mark rpool/ROOT op",
            "promote rpool/ROOT/c",
            "destroy rpool/ROOT/b",
            "destroy rpool/ROOT/c@2",
            "unmark rpool/ROOT op",
        ]
    );
    // That one has this name only after the promotion.
    assert!(
        format!("{:?}", plan.steps[0].action)
            .contains("object: \"rpool/ROOT/c@2\", guard: Guid(Guid(105)), missing_ok: true")
    );
}

#[test]
fn what_hangs_on_several_snapshots_is_promoted_oldest_first() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/x");
    made.dataset("rpool/ROOT/a");
    for (snapshot, clone) in [("1", "z"), ("2", "y"), ("3", "w")] {
        made.clone(
            &format!("rpool/ROOT/a@{snapshot}"),
            &format!("rpool/ROOT/{clone}"),
        );
    }
    made.running("rpool/ROOT/x");
    made.next("rpool/ROOT/x");
    let plan = destruction(&made, "a").unwrap();
    assert_eq!(
        operations(&plan),
        [
            "mark rpool/ROOT op",
            "promote rpool/ROOT/z",
            "promote rpool/ROOT/y unchecked",
            "promote rpool/ROOT/w unchecked",
            "destroy rpool/ROOT/a",
            "destroy rpool/ROOT/w@3",
            "unmark rpool/ROOT op",
        ]
    );
}

#[test]
fn a_promotion_moves_the_snapshots_up_to_the_origin_and_who_hangs_on_them() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/a");
    made.clone("rpool/ROOT/a@1", "rpool/ROOT/b");
    made.clone("rpool/ROOT/a@2", "rpool/ROOT/c");
    made.snapshot("rpool/ROOT/a@3");
    let mut graph = Graph::of(&made.survey);
    assert_eq!(
        graph.promote(&dataset("rpool/ROOT/c")),
        Ok(dataset("rpool/ROOT/a"))
    );
    let origin = |graph: &Graph, name: &str| {
        let node = graph.node(&dataset(name)).unwrap().clone();
        node.origin.map(|origin| origin.to_string())
    };
    assert_eq!(
        origin(&graph, "rpool/ROOT/a").as_deref(),
        Some("rpool/ROOT/c@2")
    );
    assert_eq!(
        origin(&graph, "rpool/ROOT/b").as_deref(),
        Some("rpool/ROOT/c@1")
    );
    assert_eq!(origin(&graph, "rpool/ROOT/c"), None);
    assert_eq!(
        graph.promote(&dataset("rpool/ROOT/c")),
        Err(Blocked::NoClone)
    );
}

#[test]
fn names_that_both_sides_have_stop_it() {
    let mut made = chain();
    made.snapshot("rpool/ROOT/b@1");
    assert_eq!(
        refusal(activation(&made, "b")),
        "refused to activate b: rpool/ROOT/b and what it is a clone of both have snapshots \
         named 1, and promotion would bring them together\n\
         zfs rename rpool/ROOT/b@1 rpool/ROOT/b@SOMETHING-ELSE"
    );
}
