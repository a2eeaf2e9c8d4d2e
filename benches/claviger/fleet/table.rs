//! What a person reads.

use std::fmt::Write;

use super::guess::{Guesses, plausible_steps};
use super::life::Tally;
use super::ours::Checked;
use super::random::{USUAL_SPREAD, WIDE_SPREAD};
use super::run::{FEW, FOBS, Strategy};
use super::stress::Case;
use super::{Cell, SEED};

/// All of it, to be put into words.
pub struct Report<'a> {
    pub cells: &'a [Cell],
    /// Ours with people who are slow more often.
    pub slower: &'a [(&'static str, Tally)],
    pub checked: Checked,
    pub guesses: Guesses,
    pub cases: &'a [Case],
    pub took_s: f64,
}

impl Report<'_> {
    pub fn text(&self) -> String {
        let mut text = format!(
            "\ndrift: {FOBS} fobs of each habit over five years, seed {SEED:#018x}, {:.0} s\n",
            self.took_s
        );
        self.comparison(&mut text);
        self.slow_people(&mut text);
        self.engine(&mut text);
        self.random_attempts(&mut text);
        self.stress(&mut text);
        text
    }

    fn comparison(&self, text: &mut String) {
        line(
            text,
            "users       strategy      refused %  alone %   next %  codes mean   95 %  guesses/100  at our rate  two codes %  calls  confirmed",
        );
        for cell in self.cells {
            let matched = cell.matched.map_or_else(
                || match cell.strategy {
                    Strategy::Claviger => "itself".to_owned(),
                    _ => "never".to_owned(),
                },
                |(window, guesses)| format!("{guesses:.5} ({window})"),
            );
            let tally = &cell.tally;
            line(
                text,
                &format!(
                    "{:<11} {:<12} {:>10.4} {:>8.3} {:>8.2} {:>11.2} {:>6.0} {:>12.5} {:>12} {:>12.3} {:>6} {:>10}",
                    cell.habit,
                    cell.strategy.name(),
                    tally.false_rejects_pct(),
                    cell.alone_pct,
                    tally.asked_pct(),
                    tally.mean_codes(),
                    tally.p95_codes(),
                    tally.guesses_per_hundred(),
                    matched,
                    tally.two_codes_pct(),
                    tally.desk,
                    tally.confirmed,
                ),
            );
        }
        for note in [
            "refused: logins at which a good code is refused; after three the help desk is called and takes two codes. alone: the same if",
            &format!(
                "nobody ever calls ({FEW} fobs). codes: steps that one code is held against, where one code decides. guesses: blind guesses that"
            ),
            "succeed of a hundred tries. at our rate: the same with the narrowest window (in brackets) that refuses no more good codes than",
            "ours. two codes: of those asked for the next code or calling, who was helped by two. calls: to the help desk; confirmed: at which it",
            "had to believe a shift beyond what drift explains. The first use counts for the refusals, not for codes and guesses.",
        ] {
            line(text, &format!("    {note}"));
        }
    }

    fn slow_people(&self, text: &mut String) {
        let rates: Vec<String> = self
            .slower
            .iter()
            .map(|(habit, tally)| format!("{habit} {:.3} %", tally.false_rejects_pct()))
            .collect();
        line(
            text,
            &format!(
                "typing delays spread by {USUAL_SPREAD} (of their logarithm); with {WIDE_SPREAD} claviger refuses {}",
                rates.join(", ")
            ),
        );
    }

    fn engine(&self, text: &mut String) {
        let Checked {
            logins,
            pairs,
            collisions,
            differences,
        } = self.checked;
        line(
            text,
            &format!(
                "the engine with real codes: {logins} logins and {pairs} pairs asked again, {differences} answered otherwise; {collisions} where \
                 two steps showed the same digits"
            ),
        );
    }

    fn random_attempts(&self, text: &mut String) {
        let all = self.guesses;
        line(
            text,
            &format!(
                "{} random attempts at a resync; {} first codes shown within ± 24 h (expected {:.0}); {} through the real search, {} otherwise",
                all.attempts,
                all.first_hits,
                all.expected(5_761.0, 1.0, 1),
                all.real,
                all.differences
            ),
        );
        let rows = [
            (
                "privacyidea",
                all.privacyidea,
                all.expected(2_001.0, 1.0, 2),
                "two in sequence within 1,000 steps",
            ),
            (
                "freeipa",
                all.freeipa,
                all.expected(5_760.0, 1.0, 2),
                "two in sequence within a day",
            ),
            (
                "onespan",
                all.onespan,
                all.expected(720.0, 1.0, 1),
                "one within six hours, after a reset",
            ),
            (
                "claviger",
                all.claviger,
                all.expected(plausible_steps(), 2.0, 2),
                "two that agree with the time between them, within what drift explains",
            ),
        ];
        for (name, counted, expected, how) in rows {
            line(
                text,
                &format!("    {name:<12} {counted:>8} succeed (expected {expected:.4})  {how}"),
            );
        }
        line(
            text,
            &format!(
                "    besides, {} fitted within ± 24 h and were refused as no drift (expected {:.4}). Nothing counted in ten million means less \
                 than 3 in 10^7 (95 %)",
                all.claviger_refused,
                all.expected(5_761.0, 2.0, 2)
            ),
        );
    }

    fn stress(&self, text: &mut String) {
        for case in self.cases {
            let held = if case.held { "" } else { "   NOT HELD" };
            line(text, &format!("{}: {}{held}", case.name, case.right));
            for (strategy, told) in Strategy::ALL.iter().zip(&case.told) {
                line(text, &format!("    {:<12} {told}", strategy.name()));
            }
        }
    }
}

fn line(text: &mut String, what: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{what}");
}
