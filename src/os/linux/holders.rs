//! Who uses what is in a directory: open files, working directories, mapped
//! files, sockets, and mounts of a part of it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use camino::Utf8Path;

use super::Linux;
use crate::os::mountinfo::unescape;
use crate::os::{Error, Holder, Result};
use crate::zfs::DatasetName;

/// The sockets with a name below a directory, as the links of open files name
/// them (proc_net(5), `unix`).
fn sockets(text: &str, directory: &Utf8Path) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split_whitespace();
            let inode = fields.nth(6)?;
            let path = fields.next()?;
            Utf8Path::new(path)
                .starts_with(directory)
                .then(|| format!("socket:[{inode}]"))
        })
        .collect()
}

/// The unit in a process's control group: "system.slice/postfix.service".
fn service(cgroup: &str) -> Option<String> {
    let is_unit = |part: &&str| part.ends_with(".service") || part.ends_with(".socket");
    let line = cgroup.lines().last()?;
    line.rsplit('/').find(is_unit).map(str::to_owned)
}

/// Where a part of a dataset is mounted: a line's root below the directory; but for
/// the whole directory in its known place.
fn mounted_parts(
    mountinfo: &[u8],
    dataset: &DatasetName,
    below: &Utf8Path,
    bound: Option<&Utf8Path>,
) -> Option<String> {
    let root = Utf8Path::new("/").join(below);
    mountinfo.split(|byte| *byte == b'\n').find_map(|line| {
        let text = |field: &[u8]| String::from_utf8_lossy(&unescape(field)).into_owned();
        let fields: Vec<&[u8]> = line.split(|byte| *byte == b' ').collect();
        let source = fields.iter().position(|field| *field == b"-")? + 2;
        let of_dataset = text(fields.get(source)?) == dataset.as_str();
        let part = text(fields.get(3)?);
        let on = text(fields.get(4)?);
        let inside = Utf8Path::new(&part).starts_with(&root);
        let known = root == part && bound.is_some_and(|bound| bound == on);
        (of_dataset && inside && !known).then_some(on)
    })
}

/// How one process uses it.
fn usage(process: &Path, directory: &Utf8Path, sockets: &BTreeSet<String>) -> Option<String> {
    let link = |name: &str| fs::read_link(process.join(name)).ok();
    let inside = |target: &Path| target.starts_with(directory);
    if link("cwd").is_some_and(|target| inside(&target)) {
        return Some(format!("works in {directory}"));
    }
    if link("root").is_some_and(|target| inside(&target)) {
        return Some(format!("has its root in {directory}"));
    }
    let open = fs::read_dir(process.join("fd")).ok()?.flatten();
    for target in open.filter_map(|entry| fs::read_link(entry.path()).ok()) {
        if inside(&target) {
            return Some(format!("has {} open", target.display()));
        }
        if target.to_str().is_some_and(|name| sockets.contains(name)) {
            return Some(format!("listens on a socket in {directory}"));
        }
    }
    let maps = fs::read(process.join("maps")).unwrap_or_default();
    let mapped = String::from_utf8_lossy(&maps)
        .lines()
        .filter_map(|line| line.find('/').and_then(|at| line.get(at..)))
        .any(|path| Utf8Path::new(path).starts_with(directory));
    mapped.then(|| format!("has a file of {directory} in its memory"))
}

impl Linux {
    /// Every process but this one that uses something in it; those of which
    /// nothing can be read (they ended) are left out.
    pub(super) fn find_holders(
        &self,
        dataset: &DatasetName,
        below: &Utf8Path,
        directory: &Utf8Path,
        bound: Option<&Utf8Path>,
    ) -> Result<Vec<Holder>> {
        let listed = fs::read_dir(&self.proc).map_err(Error::io(format!("read {}", self.proc)))?;
        let mut pids: Vec<u32> = listed
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .filter(|pid| *pid != std::process::id())
            .collect();
        pids.sort_unstable();
        let unix = fs::read(self.proc.join("net/unix")).unwrap_or_default();
        let sockets = sockets(&String::from_utf8_lossy(&unix), directory);
        let mut namespaces = BTreeSet::new();
        let mut found = Vec::new();
        for pid in pids {
            let process = self.proc.join(pid.to_string());
            let mut what = usage(process.as_std_path(), directory, &sockets);
            let namespace = fs::read_link(process.join("ns/mnt"));
            if what.is_none() && namespace.is_ok_and(|namespace| namespaces.insert(namespace)) {
                let mountinfo = fs::read(process.join("mountinfo")).unwrap_or_default();
                what = mounted_parts(&mountinfo, dataset, below, bound)
                    .map(|on| format!("has a part of {directory} mounted on {on}"));
            }
            let Some(what) = what else { continue };
            let text = |name: &str| {
                let bytes = fs::read(process.join(name)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).trim().to_owned()
            };
            found.push(Holder {
                pid,
                command: text("comm"),
                service: service(&text("cgroup")),
                what,
            });
        }
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_services_are_read_from_the_kernels_tables() {
        let table = "Num RefCount Protocol Flags Type St Inode Path\n\
                     0: 00000002 0 00010000 0001 01 4711 /var/spool/postfix/public/pickup\n\
                     1: 00000002 0 00010000 0001 01 4712 /run/x\n2: 00000002 0 0 1 1 4713\n";
        let found = sockets(table, "/var/spool".into());
        assert_eq!(found.into_iter().collect::<Vec<_>>(), ["socket:[4711]"]);
        assert_eq!(
            service("0::/system.slice/system-postfix.slice/postfix@-.service\n").as_deref(),
            Some("postfix@-.service")
        );
        assert_eq!(service("0::/user.slice/session-1.scope\n"), None);
    }

    #[test]
    fn a_private_tmp_is_a_mount_of_a_part() {
        let mountinfo = b"36 35 0:31 / / rw shared:1 - zfs r/a rw\n\
            40 35 0:31 /var/tmp/systemd-private-x/tmp /var/tmp rw - zfs r/a rw\n";
        let dataset = "r/a".parse().unwrap();
        let on = |below: &str| mounted_parts(mountinfo, &dataset, below.into(), None);
        assert_eq!(on("var/tmp").as_deref(), Some("/var/tmp"));
        assert_eq!(on("var/mail"), None);
        // All of it in its known place is no use; a part of it there is.
        let mountinfo = b"40 35 0:31 /tmp /var/tmp rw - zfs r/a rw\n";
        let known = |below: &str, bound: &str| {
            mounted_parts(mountinfo, &dataset, below.into(), Some(bound.into()))
        };
        assert_eq!(known("tmp", "/var/tmp"), None);
        assert_eq!(known("tmp", "/srv").as_deref(), Some("/var/tmp"));
        assert_eq!(known("", "/var/tmp").as_deref(), Some("/var/tmp"));
    }
}
