//! What `init` makes of the layouts of guides and installers, from lists of what
//! their commands make: `tests/fixtures/layouts/`. `SNAPSHOTS=overwrite cargo test
//! --test layouts` writes `recognised.txt` there anew.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::PathBuf;

use beadm_rs::adopt::Look;
use beadm_rs::adopt::layouts::{LAYOUTS, Verdict};
use beadm_rs::boot::{BootState, Capabilities};
use beadm_rs::intent::OpId;
use beadm_rs::plan::{Action, init};
use beadm_rs::survey::Survey;
use beadm_rs::zfs::{DatasetName, SyncOp, parse};
use snapbox::{Assert, Data};

mod boot;

/// The layouts, and what `/` is mounted from on a machine that runs from one.
const FIXTURES: [(&str, &str); 13] = [
    ("arch-wiki", "zroot/ROOT/default"),
    ("freebsd", "zroot/ROOT/default"),
    ("nixos", "rpool/local/root"),
    ("omnios", "rpool/ROOT/omnios"),
    ("openzfs-debian", "rpool/ROOT/debian"),
    ("openzfs-flat", "rpool/root"),
    ("openzfs-sys", "rpool/sys/ROOT/default"),
    ("openzfs-ubuntu", "rpool/ROOT/ubuntu_k3x9aq"),
    ("pool-root", "rpool"),
    ("proxmox", "rpool/ROOT/pve-1"),
    ("ubuntu-installer", "rpool/ROOT/ubuntu_4r8k2m"),
    ("unknown", "tank/os/stable"),
    ("zfsbootmenu-void", "zroot/ROOT/void"),
];

fn directory(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/fixtures/layouts")
        .join(name)
}

fn text(name: &str, file: &str) -> String {
    let path = directory(name).join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What is read on a machine with that layout.
fn look(name: &str, root: Option<&str>) -> Look {
    let pools = parse::pools(&text(name, "zpool-list.txt")).unwrap();
    let datasets = parse::tree(&text(name, "zfs-list.txt"), &[])
        .unwrap()
        .datasets;
    Look {
        pools: pools
            .into_iter()
            .map(|pool| (pool.name.clone(), pool))
            .collect(),
        datasets: datasets
            .into_iter()
            .map(|dataset| (dataset.name.clone(), dataset))
            .collect(),
        properties: parse::properties(&text(name, "zfs-get.txt")).unwrap(),
        root: root.map(|root| root.parse().unwrap()),
        altroot: None,
        named: None,
    }
}

/// The picture other commands have of it.
fn survey(look: &Look, beroot: &DatasetName) -> Survey {
    Survey {
        now: chrono::DateTime::from_timestamp(1_800_000_000, 0).unwrap(),
        id: OpId::from_bits(7),
        beroot: beroot.clone(),
        boot_roots: Vec::new(),
        pools: look.pools.clone(),
        datasets: look.datasets.clone(),
        close: BTreeSet::new(),
        properties: Default::default(),
        running: look.root.clone(),
        boot: BootState {
            next: look.pools[&beroot.pool()].bootfs.clone(),
            ..BootState::default()
        },
        capabilities: Capabilities {
            counting: false,
            once: false,
        },
        loader: "the pool's bootfs",
        assumed: false,
        mounts: Vec::new(),
        altroot: None,
        moving: None,
        handed_over: None,
        shared: None,
    }
}

/// A line for each thing the plan sets.
fn settings(survey: &Survey, noauto: bool) -> String {
    let request = init::Request {
        name: None,
        noauto,
        units: Vec::new(),
    };
    let plan = init::plan(survey, &request, Ok(None)).unwrap();
    let guid_of = |text: &str| {
        survey
            .datasets
            .values()
            .find(|dataset| dataset.guid.to_string() == text)
            .map_or_else(
                || text.to_owned(),
                |dataset| format!("the guid of {}", dataset.name),
            )
    };
    let mut out = String::new();
    for step in &plan.steps {
        match &step.action {
            Action::Transact { operations, .. } => {
                for operation in operations {
                    let SyncOp::Mark { object, key, text } = operation else {
                        panic!("{operation:?} is no mark");
                    };
                    let _ = writeln!(out, "org.beadm-rs:{key} on {object}: {}", guid_of(text));
                }
            }
            other => {
                let _ = writeln!(out, "{other}");
            }
        }
    }
    out
}

/// Everything `init` says about a layout, and would set.
fn recognised(name: &str, root: &str) -> String {
    let look = look(name, Some(root));
    let mut out = String::new();
    let refused = |out: &mut String, refusal: beadm_rs::plan::Refusal| {
        let _ = writeln!(out, "{refusal}");
        let _ = writeln!(out, "remedy: {}", refusal.remedy.unwrap());
    };
    let beroot = match look.place() {
        Ok(beroot) => beroot,
        Err(refusal) => {
            refused(&mut out, refusal);
            return out;
        }
    };
    let adoption = match look.recognise(&beroot) {
        Ok(adoption) => adoption,
        Err(refusal) => {
            refused(&mut out, refusal);
            return out;
        }
    };
    let _ = writeln!(out, "layout {}", adoption.layout.name);
    let _ = writeln!(out, "beroot {}", adoption.beroot);
    for root in &adoption.boot_roots {
        let _ = writeln!(out, "boot {root}");
    }
    for shared in &adoption.shared {
        let _ = writeln!(out, "shared {} on {}", shared.dataset, shared.directory);
    }
    for foreign in &adoption.foreign {
        let _ = writeln!(out, "left alone {}", foreign.summary());
    }
    for finding in &adoption.findings {
        let _ = writeln!(out, "\n{} {}", finding.severity.as_str(), finding.name);
        let _ = writeln!(out, "  {}", finding.text);
        let _ = writeln!(out, "  remedy: {}", finding.remedy);
    }
    let survey = survey(&look, &beroot);
    let _ = write!(out, "\nwould set:\n{}", settings(&survey, false));
    let _ = write!(out, "\nwith --noauto:\n{}", settings(&survey, true));
    out
}

#[test]
fn every_layout_is_recognised_and_what_would_be_set_is_known() {
    for (name, root) in FIXTURES {
        let path = directory(name).join("recognised.txt");
        Assert::new().action_env("SNAPSHOTS").eq(
            Data::text(recognised(name, root)).raw(),
            Data::read_from(&path, None).raw(),
        );
    }
}

#[test]
fn every_fixture_is_tested() {
    let tested: BTreeSet<String> = FIXTURES
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect();
    let there: BTreeSet<String> = std::fs::read_dir(directory("."))
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    assert_eq!(tested, there);
}

#[test]
fn the_columns_of_the_fixtures_are_those_the_engine_asks_for() {
    for (name, _) in FIXTURES {
        let columns = parse::tree_columns(&[]).split(',').count();
        for line in text(name, "zfs-list.txt").lines() {
            assert_eq!(line.split('\t').count(), columns, "{name}: {line}");
        }
    }
}

/// From a rescue system: the pools are imported below an altroot, and nothing
/// runs from them.
#[test]
fn below_an_altroot_the_same_place_is_found() {
    for (name, root) in FIXTURES {
        let running = look(name, Some(root));
        let mut rescue = look(name, None);
        rescue.altroot = Some("/mnt".into());
        for pool in rescue.pools.values_mut() {
            pool.altroot = Some("/mnt".into());
        }
        for dataset in rescue.datasets.values_mut() {
            if let beadm_rs::zfs::Mountpoint::Path(path) = &dataset.mountpoint {
                let rest = path.as_str().trim_start_matches('/');
                dataset.mountpoint = beadm_rs::zfs::Mountpoint::Path(if rest.is_empty() {
                    "/mnt".into()
                } else {
                    format!("/mnt/{rest}").into()
                });
            }
        }
        let said = |look: &Look| match look.place() {
            Ok(place) => match look.recognise(&place) {
                Ok(adoption) => format!("{place} {} {:?}", adoption.layout.name, adoption.shared),
                Err(refusal) => refusal.to_string(),
            },
            Err(refusal) => refusal.to_string(),
        };
        assert_eq!(said(&running), said(&rescue), "{name}");
    }
}

/// Every name in the table is that of a layout some fixture has, but for those
/// that are for what nobody wrote a guide about.
#[test]
fn every_line_of_the_table_is_reached() {
    let mut reached: BTreeSet<&str> = FIXTURES
        .iter()
        .filter_map(|(name, root)| {
            let look = look(name, Some(root));
            let text = match look.place() {
                Ok(place) => match look.recognise(&place) {
                    Ok(adoption) => return Some(adoption.layout.name),
                    Err(refusal) => refusal.reason,
                },
                Err(refusal) => refusal.reason,
            };
            LAYOUTS
                .iter()
                .find(|layout| text.contains(&format!("({})", layout.name)))
                .map(|layout| layout.name)
        })
        .collect();
    // Changed by hand: zsys removed with its properties; the guide's boot pool
    // not there; an administrator's own data beside the root.
    let mut without_zsys = look("openzfs-ubuntu", Some("rpool/ROOT/ubuntu_k3x9aq"));
    without_zsys.properties.clear();
    let mut plain = look("openzfs-debian", Some("rpool/ROOT/debian"));
    plain
        .datasets
        .retain(|name, _| name.pool().as_str() == "rpool");
    let mut mixed = look("unknown", Some("tank/os/stable"));
    mixed
        .datasets
        .get_mut(&"tank/os/testing".parse().unwrap())
        .unwrap()
        .mountpoint = beadm_rs::zfs::Mountpoint::Path("/srv".into());
    for (look, expected) in [
        (without_zsys, "openzfs-ubuntu"),
        (plain, "conventional"),
        (mixed, "mixed"),
    ] {
        let place = look.place().unwrap();
        match look.recognise(&place) {
            Ok(adoption) => assert_eq!(adoption.layout.name, expected),
            Err(refusal) => assert!(
                refusal.reason.contains(&format!("({expected})")),
                "{refusal}"
            ),
        }
        reached.insert(expected);
    }
    let all: BTreeSet<&str> = LAYOUTS.iter().map(|layout| layout.name).collect();
    assert_eq!(reached, all);
    for layout in &LAYOUTS {
        if let Verdict::Refused { reason, remedy } = layout.verdict {
            assert!(!reason.is_empty() && !remedy.is_empty(), "{}", layout.name);
        }
    }
}

#[test]
fn several_systems_below_one_altroot_are_refused_with_the_way_out() {
    let mut look = look("openzfs-debian", None);
    look.altroot = Some("/mnt".into());
    let other = self::look("zfsbootmenu-void", None);
    look.datasets.extend(other.datasets);
    look.pools.extend(other.pools);
    for pool in look.pools.values_mut() {
        pool.altroot = Some("/mnt".into());
    }
    let refusal = look.place().unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "refused to adopt the system: there are root file systems in several places: \
         rpool/ROOT, zroot/ROOT"
    );
    assert_eq!(
        refusal.remedy.as_deref(),
        Some("say which: -r rpool/ROOT, or -r zroot/ROOT")
    );
    look.named = Some("zroot/ROOT".parse().unwrap());
    assert_eq!(look.place().unwrap().as_str(), "zroot/ROOT");
}
