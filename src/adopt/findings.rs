//! What is dangerous about a layout, or good to know before anything is changed
//! in it: named, each with a remedy.

use serde::Serialize;

use super::layouts::{Boots, Layout, Verdict};
use super::{Look, Shared};
use crate::zfs::{Canmount, Dataset, DatasetName, Kind, Mountpoint};

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// A second environment can break the system.
    Warning,
    /// It is as it should be, and different from what one may expect.
    Note,
}

impl Severity {
    /// The word for it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind it is.
    pub name: &'static str,
    /// How bad.
    pub severity: Severity,
    /// What it is about.
    pub datasets: Vec<DatasetName>,
    /// What is the matter.
    pub text: String,
    /// What to do.
    pub remedy: String,
}

/// Directories that belong to the operating system: shared between
/// environments, they are of one release and the rest of another.
const OF_THE_SYSTEM: [&str; 14] = [
    "/boot",
    "/usr",
    "/usr/bin",
    "/usr/lib",
    "/etc",
    "/bin",
    "/sbin",
    "/lib",
    "/var",
    "/var/lib",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/lib/pacman",
    "/nix",
];

/// Names, and how many more there are.
fn some(datasets: &[DatasetName]) -> String {
    const SHOWN: usize = 4;
    let names: Vec<&str> = datasets
        .iter()
        .take(SHOWN)
        .map(DatasetName::as_str)
        .collect();
    match datasets.len().saturating_sub(SHOWN) {
        0 => names.join(", "),
        more => format!("{} and {more} more", names.join(", ")),
    }
}

fn verb(datasets: &[DatasetName], one: &'static str, many: &'static str) -> &'static str {
    if datasets.len() == 1 { one } else { many }
}

/// The finding that taking GRUB over sets right.
pub const LOADER_NAMES_DATASET: &str = "loader-names-dataset";

/// The finding that `init --noauto` sets right.
pub const CANMOUNT_ON: &str = "canmount-on";

struct Findings<'a> {
    look: &'a Look,
    beroot: &'a DatasetName,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(
        &mut self,
        name: &'static str,
        severity: Severity,
        datasets: Vec<DatasetName>,
        text: String,
        remedy: impl Into<String>,
    ) {
        self.found.push(Finding {
            name,
            severity,
            datasets,
            text,
            remedy: remedy.into(),
        });
    }

    fn filesystems(&self, fits: impl Fn(&Dataset) -> bool) -> Vec<DatasetName> {
        self.look
            .datasets
            .values()
            .filter(|dataset| dataset.kind == Kind::Filesystem && fits(dataset))
            .map(|dataset| dataset.name.clone())
            .collect()
    }

    fn is_mounted_by_itself(&self, dataset: &Dataset) -> bool {
        dataset.canmount == Canmount::On
            && matches!(self.look.mountpoint(dataset), Mountpoint::Path(_))
    }

    fn roots(&mut self) {
        let beroot = self.beroot;
        let on = self.filesystems(|dataset| {
            dataset.name.parent().as_ref() == Some(beroot) && self.is_mounted_by_itself(dataset)
        });
        if !on.is_empty() {
            self.add(
                CANMOUNT_ON,
                Severity::Warning,
                on.clone(),
                format!(
                    "{} {} canmount=on: while another environment runs, 'zfs mount -a' mounts \
                     {} over its root",
                    some(&on),
                    verb(&on, "has", "have"),
                    verb(&on, "it", "them")
                ),
                "beadm-rs init --noauto sets canmount=noauto; the initramfs mounts the root \
                 it boots all the same",
            );
        }
        let children = self.filesystems(|dataset| {
            dataset.name.is_within(beroot)
                && dataset.name.depth() > beroot.depth() + 1
                && self.is_mounted_by_itself(dataset)
        });
        if !children.is_empty() {
            self.add(
                "child-canmount-on",
                Severity::Warning,
                children.clone(),
                format!(
                    "{} {} canmount=on: while another environment runs, 'zfs mount -a' mounts \
                     {} over that one's own directories",
                    some(&children),
                    verb(&children, "has", "have"),
                    verb(&children, "it", "them")
                ),
                "zfs set canmount=noauto on each, where initramfs-tools (Debian, Ubuntu) or the \
                 generator of beadm-rs mounts the children of the root; elsewhere give each a \
                 line in /etc/fstab with the option zfsutil first",
            );
        }
    }

    fn boot(&mut self, boot_roots: &[DatasetName]) {
        let on = self.filesystems(|dataset| {
            boot_roots
                .iter()
                .any(|root| dataset.name.is_within(root) && dataset.name != *root)
                && self.is_mounted_by_itself(dataset)
        });
        let Some(first) = on.first() else { return };
        let line = format!("{first} /boot zfs zfsutil 0 0");
        self.add(
            "boot-canmount-on",
            Severity::Warning,
            on.clone(),
            format!(
                "{} {} canmount=on: {} mounted at /boot whichever environment runs",
                some(&on),
                verb(&on, "has", "have"),
                verb(&on, "it is", "they are")
            ),
            format!(
                "zfs set canmount=noauto {first}, where beadm-rs-mount.service is enabled; \
                 elsewhere first, in the environment's /etc/fstab: {line} (create writes the \
                 clone's name into the clone's)"
            ),
        );
    }

    fn shared(&mut self, shared: &[Shared]) {
        let of_the_system: Vec<DatasetName> = shared
            .iter()
            .filter(|shared| OF_THE_SYSTEM.contains(&shared.directory.as_str()))
            .map(|shared| shared.dataset.clone())
            .collect();
        if !of_the_system.is_empty() {
            self.add(
                "system-shared",
                Severity::Warning,
                of_the_system.clone(),
                format!(
                    "{} {} outside the environments and {} part of the operating system: an \
                     upgrade in one environment changes {} for all",
                    some(&of_the_system),
                    verb(&of_the_system, "lies", "lie"),
                    verb(&of_the_system, "holds", "hold"),
                    verb(&of_the_system, "it", "them")
                ),
                format!(
                    "from a rescue system move it below the root: zfs rename {} {}/NAME/…",
                    some(&of_the_system),
                    self.beroot
                ),
            );
        }
    }

    fn next_boot(&mut self, boots: Boots) {
        let pool = self.beroot.pool();
        let bootfs = self
            .look
            .pools
            .get(&pool)
            .and_then(|pool| pool.bootfs.clone());
        match bootfs {
            None => self.add(
                "bootfs-unset",
                Severity::Note,
                Vec::new(),
                format!("pool {pool} has no bootfs: what boots next is not known from the pool"),
                "beadm-rs activate NAME sets it",
            ),
            Some(bootfs) if bootfs.parent().as_ref() != Some(self.beroot) => self.add(
                "bootfs-elsewhere",
                Severity::Warning,
                vec![bootfs.clone()],
                format!(
                    "the bootfs of {pool} is {bootfs}, which is not below {}",
                    self.beroot
                ),
                "beadm-rs activate NAME sets it",
            ),
            Some(_) => {}
        }
        if let Boots::Entries(whose) = boots {
            self.add(
                LOADER_NAMES_DATASET,
                Severity::Warning,
                Vec::new(),
                format!(
                    "{whose} names one dataset as the root: it does not follow the pool's \
                     bootfs, which is what activate sets"
                ),
                "after activate let the loader name that environment before the reboot, or use \
                 one that follows bootfs, as ZFSBootMenu does; this version writes no entries",
            );
        }
    }

    fn unbootable(&mut self) {
        let beroot = self.beroot;
        let not = self.filesystems(|dataset| {
            dataset.name.parent().as_ref() == Some(beroot)
                && (dataset.canmount == Canmount::Off
                    || !(self.look.is_root(dataset)
                        || self.look.mountpoint(dataset) == Mountpoint::Legacy))
        });
        if !not.is_empty() {
            self.add(
                "not-bootable",
                Severity::Note,
                not.clone(),
                format!(
                    "{} {} below {beroot} and cannot be booted as {}: listed with the flag !",
                    some(&not),
                    verb(&not, "lies", "lie"),
                    verb(&not, "it is", "they are")
                ),
                "zfs set mountpoint=/ where it is an environment; else zfs rename it to \
                 another place",
            );
        }
    }

    fn zsys(&mut self) {
        let machines: Vec<DatasetName> = self
            .look
            .properties
            .iter()
            .filter(|(_, properties)| {
                properties.iter().any(|property| {
                    property.name == "com.ubuntu.zsys:bootfs" && property.value == "yes"
                })
            })
            .map(|(dataset, _)| dataset.clone())
            .collect();
        if machines.is_empty() {
            return;
        }
        // zsys, internal/machines: populateSystemAndHistory takes every clone
        // with mountpoint=/ for a state, with or without its properties; GC
        // destroys the older ones (zsys.conf: keeplast 20) unless a snapshot is
        // in them, the newest by last-used, which a clone of ours does not have.
        self.add(
            "zsys-collects",
            Severity::Warning,
            machines.clone(),
            format!(
                "zsys takes every clone of {} for a saved state of its own, and for the oldest \
                 where com.ubuntu.zsys:last-used is missing; its daily garbage collection \
                 destroys states beyond the newest 20 that hold no snapshot. Once activated an \
                 environment is no clone any more, and zsys leaves it alone",
                some(&machines)
            ),
            "systemctl mask zsys-gc.timer (or remove the package zsys); an environment with a \
             snapshot in it (beadm-rs snapshot) is spared too",
        );
        self.add(
            "zsys-canmount",
            Severity::Note,
            machines,
            "while it is installed, zsys sets canmount at each boot: on for what was booted, \
             noauto for the rest"
                .to_owned(),
            "none is needed; without zsys, beadm-rs init --noauto",
        );
    }
}

/// What is found, in the order of the table in the manual.
pub(super) fn of(
    look: &Look,
    layout: &Layout,
    beroot: &DatasetName,
    boot_roots: &[DatasetName],
    shared: &[Shared],
) -> Vec<Finding> {
    let mut findings = Findings {
        look,
        beroot,
        found: Vec::new(),
    };
    findings.roots();
    findings.boot(boot_roots);
    findings.shared(shared);
    if let Verdict::Supported(boots) = layout.verdict {
        findings.next_boot(boots);
    }
    findings.unbootable();
    findings.zsys();
    findings.found
}
