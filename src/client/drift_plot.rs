//! How a clock drifts, drawn: dots in a terminal, SVG, PNG.

use noto_sans_mono_bitmap::{FontWeight, RasterHeight, get_raster, get_raster_width};
use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::chart::ChartBuilder;
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon};
use plotters::series::{DashedLineSeries, LineSeries};
use plotters::style::{Color, RGBColor, WHITE};
use plotters_backend::text_anchor::{HPos, VPos};
use plotters_backend::{BackendColor, BackendCoord, BackendTextStyle, DrawingBackend, DrawingErrorKind};

/// Size of a drawing in pixels.
const SIZE: (u32, u32) = (960, 480);
const INK: RGBColor = RGBColor(30, 80, 140);
const FORESEEN: RGBColor = RGBColor(190, 110, 20);
const JUMP: RGBColor = RGBColor(180, 30, 40);

/// What is drawn: seconds of offset over seconds since the epoch.
#[derive(Debug, Clone, Default)]
pub struct Plot {
    /// Above it.
    pub title: String,
    /// Measured, oldest first.
    pub measured: Vec<(f64, f64)>,
    /// Foreseen: time, least, likeliest, most.
    pub foreseen: Vec<(f64, f64, f64, f64)>,
    /// When the clock jumped.
    pub jumps: Vec<f64>,
}

/// Why there is no drawing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot draw: {0}")]
pub struct CannotDraw(String);

impl Plot {
    /// Least and greatest time and offset, with room around.
    fn frame(&self) -> ((f64, f64), (f64, f64)) {
        let times = self
            .measured
            .iter()
            .map(|(t, _)| *t)
            .chain(self.foreseen.iter().map(|(t, ..)| *t));
        let foreseen = self.foreseen.iter().flat_map(|(_, low, _, high)| [*low, *high]);
        let offsets = self.measured.iter().map(|(_, y)| *y).chain(foreseen);
        (range(times, 3_600.0), range(offsets, 5.0))
    }
}

/// Ends of a range, wide enough to be seen.
fn range(values: impl Iterator<Item = f64>, least: f64) -> (f64, f64) {
    let (low, high) = values
        .filter(|value| value.is_finite())
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), value| {
            (low.min(value), high.max(value))
        });
    if low > high {
        return (0.0, least);
    }
    let room = (high - low) * 0.06 + least / 2.0;
    (low - room, high + room)
}

/// A date, to the day.
fn date(seconds: f64) -> String {
    #[allow(
        clippy::cast_possible_truncation,
        reason = "saturates; what is no date is told as nothing"
    )]
    let at = jiff::Timestamp::from_second(seconds as i64);
    at.map_or_else(|_| String::new(), |at| at.strftime("%Y-%m-%d").to_string())
}

/// An offset: seconds, or minutes where those are many.
fn offset(seconds: f64, span: f64) -> String {
    if span > 600.0 {
        format!("{:+.0} min", seconds / 60.0)
    } else {
        format!("{seconds:+.0} s")
    }
}

/// A drawing in Braille dots: `width` columns in all and `height` lines of dots.
#[must_use]
pub fn terminal(plot: &Plot, width: usize, height: usize) -> String {
    const LABEL: usize = 10;
    let ((left, right), (bottom, top)) = plot.frame();
    let columns = width.saturating_sub(LABEL + 1).max(10);
    let mut dots = Dots::new(columns, height.max(3));
    let place = |t: f64, y: f64| ((t - left) / (right - left), (top - y) / (top - bottom));
    for at in &plot.jumps {
        dots.column(place(*at, top).0);
    }
    for (count, (t, low, middle, high)) in plot.foreseen.iter().enumerate() {
        // The band by its edges, thinned; the middle whole.
        dots.dot(place(*t, *middle));
        if count % 3 == 0 {
            dots.dot(place(*t, *low));
            dots.dot(place(*t, *high));
        }
    }
    for (t, y) in &plot.measured {
        dots.dot(place(*t, *y));
    }
    let lines = dots.lines();
    let last = lines.len().saturating_sub(1);
    let span = top - bottom;
    let mut text = vec![plot.title.clone()];
    for (row, line) in lines.iter().enumerate() {
        let label = match row {
            0 => offset(top, span),
            row if row == last => offset(bottom, span),
            row if row * 2 == last || row * 2 == last + 1 => offset(f64::midpoint(top, bottom), span),
            _ => String::new(),
        };
        text.push(format!("{label:>LABEL$}┤{line}").trim_end().to_owned());
    }
    let (first, end) = (date(left), date(right));
    let between = columns.saturating_sub(first.len() + end.len());
    text.push(format!("{:LABEL$}└{}", "", "─".repeat(columns)));
    text.push(format!("{:LABEL$} {first}{:between$}{end}", "", ""));
    text.join("\n")
}

/// Two by four dots a character (Unicode's Braille patterns).
struct Dots {
    columns: usize,
    rows: usize,
    cells: Vec<u8>,
}

impl Dots {
    fn new(columns: usize, rows: usize) -> Self {
        Self {
            columns,
            rows,
            cells: vec![0; columns * rows],
        }
    }

    /// Sets the dot at shares of width and height.
    fn dot(&mut self, (x, y): (f64, f64)) {
        let (Some(x), Some(y)) = (share(x, self.columns * 2), share(y, self.rows * 4)) else {
            return;
        };
        // Dots 1 2 3 7 on the left, 4 5 6 8 on the right.
        const BITS: [[u8; 2]; 4] = [[0x01, 0x08], [0x02, 0x10], [0x04, 0x20], [0x40, 0x80]];
        let bit = BITS.get(y % 4).and_then(|row| row.get(x % 2)).copied().unwrap_or(0);
        if let Some(cell) = self.cells.get_mut(y / 4 * self.columns + x / 2) {
            *cell |= bit;
        }
    }

    /// A dotted line from top to bottom.
    fn column(&mut self, x: f64) {
        let dots = u32::try_from(self.rows * 2).unwrap_or(u32::MAX);
        for dot in 0..dots {
            self.dot((x, (f64::from(dot) + 0.5) / f64::from(dots)));
        }
    }

    fn lines(&self) -> Vec<String> {
        let glyph = |bits: &u8| char::from_u32(0x2800 + u32::from(*bits)).unwrap_or(' ');
        let shown = |row: &[u8]| {
            row.iter()
                .map(|bits| if *bits == 0 { ' ' } else { glyph(bits) })
                .collect()
        };
        self.cells.chunks(self.columns).map(shown).collect()
    }
}

/// The place of a share among so many.
#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss
)]
fn share(share: f64, of: usize) -> Option<usize> {
    (0.0..=1.0)
        .contains(&share)
        .then(|| ((share * of as f64) as usize).min(of.saturating_sub(1)))
}

/// The drawing as SVG.
///
/// # Errors
/// [`CannotDraw`].
pub fn svg(plot: &Plot) -> Result<String, CannotDraw> {
    let mut text = String::new();
    draw(plot, &SVGBackend::with_string(&mut text, SIZE).into_drawing_area())?;
    Ok(text)
}

/// The drawing as PNG.
///
/// # Errors
/// [`CannotDraw`].
pub fn png(plot: &Plot) -> Result<Vec<u8>, CannotDraw> {
    let (width, height) = SIZE;
    let pixels = usize::try_from(width * height * 3).map_err(cannot)?;
    let mut buffer = vec![255; pixels];
    draw(
        plot,
        &Lettered(BitMapBackend::with_buffer(&mut buffer, SIZE)).into_drawing_area(),
    )?;
    let mut file = Vec::new();
    let mut encoder = png::Encoder::new(&mut file, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    let mut writer = encoder.write_header().map_err(cannot)?;
    writer.write_image_data(&buffer).map_err(cannot)?;
    writer.finish().map_err(cannot)?;
    Ok(file)
}

fn cannot(error: impl std::fmt::Display) -> CannotDraw {
    CannotDraw(error.to_string())
}

fn draw<B: DrawingBackend>(plot: &Plot, area: &DrawingArea<B, Shift>) -> Result<(), CannotDraw> {
    let ((left, right), (bottom, top)) = plot.frame();
    area.fill(&WHITE).map_err(cannot)?;
    let mut chart = ChartBuilder::on(area)
        .caption(&plot.title, ("monospace", 16))
        .margin(16)
        .x_label_area_size(32)
        .y_label_area_size(88)
        .build_cartesian_2d(left..right, bottom..top)
        .map_err(cannot)?;
    let span = top - bottom;
    chart
        .configure_mesh()
        .x_labels(7)
        .y_labels(8)
        .light_line_style(WHITE)
        .bold_line_style(RGBColor(225, 225, 225))
        .label_style(("monospace", 14))
        .x_label_formatter(&|t| date(*t))
        .y_label_formatter(&|y| offset(*y, span))
        .draw()
        .map_err(cannot)?;
    if top > 0.0 && bottom < 0.0 {
        let zero = LineSeries::new([(left, 0.0), (right, 0.0)], RGBColor(150, 150, 150));
        chart.draw_series(zero).map_err(cannot)?;
    }
    let lower = plot.foreseen.iter().map(|(t, low, ..)| (*t, *low));
    let upper = plot.foreseen.iter().rev().map(|(t, .., high)| (*t, *high));
    let band: Vec<(f64, f64)> = lower.chain(upper).collect();
    if band.len() > 2 {
        let band = Polygon::new(band, FORESEEN.mix(0.18));
        chart.draw_series([band]).map_err(cannot)?;
    }
    let middle = plot.foreseen.iter().map(|(t, _, middle, _)| (*t, *middle));
    chart
        .draw_series(DashedLineSeries::new(middle, 6, 4, FORESEEN.stroke_width(2)))
        .map_err(cannot)?;
    let jumps = plot
        .jumps
        .iter()
        .map(|at| PathElement::new(vec![(*at, bottom), (*at, top)], JUMP.mix(0.6)));
    chart.draw_series(jumps).map_err(cannot)?;
    let measured = plot.measured.iter().map(|point| Circle::new(*point, 3, INK.filled()));
    chart.draw_series(measured).map_err(cannot)?;
    area.present().map_err(cannot)
}

/// Pixels with letters: text comes from a font in the program, since a server may have none.
struct Lettered<'a>(BitMapBackend<'a>);

impl Lettered<'_> {
    const WEIGHT: FontWeight = FontWeight::Regular;
    const HEIGHT: RasterHeight = RasterHeight::Size16;

    fn extent(text: &str) -> (i32, i32) {
        let wide = text
            .chars()
            .count()
            .saturating_mul(get_raster_width(Self::WEIGHT, Self::HEIGHT));
        let side = |length: usize| i32::try_from(length).unwrap_or(i32::MAX);
        (side(wide), side(Self::HEIGHT.val()))
    }
}

impl DrawingBackend for Lettered<'_> {
    type ErrorType = <BitMapBackend<'static> as DrawingBackend>::ErrorType;

    fn get_size(&self) -> (u32, u32) {
        self.0.get_size()
    }

    fn ensure_prepared(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.ensure_prepared()
    }

    fn present(&mut self) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.present()
    }

    fn draw_pixel(
        &mut self,
        point: BackendCoord,
        color: BackendColor,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        self.0.draw_pixel(point, color)
    }

    fn estimate_text_size<TStyle: BackendTextStyle>(
        &self,
        text: &str,
        _: &TStyle,
    ) -> Result<(u32, u32), DrawingErrorKind<Self::ErrorType>> {
        let (width, height) = Self::extent(text);
        Ok((width.unsigned_abs(), height.unsigned_abs()))
    }

    fn draw_text<TStyle: BackendTextStyle>(
        &mut self,
        text: &str,
        style: &TStyle,
        at: BackendCoord,
    ) -> Result<(), DrawingErrorKind<Self::ErrorType>> {
        let (width, height) = Self::extent(text);
        let (anchor, color) = (style.anchor(), style.color());
        let mut left = at.0
            - match anchor.h_pos {
                HPos::Left => 0,
                HPos::Center => width / 2,
                HPos::Right => width,
            };
        let top = at.1
            - match anchor.v_pos {
                VPos::Top => 0,
                VPos::Center => height / 2,
                VPos::Bottom => height,
            };
        for letter in text.chars() {
            // What the font does not have stands as a question mark.
            let Some(glyph) =
                get_raster(letter, Self::WEIGHT, Self::HEIGHT).or_else(|| get_raster('?', Self::WEIGHT, Self::HEIGHT))
            else {
                continue;
            };
            for (row, y) in glyph.rows().zip(top..) {
                for (ink, x) in row.iter().zip(left..).filter(|(ink, _)| **ink > 0) {
                    let color = BackendColor {
                        alpha: color.alpha * f64::from(*ink) / 255.0,
                        ..color
                    };
                    self.0.draw_pixel((x, y), color)?;
                }
            }
            left = left.saturating_add(i32::try_from(glyph.width()).unwrap_or(0));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "drift_plot_tests.rs"]
mod tests;
