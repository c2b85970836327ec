//! Refusals that only a machine of another kind brings about.

use beadm_rs::boot::Bootfs;
use beadm_rs::os::{Mount, Namespace};
use beadm_rs::plan::{Action, Plan, Planned, activate, create, destroy, rename, rollback};
use beadm_rs::zfs::{Canmount, Mountpoint};

use super::made::{Made, dataset, operations, refusal};

fn two() -> Made {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/old");
    made.dataset("rpool/ROOT/new");
    made.dataset("rpool/ROOT/new/var").mountpoint = Mountpoint::Path("/var".into());
    made.running("rpool/ROOT/old");
    made.next("rpool/ROOT/old");
    made
}

fn created(made: &Made, from: &str) -> Planned {
    let request = create::Request {
        name: "made".parse().unwrap(),
        from: create::From {
            environment: Some(from.parse().unwrap()),
            snapshot: None,
        },
        description: None,
        settings: Vec::new(),
        pool: None,
        shallow: false,
    };
    create::plan(&made.survey, &request)
}

fn activated(made: &Made) -> Planned {
    let request = activate::Request {
        name: "new".parse().unwrap(),
        once: false,
        no_trial: false,
    };
    activate::plan(&made.survey, &Bootfs, &request)
}

fn destroyed(made: &Made, force: bool) -> Planned {
    let request = destroy::Request {
        name: "new".parse().unwrap(),
        force,
        origins: destroy::Origins::Own,
    };
    destroy::plan(&made.survey, &Bootfs, &request)
}

#[test]
fn a_key_that_is_not_loaded_is_asked_for_at_its_root() {
    let mut made = two();
    let child = made.on("rpool/ROOT/new/var");
    child.encryption_root = Some(dataset("rpool/ROOT/new"));
    child.key_loaded = false;
    assert_eq!(
        refusal(activated(&made)),
        "refused to activate new: rpool/ROOT/new/var is encrypted and its key is not loaded\n\
         zfs load-key rpool/ROOT/new"
    );
    assert_eq!(
        refusal(created(&made, "new")),
        "refused to create made: rpool/ROOT/new/var is encrypted and its key is not loaded\n\
         zfs load-key rpool/ROOT/new"
    );
    made.on("rpool/ROOT/new/var").key_loaded = true;
    activated(&made).unwrap();
}

#[test]
fn what_boots_once_is_not_destroyed() {
    let mut made = two();
    made.survey.boot.once = Some(dataset("rpool/ROOT/new"));
    assert_eq!(
        refusal(destroyed(&made, true)),
        "refused to destroy new: it is set to boot once\nbeadm-rs activate -T takes that back"
    );
}

#[test]
fn the_running_boot_is_no_other_environments() {
    let mut made = two();
    made.pool("bpool");
    made.survey.boot_roots.push(dataset("bpool/BOOT"));
    made.dataset("bpool/BOOT");
    made.dataset("bpool/BOOT/new");
    // The root was renamed by hand, and /boot was forgotten.
    made.survey.mounts.push(Mount {
        dataset: dataset("bpool/BOOT/new"),
        directory: "/boot".into(),
        namespace: Namespace::Own,
    });
    for force in [false, true] {
        assert_eq!(
            refusal(destroyed(&made, force)),
            "refused to destroy new: bpool/BOOT/new is mounted on /boot, but old is running, and \
             by its name it belongs to another environment\n\
             give /boot and root the same name with 'zfs rename'; to go to that other environment, \
             unmount /boot first"
        );
    }
    refusal(created(&made, "old"));
}

#[test]
fn what_the_loader_names_is_not_renamed() {
    let made = two();
    let (old, new) = ("old".parse().unwrap(), "new".parse().unwrap());
    let named = dataset("rpool/ROOT/old");
    let refused = rename::followed_by_loader(&made.survey, &old, Some(&named)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "refused to rename old: the kernel was started with the name rpool/ROOT/old for its root, \
         and a loader that knows that name alone would not find it under another one"
    );
    rename::followed_by_loader(&made.survey, &old, None).unwrap();
    rename::followed_by_loader(&made.survey, &new, Some(&named)).unwrap();
}

#[test]
fn what_cannot_be_written_is_neither_renamed_nor_rolled_back() {
    let mut made = two();
    made.snapshot("rpool/ROOT/new@s");
    made.snapshot("rpool/ROOT/new/var@s");
    let rolled = |made: &Made| {
        let request = rollback::Request {
            name: "new".parse().unwrap(),
            snapshot: "s".to_owned(),
        };
        rollback::plan(&made.survey, &request)
    };
    let renamed = |made: &Made| {
        let (old, new) = ("new".parse().unwrap(), "newer".parse().unwrap());
        rename::plan(&made.survey, &Bootfs, &old, &new)
    };
    made.on("rpool/ROOT/new").readonly = true;
    for (planned, what) in [
        (rolled(&made), "roll back to new@s"),
        (renamed(&made), "rename new to newer"),
    ] {
        let said = refusal(planned);
        let begin = format!("refused to {what}: rpool/ROOT/new is read-only, ");
        assert!(said.starts_with(&begin), "{said}");
    }
    made.on("rpool/ROOT/new").readonly = false;
    rolled(&made).unwrap();
    renamed(&made).unwrap();
}

#[test]
fn what_somebody_holds_is_not_destroyed() {
    let mut made = two();
    made.snapshot("rpool/ROOT/new/var@kept").holds = 1;
    for force in [false, true] {
        assert_eq!(
            refusal(destroyed(&made, force)),
            "refused to destroy new: rpool/ROOT/new/var@kept is held\n\
             zfs holds rpool/ROOT/new/var@kept names the tags; \
             zfs release TAG rpool/ROOT/new/var@kept"
        );
    }
    made.on("rpool/ROOT/new/var").snapshots[0].holds = 0;
    destroyed(&made, false).unwrap();
}

#[test]
fn an_origin_of_somebodys_goes_only_when_asked_for_and_needed_by_nothing_else() {
    let mut made = two();
    let kept = made.snapshot("rpool/ROOT/old@kept");
    kept.clones.push(dataset("rpool/ROOT/new"));
    made.on("rpool/ROOT/new").origin = Some("rpool/ROOT/old@kept".parse().unwrap());
    let with = |made: &Made, origins| {
        let request = destroy::Request {
            name: "new".parse().unwrap(),
            force: false,
            origins,
        };
        destroy::plan(&made.survey, &Bootfs, &request)
    };
    let takes_it = |planned: Planned| {
        operations(&planned.unwrap()).contains(&"destroy rpool/ROOT/old@kept".to_owned())
    };
    assert!(!takes_it(with(&made, destroy::Origins::Own)));
    assert!(!takes_it(with(&made, destroy::Origins::Keep)));
    assert!(takes_it(with(&made, destroy::Origins::All)));
    made.on("rpool/ROOT/old").snapshots[0].holds = 1;
    assert_eq!(
        refusal(with(&made, destroy::Origins::All)),
        "refused to destroy new: rpool/ROOT/old@kept is held\n\
         zfs holds rpool/ROOT/old@kept names the tags; zfs release TAG rpool/ROOT/old@kept"
    );
    // Who does not ask for it is not stopped by it.
    with(&made, destroy::Origins::Own).unwrap();
    made.on("rpool/ROOT/old").snapshots[0].holds = 0;
    made.dataset("rpool/ROOT/third").origin = Some("rpool/ROOT/old@kept".parse().unwrap());
    let clones = &mut made.on("rpool/ROOT/old").snapshots[0].clones;
    clones.push(dataset("rpool/ROOT/third"));
    assert_eq!(
        refusal(with(&made, destroy::Origins::All)),
        "refused to destroy new: rpool/ROOT/third was cloned from its origin rpool/ROOT/old@kept \
         too"
    );
}

#[test]
fn a_mount_in_another_namespace_is_named_with_its_process() {
    let mut made = two();
    made.survey.mounts.push(Mount {
        dataset: dataset("rpool/ROOT/new/var"),
        directory: "/run/systemd/x".into(),
        namespace: Namespace::Of {
            pid: 4711,
            command: "dockerd".to_owned(),
        },
    });
    for force in [false, true] {
        assert_eq!(
            refusal(destroyed(&made, force)),
            "refused to destroy new: rpool/ROOT/new/var is mounted on /run/systemd/x in the \
             mount namespace of process 4711 (dockerd)\n\
             stop or restart that process; its view of the mounts is its own"
        );
    }
}

#[test]
fn an_own_mount_is_taken_away_with_force_the_last_one_first() {
    let mut made = two();
    for (name, directory) in [
        ("rpool/ROOT/new", "/mnt"),
        ("rpool/ROOT/new/var", "/mnt/var"),
    ] {
        made.survey.mounts.push(Mount {
            dataset: dataset(name),
            directory: directory.into(),
            namespace: Namespace::Own,
        });
    }
    assert_eq!(
        refusal(destroyed(&made, false)),
        "refused to destroy new: it is mounted on /mnt\nbeadm-rs unmount new, or destroy -F"
    );
    let plan = destroyed(&made, true).unwrap();
    let unmounted: Vec<String> = plan.steps[..2]
        .iter()
        .map(|step| step.action.to_string())
        .collect();
    assert_eq!(unmounted, ["unmount /mnt/var", "unmount /mnt"]);
    assert!(
        plan.steps[..2]
            .iter()
            .all(|step| !step.commit && step.undo.len() == 1)
    );
}

#[test]
fn an_altroot_is_no_part_of_a_mountpoint() {
    let mut made = two();
    made.survey.altroot = Some("/mnt".into());
    made.pool("rpool").altroot = Some("/mnt".into());
    for (name, path) in [
        ("rpool/ROOT/old", "/mnt"),
        ("rpool/ROOT/new", "/mnt"),
        ("rpool/ROOT/new/var", "/mnt/var"),
    ] {
        made.on(name).mountpoint = Mountpoint::Path(path.into());
        let property = beadm_rs::zfs::Property {
            name: "mountpoint".to_owned(),
            source: beadm_rs::zfs::Source::Local,
            value: path.to_owned(),
        };
        made.survey.properties.insert(dataset(name), vec![property]);
    }
    activated(&made).unwrap();
    let plan = created(&made, "new").unwrap();
    assert!(settings(&plan, "rpool/ROOT/made").is_empty());
    assert_eq!(
        settings(&plan, "rpool/ROOT/made/var"),
        ["canmount=noauto", "mountpoint=/var"]
    );
    let commit = plan.steps.iter().find(|step| step.commit).unwrap();
    assert_eq!(
        commit.action.to_string(),
        "set mountpoint=/ canmount=noauto org.beadm-rs:op=- on rpool/ROOT/made"
    );
}

/// What a clone is made with.
fn settings(plan: &Plan, target: &str) -> Vec<String> {
    let clones = plan.steps.iter().find_map(|step| match &step.action {
        Action::Clone { clones, .. } => Some(clones),
        _ => None,
    });
    let mut clones = clones.unwrap().iter();
    let clone = clones.find(|clone| clone.target.as_str() == target);
    let settings = clone.unwrap().settings.iter();
    settings
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

#[test]
fn what_a_clone_could_be_mounted_by_is_set_with_it() {
    // Made without settings it would inherit a directory, until they are set.
    let mut made = two();
    for beroot in [Mountpoint::Path("/environments".into()), Mountpoint::Legacy] {
        made.on("rpool/ROOT").mountpoint = beroot;
        let plan = created(&made, "new").unwrap();
        let safe = ["canmount=noauto", "mountpoint=none"];
        assert_eq!(settings(&plan, "rpool/ROOT/made"), safe);
        let commit = plan.steps.iter().find(|step| step.commit).unwrap();
        assert_eq!(
            commit.action.to_string(),
            "set mountpoint=/ org.beadm-rs:op=- on rpool/ROOT/made"
        );
    }
    // What cannot be set in one transaction group with the mountpoint is not the commit's.
    let mut made = two();
    let quota = beadm_rs::zfs::Property {
        name: "refquota".to_owned(),
        source: beadm_rs::zfs::Source::Local,
        value: "1048576".to_owned(),
    };
    let root = dataset("rpool/ROOT/new");
    made.survey.properties.insert(root, vec![quota]);
    let plan = created(&made, "new").unwrap();
    assert_eq!(
        settings(&plan, "rpool/ROOT/made"),
        ["canmount=noauto", "refquota=1048576", "mountpoint=none"]
    );
}

#[test]
fn what_cannot_be_booted_is_not_activated() {
    for (canmount, mountpoint, why) in [
        (
            Canmount::Off,
            Mountpoint::Path("/".into()),
            "its canmount is off",
        ),
        (
            Canmount::Noauto,
            Mountpoint::None,
            "its mountpoint is none and not /",
        ),
        (
            Canmount::On,
            Mountpoint::Path("/srv".into()),
            "its mountpoint is /srv and not /",
        ),
    ] {
        let mut made = two();
        made.on("rpool/ROOT/new").canmount = canmount;
        made.on("rpool/ROOT/new").mountpoint = mountpoint;
        assert_eq!(
            refusal(activated(&made)),
            format!(
                "refused to activate new: new cannot be booted: {why}\n\
                 zfs get mountpoint,canmount rpool/ROOT/new"
            )
        );
    }
}

#[test]
fn what_boots_next_is_not_rolled_back_in_two_pools() {
    let mut made = two();
    made.pool("bpool");
    made.survey.boot_roots.push(dataset("bpool/BOOT"));
    made.dataset("bpool/BOOT");
    made.dataset("bpool/BOOT/new");
    for name in ["rpool/ROOT/new", "rpool/ROOT/new/var", "bpool/BOOT/new"] {
        made.snapshot(&format!("{name}@a"));
    }
    let request = rollback::Request {
        name: "new".parse().unwrap(),
        snapshot: "a".to_owned(),
    };
    rollback::plan(&made.survey, &request).unwrap();
    made.next("rpool/ROOT/new");
    assert_eq!(
        refusal(rollback::plan(&made.survey, &request)),
        "refused to roll back to new@a: it is the environment that boots next, and it lies in \
         several pools: a machine that stopped halfway would boot one part of it old and \
         another new\n\
         activate another one first, or beadm-rs create -e new@a NAME, and activate that"
    );
}

#[test]
fn what_boots_next_is_not_rolled_back_where_fstab_mounts_a_part_of_it() {
    let mut made = two();
    made.on("rpool/ROOT/new/var").mountpoint = Mountpoint::Legacy;
    made.snapshot("rpool/ROOT/new@a");
    made.snapshot("rpool/ROOT/new/var@a");
    let request = rollback::Request {
        name: "new".parse().unwrap(),
        snapshot: "a".to_owned(),
    };
    rollback::plan(&made.survey, &request).unwrap();
    made.next("rpool/ROOT/new");
    assert_eq!(
        refusal(rollback::plan(&made.survey, &request)),
        "refused to roll back to new@a: it is the environment that boots next, and \
         rpool/ROOT/new/var is mounted by its fstab (mountpoint=legacy), which may have another \
         name in the snapshot: a machine that stopped before it is written anew would boot \
         without it\n\
         activate another one first, or beadm-rs create -e new@a NAME, and activate that"
    );
}

/// A survey with a `/boot` in another pool.
fn with_boot(mountpoint: Mountpoint) -> Made {
    let mut made = two();
    made.pool("bpool");
    made.dataset("bpool/BOOT").mountpoint = Mountpoint::None;
    made.dataset("bpool/BOOT/old").mountpoint = mountpoint;
    made.survey.boot_roots.push(dataset("bpool/BOOT"));
    made
}

#[test]
fn what_could_be_the_running_boot_has_to_be_mounted_there() {
    let mut made = with_boot(Mountpoint::Path("/boot".into()));
    assert_eq!(
        refusal(activated(&made)),
        "refused to activate new: bpool/BOOT/old has the name of the running environment and \
         could be its /boot, but is not mounted there\n\
         mount it on /boot; or, if it is another machine's, zpool export bpool"
    );
    made.survey.mounts.push(Mount {
        dataset: dataset("bpool/BOOT/old"),
        directory: "/boot".into(),
        namespace: Namespace::Own,
    });
    activated(&made).unwrap();
}

#[test]
fn a_namesake_that_is_mounted_elsewhere_is_no_boot() {
    for mountpoint in [Mountpoint::Path("/backup".into()), Mountpoint::None] {
        let made = with_boot(mountpoint);
        let plan = created(&made, "old").unwrap();
        let text = serde_json::to_string(&plan).unwrap();
        assert!(!text.contains("bpool"), "{text}");
    }
}

#[test]
fn a_boot_with_datasets_below_it_has_no_mountpoint_until_they_have_their_settings() {
    let steps = |child: Option<&str>, mountpoint: &str| -> Vec<String> {
        let mut made = with_boot(Mountpoint::Path("/boot".into()));
        let boot = dataset("bpool/BOOT/old");
        made.survey.mounts.push(Mount {
            dataset: boot.clone(),
            directory: "/boot".into(),
            namespace: Namespace::Own,
        });
        let property = beadm_rs::zfs::Property {
            name: "mountpoint".to_owned(),
            source: beadm_rs::zfs::Source::Local,
            value: mountpoint.to_owned(),
        };
        made.on("bpool/BOOT/old").mountpoint = mountpoint.parse().unwrap();
        made.survey.properties.insert(boot, vec![property]);
        if let Some(child) = child {
            made.dataset(child);
        }
        let plan = created(&made, "old").unwrap();
        let clones = settings(&plan, "bpool/BOOT/made").into_iter();
        let steps = plan.steps.iter().filter(|step| step.name == "settle-boot");
        clones
            .chain(steps.map(|step| step.action.to_string()))
            .collect()
    };
    let child = Some("bpool/BOOT/old/grub");
    assert_eq!(
        steps(child, "/boot"),
        ["set mountpoint=/boot canmount=noauto on bpool/BOOT/made"]
    );
    assert_eq!(
        steps(None, "/boot"),
        ["canmount=noauto", "mountpoint=/boot"]
    );
    assert_eq!(
        steps(child, "legacy"),
        ["canmount=noauto", "mountpoint=legacy"]
    );
}
