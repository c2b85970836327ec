//! What is made from the command line's definition and kept in the tree: the
//! manual page, the completion scripts, the whole help. A file that differs
//! fails the test; `SNAPSHOTS=overwrite cargo test --test generated` writes it
//! anew, so that `git diff` shows what a change does to what people read.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command as Process, Stdio};

use beadm_rs::check::finding::REGISTRY;
use beadm_rs::cli::Cli;
use clap::{ArgAction, Command, CommandFactory as _};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

/// The day the manual page was last changed by hand.
const MANUAL_DATE: &str = "2026-11-21";

/// The width the whole help is laid out for, columns.
const HELP_WIDTH: usize = 100;

/// The hand-written sections after the commands, in this order; the file is
/// the title in small letters, with a hyphen for a space.
const SECTIONS: [&str; 16] = [
    "SYNCHRONIZATION",
    "LOADERS",
    "TAKING GRUB OVER",
    "TRIALS AND HEALTH CHECKS",
    "UPGRADES",
    "SHARED DATASET",
    "EXIT STATUS",
    "ENVIRONMENT",
    "FILES",
    "PROPERTIES",
    "LAYOUTS",
    "JSON OUTPUT",
    "EXAMPLES",
    "LIMITATIONS",
    "SEE ALSO",
    "LICENCE",
];

fn in_tree(path: impl AsRef<Path>) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

/// A hand-written section: roff, with its heading.
fn section(title: &str) -> String {
    let name = title.to_lowercase().replace(' ', "-");
    let path = in_tree(format!("man/sections/{name}.roff"));
    let text = fs::read_to_string(&path).unwrap_or_else(|error| {
        panic!("the manual's section {title}: {}: {error}", path.display())
    });
    assert!(
        text.starts_with(&format!(".SH {title}\n")),
        "{} does not begin with .SH {title}",
        path.display()
    );
    text
}

/// Compares with the file in the tree, or writes it.
fn same_as_in_tree(path: &str, generated: &str) {
    let file = in_tree(path);
    if std::env::var_os("SNAPSHOTS").is_some_and(|value| value == "overwrite") {
        fs::write(&file, generated).unwrap();
        return;
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    if kept == generated {
        return;
    }
    let line = kept
        .lines()
        .zip(generated.lines())
        .take_while(|(kept, generated)| kept == generated)
        .count();
    panic!(
        "{path} is not what the program would say now, from line {} on:\n  in the tree: {}\n  \
         generated:   {}\nLook whether that is meant, and write it anew with\n  \
         SNAPSHOTS=overwrite cargo test --test generated",
        line + 1,
        kept.lines().nth(line).unwrap_or("(its end)"),
        generated.lines().nth(line).unwrap_or("(its end)"),
    );
}

/// The command line, without what depends on this machine.
fn command_line() -> Command {
    Cli::command()
        .term_width(HELP_WIDTH)
        .mut_arg("sim", |argument| argument.hide_env_values(true))
}

/// The values an option takes, in its text: a list of them in the manual would
/// be longer than everything else about it.
fn with_values_in_the_text(command: Command) -> Command {
    command.mut_args(|argument| {
        let values: Vec<String> = argument
            .get_possible_values()
            .iter()
            .map(|value| value.get_name().to_owned())
            .collect();
        if values.is_empty() || !argument.get_action().takes_values() {
            return argument;
        }
        let help = argument
            .get_help()
            .map(ToString::to_string)
            .unwrap_or_default();
        argument
            .hide_possible_values(true)
            .help(format!("{help}: {}", values.join(", ")))
    })
}

/// The commands, each followed by those that it has itself: `share init`.
fn subcommands(command: &Command) -> Vec<Command> {
    let mut all = Vec::new();
    for outer in command.get_subcommands() {
        all.push(outer.clone());
        for inner in outer.get_subcommands() {
            if inner.get_name() != "help" {
                let name = format!("{} {}", outer.get_name(), inner.get_name());
                all.push(inner.clone().name(&*name.leak()));
            }
        }
    }
    all
}

/// "create [-a] [-d TEXT] … NAME", as people write a synopsis.
fn synopsis(command: &Command) -> String {
    let mut text = format!("beadm-rs {}", command.get_name());
    let arguments = || {
        command
            .get_arguments()
            .filter(|argument| !argument.is_hide_set())
    };
    for option in arguments().filter(|argument| !argument.is_positional()) {
        let name = match (option.get_short(), option.get_long()) {
            (Some(short), _) => format!("-{short}"),
            (None, Some(long)) => format!("--{long}"),
            (None, None) => continue,
        };
        let value = match option.get_action() {
            ArgAction::Set | ArgAction::Append => option
                .get_value_names()
                .map(|names| format!(" {}", names.join(" ")))
                .unwrap_or_default(),
            _ => String::new(),
        };
        let more = match option.get_action() {
            ArgAction::Append => "...",
            _ => "",
        };
        write!(text, " [{name}{value}]{more}").unwrap();
    }
    for positional in command.get_positionals() {
        let name = positional
            .get_value_names()
            .map(|names| names.join(" "))
            .unwrap_or_default();
        let more = match positional.get_action() {
            ArgAction::Append => "...",
            _ => "",
        };
        if positional.is_required_set() {
            write!(text, " {name}{more}").unwrap();
        } else {
            write!(text, " [{name}]{more}").unwrap();
        }
    }
    text
}

/// A part that clap_mangen renders as a section of its own, without the heading.
fn body(render: impl Fn(&mut Vec<u8>) -> std::io::Result<()>) -> String {
    let mut bytes = Vec::new();
    render(&mut bytes).unwrap();
    String::from_utf8(bytes)
        .unwrap()
        .lines()
        .filter(|line| {
            !line.starts_with(".SH") && !line.starts_with(".ie") && !line.starts_with(".el")
        })
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

/// Text and macros of this file's own, escaped.
fn roff(write: impl Fn(&mut Roff)) -> String {
    let mut roff = Roff::new();
    write(&mut roff);
    roff.to_roff()
}

/// What help says under a command: the paragraphs after the first, which is
/// its heading.
fn paragraphs(command: &Command) -> Vec<String> {
    let short = command
        .get_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let long = command
        .get_long_about()
        .map(ToString::to_string)
        .unwrap_or_default();
    let mut paragraphs: Vec<String> = vec![format!("{}.", short.trim_end_matches('.'))];
    paragraphs.extend(
        long.split("\n\n")
            .skip(1)
            .map(|paragraph| paragraph.replace('\n', " ")),
    );
    paragraphs
}

fn manual() -> String {
    let command = command_line().disable_help_subcommand(true);
    let man = Man::new(command.clone())
        .title("BEADM-RS")
        .section("8")
        .date(MANUAL_DATE)
        .manual("System Manager's Manual");
    let mut page =
        ".\\\" Made by tests/generated.rs from the program and from man/sections/.\n".to_owned();
    // What an apostrophe is: clap_mangen writes it as this string.
    page.push_str(".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n");
    page.push_str(&roff(|roff| {
        roff.control(
            "TH",
            [
                "BEADM-RS",
                "8",
                MANUAL_DATE,
                concat!("beadm-rs ", env!("CARGO_PKG_VERSION")),
                "System Manager's Manual",
            ],
        );
        roff.control("SH", ["NAME"]);
        roff.text([roman("beadm-rs - boot environments for ZFS")]);
        roff.control("SH", ["SYNOPSIS"]);
        roff.text([
            bold("beadm-rs"),
            roman(" [global options] command [arguments]"),
        ]);
        for command in subcommands(&command) {
            roff.control("br", []);
            let line = synopsis(&command);
            let name = format!("beadm-rs {}", command.get_name());
            let rest = line.strip_prefix(&name).unwrap_or_default().to_owned();
            roff.text([bold(name), roman(rest)]);
        }
    }));
    page.push_str(&section("DESCRIPTION"));
    page.push_str(".SH COMMANDS\n");
    for command in subcommands(&command) {
        let aliases: Vec<&str> = command.get_visible_aliases().collect();
        let heading = [&[command.get_name()], aliases.as_slice()]
            .concat()
            .join(", ");
        page.push_str(&roff(|roff| {
            roff.control("SS", [heading.as_str()]);
            roff.text([bold(synopsis(&command))]);
            for paragraph in paragraphs(&command) {
                roff.control("PP", []);
                roff.text([roman(paragraph)]);
            }
        }));
        let options = Man::new(with_values_in_the_text(command.disable_help_flag(true)));
        page.push_str(&body(|out| options.render_options_section(out)));
    }
    page.push_str(
        ".SH GLOBAL OPTIONS\nEvery command takes these, before or after its name; only\n\
         .B demo\nhas neither\n.B \\-\\-dry\\-run\nnor\n.BR \\-\\-json .\n",
    );
    page.push_str(&body(|out| man.render_options_section(out)));
    page.push_str(&findings());
    for title in SECTIONS {
        page.push_str(&section(title));
    }
    page
}

/// What `check` can find: its introduction, and the registry.
fn findings() -> String {
    let mut text = section("FINDINGS");
    for definition in REGISTRY {
        let escaped = |text: &str| text.replace('-', "\\-");
        let _ = writeln!(
            text,
            ".TP\n.BR {} \" ({})\"\n{}{}.",
            escaped(definition.name),
            definition.severity,
            // A line that begins with one of these would be a request.
            if definition.meaning.starts_with(['.', '\'']) {
                "\\&"
            } else {
                ""
            },
            escaped(definition.meaning)
        );
    }
    text
}

#[test]
fn the_manual_page_is_what_the_program_and_the_sections_say() {
    same_as_in_tree("man/beadm-rs.8", &manual());
}

#[test]
fn the_whole_help_is_as_it_was_agreed_on() {
    let mut command = command_line();
    command.build();
    let mut text = String::new();
    let mut add = |title: &str, command: &Command| {
        let help: String = command
            .clone()
            .render_long_help()
            .to_string()
            .lines()
            .map(|line| format!("{}\n", line.trim_end()))
            .collect();
        write!(text, "$ {title} --help\n{help}\n").unwrap();
    };
    add("beadm-rs", &command);
    for subcommand in subcommands(&command) {
        if subcommand.get_name() != "help" {
            add(&format!("beadm-rs {}", subcommand.get_name()), &subcommand);
        }
    }
    same_as_in_tree("man/cli-reference.txt", &text);
}

/// This program, with nothing of the environment that would change what it says.
fn program() -> Process {
    let mut process = Process::new(env!("CARGO_BIN_EXE_beadm-rs"));
    process.env_remove("BEADM_RS_SIM").env_remove("COMPLETE");
    process
}

#[test]
fn the_completion_scripts_are_what_the_program_prints() {
    for (shell, file) in [
        ("bash", "beadm-rs.bash"),
        ("zsh", "_beadm-rs"),
        ("fish", "beadm-rs.fish"),
    ] {
        let printed = program().args(["completions", shell]).output().unwrap();
        assert!(printed.status.success(), "completions {shell}: {printed:?}");
        let script = String::from_utf8(printed.stdout).unwrap();
        same_as_in_tree(&format!("completions/{file}"), &script);
    }
}

/// What a shell is offered for the last of `words`.
fn offered(simulation: &Path, words: &[&str]) -> Vec<String> {
    let completed = program()
        .env("BEADM_RS_SIM", simulation)
        .env("COMPLETE", "bash")
        .env("_CLAP_IFS", "\n")
        .env("_CLAP_COMPLETE_INDEX", words.len().to_string())
        .args(["--", "beadm-rs"])
        .args(words)
        .output()
        .unwrap();
    assert!(completed.status.success(), "{completed:?}");
    String::from_utf8(completed.stdout)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect()
}

#[test]
fn environments_are_completed_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let simulation = directory.path().join("pool");
    let played = program().arg("demo").arg(&simulation).output().unwrap();
    assert!(played.status.success(), "demo: {played:?}");

    for command in [
        "activate", "destroy", "mount", "unmount", "rename", "describe", "pin", "unpin", "list",
        "snapshot", "rollback",
    ] {
        let names: Vec<String> = offered(&simulation, &[command, ""])
            .into_iter()
            .filter(|word| !word.starts_with('-'))
            .collect();
        assert_eq!(names, ["debian", "upgrade"], "after {command}");
    }
    assert_eq!(offered(&simulation, &["destroy", "up"]), ["upgrade"]);
    assert_eq!(
        offered(&simulation, &["create", "-e", "deb"]),
        ["debian"],
        "after create -e"
    );
    assert!(offered(&simulation, &["destroy", "nothing-like-that"]).is_empty());
}

/// The exit codes: name and number of every constant in `src/cli/error.rs`.
fn exit_codes() -> Vec<(String, u8)> {
    let source = fs::read_to_string(in_tree("src/cli/error.rs")).unwrap();
    source
        .lines()
        .filter_map(|line| {
            let (name, number) = line.strip_prefix("pub const ")?.split_once(": u8 = ")?;
            Some((
                name.to_owned(),
                number.trim_end_matches(';').parse().unwrap(),
            ))
        })
        .collect()
}

#[test]
fn every_exit_code_is_in_the_manual_and_in_the_readme() {
    let codes = exit_codes();
    assert!(
        codes.contains(&("REFUSED".to_owned(), 3)),
        "src/cli/error.rs is not read as it should be: {codes:?}"
    );
    let manual = section("EXIT STATUS");
    let readme = fs::read_to_string(in_tree("README.md")).unwrap();
    for (name, code) in codes {
        assert!(
            manual.contains(&format!("\n.B {code}\n")),
            "man/sections/exit-status.roff has nothing on {code} ({name})"
        );
        assert!(
            readme.contains(&format!("\n| {code} | ")),
            "README.md has no row for exit code {code} ({name})"
        );
    }
}

#[test]
fn every_command_is_in_the_manual_and_in_the_readme() {
    let manual = manual();
    let readme = fs::read_to_string(in_tree("README.md")).unwrap();
    for command in subcommands(&command_line()) {
        let name = command.get_name();
        assert!(
            manual
                .lines()
                .filter_map(|line| line.strip_prefix(".SS "))
                .any(|heading| heading
                    .trim_matches('"')
                    .split(", ")
                    .any(|word| word == name)),
            "the manual page has no section on {name}"
        );
        assert!(
            readme.contains(&format!("`{name}")) || readme.contains(&format!("beadm-rs {name}")),
            "README.md does not mention {name}"
        );
    }
}

#[test]
fn the_manual_pages_have_no_errors() {
    let dialects = fs::read_to_string(in_tree("man/beadm-rs-dialects.7")).unwrap();
    for page in [manual(), dialects] {
        let started = Process::new("mandoc")
            .args(["-T", "lint", "-W", "warning"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut mandoc) = started else {
            // Not installed: whoever changes the pages has it (CONTRIBUTING.md).
            return;
        };
        let mut input = mandoc.stdin.take().unwrap();
        input.write_all(page.as_bytes()).unwrap();
        drop(input);
        let linted = mandoc.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&linted.stdout).into_owned();
        assert!(linted.status.success(), "mandoc -T lint: {said}");
    }
}
