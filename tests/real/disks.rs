//! A machine's disks put aside and put back: the same machine again, with the
//! same identities, for a test that destroys it many times.

use std::path::PathBuf;

use crate::machine::Machine;
use crate::ran::sh;

/// Copies of the disks of a machine's pools.
pub struct Saved {
    disks: Vec<(String, PathBuf, PathBuf)>,
}

impl Machine {
    /// Puts copies of the disks aside.
    pub fn save(&self) -> Saved {
        let aside = self.directory().join("saved");
        std::fs::create_dir_all(&aside).unwrap();
        let disks: Vec<_> = self
            .pools()
            .into_iter()
            .map(|pool| {
                let disk = self.disk(&pool);
                let copy = aside.join(&pool);
                (pool, disk, copy)
            })
            .collect();
        for (pool, disk, copy) in &disks {
            sh("zpool", &["export", pool]);
            duplicate(disk, copy);
            self.import(pool, &[]);
        }
        Saved { disks }
    }

    /// The disks as they were put aside.
    pub fn restore(&self, saved: &Saved) {
        for (pool, disk, copy) in &saved.disks {
            // Exported, as it is, would be just as well; destroying is as quick
            // and does not mind what is mounted.
            sh("zpool", &["export", "-f", pool]);
            duplicate(copy, disk);
            self.import(pool, &[]);
        }
    }

    /// Imports a pool from its disk, without mounting anything.
    pub fn import(&self, pool: &str, options: &[&str]) {
        let disk = self.disk(pool);
        let mut arguments = vec!["import", "-N", "-o", "cachefile=none"];
        arguments.extend(options);
        arguments.extend(["-d", disk.to_str().unwrap(), pool]);
        sh("zpool", &arguments);
    }
}

/// Copies a disk, without the parts of it that are zeros.
pub fn duplicate(from: &std::path::Path, to: &std::path::Path) {
    sh(
        "cp",
        &[
            "--sparse=always",
            from.to_str().unwrap(),
            to.to_str().unwrap(),
        ],
    );
}
