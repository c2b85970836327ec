//! Which of the environments go that hooks made.

use beadm_rs::os::{Mount, Namespace};
use beadm_rs::plan::prune::judge;
use beadm_rs::survey::trial::Trial;

use super::made::{Made, dataset};

const BY_APT: &str = "0123456789abcdef hook apt 2026-11-22T01:02:03Z";

/// Environments of apt's hook, the oldest first, and one that runs.
fn with(names: &[&str]) -> Made {
    let mut made = Made::new();
    for name in names {
        let name = format!("rpool/ROOT/{name}");
        made.dataset(&name);
        made.mark(&name, "made", BY_APT);
    }
    made.dataset("rpool/ROOT/debian");
    made.running("rpool/ROOT/debian");
    made.next("rpool/ROOT/debian");
    made
}

/// "NAME: why it stays", or "NAME goes".
fn told(made: &Made, keep: usize) -> Vec<String> {
    judge(&made.survey, keep)
        .into_iter()
        .map(|verdict| match verdict.kept {
            Some(why) => format!("{}: {why}", verdict.name),
            None => format!("{} goes", verdict.name),
        })
        .collect()
}

#[test]
fn the_newest_stay_whatever_their_names() {
    let made = with(&["z", "a", "m"]);
    assert_eq!(
        told(&made, 2),
        [
            "m: it is one of the newest 2",
            "a: it is one of the newest 2",
            "z goes"
        ]
    );
    assert_eq!(told(&made, 1), ["m: it is the newest", "a goes", "z goes"]);
    assert_eq!(told(&made, 0), ["m goes", "a goes", "z goes"]);
    assert_eq!(told(&with(&[]), 0), Vec::<String>::new());
}

#[test]
fn what_no_hook_made_is_not_even_looked_at() {
    let mut made = with(&["own"]);
    for name in ["by-hand", "before-apt-2026-11-22", "copied", "upgraded"] {
        made.dataset(&format!("rpool/ROOT/{name}"));
    }
    // Another's mark, as send and people copy it.
    let guid = made.guid("rpool/ROOT/own");
    let copied = format!("{guid} {BY_APT}");
    made.on("rpool/ROOT/copied")
        .marks
        .insert("made".to_owned(), copied);
    made.mark(
        "rpool/ROOT/upgraded",
        "made",
        "0123456789abcdef upgrade 2026-11-22T01:02:03Z",
    );
    assert_eq!(told(&made, 0), ["own goes"]);
}

#[test]
fn what_is_needed_stays_and_it_is_said_why() {
    let only = |work: &dyn Fn(&mut Made)| {
        let mut made = with(&["a"]);
        work(&mut made);
        told(&made, 0).join(" ")
    };
    let root = "rpool/ROOT/a";
    assert_eq!(only(&|_| {}), "a goes");
    assert_eq!(only(&|made| made.running(root)), "a: it is running");
    assert_eq!(only(&|made| made.next(root)), "a: it boots next");
    assert_eq!(
        only(&|made| made.survey.boot.once = Some(dataset(root))),
        "a: it is set to boot once"
    );
    assert_eq!(
        only(&|made| {
            let guid = made.guid(root);
            made.mark("rpool/ROOT", "confirmed", guid);
        }),
        "a: it is the last one known to work"
    );
    assert_eq!(
        only(&|made| made.mark(root, "pinned", "2026-11-22T01:02:03Z")),
        "a: it is pinned"
    );
    for target in [true, false] {
        let on_trial = |made: &mut Made| {
            let (own, other) = (made.guid(root), made.guid("rpool/ROOT/debian"));
            let trial = Trial {
                target: if target { own } else { other },
                back: if target { other } else { own },
                tries: 3,
                since: made.survey.now,
            };
            made.mark("rpool/ROOT", "trial", trial.encode());
        };
        assert_eq!(only(&on_trial), "a: it is part of a trial");
    }
    assert_eq!(
        only(&|made| made.mark("rpool/ROOT", "trial", "damaged")),
        "a: a trial is recorded that cannot be read"
    );
    assert_eq!(
        only(&|made| {
            let guid = made.guid(root);
            made.mark("rpool/ROOT/debian", "failback", guid);
        }),
        "a: failback leads to it"
    );
    assert_eq!(
        only(&|made| made.mark(root, "failback", 7)),
        "a: it was activated once"
    );
    let elsewhere = Namespace::Of {
        pid: 7,
        command: "sh".to_owned(),
    };
    for namespace in [Namespace::Own, elsewhere] {
        let mounted = |made: &mut Made| {
            made.dataset("rpool/ROOT/a/var");
            made.survey.mounts.push(Mount {
                dataset: dataset("rpool/ROOT/a/var"),
                directory: "/mnt/var".into(),
                namespace: namespace.clone(),
            });
        };
        assert_eq!(only(&mounted), "a: it is mounted on /mnt/var");
    }
}

#[test]
fn what_stays_for_another_reason_counts_among_the_newest() {
    let mut made = with(&["a", "b", "c"]);
    made.mark("rpool/ROOT/c", "pinned", "2026-11-22T01:02:03Z");
    assert_eq!(
        told(&made, 2),
        ["c: it is pinned", "b: it is one of the newest 2", "a goes"]
    );
}
