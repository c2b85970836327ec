//! What is decided about a `/boot` that comes from a pool of its own, or leaves one.

use beadm_rs::archive::manifest::{Base, Encryption, Machine, Tree};
use beadm_rs::archive::offer::{Form, Offer, Offered};
use beadm_rs::boot::Bootfs;
use beadm_rs::plan::{Action, Plan, Planned, create, export, import, recover};
use beadm_rs::zfs::{Guid, Mountpoint};

use super::archive;
use super::made::{Made, dataset, operations, refusal};

fn offered(tree: Tree, path: &str, guid: u64) -> Offered {
    let (root, mountpoint) = match tree {
        Tree::Root => ("tank/ROOT/away", "/"),
        Tree::Boot => ("kernels/BOOT/away", "/boot"),
    };
    let slash = if path.is_empty() { "" } else { "/" };
    Offered {
        tree,
        source: dataset(&format!("{root}{slash}{path}")),
        mountpoint: path.is_empty().then(|| mountpoint.to_owned()),
        ..archive::offered(path, guid)
    }
}

fn offer() -> Offer {
    Offer {
        form: Form::Archive {
            identity: [0xab; 32],
        },
        name: Some("away".to_owned()),
        description: Some("the one".to_owned()),
        architecture: Some("x86_64".to_owned()),
        needs: vec!["zstd_compress".to_owned()],
        boot_needs: vec!["lz4_compress".to_owned()],
        temporary: true,
        datasets: vec![
            offered(Tree::Root, "", 7001),
            offered(Tree::Root, "var", 7002),
            offered(Tree::Boot, "", 7003),
            offered(Tree::Boot, "grub", 7004),
        ],
        notes: Vec::new(),
    }
}

fn facts() -> import::Facts {
    import::Facts {
        architecture: "x86_64".to_owned(),
        ..import::Facts::default()
    }
}

fn imported_with(made: &Made, offer: Offer, facts: &import::Facts) -> Planned {
    let request = import::Request {
        name: None,
        offer,
        resume: false,
    };
    import::plan(&made.survey, &request, facts)
}

fn imported(made: &Made, offer: Offer) -> Planned {
    imported_with(made, offer, &facts())
}

/// A machine with environments that have their `/boot` in a pool of its own.
fn with_boot() -> Made {
    let mut made = empty();
    made.dataset("rpool/ROOT/here");
    made.dataset("bpool/BOOT/here");
    made
}

/// One with the pools, and no environment.
fn empty() -> Made {
    let mut made = Made::new();
    another(&mut made, "bpool");
    made
}

fn another(made: &mut Made, pool: &str) {
    let boot = format!("{pool}/BOOT");
    made.pool(pool);
    made.dataset(&boot).mountpoint = Mountpoint::None;
    made.survey.boot_roots.push(dataset(&boot));
}

/// What is received, and with which settings.
fn received(plan: &Plan) -> Vec<String> {
    let receiving = plan.steps.iter().find_map(|step| match &step.action {
        Action::Receive(receiving) => Some(receiving),
        _ => None,
    });
    let pieces = receiving.unwrap().pieces.iter();
    pieces
        .map(|piece| {
            let settings = piece.settings.iter();
            let settings: Vec<String> = settings
                .filter(|(name, _)| name != "org.beadm-rs:op")
                .map(|(name, value)| format!("{name}={value}"))
                .collect();
            format!("{} {}", piece.target, settings.join(" "))
        })
        .collect()
}

const IN_TWO_POOLS: [&str; 4] = [
    "rpool/ROOT/beadm-rs.import.abcdef01 canmount=noauto mountpoint=none \
     org.beadm-rs:description=the one",
    "rpool/ROOT/beadm-rs.import.abcdef01/var canmount=noauto",
    "bpool/BOOT/beadm-rs.import.abcdef01 canmount=noauto mountpoint=/boot",
    "bpool/BOOT/beadm-rs.import.abcdef01/grub canmount=noauto",
];

const BELOW: [&str; 4] = [
    IN_TWO_POOLS[0],
    IN_TWO_POOLS[1],
    "rpool/ROOT/beadm-rs.import.abcdef01/boot canmount=noauto",
    "rpool/ROOT/beadm-rs.import.abcdef01/boot/grub canmount=noauto",
];

#[test]
fn the_kernel_is_there_before_the_environment() {
    let plan = imported(&with_boot(), offer()).unwrap();
    assert_eq!(received(&plan), IN_TWO_POOLS);
    let staging = "beadm-rs.import.abcdef01";
    assert_eq!(
        operations(&plan),
        [
            "mark rpool/ROOT op".to_owned(),
            format!("receive 4 datasets as rpool/ROOT/{staging} and bpool/BOOT/{staging}"),
            format!(
                "in fstab and zfs-list.cache of rpool/ROOT/{staging}, write tank/ROOT/away as \
                 rpool/ROOT/away, kernels/BOOT/away as bpool/BOOT/away"
            ),
            format!("set mountpoint=/ on rpool/ROOT/{staging}"),
            format!("rename bpool/BOOT/{staging} to bpool/BOOT/away"),
            format!("rename rpool/ROOT/{staging} to rpool/ROOT/away"),
            "destroy bpool/BOOT/away@s".to_owned(),
            "destroy bpool/BOOT/away/grub@s".to_owned(),
            "unmark bpool/BOOT/away op".to_owned(),
            "unmark bpool/BOOT/away/grub op".to_owned(),
            "destroy rpool/ROOT/away@s".to_owned(),
            "destroy rpool/ROOT/away/var@s".to_owned(),
            "unmark rpool/ROOT/away op".to_owned(),
            "unmark rpool/ROOT/away/var op".to_owned(),
            "unmark rpool/ROOT op".to_owned(),
        ]
    );
    let undo: Vec<(&str, Vec<String>)> = plan
        .steps
        .iter()
        .map(|step| {
            let undo = step.undo.iter().map(ToString::to_string);
            (step.name, undo.collect())
        })
        .filter(|(_, undo): &(_, Vec<String>)| !undo.is_empty())
        .collect();
    assert_eq!(
        undo,
        [
            (
                "record",
                vec!["in one transaction group of rpool: clear 'op' on rpool/ROOT".to_owned()]
            ),
            (
                "receive",
                ["rpool", "bpool"]
                    .map(|pool| format!(
                        "in one transaction group of {pool}: destroy 2 snapshots, destroy 2 \
                         datasets"
                    ))
                    .to_vec()
            ),
            (
                "rename-boot",
                vec![format!("rename bpool/BOOT/away to bpool/BOOT/{staging}")]
            ),
        ]
    );
    let commits: Vec<&str> = plan
        .steps
        .iter()
        .filter(|step| step.commit)
        .map(|step| step.name)
        .collect();
    assert_eq!(commits, ["commit"]);
}

#[test]
fn boot_goes_where_the_environments_here_have_theirs() {
    // On new disks to the only place there is.
    assert_eq!(
        received(&imported(&empty(), offer()).unwrap()),
        IN_TWO_POOLS
    );
    // Of several to the one in use.
    let mut made = with_boot();
    another(&mut made, "cpool");
    assert_eq!(received(&imported(&made, offer()).unwrap()), IN_TWO_POOLS);
    made.dataset("cpool/BOOT/here");
    let two = "refused to import away: its /boot was in a pool of its own, and could go to any of \
               bpool/BOOT, cpool/BOOT\nzpool export the pools whose BOOT is another machine's";
    assert_eq!(refusal(imported(&made, offer())), two);
    let mut made = empty();
    another(&mut made, "cpool");
    assert_eq!(refusal(imported(&made, offer())), two);
    // A BOOT of which no environment has anything is nobody's.
    let mut made = empty();
    made.dataset("rpool/ROOT/here");
    assert_eq!(received(&imported(&made, offer()).unwrap()), BELOW);
    // What another import left is no environment.
    made.on("rpool/ROOT/here").mountpoint = Mountpoint::None;
    assert_eq!(received(&imported(&made, offer()).unwrap()), IN_TWO_POOLS);
}

#[test]
fn below_the_root_it_is_mounted_where_it_was() {
    let made = Made::new();
    let plan = imported(&made, offer()).unwrap();
    assert_eq!(received(&plan), BELOW);
    assert_eq!(
        plan.notes,
        [
            "its /boot was in a pool of its own, and no pool here has the /boot of environments: \
             it becomes rpool/ROOT/away/boot, and a loader that reads the root's dataset alone, \
             as ZFSBootMenu does, finds no kernel there"
        ]
    );
    assert!(plan.steps.iter().all(|step| step.name != "rename-boot"));
    // Where the place does not say it, the dataset does.
    let mut legacy = offer();
    legacy.datasets[2].mountpoint = Some("legacy".to_owned());
    let received_as = |offer: Offer| received(&imported(&made, offer).unwrap())[2].clone();
    assert_eq!(
        received_as(legacy.clone()),
        format!("{} mountpoint=legacy", BELOW[2])
    );
    legacy.datasets[0].mountpoint = Some("legacy".to_owned());
    legacy.datasets[2].mountpoint = Some("/boot".to_owned());
    assert_eq!(
        received_as(legacy),
        format!("{} mountpoint=/boot", BELOW[2])
    );
    // Below what is locked it stays as it is.
    let mut locked = offer();
    locked.datasets[0].encryption = Some(Encryption {
        root: dataset("tank/ROOT/away"),
        location: None,
    });
    assert_eq!(
        received_as(locked.clone()),
        format!("{} encryption=off", BELOW[2])
    );
    let beside = imported(&with_boot(), locked.clone()).unwrap();
    assert_eq!(received(&beside)[2], IN_TWO_POOLS[2]);
    locked.datasets[2].encryption = locked.datasets[0].encryption.clone();
    assert_eq!(received_as(locked), BELOW[2]);
    // Its place is another's.
    let mut taken = offer();
    taken.datasets.insert(2, offered(Tree::Root, "boot", 7005));
    assert_eq!(
        refusal(imported(&made, taken.clone())),
        "refused to import away: its /boot was in a pool of its own, and no pool here has the \
         /boot of environments; it cannot become rpool/ROOT/away/boot either, since \
         tank/ROOT/away/boot does\nzfs rename tank/ROOT/away/boot where it comes from, and export \
         it again"
    );
    assert!(imported(&with_boot(), taken).is_ok());
}

#[test]
fn what_stops_boot_in_its_pool_is_told_before() {
    let mut made = with_boot();
    let needed = |made: &Made| import::needed(&made.survey, &offer());
    let of = |pool: &str, features: &[&str]| {
        let features = features.iter().map(|it| (*it).to_owned()).collect();
        (pool.parse().unwrap(), features)
    };
    assert_eq!(
        needed(&made),
        [
            of("rpool", &["zstd_compress"]),
            of("bpool", &["lz4_compress"])
        ]
    );
    assert_eq!(
        needed(&Made::new()),
        [of("rpool", &["lz4_compress", "zstd_compress"])]
    );
    let facts = import::Facts {
        lacking: vec![of("rpool", &[]), of("bpool", &["zstd_compress"])],
        ..facts()
    };
    assert_eq!(
        refusal(imported_with(&made, offer(), &facts)),
        "refused to import away: pool bpool does not have what its streams need: zstd_compress\n\
         write the files of /boot anew without them where it comes from (zfs set \
         compression=lz4), and export it again; zpool set feature@zstd_compress=enabled bpool \
         cannot be undone, and the loader may not read its kernels then"
    );
    // The other pool's room is no help.
    made.pool("bpool").free = 999;
    assert_eq!(
        refusal(imported(&made, offer())),
        "refused to import away: it takes about 1000 bytes, and pool bpool has 999 free\n\
         beadm-rs list shows what destroying an environment would free"
    );
    made.pool("bpool").free = 1000;
    made.pool("rpool").free = 1000;
    assert!(imported(&made, offer()).is_ok());
    let mut of_more = offer();
    of_more.datasets[2].base = Some(Base {
        name: "kernels/BOOT/away@r".parse().unwrap(),
        guid: Guid(5),
    });
    // One with that guid, but in the other pool.
    made.snapshot("rpool/ROOT/here@r").guid = Guid(5);
    assert_eq!(
        refusal(imported(&made, of_more.clone())),
        "refused to import away: it holds only what changed since kernels/BOOT/away@r (guid 5), \
         and bpool/BOOT has no such snapshot\nimport that first, or export it without --since"
    );
    made.snapshot("bpool/BOOT/here@r").guid = Guid(5);
    assert!(imported(&made, of_more).is_ok());
    made.pool("bpool").readonly = true;
    assert!(refusal(imported(&made, offer())).contains("pool bpool is imported read-only"));
    made.pool("bpool").readonly = false;
    made.dataset("bpool/BOOT/away");
    let taken = "refused to import away: bpool/BOOT/away exists already\nbeadm-rs import OTHERNAME";
    assert_eq!(refusal(imported(&made, offer())), taken);
    let mut alone = offer();
    alone.datasets.truncate(2);
    assert_eq!(refusal(imported(&made, alone.clone())), taken);
    // What could not be its /boot is in the way of that alone.
    made.on("bpool/BOOT/away").mountpoint = Mountpoint::None;
    assert_eq!(refusal(imported(&made, offer())), taken);
    let plan = imported(&made, alone).unwrap();
    assert_eq!(
        plan.notes,
        [
            "nothing of it goes to bpool/BOOT, where the environments here have their /boot: it \
             has the kernels in its own root, if any, and a loader that reads bpool alone finds \
             none"
        ]
    );
}

fn exported(made: &Made) -> Planned {
    let request = export::Request {
        from: create::From {
            environment: Some("here".parse().unwrap()),
            snapshot: None,
        },
        since: None,
        form: export::Form::Archive { zstd: true },
        to: "FILE".to_owned(),
    };
    let facts = export::Facts {
        machine: Machine::default(),
        alone: true,
        ..export::Facts::default()
    };
    export::plan(&made.survey, &request, &facts)
}

#[test]
fn both_pools_are_snapshotted_and_swept() {
    let mut made = with_boot();
    for stale in ["rpool/ROOT/here@old", "bpool/BOOT/here@old"] {
        let made = made.snapshot(stale);
        let mark = format!("{} 0123 export", made.guid);
        made.marks.insert("op".to_owned(), mark);
    }
    let plan = exported(&made).unwrap();
    let component = "beadm-rs.20270115T080000Z.abcdef01";
    let [root, boot] =
        ["rpool/ROOT", "bpool/BOOT"].map(|parent| format!("{parent}/here@{component}"));
    assert_eq!(
        operations(&plan),
        [
            "destroy rpool/ROOT/here@old".to_owned(),
            format!("take snapshot {root}"),
            format!("mark {root} op"),
            "destroy bpool/BOOT/here@old".to_owned(),
            format!("take snapshot {boot}"),
            format!("mark {boot} op"),
            "send 2 datasets of here".to_owned(),
            "keep FILE".to_owned(),
            format!("destroy {root}"),
            format!("destroy {boot}"),
        ]
    );
    made.pool("bpool").readonly = true;
    assert!(refusal(exported(&made)).contains("pool bpool is imported read-only"));
    made.pool("bpool").readonly = false;
    made.on("bpool/BOOT/here").token = Some("1-x".to_owned());
    assert_eq!(
        refusal(exported(&made)),
        "refused to export here: bpool/BOOT/here is being received"
    );
    made.on("bpool/BOOT/here").token = None;
    another(&mut made, "cpool");
    made.dataset("cpool/BOOT/here");
    assert_eq!(
        refusal(exported(&made)),
        "refused to export here: two pools have a /boot for it, bpool/BOOT/here and \
         cpool/BOOT/here\nzpool export the pool whose /boot is another machine's"
    );
}

const INTENT: &str = r#"{"v":1,"id":"00000000000000ab","at":"2026-01-01T00:00:00Z","op":"import","root":"rpool/ROOT/new","staging":"rpool/ROOT/beadm-rs.import.1","mark":"m","snapshot":"s","keep":KEEP,"boot":{"root":"bpool/BOOT/new","staging":"bpool/BOOT/beadm-rs.import.1"}}"#;

/// A machine that stopped in the middle of an import: what it had received is called so.
fn stopped(keep: bool, datasets: [&str; 2]) -> Made {
    let mut made = with_boot();
    made.mark(
        "rpool/ROOT",
        "op",
        INTENT.replace("KEEP", &keep.to_string()),
    );
    for name in datasets {
        made.dataset(name)
            .marks
            .insert("op".to_owned(), "m".to_owned());
        made.snapshot(&format!("{name}@s"));
    }
    made
}

fn recovered(made: &Made) -> Vec<String> {
    operations(&recover::plan(&made.survey, &Bootfs).unwrap().unwrap())
}

#[test]
fn between_the_two_renames_an_import_is_taken_back() {
    let staging = "rpool/ROOT/beadm-rs.import.1";
    let taken_back = |boot: &str| {
        vec![
            format!("destroy {staging}@s"),
            format!("destroy {staging}"),
            format!("destroy {boot}@s"),
            format!("destroy {boot}"),
            "unmark rpool/ROOT op".to_owned(),
        ]
    };
    for boot in ["bpool/BOOT/beadm-rs.import.1", "bpool/BOOT/new"] {
        let mut made = stopped(false, [staging, boot]);
        assert_eq!(recovered(&made), taken_back(boot));
        // Somebody else's of that name.
        made.on(boot).marks.clear();
        let left = recovered(&made);
        assert_eq!(
            left,
            [&taken_back(boot)[..2], &taken_back(boot)[4..]].concat()
        );
    }
    assert_eq!(
        recovered(&stopped(true, [staging, "bpool/BOOT/new"])),
        [
            "rename bpool/BOOT/new to bpool/BOOT/beadm-rs.import.1".to_owned(),
            format!("set mountpoint=none on {staging}"),
            "unmark rpool/ROOT op".to_owned(),
        ]
    );
    for keep in [false, true] {
        assert_eq!(
            recovered(&stopped(keep, ["rpool/ROOT/new", "bpool/BOOT/new"])),
            [
                "destroy bpool/BOOT/new@s",
                "unmark bpool/BOOT/new op",
                "destroy rpool/ROOT/new@s",
                "unmark rpool/ROOT/new op",
                "unmark rpool/ROOT op",
            ]
        );
    }
}

#[test]
fn a_boot_that_is_not_seen_is_not_taken_for_gone() {
    let mut made = stopped(false, ["rpool/ROOT/beadm-rs.import.1", "bpool/BOOT/new"]);
    made.survey.boot_roots.clear();
    let refusal = recover::plan(&made.survey, &Bootfs).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "refused to recover: import rpool/ROOT/new was interrupted, and its /boot is to be \
         bpool/BOOT/new, beside which this system does not have its /boot now"
    );
    assert_eq!(
        refusal.remedy.unwrap(),
        "mount the running environment's /boot from there; where that is gone for good: zfs \
         inherit org.beadm-rs:op rpool/ROOT"
    );
    made.survey.pools.remove(&"bpool".parse().unwrap());
    let refusal = recover::plan(&made.survey, &Bootfs).unwrap_err();
    assert!(
        refusal
            .to_string()
            .contains("in pool bpool, and that is not imported")
    );
}
