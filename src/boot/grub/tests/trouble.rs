//! What is refused, and files that somebody changed.

use super::*;
use crate::boot::grub::Grub;
use crate::boot::site::Site;

fn site(machine: &Machine) -> Site {
    Site::new(
        Box::new(machine.sim.clone()),
        None,
        None,
        &config::Boot::default(),
    )
}

#[test]
fn what_cannot_be_booted_or_confirmed_is_refused() {
    let machine = machine();
    let files = |work: fn(&cap_std_ext::cap_std::fs::Dir) -> std::io::Result<()>| {
        machine
            .sim
            .with_files(&dataset("new"), true, &mut |dir| work(dir))
            .unwrap();
    };
    files(|dir| dir.remove_dir_all(format!("etc/systemd/system/{WANTED}")));
    let said = machine.refused(&Act::Trial("new"));
    assert!(said.contains("is not enabled in new"), "{said}");
    machine.write("esp.free", "1000");
    let said = machine.refused(&Act::Good("new"));
    assert!(
        said.contains("are free there; destroy an environment"),
        "{said}"
    );
    fs::remove_file(machine.directory.join("esp.free")).unwrap();
    machine.plan(&Act::Good("new")).unwrap();
    // Where GRUB cannot write, nothing is counted.
    machine.write("esp.layered", "");
    for act in [Act::Trial("other"), Act::Once("other")] {
        let said = machine.refused(&act);
        assert!(said.contains("is on a RAID or a mapped device"), "{said}");
        assert!(said.ends_with("; --no-trial"), "{said}");
    }
    machine.plan(&Act::Good("other")).unwrap();
    fs::remove_file(machine.directory.join("esp.layered")).unwrap();
    files(|dir| dir.remove_dir_all("boot"));
    let said = machine.refused(&Act::Good("new"));
    assert!(
        said.contains("GRUB boots copies, and new has no kernel with an initramfs of its own"),
        "{said}"
    );
    assert_eq!(machine.menu().entries.len(), 1);
}

#[test]
fn files_that_are_not_as_they_were_written_are_told_and_nothing_is_done() {
    let machine = machine();
    let esp = machine.directory.join("esp");
    let refused = |file: &str, text: Option<&str>| {
        let path = esp.join(file);
        let was = fs::read(&path).unwrap();
        match text {
            Some(text) => fs::write(&path, text).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        // The loader that is configured: what is certain is another question.
        let survey = machine.survey();
        let loader = Grub::new(site(&machine));
        let state = crate::boot::Loader::state(&loader, &survey.beroot, &[]);
        assert_eq!(state, crate::boot::BootState::default(), "{file}");
        let target = &survey.datasets[&dataset("new")];
        let refusal =
            crate::boot::Loader::switch(&loader, &survey, target, crate::boot::Switch::Good, None)
                .unwrap_err();
        fs::write(&path, was).unwrap();
        let remedy = refusal.remedy.clone().unwrap_or_default();
        format!("{refusal}; {remedy}").replace(esp.as_str(), "/efi")
    };
    let block = machine.files()[FILE].clone();
    let menu = machine.files()["beadm-rs/menu-1.cfg"].clone();
    let lead = machine.files()["grub/custom.cfg"].clone();
    let anew = "beadm-rs init makes it anew for what runs";
    for (file, text, said) in [
        (
            FILE,
            None,
            format!("there is no /efi/beadm-rs/grubenv; {anew}"),
        ),
        (
            FILE,
            Some(&block[..1023]),
            format!(
                "/efi/beadm-rs/grubenv is not as beadm-rs or its menu wrote it: it has 1023 \
                 bytes, and an environment block has 1024; {anew}"
            ),
        ),
        (
            FILE,
            Some(&block.replace("beadm_rs_once=\n", "mine=456789012\n")[..]),
            "/efi/beadm-rs/grubenv is not as beadm-rs or its menu wrote it: mine in it is not \
             beadm-rs's; grub-editenv /efi/beadm-rs/grubenv unset mine; or beadm-rs init, which \
             makes it anew"
                .to_owned(),
        ),
        (
            "beadm-rs/menu-1.cfg",
            None,
            format!(
                "the block names the menu /efi/beadm-rs/menu-1.cfg, which is not there; {anew}"
            ),
        ),
        (
            "beadm-rs/menu-1.cfg",
            Some(&menu.replace("\"version\":1", "\"version\":9")[..]),
            format!(
                "/efi/beadm-rs/menu-1.cfg is not as beadm-rs wrote it: version 9 of beadm-rs's \
                 menus is not known to this program; {anew}"
            ),
        ),
        (
            "grub/custom.cfg",
            Some(&lead.replace("### END", "### Ende")[..]),
            format!(
                "the lines that lead GRUB to the menu of beadm-rs are not whole in \
                 /efi/grub/custom.cfg; {anew}"
            ),
        ),
        (
            "grub/custom.cfg",
            Some(&format!("{lead}set default=0\n")[..]),
            "'set default=0' in /efi/grub/custom.cfg comes after the lines of beadm-rs and \
             overrules them; take that line out of /efi/grub/custom.cfg"
                .to_owned(),
        ),
        (
            "grub/grub.cfg",
            Some("set default=0\n"),
            "/efi/grub/grub.cfg does not read custom.cfg, so GRUB does not come to the menu of \
             beadm-rs; grub-mkconfig -o /efi/grub/grub.cfg, with /etc/grub.d/41_custom executable"
                .to_owned(),
        ),
    ] {
        assert_eq!(
            refused(file, text),
            format!("refused to activate new: {said}")
        );
    }
    fs::remove_dir_all(&esp).unwrap();
    let survey = machine.survey();
    let loader = Grub::new(site(&machine));
    let target = &survey.datasets[&dataset("new")];
    let refusal = crate::boot::Loader::confirm(&loader, &survey, target, None).unwrap_err();
    assert_eq!(
        refusal.to_string(),
        "refused to confirm new: no FAT partition with GRUB's directory is mounted on /efi, \
         /boot/efi or /boot"
    );
}

#[test]
fn a_block_that_somebody_changes_meanwhile_is_left_alone() {
    let machine = machine();
    let files = |machine: &Machine| {
        let mut files = machine.files();
        files.remove(FILE);
        files
    };
    let before = files(&machine);
    let plan = machine.plan(&Act::Good("new")).unwrap();
    let changed = Block {
        tries: 1,
        ..machine.block()
    };
    machine.set(&changed);
    let said = machine.carry_out(&plan).unwrap_err();
    assert!(
        said.contains("it was changed since it was looked at"),
        "{said}"
    );
    assert_eq!(machine.block(), changed);
    assert_eq!(machine.next().as_deref(), Some("debian"));
    assert_eq!(files(&machine), before);
}
