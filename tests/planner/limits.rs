//! What does not fit.

use beadm_rs::boot::Bootfs;
use beadm_rs::intent::{Intent, MAX_BYTES, Undertaking};
use beadm_rs::plan::{Action, Plan, activate, create, rename};
use beadm_rs::zfs::{Mountpoint, SyncOp};

use super::made::{Made, refusal};

/// `old` runs; `new` is a clone of it with so many children.
fn with_children(children: usize) -> Made {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/old");
    made.running("rpool/ROOT/old");
    made.next("rpool/ROOT/old");
    made.clone("rpool/ROOT/old@1", "rpool/ROOT/new");
    for child in 0..children {
        let name = format!("rpool/ROOT/old/c{child}");
        made.dataset(&name).mountpoint = Mountpoint::None;
        made.clone(&format!("{name}@1"), &format!("rpool/ROOT/new/c{child}"));
    }
    // Real ones have twenty digits.
    for dataset in made.survey.datasets.values_mut() {
        dataset.guid.0 += 17_000_000_000_000_000_000;
    }
    made
}

fn intent(plan: &Plan) -> (usize, Intent) {
    let text = plan.steps.iter().find_map(|step| match &step.action {
        Action::Transact { operations, .. } => operations.iter().find_map(|op| match op {
            SyncOp::Mark { key, text, .. } if key == "op" => Some(text.clone()),
            _ => None,
        }),
        _ => None,
    });
    let text = text.unwrap();
    (text.len(), Intent::decode(&text).unwrap())
}

fn back(children: usize) -> (usize, usize) {
    let made = with_children(children);
    let request = activate::Request {
        name: "new".parse().unwrap(),
        once: false,
        no_trial: false,
    };
    let plan = activate::plan(&made.survey, &Bootfs, &request).unwrap();
    match intent(&plan) {
        (
            bytes,
            Intent {
                undertaking: Undertaking::Activate { back, .. },
                ..
            },
        ) => (bytes, back.len()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_activation_of_hundreds_of_datasets_notes_no_way_back() {
    let (bytes, noted) = back(300);
    assert_eq!(noted, 301);
    assert!(bytes + 21 <= MAX_BYTES, "{bytes}");
    let (bytes, noted) = back(400);
    assert_eq!(noted, 0);
    assert!(bytes < 200, "{bytes}");
    // Between the two, the text that no longer fits is the one that is left out.
    let sizes: Vec<usize> = (300..400).collect();
    let fit = sizes.partition_point(|children| back(*children).1 > 0);
    let bytes = back(sizes[fit - 1]).0 + 21;
    assert!((MAX_BYTES - 23..=MAX_BYTES).contains(&bytes), "{bytes}");
}

#[test]
fn names_longer_than_zfs_takes_are_refused_before_anything_is_made() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/a");
    let deep = format!("rpool/ROOT/a/{}", "d".repeat(200));
    made.dataset(&deep);
    made.running("rpool/ROOT/a");
    let long = "n".repeat(60);
    let request = create::Request {
        name: long.parse().unwrap(),
        from: create::From {
            environment: None,
            snapshot: None,
        },
        description: None,
        settings: Vec::new(),
        pool: None,
        shallow: false,
    };
    let said = refusal(create::plan(&made.survey, &request));
    assert!(
        said.starts_with(&format!("refused to create {long}: 'rpool/ROOT/{long}/ddd")),
        "{said}"
    );
    let said = refusal(rename::plan(
        &made.survey,
        &Bootfs,
        &"a".parse().unwrap(),
        &long.parse().unwrap(),
    ));
    assert!(
        said.starts_with(&format!(
            "refused to rename a to {long}: 'rpool/ROOT/{long}/ddd"
        )),
        "{said}"
    );
}

#[test]
fn a_snapshot_name_that_zfs_does_not_take_is_refused_too() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/a");
    made.dataset(&format!("rpool/ROOT/a/{}", "d".repeat(230)));
    made.running("rpool/ROOT/a");
    let request = create::Request {
        name: "b".parse().unwrap(),
        from: create::From {
            environment: None,
            snapshot: None,
        },
        description: None,
        settings: Vec::new(),
        pool: None,
        shallow: false,
    };
    let said = refusal(create::plan(&made.survey, &request));
    assert!(
        said.contains("@beadm-rs.20270115T080000Z.abcdef01"),
        "{said}"
    );
}
