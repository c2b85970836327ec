//! `run`: what is mounted for a command inside an environment.

use camino::{Utf8Path, Utf8PathBuf};

use super::{Refusal, changeable, environment, finished, pools_of, unlocked};
use crate::be::{BeName, BootEnvironment};
use crate::execute::mount;
use crate::os::inside::{Inside, Origin, Placed, Private, SHARED, Surroundings};
use crate::survey::Survey;
use crate::zfs::{DatasetName, Mountpoint};

/// Where loaders keep their files, and what all environments share: what is
/// mounted here is never the environment's own unless a dataset of it is.
const LOADER_PLACES: [&str; 3] = ["/boot", "/efi", SHARED];

/// File systems that overlayfs does not take as a lower layer.
const COPIED: [&str; 4] = ["vfat", "msdos", "exfat", "fat"];

/// The environment, if a command may run in it.
///
/// # Errors
/// Why not.
pub fn allowed<'a>(survey: &'a Survey, name: &BeName) -> Result<BootEnvironment<'a>, Refusal> {
    let attempted = format!("run a command in {name}");
    let environment = environment(survey, &attempted, name)?;
    if environment.is_running() {
        return Err(Refusal::new(
            &attempted,
            "it is the running environment: the command would change the machine while it works",
        )
        .remedy("run the command without beadm-rs, or in a clone: beadm-rs create NEW"));
    }
    finished(survey, &attempted, &environment)?;
    changeable(survey, &attempted, &pools_of(&environment))?;
    unlocked(&attempted, &environment)?;
    Ok(environment)
}

/// What is mounted for a command inside an environment.
///
/// `fstab` is the environment's own; `surroundings` are the running machine's.
///
/// # Errors
/// Why it is refused.
pub fn plan(
    survey: &Survey,
    name: &BeName,
    fstab: &str,
    surroundings: &Surroundings,
) -> Result<Inside, Refusal> {
    let environment = allowed(survey, name)?;
    let legacy = |dataset: &DatasetName| {
        survey
            .datasets
            .get(dataset)
            .is_some_and(|dataset| dataset.mountpoint == Mountpoint::Legacy)
    };
    let root = environment.root.name.clone();
    let mut below = mount::places(survey, &environment);
    let legacy_places = mount::legacy_places(fstab.as_bytes(), &environment)
        .map_err(|error| Refusal::new(format!("run a command in {name}"), error))?;
    below.extend(legacy_places);
    below.sort_by(|(_, one), (_, other)| one.cmp(other));
    let datasets: Vec<Placed> = std::iter::once((root.clone(), Utf8PathBuf::new()))
        .chain(below)
        .map(|(dataset, below)| Placed {
            legacy: legacy(&dataset),
            dataset,
            below,
        })
        .collect();
    Ok(Inside {
        private: private(survey, &datasets, fstab, surroundings),
        datasets,
        command_line: command_line(&surroundings.command_line, &root),
    })
}

fn is_loader_place(place: &Utf8Path) -> bool {
    LOADER_PLACES.iter().any(|above| place.starts_with(above))
}

/// The loader's places: where the running machine has something mounted, and
/// where the environment's fstab would.
fn private(
    survey: &Survey,
    datasets: &[Placed],
    fstab: &str,
    surroundings: &Surroundings,
) -> Vec<Private> {
    let own = |place: &Utf8Path| {
        let below = place.strip_prefix("/").unwrap_or(place);
        datasets.iter().any(|placed| placed.below == below)
    };
    // An environment's own dataset is no other's business.
    let of_an_environment = |source: &str| {
        survey.environments().any(|environment| {
            environment
                .everything()
                .any(|dataset| dataset.name.as_str() == source)
        })
    };
    let mut places: Vec<Private> = Vec::new();
    for mount in &surroundings.loader {
        let place = &mount.directory;
        places.retain(|private| private.place != *place);
        if is_loader_place(place) && !own(place) && !of_an_environment(&mount.source) {
            places.push(Private {
                place: place.clone(),
                origin: if COPIED.contains(&mount.kind.as_str()) {
                    Origin::Copied
                } else {
                    Origin::Overlaid
                },
            });
        }
    }
    for line in fstab.lines() {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [device, place, kind, ..] = fields.as_slice() else {
            continue;
        };
        let place = Utf8Path::new(place.trim_end_matches('/'));
        let known = places.iter().any(|private| private.place == place);
        if !device.starts_with('#')
            && *kind != "zfs"
            && is_loader_place(place)
            && place.components().all(|part| part.as_str() != "..")
            && !own(place)
            && !known
        {
            places.push(Private {
                place: place.to_owned(),
                origin: Origin::Empty,
            });
        }
    }
    places.sort_by(|one, other| one.place.cmp(&other.place));
    places
}

/// The words of a kernel command line; double quotes keep spaces
/// (`next_arg`, lib/cmdline.c).
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    for c in text.chars() {
        if c == '"' {
            quoted = !quoted;
        }
        if c.is_whitespace() && !quoted {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The machine's command line as the loader would give it to another root.
///
/// What names a root is replaced by `root=ZFS=…`, which initramfs-tools and
/// dracut take; `zfs=`, mkinitcpio's word, by the same dataset. The rest (the
/// console, `quiet`, what somebody added) stays.
#[must_use]
pub fn command_line(machine: &str, root: &DatasetName) -> String {
    let quoted = |word: String| {
        if word.contains(' ') {
            word.replacen('=', "=\"", 1) + "\""
        } else {
            word
        }
    };
    let mut named = false;
    let mut new = Vec::new();
    for word in words(machine) {
        let bare = word.trim_start_matches('"');
        if bare.starts_with("root=") {
            if !named {
                new.push(quoted(format!("root=ZFS={root}")));
            }
            named = true;
        } else if bare.starts_with("zfs=") {
            new.push(quoted(format!("zfs={root}")));
            named = true;
        } else if !(bare.starts_with("bootfs=") || bare.starts_with("rpool=")) {
            // Those two are initramfs-tools' other ways to name a root.
            new.push(word);
        }
    }
    if !named {
        new.insert(0, quoted(format!("root=ZFS={root}")));
    }
    new.join(" ") + "\n"
}

/// One mount, for people: its place and what is there.
#[must_use]
pub fn picture(inside: &Inside) -> Vec<(Utf8PathBuf, String)> {
    let mut mounts: Vec<(Utf8PathBuf, String)> = inside
        .datasets
        .iter()
        .map(|placed| {
            (
                Utf8Path::new("/").join(&placed.below),
                placed.dataset.to_string(),
            )
        })
        .collect();
    let api = [
        ("/dev", "a private tmpfs without disks"),
        ("/dev/pts", "a private devpts"),
        ("/dev/shm", "a private tmpfs"),
        ("/sys", "sysfs, read-only, without efivarfs"),
        ("/run", "a private tmpfs"),
        ("/tmp", "a private tmpfs"),
        (
            "/proc",
            "a private proc, read-only but for processes' own files",
        ),
        ("/proc/cmdline", inside.command_line.trim_end()),
        ("/etc/resolv.conf", "a read-only copy of the machine's"),
    ];
    mounts.extend(api.map(|(place, what)| (place.into(), what.to_owned())));
    mounts.extend(inside.private.iter().map(|private| {
        let what = match private.origin {
            Origin::Copied => "a private copy of the machine's, thrown away",
            Origin::Overlaid => "a private overlay on the machine's, thrown away",
            Origin::Empty => "a private tmpfs, thrown away",
        };
        (private.place.clone(), what.to_owned())
    }));
    mounts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_names_the_environment_however_the_machine_names_its_root() {
        let root: DatasetName = "rpool/ROOT/new".parse().unwrap();
        for (machine, expected) in [
            (
                "BOOT_IMAGE=/vmlinuz root=ZFS=rpool/ROOT/debian ro quiet",
                "BOOT_IMAGE=/vmlinuz root=ZFS=rpool/ROOT/new ro quiet\n",
            ),
            (
                "console=ttyS0 root=zfs:AUTO rw\n",
                "console=ttyS0 root=ZFS=rpool/ROOT/new rw\n",
            ),
            ("zfs=rpool/ROOT/arch rw", "zfs=rpool/ROOT/new rw\n"),
            (
                "boot=zfs rpool=rpool bootfs=rpool/ROOT/debian quiet",
                "root=ZFS=rpool/ROOT/new boot=zfs quiet\n",
            ),
            (
                "root=\"ZFS=rpool/ROOT/a b\" x=\"1 2\" root=/dev/sda1",
                "root=ZFS=rpool/ROOT/new x=\"1 2\"\n",
            ),
            ("", "root=ZFS=rpool/ROOT/new\n"),
        ] {
            assert_eq!(command_line(machine, &root), expected, "{machine:?}");
        }
        let spaced: DatasetName = "rpool/ROOT/a b".parse().unwrap();
        assert_eq!(
            command_line("root=zfs:AUTO ro", &spaced),
            "root=\"ZFS=rpool/ROOT/a b\" ro\n"
        );
    }
}
