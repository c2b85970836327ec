//! The machine a command works on: its ZFS, its operating system, its loader,
//! and which part of it was asked for.

use camino::{Utf8Path, Utf8PathBuf};

use crate::boot::{self, Loader};
use crate::config::Config;
use crate::os::Platform;
use crate::os::linux::Linux;
use crate::zfs::cli::Cli;
use crate::zfs::sim::Sim;
use crate::zfs::{DatasetName, Zfs};

/// A machine.
pub struct Host {
    /// Its ZFS.
    pub zfs: Box<dyn Zfs>,
    /// Its operating system.
    pub platform: Box<dyn Platform>,
    /// Its boot loader.
    pub loader: Box<dyn Loader>,
    /// The beroot, where it was named.
    pub beroot: Option<DatasetName>,
    /// The root other pools are mounted under: a rescue system's work.
    pub altroot: Option<Utf8PathBuf>,
    /// It is a simulation, not a machine.
    pub simulated: bool,
    /// What its administrator wants.
    pub config: Config,
}

impl Host {
    /// This very machine.
    ///
    /// # Errors
    /// Where ZFS is not installed.
    pub fn real(
        beroot: Option<DatasetName>,
        altroot: Option<Utf8PathBuf>,
        config: Config,
    ) -> crate::zfs::Result<Self> {
        Ok(Self {
            zfs: Box::new(engine()?),
            platform: Box::new(Linux::default()),
            loader: boot::find(&config.boot, Box::new(Linux::default()), altroot.as_deref()),
            beroot,
            altroot,
            simulated: false,
            config,
        })
    }

    /// A simulated machine in a directory.
    ///
    /// # Errors
    /// Where the directory does not hold one.
    pub fn simulated(
        directory: &Utf8Path,
        beroot: Option<DatasetName>,
        config: Config,
    ) -> crate::zfs::Result<Self> {
        let sim = Sim::open(directory)?;
        Ok(Self::configured(sim, beroot, config))
    }

    /// A simulated machine of whose configuration nothing is said.
    #[must_use]
    pub fn of_simulation(sim: Sim, beroot: Option<DatasetName>) -> Self {
        Self::configured(sim, beroot, Config::default())
    }

    fn configured(sim: Sim, beroot: Option<DatasetName>, config: Config) -> Self {
        Self {
            zfs: Box::new(sim.clone()),
            platform: Box::new(sim.clone()),
            loader: boot::find(&config.boot, Box::new(sim), None),
            beroot,
            altroot: None,
            simulated: true,
            config,
        }
    }
}

/// The engine; in a build for tests another one can be asked for.
fn engine() -> crate::zfs::Result<Cli> {
    let engine = commands()?;
    #[cfg(all(feature = "libzetta", feature = "failpoints"))]
    if std::env::var_os("BEADM_RS_ENGINE").is_some_and(|engine| engine == "commands") {
        return Ok(engine);
    }
    #[cfg(feature = "libzetta")]
    let engine = engine.sending_itself();
    Ok(engine)
}

/// The engine over commands; in a build for tests it can be pointed at other
/// programs.
fn commands() -> crate::zfs::Result<Cli> {
    #[cfg(feature = "failpoints")]
    if let Ok(directory) = std::env::var("BEADM_RS_ZFS_DIRECTORY") {
        return Ok(Cli::in_directory(Utf8Path::new(&directory)));
    }
    Cli::new()
}
