//! What a check can find: a fixed list of names, each with its severity.

use std::fmt;

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// It boots, and something will go wrong some day, or only under a loader
    /// or firmware that this program cannot know.
    Warning,
    /// It will not boot, or not as itself.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Error => "error",
        })
    }
}

/// One thing that can be found.
#[derive(Debug, PartialEq, Eq)]
pub struct Definition {
    /// Its name: scripts and monitoring know it by this, so it never changes.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// What it means, one sentence for the manual page.
    pub meaning: &'static str,
}

/// One thing that was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of its definition.
    pub name: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The environment; `None` where it concerns the machine.
    pub environment: Option<String>,
    /// What was found, one sentence without an end.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// What was found about one environment, or about the machine, so far.
#[derive(Debug)]
pub struct Findings {
    environment: Option<String>,
    /// In the order they were found.
    pub list: Vec<Finding>,
}

impl Findings {
    /// Nothing yet, about an environment or the machine.
    #[must_use]
    pub fn about(environment: Option<&str>) -> Self {
        Self {
            environment: environment.map(str::to_owned),
            list: Vec::new(),
        }
    }

    /// Adds one.
    pub fn add(
        &mut self,
        definition: &'static Definition,
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.list.push(Finding {
            name: definition.name,
            severity: definition.severity,
            environment: self.environment.clone(),
            what: what.into(),
            remedy: remedy.into(),
        });
    }
}

macro_rules! definitions {
    ($($constant:ident $name:literal $severity:ident $meaning:literal;)*) => {
        $(
            #[doc = $meaning]
            pub static $constant: Definition = Definition {
                name: $name,
                severity: Severity::$severity,
                meaning: $meaning,
            };
        )*
        /// Everything that can be found.
        pub static REGISTRY: &[&Definition] = &[$(&$constant),*];
    };
}

definitions! {
    BOOTFS_NAMES_NO_ENVIRONMENT "bootfs-names-no-environment" Error
        "the pool's bootfs is empty or names no environment: nothing says what boots next";
    POOL_UNAVAILABLE "pool-unavailable" Error
        "a pool of the environments is suspended, faulted or unavailable";
    POOL_DEGRADED "pool-degraded" Warning
        "a pool of the environments works without some of its redundancy";
    POOL_DATA_ERRORS "pool-data-errors" Warning
        "a pool of the environments has data that cannot be read any more";
    POOL_NEARLY_FULL "pool-nearly-full" Warning
        "a pool of the environments is nine tenths full, or more";
    LAST_GOOD_GONE "last-good-gone" Warning
        "the environment recorded as last good is gone";
    FAILBACK_GONE "failback-gone" Warning
        "the environment that failback would lead to is gone";
    UNFINISHED_OPERATION "unfinished-operation" Warning
        "an operation was interrupted and neither completed nor taken back";
    KERNELS_OUTSIDE "kernels-outside" Info
        "kernels or the loader's entries are kept where all environments share them, or by another tool";
    MIRROR_LOST "mirror-lost" Warning
        "a partition that is to have the loader's files too is not mounted, or cannot be written";
    GRUB_NOT_TAKEN_OVER "grub-not-taken-over" Error
        "GRUB starts the running environment by its name, so that nothing that is activated is booted";
    LOADER_FILES_DAMAGED "loader-files-damaged" Error
        "the files by which the loader learns what to boot are gone, or are not as they were written";
    PROPERTY_NOT_UNDERSTOOD "property-not-understood" Warning
        "a property org.beadm-rs:* holds what beadm-rs does not write";

    UNFINISHED_ENVIRONMENT "unfinished-environment" Error
        "the environment is half made or half destroyed";
    ROOT_MOUNTPOINT "root-mountpoint" Error
        "the root dataset's mountpoint is neither / nor legacy";
    ROOT_CANMOUNT_OFF "root-canmount-off" Error
        "the root dataset's canmount is off";
    INCOMPLETE_RECEIVE "incomplete-receive" Error
        "a dataset of the environment was not received to its end";
    MOUNTED_BY_OTHERS "mounted-by-others" Warning
        "a dataset has canmount=on, so that it is mounted also where another environment boots";
    KEY_NOT_LOADED "key-not-loaded" Warning
        "the environment is encrypted and its key not loaded: its files were not looked at";
    CLONE_OF_ANOTHER "clone-of-another" Info
        "what boots is a clone that hangs on another environment";

    FILES_UNREADABLE "files-unreadable" Error
        "the environment cannot be mounted here, or a file in it not be read";
    BOOT_NOT_VISIBLE "boot-not-visible" Info
        "the kernels lie on a file system that is not mounted here, and were not looked at";
    LAYOUT_UNKNOWN "layout-unknown" Info
        "the system keeps its kernels and its init in a way that is not known here: they were not looked at";
    KERNEL_MISSING "kernel-missing" Error
        "there is no kernel in the environment, nor on what it mounts on /boot or the ESP";
    KERNEL_WITHOUT_MODULES "kernel-without-modules" Error
        "the newest kernel has no modules in the environment: /boot and the root are out of step";
    INITRAMFS_MISSING "initramfs-missing" Error
        "the newest kernel has no initramfs";
    INITRAMFS_DAMAGED "initramfs-damaged" Error
        "the newest kernel's initramfs ends too early, or is no archive";
    INITRAMFS_OPAQUE "initramfs-opaque" Warning
        "the newest kernel's initramfs is compressed in a way that cannot be looked into";
    INITRAMFS_WITHOUT_ZFS "initramfs-without-zfs" Error
        "the newest kernel's initramfs has no zfs module for that kernel";
    INITRAMFS_OTHER_HOSTID "initramfs-other-hostid" Error
        "the initramfs has another hostid than the pool was imported with: it will refuse to import it";
    INITRAMFS_STALE_CACHE "initramfs-stale-cache" Warning
        "the zpool.cache in the initramfs does not name the environment's pool";
    KEY_NOT_IN_INITRAMFS "key-not-in-initramfs" Warning
        "the initramfs has not the key file of an encrypted environment";
    CHILDREN_NOT_MOUNTED "children-not-mounted" Error
        "dracut made the initramfs, which mounts no child dataset with canmount=noauto, and neither fstab nor a generator or module of beadm-rs does";
    INITRAMFS_OUTDATED "initramfs-outdated" Warning
        "the initramfs is older than the zfs module of its kernel";
    ZFS_MODULE_MISSING "zfs-module-missing" Warning
        "there is no zfs module for the newest kernel in /lib/modules: the next initramfs will have none";
    OLDER_KERNEL_INCOMPLETE "older-kernel-incomplete" Warning
        "a kernel that is not the newest lacks its modules or its initramfs";
    KERNEL_COPY_DIFFERS "kernel-copy-differs" Warning
        "the copy of a kernel outside the environment is not the one in it";
    UNIFIED_IMAGE_OTHER_ROOT "unified-image-other-root" Error
        "every kernel there is is a unified image whose command line names another root";
    KERNEL_UNSIGNED "kernel-unsigned" Warning
        "Secure Boot is on and the newest kernel carries no signature";
    GRUB_CANNOT_READ_POOL "grub-cannot-read-pool" Warning
        "GRUB's files lie in a pool with active features that GRUB cannot read";
    ZFSBOOTMENU_NO_KERNEL "zfsbootmenu-no-kernel" Error
        "ZFSBootMenu starts this machine, and /boot of the root dataset itself has no kernel with an initramfs";
    ZFSBOOTMENU_HIDDEN "zfsbootmenu-hidden" Warning
        "ZFSBootMenu starts this machine, and does not show the environment in its menu";

    INIT_MISSING "init-missing" Error
        "there is no executable init";
    OTHER_HOSTID "other-hostid" Warning
        "/etc/hostid is not the hostid the pool was imported with: the next initramfs will have it";
    MACHINE_ID_ABSENT "machine-id-absent" Warning
        "/etc/machine-id is not there: systemd will take the boot for the first one and preset all units";
    MACHINE_ID_UNINITIALIZED "machine-id-uninitialized" Warning
        "/etc/machine-id says 'uninitialized': systemd will take the boot for the first one";
    MACHINE_ID_EMPTY "machine-id-empty" Info
        "/etc/machine-id is empty: the machine gets another identity at each boot";
    PROGRAM_ABSENT "program-absent" Info
        "there is no beadm-rs in the environment: no failback from there";
    FSTAB_OTHER_ROOT "fstab-other-root" Warning
        "fstab names another file system for /";
    FSTAB_OTHER_ENVIRONMENT "fstab-other-environment" Error
        "fstab mounts a dataset of another environment";
    FSTAB_MISSING_DATASET "fstab-missing-dataset" Error
        "fstab mounts a dataset of this environment that is not there";
    CRYPTTAB_OTHER_ENVIRONMENT "crypttab-other-environment" Warning
        "crypttab opens a volume of another environment";
    RESUME_OTHER_ENVIRONMENT "resume-other-environment" Warning
        "the device to resume from is a volume of another environment";
    COMMAND_LINE_OTHER_ROOT "command-line-other-root" Warning
        "the kernel command line kept in the environment, for the next kernel, names another root";
    HIDDEN_FILES "hidden-files" Warning
        "files lie in a directory on which another dataset is mounted";
    SHARED_PATH_OWN "shared-path-own" Warning
        "the environment has a directory of its own, or none, where others lead to the shared dataset";
    SHARED_PATH_STALE "shared-path-stale" Warning
        "the environment leads to something in the shared dataset that is not shared any more";
}
