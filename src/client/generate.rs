//! `claviger generate`: man pages and shell completions from the definition that parses the command line.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use crate::client::arguments::{Cli, GenerateWhat, exit};
use crate::client::failure::Failure;

/// Writes what is asked for, for the client and for `more` commands.
pub fn run(what: &GenerateWhat, more: Vec<Command>) -> Result<u8, Failure> {
    let mut commands = vec![(Cli::command(), "1")];
    commands.extend(more.into_iter().map(|command| (command, "8")));
    match what {
        GenerateWhat::Man { dir } => {
            make(dir)?;
            for (command, section) in commands {
                let mut command = command.disable_help_subcommand(true);
                // Building passes the global arguments on to the verbs and gives them their full names.
                command.build();
                pages(dir, &command, section)?;
            }
        }
        GenerateWhat::Completions { dir } => {
            make(dir)?;
            for (mut command, _) in commands {
                let name = command.get_name().to_owned();
                for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
                    clap_complete::generate_to(shell, &mut command, &name, dir).map_err(|e| unwritable(dir, &e))?;
                }
            }
        }
    }
    Ok(exit::DONE)
}

/// The page of a command and, one file each, of its verbs: `claviger-register-fob.1`.
fn pages(dir: &Path, command: &Command, section: &str) -> Result<(), Failure> {
    let name = command.get_display_name().unwrap_or_else(|| command.get_name());
    let path = dir.join(format!("{name}.{section}"));
    let page = page(command, section).map_err(|e| unwritable(&path, &e))?;
    fs::write(&path, &page).map_err(|e| unwritable(&path, &e))?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages(dir, verb, section)?;
    }
    Ok(())
}

/// One page: clap's sections, and what stands after the help as sections of their own.
fn page(command: &Command, section: &str) -> io::Result<Vec<u8>> {
    let source = format!("claviger {}", env!("CARGO_PKG_VERSION"));
    let man = Man::new(command.clone())
        .section(section)
        .manual("Claviger")
        .source(source);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if let Some(after) = command.get_after_help() {
        page.extend_from_slice(sections(&after.to_string()).as_bytes());
    }
    page.extend_from_slice(b".SH \"SEE ALSO\"\n.BR claviger (1),\n.BR clavigerd (8),\n.BR clavigerd.toml (5)\n");
    Ok(page)
}

/// The text after the help in roff: the list of exit codes as a section, the paragraphs as notes.
fn sections(after: &str) -> String {
    let mut exit_status = String::new();
    let mut notes = String::new();
    for block in after.split("\n\n") {
        match block.strip_prefix("Exit codes:\n") {
            Some(list) => {
                for (code, meaning) in list.lines().filter_map(|line| line.trim().split_once("  ")) {
                    exit_status.push_str(&format!(".TP\n.B {}\n{}\n", roff(code), roff(meaning.trim())));
                }
            }
            None => notes.push_str(&format!(".PP\n{}\n", roff(block))),
        }
    }
    let mut sections = String::new();
    for (title, text) in [("EXIT STATUS", exit_status), ("NOTES", notes)] {
        if !text.is_empty() {
            sections.push_str(&format!(".SH \"{title}\"\n{text}"));
        }
    }
    sections
}

/// Text that roff takes for nothing but text.
fn roff(text: &str) -> String {
    let escaped = text.replace('\\', "\\e").replace('-', "\\-");
    if escaped.starts_with(['.', '\'']) {
        format!("\\&{escaped}")
    } else {
        escaped
    }
}

fn make(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|e| unwritable(dir, &e))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::local(format!("cannot write {}: {error}", path.display()))
}
