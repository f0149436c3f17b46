//! Figures of measurements, as SVG files: light background, and colours that colour-blind people can tell apart.
//!
//! The backend writes text as text, so no fonts are needed here.

mod axis;
mod canvas;

pub(crate) use axis::Axis;

use axis::Place;
use canvas::{Anchor, Canvas, GREY, INK, Ink, PALE, SERIES};
use std::path::Path;

/// Series of points, joined by lines.
#[derive(Clone, Debug)]
pub(crate) struct Chart {
    /// What is shown.
    pub(crate) title: String,
    /// The horizontal axis.
    pub(crate) x: Axis,
    /// The vertical axis.
    pub(crate) y: Axis,
    /// What is compared, in the order of the legend.
    pub(crate) series: Vec<Series>,
    /// A small line below, such as the machine that was measured.
    pub(crate) note: String,
}

/// One line of a chart. The points of a short one are marked, since each is a measurement.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Its name in the legend.
    pub(crate) name: String,
    /// Its points, in the order in which they are joined.
    pub(crate) points: Vec<(f64, f64)>,
}

/// Values by name, one row each, with goals that they should not be beyond.
#[derive(Clone, Debug)]
pub(crate) struct Rows {
    /// What is shown.
    pub(crate) title: String,
    /// The axis of the values.
    pub(crate) x: Axis,
    /// The value that others are compared with: a line through all rows.
    pub(crate) base: f64,
    /// What the values are, for the legend.
    pub(crate) value: String,
    /// What the second values are.
    pub(crate) second: String,
    /// The rows, from the top.
    pub(crate) rows: Vec<Row>,
    /// A small line below, such as the machine that was measured.
    pub(crate) note: String,
}

/// One row.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    /// Its name.
    pub(crate) name: String,
    /// Its value, told in figures as well.
    pub(crate) value: f64,
    /// Another one to compare with, less prominent.
    pub(crate) second: f64,
    /// The most that the value should be, if there is a goal.
    pub(crate) goal: Option<f64>,
}

/// Pixels of a figure.
const SIZE: (i32, i32) = (900, 600);
const LEFT: i32 = 84;
const RIGHT: i32 = SIZE.0 - 34;
const BOTTOM: i32 = SIZE.1 - 92;
/// Where the legend begins.
const LEGEND: i32 = 68;
const LEGEND_ROW: i32 = 22;
/// Most points of which each is marked.
const MARKED: usize = 40;

/// Writes a chart of lines.
pub(crate) fn lines(path: &Path, chart: &Chart) -> anyhow::Result<()> {
    canvas::write(path, SIZE, |canvas| draw_lines(canvas, chart))
}

/// Writes charts of lines, one below the other.
pub(crate) fn panels(path: &Path, charts: &[Chart]) -> anyhow::Result<()> {
    let count = charts.len().max(1);
    canvas::write(path, (SIZE.0, SIZE.1 * count as i32), |canvas| {
        canvas.panels(count).iter().zip(charts).try_for_each(|(panel, chart)| draw_lines(panel, chart))
    })
}

/// Writes a chart of rows.
pub(crate) fn rows(path: &Path, rows: &Rows) -> anyhow::Result<()> {
    canvas::write(path, SIZE, |canvas| draw_rows(canvas, rows))
}

fn draw_lines(canvas: &Canvas<'_>, chart: &Chart) -> anyhow::Result<()> {
    frame(canvas, &chart.title, &chart.note)?;
    let colours = || SERIES.iter().copied().cycle();
    let entries = chart.series.iter().zip(colours()).map(|(series, ink)| (series.name.as_str(), Swatch::Line, ink));
    let top = legend(canvas, &entries.collect::<Vec<_>>())?;
    let points = || chart.series.iter().flat_map(|series| &series.points);
    let x = chart.x.place(points().map(|point| point.0), LEFT, RIGHT);
    let y = chart.y.place(points().map(|point| point.1), BOTTOM, top);
    grid(canvas, &x, top)?;
    for (tick, label) in y.ticks() {
        canvas.line(&[(LEFT, tick), (RIGHT, tick)], PALE, 1)?;
        canvas.text(&label, (LEFT - 10, tick), 13, Anchor::End, GREY)?;
    }
    canvas.line(&[(LEFT, BOTTOM), (RIGHT, BOTTOM)], GREY, 1)?;
    canvas.text(&chart.x.label, (i32::midpoint(LEFT, RIGHT), BOTTOM + 44), 14, Anchor::Middle, INK)?;
    canvas.upwards(&chart.y.label, (22, i32::midpoint(top, BOTTOM)), 14, INK)?;
    for (series, ink) in chart.series.iter().zip(colours()) {
        let pixels: Vec<_> = series.points.iter().filter_map(|&(a, b)| Some((x.pixel(a)?, y.pixel(b)?))).collect();
        canvas.line(&pixels, ink, 2)?;
        for &pixel in pixels.iter().filter(|_| pixels.len() <= MARKED) {
            canvas.dot(pixel, 4, ink)?;
        }
    }
    Ok(())
}

fn draw_rows(canvas: &Canvas<'_>, chart: &Rows) -> anyhow::Result<()> {
    const NAMES: i32 = 170;
    const FIGURES: i32 = SIZE.0 - 30;
    let [value, second, goal, ..] = SERIES;
    frame(canvas, &chart.title, &chart.note)?;
    let mut entries = vec![(chart.value.as_str(), Swatch::Dot, value), (&chart.second, Swatch::Ring, second)];
    if chart.rows.iter().any(|row| row.goal.is_some()) {
        entries.push(("goal, at most", Swatch::Bar, goal));
    }
    let top = legend(canvas, &entries)?;
    let values = chart.rows.iter().flat_map(|row| [row.value, row.second].into_iter().chain(row.goal));
    let x = chart.x.place(values.chain([chart.base]), NAMES, FIGURES - 70);
    grid(canvas, &x, top)?;
    canvas.text(&chart.x.label, (i32::midpoint(NAMES, FIGURES - 70), BOTTOM + 44), 14, Anchor::Middle, INK)?;
    if let Some(at) = x.pixel(chart.base) {
        canvas.line(&[(at, top), (at, BOTTOM)], GREY, 1)?;
    }
    let height = (BOTTOM - top) / (chart.rows.len() as i32).max(1);
    for (row, n) in chart.rows.iter().zip(0..) {
        let middle = top + height * n + height / 2;
        canvas.text(&row.name, (NAMES - 16, middle), 15, Anchor::End, INK)?;
        canvas.line(&[(NAMES, middle), (FIGURES - 70, middle)], PALE, 1)?;
        if let Some(at) = row.goal.and_then(|goal| x.pixel(goal)) {
            canvas.line(&[(at, middle - 15), (at, middle + 15)], goal, 3)?;
        }
        if let Some(at) = x.pixel(row.second) {
            canvas.ring((at, middle), 6, second)?;
        }
        if let Some(at) = x.pixel(row.value) {
            canvas.dot((at, middle), 6, value)?;
        }
        let digits = if row.value < 10.0 { 3 } else { 1 };
        canvas.text(&format!("{:.digits$}", row.value), (FIGURES, middle), 15, Anchor::End, INK)?;
    }
    Ok(())
}

fn frame(canvas: &Canvas<'_>, title: &str, note: &str) -> anyhow::Result<()> {
    canvas.title(title, (24, 34), 21, INK)?;
    canvas.text(note, (24, SIZE.1 - 20), 12, Anchor::Start, GREY)
}

/// The vertical lines, with what they stand for below.
fn grid(canvas: &Canvas<'_>, x: &Place, top: i32) -> anyhow::Result<()> {
    for (tick, label) in x.ticks() {
        canvas.line(&[(tick, top), (tick, BOTTOM)], PALE, 1)?;
        canvas.text(&label, (tick, BOTTOM + 18), 13, Anchor::Middle, GREY)?;
    }
    Ok(())
}

/// How a legend shows what it names.
#[derive(Clone, Copy)]
enum Swatch {
    Line,
    Dot,
    Ring,
    Bar,
}

/// Draws the legend in as many rows as it needs. Gives where the figure may begin.
fn legend(canvas: &Canvas<'_>, entries: &[(&str, Swatch, Ink)]) -> anyhow::Result<i32> {
    const SWATCH: i32 = 34;
    let (mut x, mut y) = (24, LEGEND);
    for &(name, swatch, ink) in entries {
        // Nobody knows the reader's font here: an estimate on the wide side.
        let width = SWATCH + name.chars().count() as i32 * 8 + 18;
        if x > 24 && x + width > SIZE.0 - 12 {
            (x, y) = (24, y + LEGEND_ROW);
        }
        match swatch {
            Swatch::Line => canvas.line(&[(x, y), (x + 24, y)], ink, 3)?,
            Swatch::Dot => canvas.dot((x + 14, y), 6, ink)?,
            Swatch::Ring => canvas.ring((x + 14, y), 6, ink)?,
            Swatch::Bar => canvas.line(&[(x + 14, y - 8), (x + 14, y + 8)], ink, 3)?,
        }
        canvas.text(name, (x + SWATCH, y), 14, Anchor::Start, INK)?;
        x += width;
    }
    Ok(y + 26)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// Every element is closed, in order, and no text breaks out of its own.
    fn check(svg: &str) {
        let mut open = Vec::new();
        for tag in svg.split('<').skip(1) {
            let (tag, text) = tag.split_once('>').expect("a tag ends");
            assert!(!text.contains('>'), "{text}");
            match tag.strip_prefix('/') {
                Some(name) => assert_eq!(open.pop(), Some(name)),
                None if tag.ends_with('/') => {}
                None => open.push(tag.split_whitespace().next().unwrap()),
            }
        }
        assert!(svg.starts_with("<svg") && open.is_empty(), "{open:?}");
    }

    #[test]
    fn figures_are_written_whatever_the_numbers() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("figure.svg");
        let series = |points: &[(f64, f64)]| Series { name: "a <b> & c".to_owned(), points: points.to_vec() };
        for points in [&[][..], &[(0.0, 0.0)], &[(1.0, 5.0), (1.0, 5.0)], &[(-1.0, f64::NAN), (1e12, 1e-9), (3.0, 4.0)]]
        {
            for (x, y) in [(Axis::log("x"), Axis::linear("y")), (Axis::linear("x"), Axis::log("y"))] {
                let note = "host".to_owned();
                let chart = Chart { title: "title".to_owned(), x, y, series: vec![series(points), series(&[])], note };
                lines(&path, &chart).unwrap();
                check(&fs::read_to_string(&path).unwrap());
                panels(&path, &[chart.clone(), chart]).unwrap();
                check(&fs::read_to_string(&path).unwrap());
            }
        }
        let row = Row { name: "row".to_owned(), value: 1.0, second: f64::INFINITY, goal: Some(1.01) };
        let [title, value, second, note] = ["title", "value", "second", "note"].map(str::to_owned);
        rows(&path, &Rows { title, x: Axis::linear("x"), base: 1.0, value, second, rows: vec![row], note }).unwrap();
        let svg = fs::read_to_string(&path).unwrap();
        check(&svg);
        assert!(svg.contains("1.000") && svg.contains("goal, at most"));
    }
}
