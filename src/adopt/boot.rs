//! How a system's kernels and loader are kept, told from its files: the table of
//! what lies outside the environments, or is another tool's. Each line is
//! supported, with what it means for environments, or refused by name.

use camino::Utf8Path;
use cap_std_ext::cap_std::fs::Dir;

use crate::os::inside::LoaderMount;
use crate::own::generator;

/// What becomes of a system whose kernels are kept that way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It can be adopted, and this is to be known about it.
    Supported {
        /// A second environment can be broken by it.
        dangerous: bool,
    },
    /// It cannot.
    Refused,
}

/// One way.
#[derive(Debug)]
pub struct Way {
    /// What it is called in messages and JSON; never changed.
    pub name: &'static str,
    /// Whether it can be adopted.
    pub verdict: Verdict,
    /// What it is, and what that means.
    pub text: &'static str,
    /// What to do.
    pub remedy: &'static str,
    fits: fn(&Scene<'_>) -> bool,
}

/// What a way is known by.
struct Scene<'a> {
    root: &'a Dir,
    /// File systems for kernels and loader: directory and type. What fstab has, and
    /// what is mounted.
    mounts: Vec<(String, String)>,
    /// How many ESPs are mounted, or in fstab.
    esps: usize,
}

fn esps(mounts: &[(String, String)]) -> usize {
    let is_esp = |(at, kind): &&(String, String)| {
        kind == "vfat" && (at.starts_with("/boot") || at.starts_with("/efi"))
    };
    mounts.iter().filter(is_esp).count()
}

impl Scene<'_> {
    fn has(&self, path: &str) -> bool {
        self.root.metadata(path).is_ok()
    }

    fn text(&self, path: &str) -> String {
        /// Longer than any configuration file.
        const LIMIT: u64 = 1 << 20;
        match self.root.metadata(path) {
            Ok(found) if found.is_file() && found.len() <= LIMIT => {
                self.root.read_to_string(path).unwrap_or_default()
            }
            _ => String::new(),
        }
    }

    fn kind_at(&self, directory: &str) -> Option<&str> {
        let mut mounts = self.mounts.iter();
        mounts
            .find(|(at, _)| at == directory)
            .map(|(_, kind)| kind.as_str())
    }

    /// Whether a file of such a name lies in a directory.
    fn has_file(&self, directory: &str, end: &str) -> bool {
        let entries = self.root.read_dir(directory).into_iter().flatten();
        entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .any(|name| name.ends_with(end))
    }
}

/// `NAME=value` of a file of shell assignments, without quotes.
fn is_set(text: &str, name: &str, value: &str) -> bool {
    text.lines()
        .filter_map(|line| line.trim().strip_prefix(name)?.strip_prefix('='))
        .next_back()
        .is_some_and(|found| found.trim().trim_matches(['"', '\'']) == value)
}

/// The ways, in the order they are told; a system can have several.
pub static WAYS: [Way; 6] = [
    Way {
        name: "nixos",
        verdict: Verdict::Refused,
        text: "this is NixOS: what runs is chosen by the generations in /nix, and its loader's \
               entries by nixos-rebuild, so that a clone of the root would be no other system",
        remedy: "use nixos-rebuild and the generations in its boot menu",
        fits: |scene| scene.has("etc/NIXOS"),
    },
    Way {
        name: "proxmox-boot-tool",
        verdict: Verdict::Supported { dangerous: true },
        text: "proxmox-boot-tool copies the kernels of the environment it is run in to each ESP it \
               knows, with one command line that names a dataset: an environment that is activated \
               gets neither by itself",
        remedy: "after activate write its dataset into /etc/kernel/cmdline of the running one and \
                 run proxmox-boot-tool refresh; a kernel that only the new one has is not copied \
                 that way",
        fits: |scene| scene.has("etc/kernel/proxmox-boot-uuids"),
    },
    Way {
        name: "grub-bls",
        verdict: Verdict::Supported { dangerous: true },
        text: "GRUB reads its entries from /boot/loader/entries (Fedora's way): each names a kernel \
               and a root, and nobody writes any for a new environment",
        remedy: "grubby --copy-default --add-kernel=/boot/vmlinuz-VERSION --initrd=… --title=NAME \
                 --args=root=ZFS=POOL/ROOT/NAME makes one",
        fits: |scene| {
            is_set(
                &scene.text("etc/default/grub"),
                "GRUB_ENABLE_BLSCFG",
                "true",
            ) && scene.has_file("boot/loader/entries", ".conf")
        },
    },
    Way {
        name: "boot-shared",
        verdict: Verdict::Supported { dangerous: true },
        text: "/boot is a file system of its own that is no dataset: all environments have the \
               same kernels there, and one boots with them only if it has their modules",
        remedy: "keep the packages of the kernels that older environments boot with, or move /boot \
                 into the root file system or into a pool of its own",
        fits: |scene| {
            scene
                .kind_at("/boot")
                .is_some_and(|kind| kind != "zfs" && kind != "vfat" && kind != "autofs")
        },
    },
    Way {
        name: "esp-on-boot",
        verdict: Verdict::Supported { dangerous: true },
        text: "the ESP is mounted on /boot: all environments have the same kernels there, and an \
               upgrade in one writes over those of all",
        remedy: "mount the ESP on /efi or /boot/efi, so that each environment keeps its kernels in \
                 its own /boot",
        fits: |scene| scene.kind_at("/boot") == Some("vfat"),
    },
    Way {
        name: "several-esps",
        verdict: Verdict::Supported { dangerous: false },
        text: "there are several ESPs; whoever writes to one of them has to write to the others \
               too, and beadm-rs does not know which one the firmware starts",
        remedy: "have the tool that installs the loader do it on each of them",
        fits: |scene| scene.esps > 1,
    },
];

/// How a system keeps its kernels, as far as it is one of [`WAYS`]. `mounts` are
/// what is mounted for them now; empty where that is another system's.
#[must_use]
pub fn ways(root: &Dir, mounts: &[LoaderMount]) -> Vec<&'static Way> {
    let mounted: Vec<(String, String)> = mounts
        .iter()
        .map(|mount| (mount.directory.to_string(), mount.kind.clone()))
        .collect();
    // One that cannot be read tells nothing.
    let fstab = generator::fstab(root).unwrap_or_default();
    let fstab: Vec<(String, String)> = String::from_utf8_lossy(&fstab)
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .filter_map(|line| {
            let mut fields = line.split_whitespace().skip(1);
            let at = Utf8Path::new(fields.next()?).components().as_path();
            Some((at.to_string(), fields.next()?.to_owned()))
        })
        .collect();
    let scene = Scene {
        root,
        // One ESP may be here in one place and there in another.
        esps: esps(&mounted).max(esps(&fstab)),
        // What is mounted now comes first.
        mounts: [mounted, fstab].concat(),
    };
    WAYS.iter().filter(|way| (way.fits)(&scene)).collect()
}
