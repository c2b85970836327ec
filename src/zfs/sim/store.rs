//! Where the state is kept: a file that is replaced as a whole, or memory.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use camino::{Utf8Path, Utf8PathBuf};
use nix::fcntl::{Flock, FlockArg};
use serde::Deserialize;

use super::check::check;
use super::files::Files;
use super::refusal::{Refusal, Ruled, file_error};
use super::state::{SCHEMA, State};

/// Which version of the file was read: inode, size, and when it was changed.
type Version = (u64, u64, i64, i64);

/// The state last read or written, and from which version of the file.
#[derive(Debug)]
struct Known {
    state: Arc<State>,
    version: Option<Version>,
}

/// Where the state is kept, and the trees with it.
#[derive(Debug)]
pub(super) struct Store {
    /// The directory; `None` in memory.
    pub(super) directory: Option<Utf8PathBuf>,
    /// The trees.
    pub(super) files: Files,
    known: Mutex<Known>,
    /// One change at a time in this process.
    changing: Mutex<()>,
}

/// Held while something is changed.
pub(super) struct Exclusive<'a> {
    _here: MutexGuard<'a, ()>,
    _elsewhere: Option<Flock<File>>,
}

fn hold<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves a whole state: it is replaced, never edited.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Store {
    /// In memory.
    pub(super) fn memory(state: State) -> Self {
        Self {
            directory: None,
            files: Files::Memory(Mutex::default()),
            known: Mutex::new(Known {
                state: Arc::new(state),
                version: None,
            }),
            changing: Mutex::new(()),
        }
    }

    /// A new one in a directory that is not there, or empty.
    pub(super) fn create(directory: &Utf8Path, state: State) -> Ruled<Self> {
        let attempt = || format!("make {directory}");
        match directory.read_dir_utf8() {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return Err(Refusal::other(format!("{directory} is not empty")));
                }
                std::fs::set_permissions(directory, std::fs::Permissions::from_mode(0o700))
                    .map_err(file_error(attempt()))?;
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                std::fs::DirBuilder::new()
                    .recursive(true)
                    .mode(0o700)
                    .create(directory)
                    .map_err(file_error(attempt()))?;
            }
            Err(error) => return Err(file_error(attempt())(error)),
        }
        let directory = directory
            .canonicalize_utf8()
            .map_err(file_error(attempt()))?;
        for name in ["data", "mnt"] {
            std::fs::create_dir(directory.join(name)).map_err(file_error(attempt()))?;
        }
        let store = Self::over(directory);
        store.save(state)?;
        Ok(store)
    }

    /// One that is there.
    pub(super) fn open(directory: &Utf8Path) -> Ruled<Self> {
        if !directory.join("state.json").is_file() {
            return Err(Refusal::other(format!(
                "{directory} is not a simulated machine (it has no state.json); \
                 `beadm-rs demo` makes one"
            )));
        }
        let directory = directory
            .canonicalize_utf8()
            .map_err(file_error(format!("open {directory}")))?;
        let store = Self::over(directory);
        store.state()?;
        Ok(store)
    }

    fn over(directory: Utf8PathBuf) -> Self {
        Self {
            files: Files::Directory(directory.join("data")),
            directory: Some(directory),
            known: Mutex::new(Known {
                state: Arc::default(),
                version: None,
            }),
            changing: Mutex::new(()),
        }
    }

    /// Keeps others from changing anything.
    pub(super) fn exclusive(&self) -> Ruled<Exclusive<'_>> {
        let here = hold(&self.changing);
        let elsewhere = match &self.directory {
            Some(directory) => Some(lock(&directory.join("state.lock"))?),
            None => None,
        };
        Ok(Exclusive {
            _here: here,
            _elsewhere: elsewhere,
        })
    }

    /// What is, read again where another process has changed it.
    pub(super) fn state(&self) -> Ruled<Arc<State>> {
        let mut known = hold(&self.known);
        let Some(directory) = &self.directory else {
            return Ok(Arc::clone(&known.state));
        };
        let path = directory.join("state.json");
        let failed = || file_error(format!("read {path}"));
        let mut file = File::open(&path).map_err(failed())?;
        let version = Some(version(&file).map_err(failed())?);
        if known.version != version {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut file, &mut text).map_err(failed())?;
            known.state = Arc::new(parse(&path, &text)?);
            known.version = version;
        }
        Ok(Arc::clone(&known.state))
    }

    /// Makes this what is. A kill leaves either the old or the new.
    pub(super) fn save(&self, mut state: State) -> Ruled<()> {
        state.sequence += 1;
        let mut known = hold(&self.known);
        let Some(directory) = &self.directory else {
            known.state = Arc::new(state);
            return Ok(());
        };
        let (path, temporary) = (directory.join("state.json"), directory.join("state.new"));
        let failed = || file_error(format!("write {path}"));
        let text = serde_json::to_vec(&state)
            .map_err(|error| Refusal::other(format!("write {path}: {error}")))?;
        let mut file = File::create(&temporary).map_err(failed())?;
        file.write_all(&text).map_err(failed())?;
        // The clock of a file system ticks in milliseconds, and inodes are used
        // again: the version is told apart by a count.
        let count = u32::try_from(state.sequence % 1_000_000_000).unwrap_or_default();
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        file.set_modified(UNIX_EPOCH + Duration::new(since.as_secs(), count))
            .map_err(failed())?;
        file.sync_all().map_err(failed())?;
        std::fs::rename(&temporary, &path).map_err(failed())?;
        File::open(directory)
            .and_then(|directory| directory.sync_all())
            .map_err(failed())?;
        known.version = Some(version(&file).map_err(failed())?);
        known.state = Arc::new(state);
        Ok(())
    }
}

fn version(file: &File) -> std::io::Result<Version> {
    let metadata = file.metadata()?;
    Ok((
        metadata.ino(),
        metadata.size(),
        metadata.mtime(),
        metadata.mtime_nsec(),
    ))
}

fn lock(path: &Utf8Path) -> Ruled<Flock<File>> {
    let failed = || file_error(format!("lock {path}"));
    let file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(failed())?;
    Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| failed()(errno.into()))
}

pub(super) fn parse(path: &Utf8Path, text: &str) -> Ruled<State> {
    #[derive(Deserialize)]
    struct Header {
        schema: String,
    }
    let parsed = serde_json::from_str::<State>(text);
    // A newer format may not be readable as this one; it says what it is.
    let schema = match &parsed {
        Ok(state) => Some(state.schema.clone()),
        Err(_) => serde_json::from_str(text)
            .ok()
            .map(|header: Header| header.schema),
    };
    if let Some(schema) = schema.filter(|schema| schema != SCHEMA) {
        return Err(Refusal::other(format!(
            "{path} is written as {schema:?}, and this program reads {SCHEMA:?}"
        )));
    }
    parsed
        .map_err(|error| error.to_string())
        .and_then(|state| check(&state).map(|()| state))
        .map_err(|why| {
            Refusal::other(format!(
                "{path} is not the state of a simulated machine: {why}"
            ))
        })
}
