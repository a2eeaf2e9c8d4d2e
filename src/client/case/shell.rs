//! `claviger case shell`: one session, many verbs.

use std::io::{BufRead as _, IsTerminal as _, Write as _};

use clap::Parser as _;

use crate::client::arguments::{CaseOnly, CaseVerb, Cli, Verb, exit};
use crate::client::failure::Failure;
use crate::client::session::Session;

/// Reads verbs, a line each, until the end of input or “exit”; `run` does one of them.
///
/// # Errors
/// The session could not be begun.
pub async fn run(
    session: &mut Session,
    of: &CaseOnly,
    mut run: impl AsyncFnMut(&Session, Verb) -> Result<u8, Failure>,
) -> Result<u8, Failure> {
    let terms = session.attach(&of.id).await?;
    session.output.say(&format!(
        "You are in case {}. The session ends after {} without a call, and after {} in any case. “exit” leaves.",
        terms.case,
        super::told::for_so_long(terms.idle_s),
        super::told::for_so_long(terms.absolute_s)
    ))?;
    let mut last = exit::DONE;
    loop {
        let Some(line) = read_line()? else { return Ok(last) };
        let words = match words(&line) {
            Ok(words) if words.is_empty() => continue,
            Ok(words) => words,
            Err(why) => {
                session.output.failure(&why);
                continue;
            }
        };
        if matches!(words.first().map(String::as_str), Some("exit" | "quit")) {
            return Ok(last);
        }
        last = match Cli::try_parse_from(std::iter::once("claviger".to_owned()).chain(words)) {
            Ok(cli)
                if matches!(
                    cli.verb,
                    Verb::Case {
                        what: CaseVerb::Shell(_)
                    }
                ) =>
            {
                session.output.failure(&Failure::usage("you are in a shell already"));
                exit::USAGE
            }
            Ok(cli) => run(session, cli.verb).await.unwrap_or_else(|failure| {
                session.output.failure(&failure);
                failure.exit_code()
            }),
            Err(told) => {
                // Help and usage, as clap says them.
                drop(told.print());
                exit::USAGE
            }
        };
    }
}

fn read_line() -> Result<Option<String>, Failure> {
    let input = std::io::stdin();
    if input.is_terminal() {
        let mut screen = std::io::stderr().lock();
        drop(screen.write_all(b"claviger> ").and_then(|()| screen.flush()));
    }
    let mut line = String::new();
    let read = input.lock().read_line(&mut line);
    match read.map_err(|why| Failure::local(format!("cannot read a line: {why}")))? {
        0 => Ok(None),
        _ => Ok(Some(line)),
    }
}

/// The words of a line; what stands between quotes is one.
fn words(line: &str) -> Result<Vec<String>, Failure> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err(Failure::usage("a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_are_one() {
        let all = words("case evidence 'ab c' \"it's\" '' x\n").unwrap();
        assert_eq!(all, ["case", "evidence", "ab c", "it's", "", "x"]);
        assert!(words("a 'b").is_err());
    }
}
