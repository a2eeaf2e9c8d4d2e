//! The report of `make bench`: the names others keep histories by, the JSON they read, the table people read.

#[path = "../benches/claviger/report.rs"]
#[allow(dead_code)]
mod report;

use report::{FIGURES, Figure, Measured, json, median, quantile, table};

fn figures() -> Vec<Figure> {
    FIGURES
        .iter()
        .enumerate()
        .map(|(at, &definition)| Figure {
            definition,
            outcome: if at == 0 {
                Err("needs root".to_owned())
            } else {
                Ok(Measured {
                    value: 1.234_567 * 10_f64.powi(i32::try_from(at).unwrap()),
                    notes: vec![format!("note {at}")],
                })
            },
        })
        .collect()
}

#[test]
fn the_names_stay() {
    let names: Vec<&str> = FIGURES.iter().map(|figure| figure.name).collect();
    assert_eq!(
        names,
        [
            "dbus_test_over_bare_exchange",
            "device_appeared_ms",
            "start_to_name_ms_10k_tokens",
            "resident_mib_10k_tokens",
            "idle_context_switches_30s",
            "resync_24h_over_hmac_loop",
            "import_10k_over_parse",
            "durable_tests_per_fsync_1",
            "durable_tests_per_fsync_64",
            "test_cost_1m_over_1k",
            "find_cost_1m_over_1k",
            "engine_us_getinfo",
            "engine_us_makecredential",
            "engine_us_getassertion",
            "devices_over_fido2_token",
            "devices_over_ykman",
            "parallel_16_over_slowest",
            "guard_overhead_ratio",
        ]
    );
}

#[test]
fn the_json_is_a_list_of_four_members_each() {
    let parsed: serde_json::Value = serde_json::from_str(&json(&figures())).unwrap();
    let rows = parsed.as_array().unwrap();
    assert_eq!(rows.len(), FIGURES.len());
    for (row, definition) in rows.iter().zip(FIGURES) {
        let mut members: Vec<&str> = row.as_object().unwrap().keys().map(String::as_str).collect();
        members.sort_unstable();
        assert_eq!(members, ["against", "name", "unit", "value"]);
        assert_eq!(row["name"], definition.name);
        assert_eq!(row["unit"], definition.unit);
        assert_eq!(row["against"], definition.against);
    }
    assert!(rows[0]["value"].is_null());
    assert_eq!(rows[1]["value"], 12.346);
}

#[test]
fn the_table_has_a_line_for_each_figure_and_says_why_one_is_missing() {
    let text = table(&figures());
    for definition in FIGURES {
        let line = text.lines().find(|line| line.starts_with(definition.name)).unwrap();
        assert!(line.ends_with(definition.against), "{line}");
    }
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[1].split_whitespace().any(|word| word == "null"), "{text}");
    assert_eq!(lines[2].trim(), "not measured: needs root");
    assert!(lines[3].contains("12.346") && lines[4].trim() == "note 1", "{text}");
    let column = |line: &str| line.find(" ms ");
    assert_eq!(column(lines[3]), column(lines[5]), "{text}");
}

#[test]
fn medians_do_not_mind_outliers() {
    assert_eq!(median(&[9000.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.0);
    assert_eq!(quantile(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.75), 4.0);
    assert!(median(&[]).is_nan());
}
