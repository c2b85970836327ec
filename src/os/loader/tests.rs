//! Changes of a partition's files.

use cap_std_ext::cap_std::ambient_authority;
use proptest::prelude::*;

use super::*;

fn place() -> (tempfile::TempDir, Dir) {
    let directory = tempfile::tempdir().unwrap();
    let dir = Dir::open_ambient_dir(directory.path(), ambient_authority()).unwrap();
    (directory, dir)
}

#[test]
fn a_copy_is_whole_or_not_there() {
    let (_source, source) = place();
    let (_target, target) = place();
    source.write("linux", "a kernel").unwrap();
    let digest = digest_of(&b"a kernel"[..]).unwrap();
    let to = Utf8Path::new("beadm-rs/x/linux");
    copy(&source, "linux".into(), &target, to, &digest).unwrap();
    assert_eq!(target.read(to).unwrap(), b"a kernel");
    // It is there: the source is not needed.
    source.remove_file("linux").unwrap();
    copy(&source, "linux".into(), &target, to, &digest).unwrap();
    source.write("linux", "another").unwrap();
    let other = Utf8Path::new("beadm-rs/y/linux");
    let error = copy(&source, "linux".into(), &target, other, &digest).unwrap_err();
    assert_eq!(error.to_string(), "it was changed since it was looked at");
    assert_eq!(target.read_dir("beadm-rs/y").unwrap().count(), 0);
}

#[test]
fn a_link_is_not_copied_and_a_name_in_use_not_taken() {
    let (_source, source) = place();
    source.write("secret", "x").unwrap();
    source.symlink("secret", "linux").unwrap();
    assert!(open(&source, "linux".into()).is_err());
    source.write("one", "1").unwrap();
    let error = rename(&source, "one".into(), "secret".into()).unwrap_err();
    assert_eq!(error.to_string(), "there is secret already");
}

#[test]
fn what_is_not_empty_stays() {
    let (_target, target) = place();
    target.create_dir_all("beadm-rs/x").unwrap();
    target.write("beadm-rs/x/mine", "").unwrap();
    for file in ["beadm-rs/x/none", "beadm-rs/x", "nowhere/at/all"] {
        remove(&target, file.into()).unwrap();
    }
    assert!(target.exists("beadm-rs/x/mine"));
    remove(&target, "beadm-rs/x/mine".into()).unwrap();
    remove(&target, "beadm-rs/x".into()).unwrap();
    assert!(!target.exists("beadm-rs/x"));
}

#[test]
fn a_block_is_written_in_place_and_only_where_it_is_what_was_planned() {
    use std::os::unix::fs::MetadataExt as _;
    let (directory, dir) = place();
    let block = |text: &str| format!("{text}\n{}", "#".repeat(1023 - text.len()));
    let (old, new, other) = (block("a=1"), block("a=2\nb=3"), block("a=4"));
    let file = Utf8Path::new("grubenv");
    let read = || dir.read_to_string(file).unwrap();
    dir.write(file, &old).unwrap();
    let inode = || directory.path().join(file).metadata().unwrap().ino();
    let before = inode();
    write_block(&dir, file, &old, &new).unwrap();
    assert_eq!((read(), inode()), (new.clone(), before));
    // Done already, and the contrary.
    write_block(&dir, file, &old, &new).unwrap();
    write_block(&dir, file, &new, &old).unwrap();
    assert_eq!(read(), old);
    let told = |from: &str, to: &str| write_block(&dir, file, from, to).unwrap_err().to_string();
    assert_eq!(told(&other, &new), "it was changed since it was looked at");
    assert_eq!(
        told(&old, "short"),
        "it has 1024 bytes, and a block of 5 belongs there"
    );
    dir.write(file, "a=1\n").unwrap();
    assert_eq!(
        told(&old, &new),
        "it has 4 bytes, and a block of 1024 belongs there"
    );
    assert_eq!(read(), "a=1\n");
    dir.rename(file, &dir, "elsewhere").unwrap();
    dir.symlink("elsewhere", file).unwrap();
    assert!(write_block(&dir, file, &old, &new).is_err());
    dir.remove_file(file).unwrap();
    assert!(write_block(&dir, file, &old, &new).is_err());
    assert!(!dir.exists(file));
}

#[test]
fn a_change_of_a_block_is_told_by_its_lines() {
    let change = LoaderChange::Block {
        partition: "/efi".into(),
        file: "beadm-rs/grubenv".into(),
        from: "# x\na=1\nb=2\n####".to_owned(),
        to: "# x\na=3\nb=2\n####".to_owned(),
    };
    assert_eq!(change.to_string(), "set in /efi/beadm-rs/grubenv: a=3");
    let json = serde_json::to_value(&change).unwrap();
    assert_eq!(json["to"], "# x\na=3\nb=2\n");
}

proptest! {
    #[test]
    fn a_variable_is_read_as_it_was_written(text in "[^\0]{0,40}") {
        prop_assert_eq!(variable_text(&variable_bytes(&text)), text);
    }

    #[test]
    fn any_bytes_are_some_text(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
        let _ = variable_text(&bytes);
    }
}
