//! What a person sees.

use super::*;

const DAY: f64 = 86_400.0;
const T0: f64 = 1_767_225_600.0;

/// A year of weekly use, one jump, and a forecast.
fn example() -> Plot {
    let at = |week: u32| T0 + f64::from(week) * 7.0 * DAY;
    let value =
        |week: u32| -0.6 * f64::from(week) + f64::from(week * 37 % 23) - 11.0 - if week > 30 { 90.0 } else { 0.0 };
    let last = at(52);
    Plot {
        title: "8659600001 (miniOTP-2-i): token clock minus true time, UTC".to_owned(),
        measured: (0..=52).map(|week| (at(week), value(week))).collect(),
        foreseen: (0..=60)
            .map(|step| {
                let days = f64::from(step) * 2.0;
                let (middle, band) = (-122.0 - 0.0857 * days, 10.0 + 0.1 * days);
                (last + days * DAY, middle - band, middle, middle + band)
            })
            .collect(),
        jumps: vec![at(31)],
    }
}

#[test]
fn a_terminal_of_80_columns_holds_it() {
    let text = terminal(&example(), 78, 14);
    let lines: Vec<&str> = text.lines().collect();
    // The title, fourteen lines of dots, the axis and its dates.
    assert_eq!(lines.len(), 17, "{text}");
    assert!(lines[0].contains("8659600001"), "{text}");
    assert!(lines[1..15].iter().all(|line| line.contains('┤')), "{text}");
    let dots = text.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count();
    assert!((60..400).contains(&dots), "{dots} cells with dots:\n{text}");
    assert!(lines[16].contains("2025-12-") && lines[16].contains("2027-0"), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 78), "{text}");
}

#[test]
fn an_svg_says_what_it_shows() {
    let text = svg(&example()).expect("a drawing");
    let document = roxmltree::Document::parse(&text).expect("XML");
    let words: Vec<&str> = document
        .descendants()
        .filter_map(|node| node.text())
        .map(str::trim)
        .collect();
    assert!(words.iter().any(|word| word.contains("8659600001")), "{words:?}");
    assert!(words.iter().any(|word| word.starts_with("2026-")), "{words:?}");
    assert!(words.iter().any(|word| word.ends_with(" s")), "{words:?}");
    let circles = document
        .descendants()
        .filter(|node| node.has_tag_name("circle"))
        .count();
    assert_eq!(circles, 53);
}

#[test]
fn a_png_has_letters_and_dots() {
    let file = png(&example()).expect("a drawing");
    if let Some(path) = option_env!("CLAVIGER_DRAWING") {
        std::fs::write(path, &file).expect("written");
    }
    let mut reader = png::Decoder::new(std::io::Cursor::new(file))
        .read_info()
        .expect("a PNG");
    let mut pixels = vec![0; reader.output_buffer_size().expect("small")];
    reader.next_frame(&mut pixels).expect("pixels");
    let dark = |from: usize, to: usize| {
        let row = SIZE.0 as usize * 3;
        pixels[from * row..to * row]
            .chunks(3)
            .filter(|pixel| pixel.iter().all(|part| *part < 100))
            .count()
    };
    // The title stands at the top: dark pixels of letters, as many as some 60 of them have.
    assert!(
        (400..6_000).contains(&dark(10, 36)),
        "{} dark pixels above",
        dark(10, 36)
    );
}

#[test]
fn nothing_measured_is_no_reason_to_fail() {
    let empty = Plot::default();
    assert!(!terminal(&empty, 78, 14).is_empty());
    assert!(svg(&empty).is_ok() && png(&empty).is_ok());
    let hostile = Plot {
        measured: vec![(f64::NAN, f64::INFINITY), (-1e300, 1e300), (1e300, -1e300)],
        ..Plot::default()
    };
    assert!(!terminal(&hostile, 1, 0).is_empty());
}
