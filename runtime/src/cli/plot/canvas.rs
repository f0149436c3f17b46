//! What figures are drawn with: lines, dots and text at pixels of an SVG file.

use crate::cli::write;
use plotters::{
    backend::SVGBackend,
    coord::Shift,
    drawing::{DrawingArea, IntoDrawingArea},
    element::{Circle, PathElement, Text},
    style::{
        Color, FontFamily, FontStyle, FontTransform, IntoFont, RGBColor, ShapeStyle, TextStyle,
        text_anchor::{HPos, Pos, VPos},
    },
};

use std::path::Path;

/// A colour.
pub(super) type Ink = RGBColor;

/// Text.
pub(super) const INK: Ink = RGBColor(0x22, 0x22, 0x22);
/// Text that one may overlook, and axes.
pub(super) const GREY: Ink = RGBColor(0x60, 0x60, 0x60);
/// Lines to go by.
pub(super) const PALE: Ink = RGBColor(0xe2, 0xe2, 0xe2);
/// Paper.
const PAPER: Ink = RGBColor(0xff, 0xff, 0xff);

/// Colours of series, for all kinds of colour vision (Okabe and Ito, "Color Universal Design", 2008); their yellow is left
/// out, which is too light for lines on white.
pub(super) const SERIES: [Ink; 7] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xe6, 0x9f, 0x00),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
    RGBColor(0x00, 0x00, 0x00),
];

/// A point, in pixels from the top left.
pub(super) type Pixel = (i32, i32);

/// Which end of a text its point is.
#[derive(Clone, Copy, Debug)]
pub(super) enum Anchor {
    /// The left.
    Start,
    /// The middle.
    Middle,
    /// The right.
    End,
}

/// A figure in the making.
pub(super) struct Canvas<'a>(DrawingArea<SVGBackend<'a>, Shift>);

/// Writes what `draw` draws to a file: whole or not at all.
pub(super) fn write(
    path: &Path,
    size: Pixel,
    draw: impl FnOnce(&Canvas<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut svg = String::new();
    {
        let canvas = Canvas(
            SVGBackend::with_string(&mut svg, (size.0.unsigned_abs(), size.1.unsigned_abs())).into_drawing_area(),
        );
        canvas.0.fill(&PAPER)?;
        draw(&canvas)?;
        canvas.0.present()?;
    }
    write::replace(path, svg.as_bytes())
}

impl Canvas<'_> {
    /// Canvases of the same height, one below the other.
    pub(super) fn panels(&self, count: usize) -> Vec<Self> {
        self.0.split_evenly((count, 1)).into_iter().map(Canvas).collect()
    }

    /// Joins points.
    pub(super) fn line(&self, points: &[Pixel], ink: Ink, width: u32) -> anyhow::Result<()> {
        Ok(self.0.draw(&PathElement::new(points, ink.stroke_width(width)))?)
    }

    /// A filled circle.
    pub(super) fn dot(&self, at: Pixel, radius: u32, ink: Ink) -> anyhow::Result<()> {
        Ok(self.0.draw(&Circle::new(at, radius, ink.filled()))?)
    }

    /// An empty circle.
    pub(super) fn ring(&self, at: Pixel, radius: u32, ink: Ink) -> anyhow::Result<()> {
        self.dot(at, radius, PAPER)?;
        Ok(self.0.draw(&Circle::new(at, radius, ShapeStyle::from(ink).stroke_width(2)))?)
    }

    /// A text whose middle line goes through the point.
    pub(super) fn text(&self, text: &str, at: Pixel, size: u32, anchor: Anchor, ink: Ink) -> anyhow::Result<()> {
        self.write(text, at, style(size, FontStyle::Normal, FontTransform::None, anchor, ink))
    }

    /// A text in bold type that begins at the point.
    pub(super) fn title(&self, text: &str, at: Pixel, size: u32, ink: Ink) -> anyhow::Result<()> {
        self.write(text, at, style(size, FontStyle::Bold, FontTransform::None, Anchor::Start, ink))
    }

    /// A text that is read from below, with its middle at the point.
    pub(super) fn upwards(&self, text: &str, at: Pixel, size: u32, ink: Ink) -> anyhow::Result<()> {
        self.write(text, at, style(size, FontStyle::Normal, FontTransform::Rotate270, Anchor::Middle, ink))
    }

    fn write(&self, text: &str, at: Pixel, style: TextStyle<'static>) -> anyhow::Result<()> {
        Ok(self.0.draw(&Text::new(text.to_owned(), at, style))?)
    }
}

fn style(size: u32, face: FontStyle, transform: FontTransform, anchor: Anchor, ink: Ink) -> TextStyle<'static> {
    // The backend divides what it takes for the height of a line by this.
    let height = f64::from(size) * 1.24;
    let h_pos = match anchor {
        Anchor::Start => HPos::Left,
        Anchor::Middle => HPos::Center,
        Anchor::End => HPos::Right,
    };
    let font = (FontFamily::SansSerif, height, face).into_font().transform(transform);
    TextStyle { color: ink.to_backend_color(), pos: Pos::new(h_pos, VPos::Center), ..TextStyle::from(font) }
}
