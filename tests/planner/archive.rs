//! What is decided about an environment that leaves, and about one that comes.

use std::collections::BTreeSet;

use beadm_rs::archive::manifest::{Base, Encryption, Machine, Tree};
use beadm_rs::archive::offer::{Form, Offer, Offered};
use beadm_rs::archive::token::Token;
use beadm_rs::plan::{Action, Plan, Planned, create, export, import};
use beadm_rs::zfs::{Blocks, Canmount, Guard, Guid, Mountpoint, Property, Source, SyncOp};

use super::made::{Made, dataset, refusal};

/// A dataset of an environment that comes.
pub fn offered(path: &str, guid: u64) -> Offered {
    let slash = if path.is_empty() { "" } else { "/" };
    Offered {
        tree: Tree::Root,
        path: path.to_owned(),
        source: dataset(&format!("tank/ROOT/away{slash}{path}")),
        snapshots: vec![("s".to_owned(), Guid(guid))],
        base: None,
        mountpoint: path.is_empty().then(|| "/".to_owned()),
        canmount: Canmount::Noauto,
        properties: Vec::new(),
        encryption: None,
        bytes: 500,
    }
}

fn offer() -> Offer {
    Offer {
        form: Form::Archive {
            identity: [0xab; 32],
        },
        name: Some("away".to_owned()),
        description: None,
        architecture: Some("x86_64".to_owned()),
        needs: Vec::new(),
        boot_needs: Vec::new(),
        temporary: true,
        datasets: vec![offered("", 7001), offered("var", 7002)],
        notes: Vec::new(),
    }
}

fn facts() -> import::Facts {
    import::Facts {
        architecture: "x86_64".to_owned(),
        ..import::Facts::default()
    }
}

fn imported(made: &Made, offer: Offer, resume: bool) -> Planned {
    let request = import::Request {
        name: None,
        offer,
        resume,
    };
    import::plan(&made.survey, &request, &facts())
}

fn receiving(plan: &Plan) -> &import::Receiving {
    let mut steps = plan.steps.iter();
    steps
        .find_map(|step| match &step.action {
            Action::Receive(receiving) => Some(receiving.as_ref()),
            _ => None,
        })
        .unwrap()
}

#[test]
fn everything_that_stops_an_import_is_told_before_it() {
    let mut made = Made::new();
    let refused = |made: &Made, offer: Offer| refusal(imported(made, offer, false));
    let mut large = offer();
    large.datasets[1].bytes = (2 << 30) - 500;
    assert_eq!(
        refused(&made, large),
        "refused to import away: it takes about 2147483648 bytes, and pool rpool has 1073741824 \
         free\nbeadm-rs list shows what destroying an environment would free"
    );
    let mut of_more = offer();
    of_more.datasets[1].base = Some(Base {
        name: "tank/ROOT/away/var@r".parse().unwrap(),
        guid: Guid(5),
    });
    assert_eq!(
        refused(&made, of_more),
        "refused to import away: it holds only what changed since tank/ROOT/away/var@r (guid 5), \
         and rpool/ROOT has no such snapshot\nimport that first, or export it without --since"
    );
    let long = Offer {
        datasets: vec![offered("", 7001), offered(&"x".repeat(240), 7002)],
        ..offer()
    };
    assert!(refused(&made, long).contains("bytes long"));
    let nameless = Offer {
        form: Form::Stream,
        name: None,
        ..offer()
    };
    assert!(refused(&made, nameless.clone()).contains("does not say what"));
    let streamed = Offer {
        name: Some("away".to_owned()),
        ..nameless
    };
    assert!(refusal(imported(&made, streamed, true)).contains("only an archive can be gone on"));
    let request = import::Request {
        name: None,
        offer: offer(),
        resume: false,
    };
    let lacking = import::Facts {
        lacking: vec![(
            "rpool".parse().unwrap(),
            vec!["zstd_compress".to_owned(), "large_blocks".to_owned()],
        )],
        ..facts()
    };
    assert_eq!(
        refusal(import::plan(&made.survey, &request, &lacking)),
        "refused to import away: pool rpool does not have what its streams need: zstd_compress, \
         large_blocks\nzpool set feature@zstd_compress=enabled rpool, for each; it cannot be \
         undone, and a loader may not read the pool then"
    );
    made.pool("rpool").readonly = true;
    assert!(refused(&made, offer()).contains("imported read-only"));
    made.pool("rpool").readonly = false;
    made.dataset("rpool/ROOT/away");
    assert_eq!(
        refused(&made, offer()),
        "refused to import away: rpool/ROOT/away exists already\nbeadm-rs import OTHERNAME"
    );
}

#[test]
fn what_is_received_has_no_mountpoint_and_a_mark() {
    let made = Made::new();
    let mut coming = offer();
    coming.description = Some("the one".to_owned());
    coming.architecture = Some("aarch64".to_owned());
    coming.datasets[0].properties = vec![
        ("compression".to_owned(), "zstd".to_owned()),
        ("direct".to_owned(), "always".to_owned()),
    ];
    coming.datasets[1].mountpoint = Some("/srv".to_owned());
    let request = import::Request {
        name: Some("other".parse().unwrap()),
        offer: coming,
        resume: false,
    };
    let facts = import::Facts {
        unknown: BTreeSet::from(["direct".to_owned()]),
        ..facts()
    };
    let plan = import::plan(&made.survey, &request, &facts).unwrap();
    let names: Vec<&str> = plan.steps.iter().map(|step| step.name).collect();
    assert_eq!(
        names,
        ["record", "receive", "rewrite", "settle", "commit", "finish"]
    );
    let receiving = receiving(&plan);
    assert_eq!(
        receiving.staging,
        [dataset("rpool/ROOT/beadm-rs.import.abcdef01")]
    );
    let settings: Vec<Vec<String>> = receiving
        .pieces
        .iter()
        .map(|piece| {
            let settings = piece.settings.iter();
            settings
                .map(|(name, value)| format!("{name}={value}"))
                .collect()
        })
        .collect();
    assert_eq!(
        settings,
        [
            vec![
                "canmount=noauto",
                "compression=zstd",
                "mountpoint=none",
                "org.beadm-rs:description=the one",
                "org.beadm-rs:op=abcdef0123456789",
            ],
            vec![
                "canmount=noauto",
                "mountpoint=/srv",
                "org.beadm-rs:op=abcdef0123456789",
            ],
        ]
    );
    assert_eq!(
        plan.notes,
        [
            "this ZFS does not know the property direct; it is not set",
            "it was made on aarch64, and this machine is x86_64: it will not boot here",
        ]
    );
}

#[test]
fn an_encrypted_one_is_not_written_into() {
    let made = Made::new();
    let mut coming = offer();
    coming.datasets[0].encryption = Some(Encryption {
        root: dataset("tank/ROOT/away"),
        location: Some("file:///key".to_owned()),
    });
    let plan = imported(&made, coming, false).unwrap();
    assert!(plan.steps.iter().all(|step| step.name != "rewrite"));
    assert_eq!(
        plan.notes,
        [
            "it arrives encrypted and locked: zfs load-key -r rpool/ROOT/away, with the key of \
             tank/ROOT/away (file:///key); dataset names in its fstab and zfs-list.cache stay as \
             they are"
        ]
    );
}

#[test]
fn what_an_earlier_try_left_is_gone_on_with_only_where_it_is_that() {
    let mut made = Made::new();
    let staging = "rpool/ROOT/beadm-rs.import.abababab";
    let mark = "abababababababababababababababab";
    made.dataset(staging).mountpoint = Mountpoint::None;
    let foreign = refusal(imported(&made, offer(), true));
    assert_eq!(
        foreign,
        "refused to import away: rpool/ROOT/beadm-rs.import.abababab is there, and is not what an \
         import of this left\nbeadm-rs destroy beadm-rs.import.abababab"
    );
    made.on(staging)
        .marks
        .insert("op".to_owned(), mark.to_owned());
    // Without its snapshot it did not arrive whole.
    assert_eq!(refusal(imported(&made, offer(), true)), foreign);
    made.snapshot(&format!("{staging}@s")).guid = Guid(7001);
    let plan = imported(&made, offer(), true).unwrap();
    let there: Vec<bool> = receiving(&plan).pieces.iter().map(|it| it.there).collect();
    assert_eq!(there, [true, false]);
    // What arrived in part is gone on with, where it is that.
    let token = |guid: u64, base: Option<u64>| Token {
        name: "tank/ROOT/away/var@s".parse().unwrap(),
        guid: Guid(guid),
        base: base.map(Guid),
        object: 8,
        offset: 0,
        bytes: 123,
        large: false,
        embedded: false,
        compressed: true,
        raw: false,
        redacted: false,
    };
    let var = format!("{staging}/var");
    made.dataset(&var).token = Some(token(7002, None).text());
    let plan = imported(&made, offer(), true).unwrap();
    let begun: Vec<Option<u64>> = receiving(&plan).pieces.iter().map(|it| it.begun).collect();
    assert_eq!(begun, [None, Some(123)]);
    assert!(receiving(&plan).keep);
    let ids: Vec<&str> = plan.steps.iter().map(|step| step.name).collect();
    assert_eq!(
        ids,
        ["record", "receive", "rewrite", "settle", "commit", "finish"]
    );
    let request = import::Request {
        name: None,
        offer: offer(),
        resume: true,
    };
    let whole_only = import::Facts {
        whole_only: Some("rpool".parse().unwrap()),
        ..facts()
    };
    let plan = import::plan(&made.survey, &request, &whole_only).unwrap();
    assert!(!receiving(&plan).keep);
    assert_eq!(
        plan.notes,
        [
            "pool rpool does not have extensible_dataset: if it fails, only the datasets that \
          arrived whole are kept"
        ]
    );
    // What is not, goes first where it is marked as received for this, and else is in
    // the way.
    for (text, why) in [
        (token(7001, None).text(), "it is of another snapshot"),
        (token(7002, Some(1)).text(), "it is of another snapshot"),
        (
            "1-0-0-0".to_owned(),
            "it is damaged: the token of what was received is not in hexadecimal",
        ),
    ] {
        made.on(&var).token = Some(text);
        made.on(&var).marks.clear();
        assert_eq!(refusal(imported(&made, offer(), true)), foreign);
        made.on(&var).marks.insert("op".to_owned(), mark.to_owned());
        let plan = imported(&made, offer(), true).unwrap();
        let guid = made.on(&var).guid;
        assert_eq!(
            plan.notes,
            [format!(
                "what had arrived of {var} cannot be gone on with ({why}); it is received from \
                 its beginning"
            )]
        );
        assert_eq!(plan.steps[1].name, "discard");
        match &plan.steps[1].action {
            Action::Transact { operations, .. } => assert_eq!(
                operations,
                &[SyncOp::Destroy {
                    object: var.clone(),
                    guard: Guard::Guid(guid),
                    missing_ok: true,
                }]
            ),
            other => panic!("{other:?}"),
        }
        let begun: Vec<Option<u64>> = receiving(&plan).pieces.iter().map(|it| it.begun).collect();
        assert_eq!(begun, [None, None]);
    }
    made.dataset(&format!("{staging}/more"));
    assert_eq!(refusal(imported(&made, offer(), true)), foreign);
}

fn exported(made: &Made, since: Option<export::Since>) -> Planned {
    let request = export::Request {
        from: create::From {
            environment: Some("new".parse().unwrap()),
            snapshot: None,
        },
        since,
        form: export::Form::Archive { zstd: true },
        to: "FILE".to_owned(),
    };
    let facts = export::Facts {
        machine: Machine {
            hostname: None,
            system: "Linux".to_owned(),
            architecture: "x86_64".to_owned(),
        },
        ..export::Facts::default()
    };
    export::plan(&made.survey, &request, &facts)
}

fn sending(plan: &Plan) -> &export::Sending {
    let mut steps = plan.steps.iter();
    steps
        .find_map(|step| match &step.action {
            Action::Send(sending) => Some(sending.as_ref()),
            _ => None,
        })
        .unwrap()
}

#[test]
fn a_locked_environment_leaves_as_it_lies_on_disk() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/new");
    let root = made.on("rpool/ROOT/new");
    root.encryption_root = Some(dataset("rpool/ROOT/new"));
    root.key_loaded = false;
    let plan = exported(&made, None).unwrap();
    assert_eq!(sending(&plan).pieces[0].blocks, Blocks::Raw);
    made.on("rpool/ROOT/new").token = Some("1-0-0-0".to_owned());
    assert_eq!(
        refusal(exported(&made, None)),
        "refused to export new: rpool/ROOT/new is being received"
    );
    made.on("rpool/ROOT/new").token = None;
    made.on("rpool/ROOT/new").mountpoint = Mountpoint::None;
    assert_eq!(
        refusal(exported(&made, None)),
        "refused to export new: its mountpoint is none and not /\nzfs set mountpoint=/ \
         rpool/ROOT/new"
    );
}

#[test]
fn what_does_not_travel_is_named() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/new");
    made.dataset("rpool/ROOT/new/proc").mountpoint = Mountpoint::Path("/proc/x".into());
    let property = |name: &str, value: &str| Property {
        name: name.to_owned(),
        source: Source::Local,
        value: value.to_owned(),
    };
    made.survey.properties.insert(
        dataset("rpool/ROOT/new"),
        vec![
            property("compression", "lz4"),
            property("reservation", "1000"),
            property("org.beadm-rs:pinned", "7 x"),
            property("quota", "0"),
        ],
    );
    made.survey.properties.insert(
        dataset("rpool/ROOT/new/proc"),
        vec![property("mountpoint", "/proc/x")],
    );
    let plan = exported(&made, None).unwrap();
    let manifest = &sending(&plan).manifest;
    assert_eq!(
        manifest.datasets[0].properties,
        [
            ("compression".to_owned(), "lz4".to_owned()),
            ("quota".to_owned(), "none".to_owned())
        ]
    );
    assert_eq!(
        manifest.left_out,
        [
            "reservation=1000 of rpool/ROOT/new",
            "mountpoint=/proc/x of rpool/ROOT/new/proc"
        ]
    );
}

#[test]
fn a_difference_is_to_the_newest_snapshot_both_have() {
    let mut made = Made::new();
    made.dataset("rpool/ROOT/old");
    let one = made.snapshot("rpool/ROOT/old@one").guid;
    made.dataset("rpool/ROOT/new").origin = Some("rpool/ROOT/old@one".parse().unwrap());
    made.dataset("rpool/ROOT/new/var");
    let since = |name: &str| Some(export::Since::Named(name.to_owned()));
    let plan = exported(&made, since("old")).unwrap();
    let sent = sending(&plan);
    let base = sent.manifest.datasets[0].base.as_ref().unwrap();
    assert_eq!((base.name.as_str(), base.guid), ("rpool/ROOT/old@one", one));
    // What is new is sent whole.
    assert_eq!(sent.manifest.datasets[1].base, None);
    made.snapshot("rpool/ROOT/new@two");
    let plan = exported(&made, since("two")).unwrap();
    let base = sending(&plan).pieces[0].base.as_ref().unwrap();
    assert_eq!(base.as_str(), "rpool/ROOT/new@two");
    made.dataset("rpool/ROOT/stranger");
    assert_eq!(
        refusal(exported(&made, since("stranger"))),
        "refused to export new: it has no snapshot in common with what --since names\n\
         export it without --since"
    );
}
