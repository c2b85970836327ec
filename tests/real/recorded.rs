//! A disk whose every write is recorded, and disks as a power cut leaves them.

use std::fs::File;
use std::path::{Path, PathBuf};

use crate::ran::{sh, try_sh};

/// How large a pool's part is: the smallest that ZFS takes (`SPA_MINDEVSIZE`).
pub const PART: u64 = 64 << 20;

/// How much can be recorded.
const LOG: u64 = 1 << 30;

/// A disk on dm-log-writes, divided into parts for pools: what is written to
/// all of them is in one order, as on one disk of a machine.
pub struct RecordedDisk {
    name: String,
    parts: usize,
    directory: tempfile::TempDir,
    loops: Vec<String>,
}

fn sparse(path: &Path, bytes: u64) {
    File::create(path).unwrap().set_len(bytes).unwrap();
}

fn losetup(arguments: &[&str]) -> String {
    let mut all = vec!["--find", "--show"];
    all.extend(arguments);
    sh("losetup", &all)
}

impl RecordedDisk {
    /// An empty one.
    pub fn new(parts: usize) -> Self {
        for module in ["loop", "dm-mod", "dm-log-writes"] {
            sh("modprobe", &[module]);
        }
        let directory = tempfile::tempdir().unwrap();
        let name = format!("recorded{}", std::process::id());
        let size = PART * parts as u64;
        let paths = ["disk", "log"].map(|name| directory.path().join(name));
        sparse(&paths[0], size);
        sparse(&paths[1], LOG);
        let loops: Vec<String> = paths
            .iter()
            .map(|path| losetup(&[path.to_str().unwrap()]))
            .collect();
        let table = format!("0 {} log-writes {} {}", size / 512, loops[0], loops[1]);
        sh("dmsetup", &["create", &name, "--table", &table]);
        for part in 0..parts {
            let length = PART / 512;
            let start = length * part as u64;
            let table = format!("0 {length} linear /dev/mapper/{name} {start}");
            sh(
                "dmsetup",
                &["create", &format!("{name}p{part}"), "--table", &table],
            );
        }
        let disk = Self {
            name,
            parts,
            directory,
            loops,
        };
        let script = format!(
            "#!/bin/sh\nexec dmsetup message {} 0 mark \"$1\"\n",
            disk.name
        );
        crate::fakes::write_program(&disk.marker(), &script);
        disk
    }

    /// A part's device.
    pub fn part(&self, part: usize) -> String {
        format!("/dev/mapper/{}p{part}", self.name)
    }

    /// A program that notes its argument in the log.
    pub fn marker(&self) -> PathBuf {
        self.directory.path().join("mark")
    }

    /// Notes something in the log, one word.
    pub fn mark(&self, text: &str) {
        sh("dmsetup", &["message", &self.name, "0", "mark", text]);
    }

    /// Ends the recording, once no pool is imported from it; the log's file,
    /// which goes with the directory.
    pub fn end(self) -> (tempfile::TempDir, PathBuf) {
        for device in self.devices() {
            sh("dmsetup", &["remove", &device]);
        }
        for device in &self.loops {
            sh("losetup", &["-d", device]);
        }
        let mut ended = self;
        ended.loops.clear();
        ended.parts = 0;
        let directory = std::mem::replace(&mut ended.directory, tempfile::tempdir().unwrap());
        let log = directory.path().join("log");
        (directory, log)
    }

    fn devices(&self) -> Vec<String> {
        let mut devices: Vec<String> = (0..self.parts)
            .map(|part| format!("{}p{part}", self.name))
            .collect();
        devices.push(self.name.clone());
        devices
    }
}

impl Drop for RecordedDisk {
    fn drop(&mut self) {
        if !self.loops.is_empty() {
            for device in self.devices() {
                let _ = try_sh("dmsetup", &["remove", &device]);
            }
        }
        for device in &self.loops {
            let _ = try_sh("losetup", &["-d", device]);
        }
    }
}

/// The parts of a copy of a disk as devices, for as long as this lives.
pub struct Attached {
    /// Devices, in the order of the parts.
    pub parts: Vec<String>,
}

impl Attached {
    /// Of a file with the content of the whole disk.
    pub fn new(disk: &Path, parts: usize) -> Self {
        let size = PART.to_string();
        let parts = (0..parts)
            .map(|part| {
                let offset = (PART * part as u64).to_string();
                losetup(&["-o", &offset, "--sizelimit", &size, disk.to_str().unwrap()])
            })
            .collect();
        Self { parts }
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        for device in &self.parts {
            let _ = try_sh("losetup", &["-d", device]);
        }
    }
}
