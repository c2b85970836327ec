//! What is easily read wrongly, one by one, on what real releases printed.

use beadm_rs::zfs::parse;
use beadm_rs::zfs::{Dataset, Guid, Mountpoint};

use super::{RELEASES, fixture, lacking, openzfs};

fn datasets(release: &str, text: &str) -> Vec<Dataset> {
    parse::tree(text, lacking(release)).unwrap().datasets
}

fn named<'a>(datasets: &'a [Dataset], name: &str) -> &'a Dataset {
    let found = datasets
        .iter()
        .find(|dataset| dataset.name.as_str() == name);
    found.unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn a_mountpoint_with_a_tab_shifts_no_column() {
    for (release, text) in openzfs("zfs-list") {
        let datasets = datasets(release, &text);
        let tab = named(&datasets, "tank/tab");
        assert_eq!(tab.mountpoint, Mountpoint::Path("/mnt/a\tb".into()));
        assert!(tab.marks.is_empty());
    }
}

#[test]
fn a_description_is_read_whole_wherever_it_is_inherited() {
    for (release, text) in openzfs("zfs-list") {
        let datasets = datasets(release, &text);
        let root = named(&datasets, "tank/ROOT/de bian");
        let child = named(&datasets, "tank/ROOT/de bian/var");
        for marks in [&root.marks, &root.snapshots[0].marks, &child.marks] {
            assert_eq!(marks["description"], "one\ttwo\n\nthree 🚀 é");
        }
    }
}

#[test]
fn guids_above_63_bits_are_kept() {
    for (release, text) in openzfs("zfs-list") {
        let datasets = datasets(release, &text);
        let root = named(&datasets, "tank/ROOT/de bian");
        assert_eq!(root.guid, Guid(12_811_081_163_109_380_762));
    }
}

#[test]
fn a_record_forged_in_a_description_is_an_error_and_not_a_dataset() {
    for (release, text) in openzfs("zfs-list-forged") {
        assert!(text.contains("\ntank/ROOT/forged\tfilesystem\t"));
        let error = parse::tree(&text, &[]).unwrap_err();
        assert_eq!(
            error.why, "it does not end as it began before a line that looks like another one",
            "{release}"
        );
    }
}

#[test]
fn a_property_forged_in_a_value_is_an_error_and_not_a_property() {
    for (release, text) in openzfs("zfs-get-all-forged") {
        assert!(text.contains("\ntank/ROOT\texec\tlocal\toff"));
        let error = parse::properties(&text).unwrap_err();
        assert_eq!(
            error.why, "it does not end as it began before a line that looks like another one",
            "{release}"
        );
    }
}

#[test]
fn an_unknown_column_is_known_by_the_message_of_zfs_list() {
    let text = fixture("illumos-2016", "zfs-list-unknown-column").unwrap();
    assert_eq!(parse::unknown_column(&text), Some("encryptionroot"));
    // Others are needed: there is nothing to do without them.
    for (_, text) in openzfs("zfs-list-unknown-column") {
        assert!(text.starts_with("bad property list: invalid property 'nosuchproperty'\n"));
        assert_eq!(parse::unknown_column(&text), None);
    }
}

#[test]
fn without_a_column_its_release_does_not_know_the_listing_is_the_same() {
    let text = fixture("illumos-2016", "zfs-list").unwrap();
    assert!(parse::tree(&text, &[]).is_err());
    let datasets = datasets("illumos-2016", &text);
    let root = named(&datasets, "rpool/ROOT/omnios-1");
    assert_eq!(
        (root.encryption_root.as_ref(), root.key_loaded),
        (None, true)
    );
    assert_eq!(
        root.origin.as_ref().map(|origin| origin.as_str()),
        Some("rpool/ROOT/omnios@2019-10-17-12:47:03")
    );
}

#[test]
fn every_settable_property_asked_for_is_one_of_the_release() {
    for release in RELEASES {
        let usage = fixture(release, "zfs-get-usage").unwrap();
        let settable = parse::settable(&usage);
        for name in ["canmount", "mountpoint", "exec", "quota", "sharenfs"] {
            assert!(
                settable.iter().any(|found| found == name),
                "{release}: {name}"
            );
        }
        for name in [
            "version",
            "used",
            "encryption",
            "casesensitivity",
            "userquota@...",
        ] {
            assert!(
                settable.iter().all(|found| found != name),
                "{release}: {name}"
            );
        }
    }
}

#[test]
fn the_columns_asked_for_are_those_of_the_fixtures() {
    assert_eq!(
        parse::tree_columns(&[]),
        "name,type,guid,createtxg,creation,used,referenced,written,origin,canmount,mounted,\
         readonly,encryptionroot,keystatus,receive_resume_token,clones,userrefs,mountpoint,guid,\
         org.beadm-rs:op,org.beadm-rs:confirmed,org.beadm-rs:failback,org.beadm-rs:pinned,\
         org.beadm-rs:exclude,org.beadm-rs:schema,org.beadm-rs:trial,\
         org.beadm-rs:fell-back,org.beadm-rs:files,org.beadm-rs:made,guid,org.beadm-rs:description,name"
    );
    assert_eq!(
        parse::tree_columns(lacking("illumos-2016")),
        "name,type,guid,createtxg,creation,used,referenced,written,origin,canmount,mounted,\
         readonly,clones,userrefs,mountpoint,guid,\
         org.beadm-rs:op,org.beadm-rs:confirmed,org.beadm-rs:failback,org.beadm-rs:pinned,\
         org.beadm-rs:exclude,org.beadm-rs:schema,org.beadm-rs:trial,\
         org.beadm-rs:fell-back,org.beadm-rs:files,org.beadm-rs:made,guid,org.beadm-rs:description,name"
    );
    assert_eq!(
        parse::PROPERTY_COLUMNS,
        "name,property,source,value,property"
    );
}
