//! Names of file systems inside an environment's files: fstab, crypttab, the
//! device to resume from, kernel command lines.

use super::Subject;
use super::finding::{
    COMMAND_LINE_OTHER_ROOT, CRYPTTAB_OTHER_ENVIRONMENT, FSTAB_MISSING_DATASET,
    FSTAB_OTHER_ENVIRONMENT, FSTAB_OTHER_ROOT, Findings, RESUME_OTHER_ENVIRONMENT,
};
use super::tree::Tree;
use crate::be::rewrite;
use crate::zfs::DatasetName;

/// A line of fstab(5): what is mounted, where, and the type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FstabLine {
    pub device: String,
    pub directory: String,
    pub kind: String,
    pub options: String,
}

/// The lines of an fstab; what is no line of one is passed over.
pub(super) fn fstab(text: &str) -> Vec<FstabLine> {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            let mut fields = line
                .split_whitespace()
                .map(|field| field.replace("\\040", " "));
            Some(FstabLine {
                device: fields.next()?,
                directory: fields.next()?,
                kind: fields.next()?,
                options: fields.next().unwrap_or_default(),
            })
        })
        .collect()
}

/// The root file system a kernel command line names, if it is a dataset: as
/// initramfs-tools, dracut, mkinitcpio and ZFSBootMenu's entries write it.
pub(crate) fn root_of(command_line: &str) -> Option<DatasetName> {
    const FORMS: [&str; 5] = ["root=ZFS=", "root=zfs:", "root=zfs=", "zfs=", "bootfs="];
    command_line
        .split(|c: char| c.is_whitespace() || matches!(c, '"' | '\''))
        .filter_map(|word| {
            let name = FORMS.iter().find_map(|form| word.strip_prefix(form))?;
            // AUTO, and a pool alone, leave it to the pool's bootfs.
            let name: DatasetName = name.replace('+', " ").parse().ok()?;
            name.parent().map(|_| name)
        })
        .next_back()
}

/// The dataset of a volume by its device: `/dev/zvol/POOL/…`.
fn volume(device: &str) -> Option<DatasetName> {
    device.strip_prefix("/dev/zvol/")?.parse().ok()
}

/// Where kernel command lines are kept for the kernels to come.
const COMMAND_LINES: [&str; 4] = [
    "etc/kernel/cmdline",
    "usr/lib/kernel/cmdline",
    "etc/default/grub",
    "etc/default/zfsbootmenu",
];

/// Where the device to resume from is named.
const RESUME: &str = "etc/initramfs-tools/conf.d/resume";

fn uncommented(text: &str) -> String {
    text.lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .collect::<Vec<_>>()
        .join("\n")
}

pub(super) fn findings(subject: &Subject<'_>, tree: &Tree<'_>, found: &mut Findings) {
    let own = &subject.environment.root.name;
    let edit = |file: &str| format!("correct /{file} in {}", subject.environment.name());
    for line in fstab(&tree.text(rewrite::FSTAB).unwrap_or_default()) {
        let dataset = line
            .device
            .parse::<DatasetName>()
            .ok()
            .filter(|_| line.kind == "zfs");
        let is_own = dataset.as_ref() == Some(own);
        if line.directory == "/" && !is_own {
            found.add(
                &FSTAB_OTHER_ROOT,
                format!("/etc/fstab names {} for /, and not {own}", line.device),
                edit(rewrite::FSTAB),
            );
            continue;
        }
        let Some(dataset) = dataset else { continue };
        if let Some(other) = subject.other_environment(&dataset) {
            found.add(
                &FSTAB_OTHER_ENVIRONMENT,
                format!(
                    "/etc/fstab mounts {dataset} of {other} on {}",
                    line.directory
                ),
                edit(rewrite::FSTAB),
            );
        } else if subject.is_own_but_missing(&dataset)
            && !line
                .options
                .split(',')
                .any(|option| matches!(option, "nofail" | "noauto"))
        {
            found.add(
                &FSTAB_MISSING_DATASET,
                format!(
                    "/etc/fstab mounts {dataset} on {}, and it is not there",
                    line.directory
                ),
                edit(rewrite::FSTAB),
            );
        }
    }
    for line in uncommented(&tree.text("etc/crypttab").unwrap_or_default()).lines() {
        let device = line.split_whitespace().nth(1).unwrap_or_default();
        if let Some(other) = volume(device).and_then(|name| subject.other_environment(&name)) {
            found.add(
                &CRYPTTAB_OTHER_ENVIRONMENT,
                format!("/etc/crypttab opens {device} of {other}"),
                edit("etc/crypttab"),
            );
        }
    }
    let mut resume = Vec::new();
    for word in uncommented(&tree.text(RESUME).unwrap_or_default()).split_whitespace() {
        if let Some(device) = word.strip_prefix("RESUME=") {
            resume.push((RESUME, device.trim_matches('"').to_owned()));
        }
    }
    for file in COMMAND_LINES {
        let text = uncommented(&tree.text(file).unwrap_or_default());
        if let Some(root) = root_of(&text).filter(|root| root != own) {
            found.add(
                &COMMAND_LINE_OTHER_ROOT,
                format!("/{file} names {root}, and not {own}"),
                edit(file),
            );
        }
        let words = text.split(|c: char| c.is_whitespace() || matches!(c, '"' | '\''));
        for device in words.filter_map(|word| word.strip_prefix("resume=")) {
            resume.push((file, device.to_owned()));
        }
    }
    for (file, device) in resume {
        if let Some(other) = volume(&device).and_then(|name| subject.other_environment(&name)) {
            found.add(
                &RESUME_OTHER_ENVIRONMENT,
                format!("/{file} resumes from {device} of {other}"),
                edit(file),
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_is_found_in_every_form_of_a_command_line() {
        for (line, root) in [
            ("root=ZFS=rpool/ROOT/a ro quiet", Some("rpool/ROOT/a")),
            ("ro root=zfs:rpool/ROOT/a", Some("rpool/ROOT/a")),
            (
                "GRUB_CMDLINE_LINUX=\"root=ZFS=rpool/ROOT/a\"",
                Some("rpool/ROOT/a"),
            ),
            ("zfs=zroot/ROOT/default rw", Some("zroot/ROOT/default")),
            ("root=ZFS=a/b root=ZFS=c/d", Some("c/d")),
            ("root=zfs:rpool/ROOT/a+b", Some("rpool/ROOT/a b")),
            ("root=zfs:AUTO", None),
            ("root=ZFS=rpool", None),
            ("root=UUID=1234 quiet", None),
            ("", None),
        ] {
            let expected = root.map(|name| name.parse().unwrap());
            assert_eq!(root_of(line), expected, "{line}");
        }
    }

    #[test]
    fn lines_of_an_fstab_are_read_and_others_passed_over() {
        let text =
            "# a comment\n\nrpool/a\\040b /x\\040y zfs defaults 0 0\nUUID=1 / \nproc /proc proc\n";
        let lines = fstab(text);
        assert_eq!(lines.len(), 2);
        assert_eq!(
            (lines[0].device.as_str(), lines[0].directory.as_str()),
            ("rpool/a b", "/x y")
        );
        assert_eq!(lines[1].options, "");
    }
}
