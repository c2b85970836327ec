//! The command line: one file per command, whose arguments' comments are the
//! help, and what all of them share.

pub mod context;
pub mod error;
pub mod interruption;
pub mod output;
pub mod progress;

mod activate;
pub mod archive;
mod bases;
mod boot;
mod check;
mod completions;
mod confirm;
mod conflicts;
mod create;
mod demo;
mod destroy;
mod dialect;
mod diff;
mod editor;
mod health;
mod init;
mod label;
mod late_sync;
mod list;
mod mount;
mod package_hook;
mod prune;
mod recover;
mod rename;
mod rollback;
mod run;
mod share;
mod snapshot;
mod status;
mod switch;
mod sync;
mod upgrade;
mod watched;

use std::ffi::OsString;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;

use camino::Utf8PathBuf;
use clap::{CommandFactory as _, Parser, Subcommand};

use crate::be::BeName;
use crate::config::{self, Config};
use crate::host::Host;
use crate::zfs::{DatasetName, NameError};
use context::Context;
use error::{FAILED, Trouble, USAGE, Verdict};
use interruption::Interruption;

/// Boot environments for ZFS: change a machine as one move, with a proven way back
///
/// A boot environment is a bootable root file system: a dataset, with its
/// children, directly under the beroot (rpool/ROOT). `create` clones the
/// running one in a moment, `activate` makes another one boot next, `failback`
/// returns to the one before.
#[derive(Debug, Parser)]
#[command(name = "beadm-rs", version, max_term_width = 100)]
pub struct Cli {
    /// What all commands share.
    #[command(flatten)]
    pub global: Global,

    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
pub struct Global {
    /// The dataset whose children are the boot environments; by default the
    /// parent of what / is mounted from, else of the pool's bootfs, else POOL/ROOT
    #[arg(
        short = 'r',
        long,
        global = true,
        value_name = "DATASET",
        help_heading = "Global options"
    )]
    pub beroot: Option<DatasetName>,

    /// Work on a simulated pool in this directory, made by 'beadm-rs demo'
    #[arg(
        long,
        global = true,
        value_name = "DIR",
        env = "BEADM_RS_SIM",
        hide_env_values = true,
        conflicts_with = "altroot",
        help_heading = "Global options"
    )]
    pub sim: Option<Utf8PathBuf>,

    /// Work on pools imported with this altroot (zpool import -R), as from a rescue system
    #[arg(
        short = 'R',
        long,
        global = true,
        value_name = "DIR",
        help_heading = "Global options"
    )]
    pub altroot: Option<Utf8PathBuf>,

    /// Print the plan and change nothing
    #[arg(short = 'n', long, global = true, help_heading = "Global options")]
    pub dry_run: bool,

    /// Print JSON, with a versioned schema
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,

    /// Print for scripts: no header, tabs between fields, exact numbers
    #[arg(
        short = 'H',
        long = "script",
        global = true,
        help_heading = "Global options"
    )]
    pub script: bool,

    /// Agree to what would be asked on a terminal
    #[arg(short = 'y', long, global = true, help_heading = "Global options")]
    pub yes: bool,

    /// Say what is done; twice: every command that is run
    #[arg(
        short = 'v',
        long,
        global = true,
        action = clap::ArgAction::Count,
        help_heading = "Global options"
    )]
    pub verbose: u8,
}

/// The commands.
#[derive(Debug, Subcommand)]
#[expect(
    missing_docs,
    reason = "a comment here would hide the one on the arguments, which is the help"
)]
pub enum Command {
    Init(init::Args),
    Create(create::Args),
    #[command(visible_alias = "ls")]
    List(list::Args),
    Activate(activate::Args),
    Failback(activate::FailbackArgs),
    Confirm(confirm::Args),
    Destroy(destroy::Args),
    Mount(mount::Args),
    #[command(visible_alias = "umount")]
    Unmount(mount::UnmountArgs),
    Diff(diff::Args),
    Export(archive::export::Args),
    Import(archive::import::Args),
    Run(run::Args),
    Upgrade(upgrade::Args),
    Rename(rename::Args),
    Snapshot(snapshot::Args),
    Rollback(rollback::Args),
    Share(share::Args),
    Sync(sync::Args),
    Describe(label::DescribeArgs),
    /// Keep a boot environment from being destroyed
    Pin(label::PinArgs),
    /// Let a boot environment be destroyed again
    Unpin(label::PinArgs),
    Check(check::Args),
    Status(status::Args),
    Health(health::Args),
    #[command(hide = true)]
    Boot(boot::Args),
    #[command(hide = true)]
    LateSync(late_sync::Args),
    #[command(hide = true)]
    KernelUpdated(activate::KernelArgs),
    #[command(hide = true)]
    PackageHook(package_hook::Args),
    Prune(prune::Args),
    Recover(recover::Args),
    Completions(completions::Args),
    Demo(demo::Args),
    /// Be FreeBSD's bectl: all that follows is its command line
    ///
    /// Its output, silence and exit codes are that tool's, too. The same does this program
    /// under the name bectl. beadm-rs-dialects(7) says what each command does here, and what
    /// it does otherwise than there.
    Bectl(dialect::Args),
    /// Be illumos' beadm: all that follows is its command line
    ///
    /// Its output, silence and exit codes are that tool's, too. The same does this program
    /// under the name beadm. beadm-rs-dialects(7) says what each command does here, and what
    /// it does otherwise than there.
    Beadm(dialect::Args),
}

impl Command {
    /// The command and what it is about, for the lock and for messages.
    fn purpose(&self) -> String {
        match self {
            Self::Init(_) => "adopt the system".to_owned(),
            Self::Create(args) => format!("create {}", args.name()),
            Self::List(_) => "list".to_owned(),
            Self::Activate(args) => format!("activate {}", args.name()),
            Self::Failback(_) => "fail back".to_owned(),
            Self::Confirm(args) => args.purpose().to_owned(),
            Self::Destroy(args) => format!("destroy {}", args.names()),
            Self::Mount(args) => format!("mount {}", args.name()),
            Self::Unmount(args) => format!("unmount {}", args.name),
            Self::Diff(args) => format!("compare {}", args.from),
            Self::Export(args) => args.purpose(),
            Self::Import(args) => args.purpose(),
            Self::Run(args) => format!("run a command in {}", args.name),
            Self::Rename(args) => format!("rename {}", args.old),
            Self::Snapshot(_) => "take a snapshot".to_owned(),
            Self::Rollback(args) => format!("roll back to {}", args.target),
            Self::Share(args) => args.purpose(),
            Self::Sync(args) => args.purpose(),
            Self::Describe(args) => format!("describe {}", args.name),
            Self::Pin(args) => format!("pin {}", args.name),
            Self::Unpin(args) => format!("unpin {}", args.name),
            Self::Check(_) => "check".to_owned(),
            Self::Status(_) => "status".to_owned(),
            Self::Health(_) => "check the health of the system".to_owned(),
            Self::Boot(_) => "look after this boot".to_owned(),
            Self::LateSync(_) => "carry files at this boot".to_owned(),
            Self::KernelUpdated(_) => "copy the running environment's kernel".to_owned(),
            Self::Upgrade(_) => "upgrade a clone".to_owned(),
            Self::PackageHook(args) => format!("make an environment for {}", args.manager),
            Self::Prune(_) => "prune".to_owned(),
            Self::Recover(_) => "recover".to_owned(),
            Self::Completions(_) => "completions".to_owned(),
            Self::Demo(_) => "demo".to_owned(),
            Self::Bectl(_) => "bectl".to_owned(),
            Self::Beadm(_) => "beadm".to_owned(),
        }
    }
}

/// `BE@SNAP`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct BeSnapshot {
    /// The environment.
    pub environment: BeName,
    /// The part after `@`.
    pub snapshot: String,
}

impl std::str::FromStr for BeSnapshot {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (environment, snapshot) = text
            .split_once('@')
            .ok_or_else(|| NameError::NotSnapshot(text.to_owned()))?;
        // Checked as a snapshot of some dataset; the real one's length is the
        // planner's to check.
        format!("p@{snapshot}")
            .parse::<crate::zfs::SnapshotName>()
            .map_err(|error| match error {
                NameError::Character { character, .. } => NameError::Character {
                    name: text.to_owned(),
                    character,
                },
                NameError::Empty(_) => NameError::Empty(text.to_owned()),
                NameError::Dots(_) => NameError::Dots(text.to_owned()),
                other => other,
            })?;
        Ok(Self {
            environment: environment.parse()?,
            snapshot: snapshot.to_owned(),
        })
    }
}

impl std::fmt::Display for BeSnapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.environment, self.snapshot)
    }
}

/// The program: reads the command line, runs it, and says how it went.
#[must_use]
pub fn main() -> ExitCode {
    if let Some(code) = crate::os::linux::init::entry(std::env::args_os()) {
        return code;
    }
    if let Some(code) = crate::own::generator::entry(std::env::args_os()) {
        return code;
    }
    clap_complete::CompleteEnv::with_factory(Cli::command).complete();
    ExitCode::from(run(std::env::args_os()))
}

/// Runs one command line; its exit code.
pub(crate) fn run(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    if let Some(spoken) = dialect::spoken(&arguments) {
        return spoken.run();
    }
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors.
            let _ = error.print();
            return if error.use_stderr() { USAGE } else { 0 };
        }
    };
    log(cli.global.verbose);
    let json = cli.global.json;
    let error = match dispatch(cli) {
        Ok(code) => return code,
        Err(error) => error,
    };
    if is_broken_pipe(&error) {
        return 0;
    }
    if let Some(Verdict(exit)) = error.downcast_ref() {
        return *exit;
    }
    let trouble = match error.downcast::<Trouble>() {
        Ok(trouble) => trouble,
        Err(other) => Trouble::new(FAILED, format!("{other:#}")),
    };
    let _ = writeln!(io::stderr(), "beadm-rs: {trouble}");
    if json {
        let content = serde_json::json!({
            "error": trouble.message,
            "exit": trouble.exit,
            "state": trouble.state,
            "remedy": trouble.remedy,
        });
        let _ = output::json(&mut io::stdout(), "error", content);
    }
    trouble.exit
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn log(verbose: u8) {
    let level = match verbose {
        0 => return,
        1 => tracing::Level::INFO,
        _ => tracing::Level::DEBUG,
    };
    // A second command in one process (demo) finds the first one's.
    let _ = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_writer(io::stderr)
        .with_ansi(io::stderr().is_terminal())
        .with_target(false)
        .with_timer(tracing_subscriber::fmt::time::uptime())
        .try_init();
}

/// The machine the options speak of.
fn host(global: &Global) -> Result<Host, Trouble> {
    let beroot = global.beroot.clone();
    let host = match &global.sim {
        Some(directory) => {
            let config = Config::load_from(&directory.join(config::FILE))?;
            Host::simulated(directory, beroot, config)
        }
        None => Host::real(beroot, global.altroot.clone(), Config::load()?),
    };
    Ok(host?)
}

/// The archive that a command does nothing else with than look at.
fn looked_at(command: &Command) -> Option<Option<&camino::Utf8Path>> {
    match command {
        Command::Export(args) => args.looked_at().map(Some),
        Command::Import(args) => args.looked_at(),
        _ => None,
    }
}

/// Carries a command out; the exit code, which is 0 but for what `run` ran.
fn dispatch(cli: Cli) -> anyhow::Result<u8> {
    let Cli { global, command } = cli;
    match &command {
        Command::Completions(args) => return completions::run(args).map(|()| 0),
        Command::Demo(args) => return demo::run(args, &global).map(|()| 0),
        _ => {}
    }
    // An archive can be looked at on a machine without ZFS.
    if let Some(file) = looked_at(&command) {
        return archive::info(file, global.json).map(|()| 0);
    }
    let host = match (host(&global), &command) {
        (Err(trouble), Command::Check(args)) if args.nagios => return check::unknown(&trouble),
        (Err(trouble), Command::Boot(_)) => return Ok(boot::without_host(&trouble)),
        (Err(trouble), Command::LateSync(_)) => return Ok(late_sync::without_host(&trouble)),
        (Err(trouble), Command::PackageHook(_)) => {
            return Ok(package_hook::without_host(&trouble));
        }
        (host, _) => host?,
    };
    let context = Context {
        host,
        dry_run: global.dry_run,
        json: global.json,
        script: global.script,
        yes: global.yes,
        verbose: global.verbose > 0,
        interruption: Interruption::watch()?,
        purpose: command.purpose(),
    };
    match command {
        Command::Init(args) => init::run(context, args),
        Command::Create(args) => create::run(&context, args),
        Command::List(args) => list::run(&context, &args),
        Command::Activate(args) => activate::run(&context, args),
        Command::Failback(args) => activate::run_failback(&context, &args),
        Command::KernelUpdated(_) => activate::run_kernel(&context),
        Command::Confirm(args) => confirm::run(&context, &args),
        Command::Check(args) => check::run(&context, &args),
        Command::Destroy(args) => destroy::run(&context, &args),
        Command::Mount(args) => mount::run(&context, &args),
        Command::Unmount(args) => mount::run_unmount(&context, &args),
        Command::Diff(args) => diff::run(&context, &args),
        Command::Export(args) => archive::export::run(&context, &args),
        Command::Import(args) => archive::import::run(&context, &args),
        Command::Run(args) => return run::run(&context, args),
        Command::Rename(args) => rename::run(&context, &args),
        Command::Snapshot(args) => snapshot::run(&context, args),
        Command::Rollback(args) => rollback::run(&context, args),
        Command::Share(args) => share::run(&context, args),
        Command::Sync(args) => sync::run(&context, &args),
        Command::Describe(args) => label::describe(&context, &args),
        Command::Pin(args) => label::pin(&context, &args, true),
        Command::Unpin(args) => label::pin(&context, &args, false),
        Command::Status(_) => status::run(&context),
        Command::Health(args) => health::run(&context, &args),
        Command::Boot(_) => {
            boot::run(&context);
            Ok(())
        }
        Command::LateSync(_) => {
            late_sync::run(&context);
            Ok(())
        }
        Command::Upgrade(args) => upgrade::run(&context, &args),
        Command::PackageHook(args) => package_hook::run(&context, &args),
        Command::Prune(args) => prune::run(&context, &args),
        Command::Recover(_) => recover::run(&context),
        // Done above, and before the command line was read.
        Command::Completions(_) | Command::Demo(_) | Command::Bectl(_) | Command::Beadm(_) => {
            Ok(())
        }
    }
    .map(|()| 0)
}
