//! What a run reports: names that never change, a table for people, JSON for programs.

use serde::Serialize;

/// What a figure is, whatever its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Definition {
    /// Never changed once given: others keep histories by it.
    pub name: &'static str,
    /// Of the value.
    pub unit: &'static str,
    /// What the value is held against.
    pub against: &'static str,
}

/// Every figure, in the order of the table.
pub const FIGURES: [Definition; 18] = [
    Definition {
        name: "dbus_test_over_bare_exchange",
        unit: "ratio",
        against: "the same two APDUs on the same reader, 20 ms each; aim 1.5",
    },
    Definition {
        name: "device_appeared_ms",
        unit: "ms",
        against: "from HELLO to InterfacesAdded at a client",
    },
    Definition {
        name: "start_to_name_ms_10k_tokens",
        unit: "ms",
        against: "from exec to the bus name; aim 100",
    },
    Definition {
        name: "resident_mib_10k_tokens",
        unit: "MiB",
        against: "ready, and after a Find of 1,000; aim 16",
    },
    Definition {
        name: "idle_context_switches_30s",
        unit: "switches",
        against: "all threads of the daemon; aim 0",
    },
    Definition {
        name: "resync_24h_over_hmac_loop",
        unit: "ratio",
        against: "as many HMAC-SHA-1 of eight bytes in a loop; aim 1.5",
    },
    Definition {
        name: "import_10k_over_parse",
        unit: "ratio",
        against: "reading the same encrypted PSKC alone; aim 3",
    },
    Definition {
        name: "durable_tests_per_fsync_1",
        unit: "ratio",
        against: "syncs of an appended 4 KiB; one caller; aim 0.4",
    },
    Definition {
        name: "durable_tests_per_fsync_64",
        unit: "ratio",
        against: "syncs of an appended 4 KiB; 64 callers; aim 2",
    },
    Definition {
        name: "test_cost_1m_over_1k",
        unit: "ratio",
        against: "the same test with 1,000 tokens; aim 1.2",
    },
    Definition {
        name: "find_cost_1m_over_1k",
        unit: "ratio",
        against: "the same finds with 1,000 tokens, the worst; aim 1.2",
    },
    Definition {
        name: "engine_us_getinfo",
        unit: "us",
        against: "processor time apart from the link: one exchange",
    },
    Definition {
        name: "engine_us_makecredential",
        unit: "us",
        against: "the same: PIN, credential, attestation verified",
    },
    Definition {
        name: "engine_us_getassertion",
        unit: "us",
        against: "the same: PIN, assertion, signature verified",
    },
    Definition {
        name: "devices_over_fido2_token",
        unit: "ratio",
        against: "fido2-token -L in the same world of sixteen keys; aim 1",
    },
    Definition {
        name: "devices_over_ykman",
        unit: "ratio",
        against: "ykman list of the same two cards; aim 0.05",
    },
    Definition {
        name: "parallel_16_over_slowest",
        unit: "ratio",
        against: "sixteen tests at once, over the slowest alone; aim 1.2",
    },
    Definition {
        name: "guard_overhead_ratio",
        unit: "ratio",
        against: "the same test where no policy is in force; aim 1.1",
    },
];

/// A value, and how it came about.
#[derive(Debug, Clone, PartialEq)]
pub struct Measured {
    /// In the figure's unit.
    pub value: f64,
    /// Lines below it in the table.
    pub notes: Vec<String>,
}

/// One figure of this run: measured, or why not.
#[derive(Debug, Clone, PartialEq)]
pub struct Figure {
    pub definition: Definition,
    pub outcome: Result<Measured, String>,
}

/// One object of `target/bench.json`.
#[derive(Serialize)]
struct Row {
    name: &'static str,
    value: Option<f64>,
    unit: &'static str,
    against: &'static str,
}

/// The list that goes to `target/bench.json`. What was not measured is `null`.
pub fn json(figures: &[Figure]) -> String {
    let rows: Vec<Row> = figures
        .iter()
        .map(|figure| Row {
            name: figure.definition.name,
            value: figure.outcome.as_ref().ok().map(|measured| round(measured.value)),
            unit: figure.definition.unit,
            against: figure.definition.against,
        })
        .collect();
    // Names and numbers cannot fail to be written.
    let mut text = serde_json::to_string_pretty(&rows).expect("JSON");
    text.push('\n');
    text
}

/// The table. What was not measured says why in its own line.
pub fn table(figures: &[Figure]) -> String {
    let width = figures
        .iter()
        .map(|figure| figure.definition.name.len())
        .max()
        .unwrap_or(0);
    let mut text = format!("{:<width$}  {:>9}  {:<8}  against\n", "figure", "value", "unit");
    for Figure { definition, outcome } in figures {
        let value = match outcome {
            Ok(measured) => round(measured.value).to_string(),
            Err(_) => "null".to_owned(),
        };
        text.push_str(&format!(
            "{:<width$}  {value:>9}  {:<8}  {}\n",
            definition.name, definition.unit, definition.against
        ));
        let below = match outcome {
            Ok(measured) => measured.notes.clone(),
            Err(why) => vec![format!("not measured: {why}")],
        };
        below.iter().for_each(|line| text.push_str(&format!("    {line}\n")));
    }
    text
}

/// Three digits behind the point: more would be noise.
fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// The middle of what was measured; of an even number, the lower one of the two.
pub fn median(values: &[f64]) -> f64 {
    quantile(values, 0.5)
}

/// The value below which this share of the values lies.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let last = sorted.len().saturating_sub(1);
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let at = (share * last as f64).floor() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}
