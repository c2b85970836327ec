//! What looks broken and is not, and what a preflight makes of findings.

use super::*;

#[test]
fn kernels_are_found_where_distributions_put_them() {
    let initramfs = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
    let layouts: [(&str, &[&str], &str); 6] = [
        ("Debian", &[], "initrd.img-6.12.0-stand-in"),
        (
            "Void",
            &["vmlinuz-6.12.0-stand-in"],
            "initramfs-6.12.0-stand-in.img",
        ),
        (
            "openSUSE",
            &["vmlinuz-6.12.0-stand-in"],
            "initrd-6.12.0-stand-in",
        ),
        ("Arch", &["vmlinuz-linux"], "initramfs-linux.img"),
        ("Alpine", &["vmlinuz-in"], "initramfs-in"),
        (
            "kernel-install",
            &["0123/6.12.0-stand-in/linux"],
            "0123/6.12.0-stand-in/initrd",
        ),
    ];
    for (system, kernels, image) in layouts {
        let stage = Stage::new();
        if !kernels.is_empty() {
            stage.without_kernels();
        }
        for kernel in kernels {
            stage.write(BOOT, kernel, "");
        }
        stage.write(USR, &format!("lib/modules/{KERNEL}/pkgbase"), "linux\n");
        stage.write(BOOT, image, &initramfs);
        assert_eq!(stage.found(), [], "{system}");
    }
}

#[test]
fn a_kernel_on_the_esp_is_one() {
    let mut stage = Stage::new();
    stage.without_kernels();
    stage.on_esp(&format!("token/{KERNEL}/linux"), b"");
    assert_eq!(names(&stage.found()), BTreeSet::from(["initramfs-missing"]));
    let initramfs = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
    stage.on_esp(&format!("token/{KERNEL}/initrd"), &initramfs);
    assert_eq!(stage.found(), []);
    // And one of this environment in a unified image beside others'.
    let mut stage = Stage::new();
    stage.without_kernels();
    for (name, root) in [("a", "other"), ("b", "debian")] {
        let line = format!("root=zfs:rpool/ROOT/{root}");
        let image = image::example(&[(".cmdline", line.as_bytes())], false);
        stage.on_esp(&format!("EFI/Linux/{name}.efi"), &image);
    }
    assert_eq!(stage.found(), []);
}

#[test]
fn a_unified_image_is_whole_with_its_initramfs() {
    let mut stage = Stage::new();
    let good = archive(&[("etc/hostid", &HOSTID.to_ne_bytes())]);
    unified(&mut stage, &[(KERNEL, &good), ("5.9", &[])]);
    assert_eq!(stage.found(), []);
    let mut stage = Stage::new();
    unified(&mut stage, &[("", &good)]);
    assert_eq!(stage.found(), []);
}

#[test]
fn with_boot_in_its_root_it_is_no_matter_that_zfsbootmenu_starts_it() {
    let mut stage = Stage::new();
    stage.on_esp("EFI/zbm/vmlinuz.EFI", b"");
    stage.facts.command_line = "BOOT_IMAGE=/vmlinuz root=ZFS=rpool/ROOT/debian".to_owned();
    // It is there, and GRUB started this kernel.
    assert_eq!(stage.found(), []);
    stage.facts.command_line = "root=zfs:rpool/ROOT/debian".to_owned();
    assert!(names(&stage.found()).contains("zfsbootmenu-no-kernel"));
    stage.set(BOOT, "canmount", "off");
    stage.with(ROOT, |root| {
        root.create_dir_all("boot").unwrap();
        let boot = root.open_dir("boot").unwrap();
        stand_in::write_boot(&boot, Some(HOSTID)).unwrap();
    });
    assert_eq!(stage.found(), []);
}

#[test]
fn what_fstab_mounts_need_not_be_mounted_by_the_initramfs() {
    let mut stage = Stage::new();
    dracut(&mut stage);
    stage.write(ROOT, "etc/fstab", format!("{USR} /usr zfs zfsutil 0 0\n"));
    assert_eq!(stage.found(), []);
    for (line, mounted) in [("zfsutil,noauto", false), ("defaults", true)] {
        let line = format!("{USR} /usr zfs {line} 0 0\n");
        stage.write(ROOT, "etc/fstab", line);
        assert_eq!(stage.found().is_empty(), mounted);
    }
    let mut stage = Stage::new();
    dracut(&mut stage);
    stage.write(ROOT, "etc/systemd/system/usr.mount", "");
    assert_eq!(stage.found(), []);
    let mut stage = Stage::new();
    dracut(&mut stage);
    stage.set(USR, "canmount", "off");
    assert!(!names(&stage.found()).contains("children-not-mounted"));
}

#[test]
fn what_the_generator_or_the_module_mounts_is_no_matter() {
    let make = |stage: &Stage, name: &str, place: &str| {
        let settings = [("mountpoint", place), ("canmount", "noauto")];
        let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned()));
        stage.sim.create(&dataset(name), &settings).unwrap();
    };
    // The generator itself lies in what would have to be mounted.
    let mut stage = Stage::new();
    dracut(&mut stage);
    stage.with(USR, |usr| {
        usr.create_dir_all("lib/systemd/system-generators").unwrap();
        let at = "lib/systemd/system-generators/beadm-rs-generator";
        usr.write(at, "").unwrap();
        usr.set_permissions(at, Permissions::from_mode(0o755))
            .unwrap();
    });
    assert!(names(&stage.found()).contains("children-not-mounted"));
    // What init does not need is mounted by it.
    stage.set(USR, "canmount", "on");
    make(&stage, "rpool/ROOT/debian/usr/local", "/usr/local");
    make(&stage, "rpool/ROOT/debian/var", "/var");
    let found = names(&stage.found());
    assert!(!found.contains("children-not-mounted"), "{found:?}");
    make(&stage, "rpool/ROOT/debian/etc", "/etc/ssl");
    let found = stage.found();
    let found: Vec<&str> = found
        .iter()
        .filter(|finding| finding.name == "children-not-mounted")
        .map(|finding| finding.what.as_str())
        .collect();
    assert_eq!(found.len(), 1);
    assert!(found[0].ends_with("does not mount rpool/ROOT/debian/etc (canmount=noauto)"));
    // The module mounts all.
    let stage = Stage::new();
    stage.initramfs(archive(&[
        ("etc/hostid", &HOSTID.to_ne_bytes()),
        ("usr/lib/dracut/build-parameter.txt", b""),
        ("var/lib/dracut/hooks/mount/99-beadm-rs-children.sh", b""),
    ]));
    assert_eq!(stage.found(), []);
}

#[test]
fn a_key_that_is_typed_or_taken_along_is_no_matter() {
    let stage = Stage::new();
    key_in(&stage, "prompt");
    assert_eq!(stage.found(), []);
    let stage = Stage::new();
    key_in(&stage, "file:///etc/zfs/key");
    let hostid = HOSTID.to_ne_bytes();
    stage.initramfs(archive(&[("etc/hostid", &hostid), ("etc/zfs/key", b"k")]));
    assert_eq!(stage.found(), []);
}

#[test]
fn a_hostid_that_the_command_line_overrides_is_no_matter() {
    let mut stage = Stage::new();
    stage.initramfs(archive(&[]));
    stage.facts.command_line = "root=zfs:AUTO spl.spl_hostid=0x00c0ffee".to_owned();
    assert_eq!(stage.found(), []);
}

#[test]
fn what_does_not_start_what_runs_by_its_name_is_no_matter() {
    for text in [
        "BOOT_IMAGE=/vmlinuz root=zfs:AUTO",
        "BOOT_IMAGE=/vmlinuz root=ZFS=rpool/ROOT/other",
        "root=ZFS=rpool/ROOT/debian",
    ] {
        let stage = Stage::new();
        stage.command_line(text);
        assert_eq!(stage.found(), [], "{text}");
    }
}

#[test]
fn what_a_preflight_stops_depends_on_the_direction() {
    use crate::plan::activate::{Preflight, preflight};
    let broken = |breaking: Breaking| {
        let mut stage = Stage::new();
        breaking(&mut stage);
        stage.found()
    };
    let sound = preflight("debian", &[], Preflight::Forward);
    assert_eq!(sound, Ok(Vec::new()));
    let warned = broken(|stage| stage.remove(ROOT, "etc/machine-id"));
    for direction in [Preflight::Forward, Preflight::Back] {
        let notes = preflight("debian", &warned, direction).unwrap();
        assert_eq!(notes.len(), 1);
        assert!(
            notes[0].starts_with("warning machine-id-absent in debian: "),
            "{notes:?}"
        );
    }
    let initless = broken(|stage| stage.remove(USR, "sbin/init"));
    let refusal = preflight("debian", &initless, Preflight::Forward).unwrap_err();
    assert!(
        refusal
            .reason
            .starts_with("debian would not boot: init-missing: "),
        "{refusal:?}"
    );
    assert!(
        refusal
            .remedy
            .unwrap()
            .contains("activate debian --no-check")
    );
    assert_eq!(
        preflight("debian", &initless, Preflight::Back)
            .unwrap()
            .len(),
        1
    );
    let kernelless = broken(|stage| stage.without_kernels());
    for direction in [Preflight::Forward, Preflight::Back] {
        preflight("debian", &kernelless, direction).unwrap_err();
    }
    // What is worth knowing is no matter for an activation.
    let empty = broken(|stage| stage.write(ROOT, "etc/machine-id", ""));
    assert_eq!(
        preflight("debian", &empty, Preflight::Forward),
        Ok(Vec::new())
    );
}
