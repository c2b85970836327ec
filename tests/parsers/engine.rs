//! The engine over a `zfs` that answers as a release did.

use std::os::unix::fs::PermissionsExt as _;

use beadm_rs::zfs::cli::Cli;
use beadm_rs::zfs::{DatasetName, Zfs as _};
use camino::Utf8Path;
use tempfile::TempDir;

use super::root;

/// A `zfs` in a directory of its own: lines of shell, in which `$fixtures` is
/// the release's, and every call is noted in `calls`.
fn fake(release: &str, lines: &str) -> (TempDir, Cli) {
    let directory = tempfile::tempdir().unwrap();
    let fixtures = root().join("tests/fixtures/zfs").join(release);
    let script = format!(
        "#!/bin/sh\nfixtures='{}'\necho \"$*\" >>'{}/calls'\n{lines}\n",
        fixtures.display(),
        directory.path().display()
    );
    let zfs = directory.path().join("zfs");
    std::fs::write(&zfs, script).unwrap();
    std::fs::set_permissions(&zfs, std::fs::Permissions::from_mode(0o755)).unwrap();
    let cli = Cli::in_directory(Utf8Path::from_path(directory.path()).unwrap());
    (directory, cli)
}

fn calls(directory: &TempDir) -> Vec<String> {
    let text = std::fs::read_to_string(directory.path().join("calls")).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn roots(name: &str) -> [DatasetName; 1] {
    [name.parse().unwrap()]
}

#[test]
fn columns_a_release_does_not_know_are_left_out_from_then_on() {
    let (directory, cli) = fake(
        "illumos-2016",
        r#"case $* in
            *encryptionroot*) cat "$fixtures/zfs-list-unknown-column.txt" >&2; exit 2 ;;
            *keystatus*) echo "bad property list: invalid property 'keystatus'" >&2; exit 2 ;;
            *receive_resume_token*)
                echo "bad property list: invalid property 'receive_resume_token'" >&2; exit 2 ;;
            *) cat "$fixtures/zfs-list.txt" ;;
        esac"#,
    );
    assert_eq!(cli.tree(&roots("rpool/ROOT"), true).unwrap().len(), 4);
    assert_eq!(calls(&directory).len(), 4);
    assert_eq!(cli.tree(&roots("rpool/ROOT"), true).unwrap().len(), 4);
    assert_eq!(calls(&directory).len(), 5);
}

#[test]
fn a_column_that_is_needed_is_not_left_out() {
    let (directory, cli) = fake(
        "2.3",
        r#"echo "bad property list: invalid property 'guid'" >&2; exit 2"#,
    );
    let error = cli.tree(&roots("rpool/ROOT"), true).unwrap_err();
    assert!(
        error.to_string().contains("invalid property 'guid'"),
        "{error}"
    );
    assert_eq!(calls(&directory).len(), 1);
}

#[test]
fn clones_that_zfs_list_left_out_are_asked_for() {
    for (release, asked) in [("2.1", 2), ("2.2", 2), ("2.3", 1), ("2.4", 1)] {
        let (directory, cli) = fake(
            release,
            r#"case $1 in
                list) cat "$fixtures/zfs-list-many-clones.txt" ;;
                program) cat >/dev/null; cat "$fixtures/zfs-program-clones.txt" ;;
            esac"#,
        );
        let tree = cli.tree(&roots("tank/share"), true).unwrap();
        let snapshot = &tree[0].snapshots[0];
        let mut clones: Vec<&str> = snapshot.clones.iter().map(|clone| clone.as_str()).collect();
        clones.sort_unstable();
        assert_eq!(clones.len(), 20, "{release}");
        for (clone, begin) in clones.iter().zip(
            (10..20)
                .map(|number| format!("tank/{number}-"))
                .chain((20..30).map(|number| format!("tank/c{number}-"))),
        ) {
            let long = begin.clone() + &"L".repeat(222);
            assert_eq!(*clone, long, "{release}");
        }
        let calls = calls(&directory);
        assert_eq!(calls.len(), asked, "{release}: {calls:?}");
        if let Some(program) = calls.get(1) {
            assert!(program.ends_with(" tank - tank/share@many"), "{program}");
        }
    }
}

/// A listing in which somebody's mark looks like another record, and the same
/// without marks; what a channel program then says of them.
const FORGED: &str = r#"case $* in
    *org.beadm-rs:op*) cat "$fixtures/zfs-list-forged.txt" ;;
    list*) printf 'p/R\tfilesystem\t17\t1\t2\t3\t4\t5\t-\tnoauto\tno\toff\t-\tnone\t-\t-\t-\t/a\tb\t17\tp/R\n' ;;
    program*) cat >/dev/null; PROGRAM ;;
esac"#;

#[test]
fn marks_that_make_the_listing_ambiguous_are_asked_of_a_channel_program() {
    let said = r#"echo '{"return":{"p/R":{"op":"3137207b7d","pinned":"780979"}}}'"#;
    let (directory, cli) = fake("2.3", &FORGED.replace("PROGRAM", said));
    let tree = cli.tree(&roots("p/R"), true).unwrap();
    assert_eq!(tree.len(), 1);
    assert_eq!(tree[0].mountpoint.to_string(), "/a\tb");
    assert_eq!(tree[0].marks["op"], "17 {}");
    assert_eq!(tree[0].marks["pinned"], "x\ty");
    let calls = calls(&directory);
    assert_eq!(calls.len(), 3, "{calls:?}");
    assert!(!calls[1].contains("org.beadm-rs"), "{}", calls[1]);
    assert!(calls[2].ends_with(" p - p/R"), "{}", calls[2]);
}

#[test]
fn where_no_channel_program_runs_an_ambiguous_listing_is_an_error() {
    let (_directory, cli) = fake("2.3", &FORGED.replace("PROGRAM", "exit 1"));
    let error = cli.tree(&roots("p/R"), true).unwrap_err().to_string();
    assert!(error.contains("it does not end as it began"), "{error}");
}

#[test]
fn a_rename_that_failed_is_partial_unless_the_old_name_is_there_still() {
    let rename = |lines: &str| {
        let (_directory, cli) = fake("2.3", lines);
        let [from, to] = ["p/a", "p/b"].map(|name| name.parse().unwrap());
        cli.rename(&from, &to).unwrap_err().partial
    };
    let gone = r#"case $1 in
        rename) echo "internal error: out of cheese" >&2; exit 1 ;;
        list) echo "cannot open 'p/a': dataset does not exist" >&2; exit 1 ;;
    esac"#;
    assert!(rename(gone));
    assert!(!rename(
        "case $1 in rename) exit 1 ;; list) echo p/a ;; esac"
    ));
    // There was nothing to rename.
    assert!(!rename(
        r#"echo "cannot open 'p/a': dataset does not exist" >&2; exit 1"#
    ));
}
