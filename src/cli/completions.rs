//! `completions`, and what completes the names of boot environments.
//!
//! The scripts ask this very program (`COMPLETE=SHELL beadm-rs -- …`), so they
//! know every option and the environments there are.

use std::ffi::OsStr;
use std::io;

use clap_complete::CompletionCandidate;
use clap_complete::env::Shells;

use crate::config::Config;
use crate::host::Host;
use crate::survey::{Scope, Survey};

/// Print the completion script of a shell
///
/// bash: beadm-rs completions bash > /usr/share/bash-completion/completions/beadm-rs
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The shell
    #[arg(value_name = "SHELL", value_parser = ["bash", "zsh", "fish"])]
    shell: String,
}

pub(super) fn run(args: &Args) -> anyhow::Result<()> {
    let mut script = Vec::new();
    if let Some(shell) = Shells::builtins().completer(&args.shell) {
        shell.write_registration("COMPLETE", "beadm-rs", "beadm-rs", "beadm-rs", &mut script)?;
    }
    Ok(io::Write::write_all(&mut io::stdout().lock(), &script)?)
}

/// The names of the environments that begin like that; none where they cannot
/// be listed.
pub(super) fn environments(begun: &OsStr) -> Vec<CompletionCandidate> {
    let begun = begun.to_string_lossy();
    let beroot = given(&["-r", "--beroot"]).and_then(|name| name.parse().ok());
    let simulated = given(&["--sim"]).or_else(|| std::env::var("BEADM_RS_SIM").ok());
    let host = match simulated {
        Some(directory) => Host::simulated(directory.as_str().into(), beroot, Config::default()),
        None => {
            let altroot = given(&["-R", "--altroot"]).map(Into::into);
            Host::real(beroot, altroot, Config::load().unwrap_or_default())
        }
    };
    let Ok(host) = host else {
        return Vec::new();
    };
    Survey::take(&host, Scope::Names)
        .map(|survey| {
            survey
                .environments()
                .map(|environment| environment.name().to_owned())
                .filter(|name| name.starts_with(begun.as_ref()))
                .map(CompletionCandidate::new)
                .collect()
        })
        .unwrap_or_default()
}

/// What was typed after one of these options.
fn given(options: &[&str]) -> Option<String> {
    let words: Vec<String> = std::env::args().collect();
    words.windows(2).find_map(|pair| match pair {
        [option, value] if options.contains(&option.as_str()) => Some(value.clone()),
        _ => None,
    })
}
