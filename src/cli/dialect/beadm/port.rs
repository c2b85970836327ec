//! What FreeBSD's port of beadm has beside illumos': `chroot`, `reroot`, `export`, `import`,
//! `version`.

use std::io::{self, IsTerminal as _};
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::{Done, Stop, environment, say, stream, whisper};
use super::{failed, failed_on, options, usage};
use crate::cli::context::Context;
use crate::cli::error::Trouble;
use crate::cli::run as runs;

/// `chroot be`: root's shell in it, contained as by `beadm-rs run`; its exit status.
pub(super) fn chroot(context: &Context, words: &[String]) -> Done {
    let [_, name] = words else {
        return Err(usage());
    };
    let ran = environment(context, name).and_then(|name| runs::ended(context, name, Vec::new()));
    ran.map_err(|trouble| failed_on(name, format!("Unable to chroot into {name}."), trouble))
}

/// `reroot be`: refused.
pub(super) fn reroot(_context: &Context, words: &[String]) -> Done {
    let [_, name] = words else {
        return Err(usage());
    };
    let why = format!(
        "cannot reroot into {name}: that replaces the root of a running kernel, which FreeBSD's \
         reboot -r does and nothing on this system can: the kernel and its modules would be \
         those of the other environment"
    );
    let trouble = Trouble::refused(why).remedy(format!("beadm activate -t {name}, and reboot"));
    Err(failed(
        vec![format!("Unable to reroot into {name}.")],
        trouble,
    ))
}

/// `export [-v] be`: a stream of its root dataset, to standard output.
pub(super) fn export(context: &Context, words: &[String]) -> Done {
    let options = options(words, "v")?;
    let [name] = options.rest else {
        return Err(usage());
    };
    if io::stdout().is_terminal() {
        return Err(terminal("export", "must redirect output"));
    }
    let bytes = AtomicU64::new(0);
    let count = |more| {
        bytes.fetch_add(more, Ordering::Relaxed);
    };
    let exported =
        environment(context, name).and_then(|name| stream::export(context, &name, &count));
    exported.map_err(|trouble| failed_on(name, format!("Unable to export {name}."), trouble))?;
    if options.has('v') {
        whisper(&format!(
            "{name}: {} bytes written",
            bytes.load(Ordering::Relaxed)
        ));
    }
    Ok(0)
}

/// `import [-v] be`: a stream from standard input.
pub(super) fn import(context: &Context, words: &[String]) -> Done {
    let options = options(words, "v")?;
    let [name] = options.rest else {
        return Err(usage());
    };
    if io::stdin().is_terminal() {
        return Err(terminal("import", "input can not be from terminal"));
    }
    stream::import(context, name)
        .map_err(|trouble| failed_on(name, format!("Unable to import {name}."), trouble))?;
    Ok(0)
}

fn terminal(command: &str, what: &str) -> Stop {
    let line = format!("beadm {command}: {what}");
    Stop::Failed(super::FAILED, vec![line], None)
}

/// `version`.
pub(super) fn version(_context: &Context, _words: &[String]) -> Done {
    say(&format!("beadm (beadm-rs {})", env!("CARGO_PKG_VERSION"))).map(|()| 0)
}
