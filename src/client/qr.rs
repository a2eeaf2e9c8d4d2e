//! A QR code: in the terminal, as SVG, as PNG. Finding the modules is the library's; drawing them is ours, since a frame of four
//! light modules (ISO/IEC 18004 section 6.3.8) is what readers fail without most often.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use fast_qr::{ECL, QRBuilder};
use zeroize::Zeroizing;

use crate::client::failure::Failure;

/// Light modules around.
const FRAME: usize = 4;
/// Pixels of a module in a PNG.
const SCALE: usize = 8;

/// Dark and light modules, the frame included.
pub struct Picture {
    rows: Zeroizing<Vec<u8>>,
    width: usize,
}

impl Picture {
    /// The picture of `text`, with error correction of level M (15 %).
    ///
    /// # Errors
    /// [`Failure::Local`] when it is too long, which is at some 2,300 bytes.
    pub fn of(text: &str) -> Result<Self, Failure> {
        let code = QRBuilder::new(text)
            .ecl(ECL::M)
            .build()
            .map_err(|_| Failure::local("this is too long for a QR code"))?;
        let width = code.size + 2 * FRAME;
        let mut rows = Zeroizing::new(vec![0; width * width]);
        let modules = code.data.chunks_exact(code.size).take(code.size);
        for (from, to) in modules.zip(rows.chunks_exact_mut(width).skip(FRAME)) {
            for (module, at) in from.iter().zip(to.iter_mut().skip(FRAME)) {
                *at = u8::from(module.value());
            }
        }
        Ok(Self { rows, width })
    }

    fn is_dark(&self, x: usize, y: usize) -> bool {
        self.rows.get(y * self.width + x).is_some_and(|module| *module == 1)
    }

    /// Columns that it takes in a terminal.
    #[must_use]
    pub fn columns(&self) -> usize {
        self.width
    }

    /// For a terminal: two rows a line, black on white whatever its colours are, and whatever `NO_COLOR` says: inverted, most
    /// readers do not see it.
    #[must_use]
    pub fn text(&self) -> Zeroizing<String> {
        let mut text = Zeroizing::new(String::with_capacity(self.width * self.width * 2));
        for y in (0..self.width).step_by(2) {
            text.push_str("\x1b[30;107m");
            for x in 0..self.width {
                text.push(match (self.is_dark(x, y), self.is_dark(x, y + 1)) {
                    (true, true) => '█',
                    (true, false) => '▀',
                    (false, true) => '▄',
                    (false, false) => ' ',
                });
            }
            text.push_str("\x1b[0m\n");
        }
        text
    }

    /// As SVG.
    #[must_use]
    pub fn svg(&self) -> Zeroizing<String> {
        let width = self.width;
        let mut svg = Zeroizing::new(format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {width}\" shape-rendering=\"crispEdges\">\
             <rect width=\"{width}\" height=\"{width}\" fill=\"#fff\"/><path d=\""
        ));
        for y in 0..width {
            for x in (0..width).filter(|x| self.is_dark(*x, y)) {
                let _ = write!(svg, "M{x} {y}h1v1h-1z");
            }
        }
        svg.push_str("\"/></svg>\n");
        svg
    }

    /// As PNG of one bit a pixel.
    ///
    /// # Errors
    /// [`Failure::Local`] when it cannot be encoded.
    pub fn png(&self) -> Result<Zeroizing<Vec<u8>>, Failure> {
        let side = self.width * SCALE;
        let mut pixels = Zeroizing::new(Vec::with_capacity(side * self.width));
        for y in 0..side {
            // SCALE is eight, so that a module is a byte.
            pixels.extend((0..self.width).map(|x| if self.is_dark(x, y / SCALE) { 0 } else { 0xFF }));
        }
        let failed = |error: png::EncodingError| Failure::local(format!("the PNG cannot be made: {error}"));
        let mut file = Zeroizing::new(Vec::new());
        let pixel_width = u32::try_from(side).map_err(|_| Failure::local("this is too long for a QR code"))?;
        let mut encoder = png::Encoder::new(&mut *file, pixel_width, pixel_width);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::One);
        let mut writer = encoder.write_header().map_err(failed)?;
        writer.write_image_data(&pixels).map_err(failed)?;
        writer.finish().map_err(failed)?;
        Ok(file)
    }
}

/// A file that nobody else may read, begun before there is anything to write: what the daemon hands out once must not be lost to
/// a path that cannot be written. Dropped unwritten, it is gone again.
pub struct PrivateFile {
    path: PathBuf,
    file: File,
    kept: bool,
}

impl PrivateFile {
    /// Makes it. One that is there already is left alone: its mode may be another.
    ///
    /// # Errors
    /// [`Failure::Local`].
    pub fn begin(path: &Path) -> Result<Self, Failure> {
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        Ok(Self {
            path: path.to_owned(),
            file: file.map_err(|error| failed(path, &error))?,
            kept: false,
        })
    }

    /// Writes it to the disk.
    ///
    /// # Errors
    /// [`Failure::Local`].
    pub fn write(mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = self.file.write_all(bytes).and_then(|()| self.file.sync_all());
        written.map_err(|error| failed(&self.path, &error))?;
        self.kept = true;
        Ok(())
    }
}

impl Drop for PrivateFile {
    fn drop(&mut self) {
        if !self.kept {
            // Nobody is left to tell; an empty file for its owner alone harms nobody.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn failed(path: &Path, error: &std::io::Error) -> Failure {
    Failure::local(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    const URI: &str = "otpauth://totp/Claviger:ada%40example.org?secret=GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ&issuer=Claviger&\
                       algorithm=SHA1&digits=6&period=30";

    #[test]
    fn an_independent_reader_reads_the_png() {
        if Command::new("zbarimg").arg("--version").output().is_err() {
            eprintln!("skipped: zbarimg is not installed");
            return;
        }
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("code.png");
        let file = PrivateFile::begin(&path).expect("begun");
        file.write(&Picture::of(URI).expect("a picture").png().expect("a PNG"))
            .expect("written");
        let read = Command::new("zbarimg")
            .args(["--quiet", "--raw"])
            .arg(&path)
            .output()
            .expect("run");
        assert_eq!(String::from_utf8_lossy(&read.stdout).trim_end(), URI);
        assert!(PrivateFile::begin(&path).is_err(), "an existing file was written to");
    }

    #[test]
    fn a_file_begun_and_not_written_is_gone_again() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sheet");
        let begun = PrivateFile::begin(&path).expect("begun");
        assert!(path.exists());
        drop(begun);
        assert!(!path.exists());
    }

    #[test]
    fn terminal_and_svg_show_the_same_modules() {
        let picture = Picture::of(URI).expect("a picture");
        let dark = picture.rows.iter().filter(|module| **module == 1).count();
        assert_eq!(picture.svg().matches("h1v1h-1z").count(), dark);
        let text = picture.text();
        let half = text.matches(['▀', '▄']).count();
        assert_eq!(text.matches('█').count() * 2 + half, dark);
        assert!(
            text.lines()
                .all(|line| line.starts_with("\x1b[30;107m    ") && line.ends_with("    \x1b[0m"))
        );
    }
}
