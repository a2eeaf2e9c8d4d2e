//! `claviger generate`: man pages and shell completions from the definition that parses the command line.

use std::fs;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::Shell;

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
    let mut page = Vec::new();
    let man = clap_mangen::Man::new(command.clone())
        .section(section)
        .manual("Claviger");
    man.render(&mut page).map_err(|e| unwritable(&path, &e))?;
    fs::write(&path, &page).map_err(|e| unwritable(&path, &e))?;
    for verb in command.get_subcommands().filter(|verb| !verb.is_hide_set()) {
        pages(dir, verb, section)?;
    }
    Ok(())
}

fn make(dir: &Path) -> Result<(), Failure> {
    fs::create_dir_all(dir).map_err(|e| unwritable(dir, &e))
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::local(format!("cannot write {}: {error}", path.display()))
}
