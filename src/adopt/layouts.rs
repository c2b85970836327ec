//! The table of known layouts. The first line that fits is what a system is.
//!
//! The commands of the guides and installers, and what these make, are in
//! `tests/fixtures/layouts/`.

use super::Look;
use crate::zfs::{Canmount, Dataset, DatasetName, Mountpoint};

/// What becomes of a system with that layout.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It can be adopted.
    Supported(Boots),
    /// It cannot; in both texts `<pool>` stands for the pool's name.
    Refused {
        /// Why not.
        reason: &'static str,
        /// What to do.
        remedy: &'static str,
    },
}

/// What decides which environment such a system boots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Boots {
    /// The pool's bootfs.
    Bootfs,
    /// Entries of a loader that each name one dataset: whose.
    Entries(&'static str),
    /// It depends on what else was installed.
    Unknown,
}

/// One known layout.
#[derive(Debug)]
pub struct Layout {
    /// What it is called in messages and JSON.
    pub name: &'static str,
    /// Whose it is, for people.
    pub title: &'static str,
    /// Whether it can be adopted.
    pub verdict: Verdict,
    fits: fn(&Scene<'_>) -> bool,
}

/// What a layout is known by.
struct Scene<'a> {
    look: &'a Look,
    beroot: &'a DatasetName,
    /// The file systems directly below the beroot.
    roots: Vec<&'a Dataset>,
    boot_roots: Vec<DatasetName>,
}

impl Scene<'_> {
    /// A dataset of that name below the pool.
    fn has(&self, below_pool: &str) -> bool {
        format!("{}/{below_pool}", self.beroot.pool())
            .parse()
            .is_ok_and(|name: DatasetName| self.look.datasets.contains_key(&name))
    }

    /// A file system directly below the beroot with such a last part.
    fn has_root(&self, fits: impl Fn(&str) -> bool) -> bool {
        self.roots.iter().any(|root| fits(root.name.leaf()))
    }

    /// A property whose name begins like that, set on the beroot, above or
    /// below it.
    fn has_property(&self, prefix: &str) -> bool {
        self.look.properties.iter().any(|(dataset, properties)| {
            (dataset.is_within(self.beroot) || self.beroot.is_within(dataset))
                && properties
                    .iter()
                    .any(|property| property.name.starts_with(prefix))
        })
    }

    fn is_conventional(&self) -> bool {
        self.beroot.leaf() == "ROOT" && self.beroot.depth() == 1
    }
}

/// Ubuntu's installer and OpenZFS's guide append six random letters and digits.
fn is_ubuntu(leaf: &str) -> bool {
    leaf.strip_prefix("ubuntu_").is_some_and(|id| {
        id.len() == 6
            && id
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    })
}

/// Proxmox's installer calls its root volume by the product and a number.
fn is_proxmox(leaf: &str) -> bool {
    leaf.split_once('-').is_some_and(|(product, number)| {
        matches!(product, "pve" | "pbs" | "pmg" | "pdm")
            && !number.is_empty()
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

/// A `/boot` somewhere else than directly below `<pool>/BOOT`.
fn has_boot_elsewhere(scene: &Scene<'_>) -> bool {
    scene.look.datasets.values().any(|dataset| {
        dataset.name.pool() != scene.beroot.pool()
            && dataset.canmount != Canmount::Off
            && scene.look.mountpoint(dataset) == Mountpoint::Path("/boot".into())
            && dataset
                .name
                .parent()
                .is_some_and(|parent| parent.leaf() == "BOOT" && parent.depth() > 1)
    })
}

/// The pool's own dataset mounted at `/`: reason and remedy. There is no beroot
/// to look for a layout below.
pub(super) const WHOLE_POOL: (&str, &str) = (
    "its layout is that of a root file system in the pool's own dataset (pool-root): that one can \
     be neither cloned beside itself nor renamed, so there is no place for a second environment",
    "copy the system: zfs snapshot <pool>@move; zfs create -o canmount=off -o mountpoint=none \
     <pool>/ROOT; zfs send <pool>@move | zfs receive -u -o canmount=noauto -o mountpoint=/ \
     <pool>/ROOT/NAME; boot that one, and run init there",
);

/// The layouts, the more particular before the more general.
pub static LAYOUTS: [Layout; 14] = [
    Layout {
        name: "nixos",
        title: "NixOS",
        verdict: Verdict::Refused {
            reason: "what runs is chosen by the generations in /nix, in a dataset of its own \
                     beside the root, and a clone of the root would be no other system",
            remedy: "use nixos-rebuild and the generations in its boot menu",
        },
        fits: |scene| scene.has_root(|leaf| leaf == "nix"),
    },
    Layout {
        name: "openzfs-flat",
        title: "OpenZFS's guides for Arch Linux, Alpine Linux, Fedora, RHEL and Slackware",
        verdict: Verdict::Refused {
            reason: "the root file system lies directly below the pool, beside what is not an \
                     environment",
            remedy: "from a rescue system: zfs create -o canmount=off -o mountpoint=none \
                     <pool>/ROOT; zfs rename <pool>/root <pool>/ROOT/NAME; give the loader the new \
                     name, boot, and run init again",
        },
        fits: |scene| scene.beroot.depth() == 0,
    },
    Layout {
        name: "illumos",
        title: "illumos (OmniOS, OpenIndiana)",
        verdict: Verdict::Refused {
            reason: "an environment there has a boot archive, an entry in /<pool>/boot/menu.lst \
                     and environments of its zones that go with it, and this version of \
                     beadm-rs, which runs on Linux, knows of none of them",
            remedy: "use beadm(8) of that system, from its own installation medium if need be",
        },
        fits: |scene| scene.has_property("org.opensolaris.libbe:"),
    },
    Layout {
        name: "openzfs-sys",
        title: "OpenZFS's guides for Arch Linux and NixOS of 2021",
        verdict: Verdict::Refused {
            reason: "/boot of the environments lies deeper in its pool than directly below \
                     BOOT, where beadm-rs would not find it",
            remedy: "from a rescue system: zfs rename BOOTPOOL/sys/BOOT BOOTPOOL/BOOT; write \
                     the new name into the environment's /etc/fstab and the loader's menu, \
                     boot, and run init again",
        },
        fits: has_boot_elsewhere,
    },
    Layout {
        name: "ubuntu-zsys",
        title: "Ubuntu with zsys (its installer, or OpenZFS's guide)",
        verdict: Verdict::Supported(Boots::Entries("GRUB's menu, which zsys writes,")),
        fits: |scene| scene.has_property("com.ubuntu.zsys:bootfs"),
    },
    Layout {
        name: "openzfs-ubuntu",
        title: "OpenZFS's guide for Ubuntu, without zsys",
        verdict: Verdict::Supported(Boots::Entries("GRUB's menu")),
        fits: |scene| scene.has_root(is_ubuntu),
    },
    Layout {
        name: "proxmox",
        title: "Proxmox",
        verdict: Verdict::Supported(Boots::Entries(
            "the kernel's command line in /etc/kernel/cmdline or /etc/default/grub, which \
             proxmox-boot-tool copies,",
        )),
        fits: |scene| scene.is_conventional() && scene.has_root(is_proxmox),
    },
    Layout {
        name: "freebsd",
        title: "FreeBSD",
        verdict: Verdict::Supported(Boots::Bootfs),
        fits: |scene| {
            scene.is_conventional()
                && (scene.has("usr/ports") || scene.has("usr/src") || scene.has("var/audit"))
        },
    },
    Layout {
        name: "openzfs-debian",
        title: "OpenZFS's guides for Debian and openSUSE",
        verdict: Verdict::Supported(Boots::Entries("GRUB's menu")),
        fits: |scene| scene.is_conventional() && !scene.boot_roots.is_empty(),
    },
    Layout {
        name: "zfsbootmenu",
        title: "ZFSBootMenu's guides (Void Linux and others)",
        verdict: Verdict::Supported(Boots::Bootfs),
        fits: |scene| scene.has_property("org.zfsbootmenu:"),
    },
    Layout {
        name: "arch-wiki",
        title: "the ArchWiki (archzfs)",
        verdict: Verdict::Supported(Boots::Unknown),
        fits: |scene| scene.is_conventional() && scene.has("data/home"),
    },
    Layout {
        name: "conventional",
        title: "no known guide, with the environments directly below ROOT",
        verdict: Verdict::Supported(Boots::Unknown),
        fits: |scene| scene.is_conventional(),
    },
    Layout {
        name: "mixed",
        title: "no known guide",
        verdict: Verdict::Refused {
            reason: "beside the root file systems lie others that are mounted elsewhere, and \
                     each would be taken for an environment",
            remedy: "move the root file systems below a dataset of their own: zfs create -o \
                     canmount=off -o mountpoint=none <pool>/ROOT; zfs rename …",
        },
        fits: |scene| {
            scene.roots.iter().any(|root| {
                root.canmount != Canmount::Off
                    && matches!(
                        scene.look.mountpoint(root),
                        Mountpoint::Path(path) if path != "/"
                    )
            })
        },
    },
    Layout {
        name: "other",
        title: "no known guide, with the environments below a dataset of their own",
        verdict: Verdict::Supported(Boots::Unknown),
        fits: |_| true,
    },
];

/// What a system is. The last line fits everything.
pub(super) fn of(look: &Look, beroot: &DatasetName) -> &'static Layout {
    let scene = Scene {
        look,
        beroot,
        roots: look.below(beroot).collect(),
        boot_roots: look.boot_roots(beroot),
    };
    let [.., last] = &LAYOUTS;
    LAYOUTS
        .iter()
        .find(|layout| (layout.fits)(&scene))
        .unwrap_or(last)
}
