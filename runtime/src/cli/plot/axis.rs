//! Axes: where a number comes to lie, and which numbers are written beside.

/// An axis, before it is known what lies along it.
#[derive(Clone, Debug)]
pub(crate) struct Axis {
    /// What the numbers are, with their unit.
    pub(crate) label: String,
    /// Whether equal distances are equal factors.
    pub(crate) log: bool,
    /// Values that are shown in any case.
    pub(crate) shown: Vec<f64>,
}

impl Axis {
    /// An axis along which equal distances are equal differences.
    pub(crate) fn linear(label: &str) -> Self {
        Self { label: label.to_owned(), log: false, shown: Vec::new() }
    }

    /// An axis along which equal distances are equal factors. Only numbers above zero have a place there.
    pub(crate) fn log(label: &str) -> Self {
        Self { log: true, ..Self::linear(label) }
    }

    /// The same, reaching over these values whatever was measured.
    pub(crate) fn showing(self, values: &[f64]) -> Self {
        Self { shown: values.to_vec(), ..self }
    }

    /// The axis for these values, drawn from one pixel to another.
    pub(super) fn place(&self, values: impl Iterator<Item = f64>, from: i32, to: i32) -> Place {
        let fits = |value: &f64| value.is_finite() && (!self.log || *value > 0.0);
        let all: Vec<f64> = values.chain(self.shown.iter().copied()).filter(fits).collect();
        let least = all.iter().copied().reduce(f64::min).unwrap_or(1.0);
        let most = all.iter().copied().reduce(f64::max).unwrap_or(1.0);
        let (low, high, ticks) = if self.log { log_ticks(least, most) } else { linear_ticks(least, most) };
        Place { log: self.log, low, high, ticks, from, to }
    }
}

/// An axis in its place.
#[derive(Clone, Debug)]
pub(super) struct Place {
    log: bool,
    low: f64,
    high: f64,
    ticks: Vec<f64>,
    from: i32,
    to: i32,
}

impl Place {
    /// Where a value lies; nowhere if it is no number of this axis.
    pub(super) fn pixel(&self, value: f64) -> Option<i32> {
        let scaled = |value: f64| if self.log { value.log10() } else { value };
        let part = (scaled(value) - scaled(self.low)) / (scaled(self.high) - scaled(self.low));
        let pixel = f64::from(self.from) + part * f64::from(self.to - self.from);
        pixel.is_finite().then(|| pixel.round() as i32)
    }

    /// Places of the numbers that are written beside the axis, with their text.
    pub(super) fn ticks(&self) -> impl Iterator<Item = (i32, String)> {
        let step = self.ticks.windows(2).map(|two| two[1] - two[0]).fold(f64::INFINITY, f64::min);
        self.ticks.iter().filter_map(move |&tick| {
            let finest = if self.log { tick } else { step };
            Some((self.pixel(tick)?, text(tick, finest)))
        })
    }
}

/// Round numbers around and between two, in steps of 1, 2 or 5 times a power of ten.
fn linear_ticks(least: f64, most: f64) -> (f64, f64, Vec<f64>) {
    // Numbers that are all the same get some room around them.
    let room = if most > least { 0.0 } else { least.abs().max(1.0) / 10.0 };
    let (least, most) = (least - room, most + room);
    let rough = (most - least) / 6.0;
    let power = 10f64.powf(rough.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|n| n * power).into_iter().find(|step| *step >= rough).unwrap_or(rough);
    // A hair's breadth, by which a number that was computed may miss the round one it stands for.
    let (first, last) = ((least / step + 1e-9).floor(), (most / step - 1e-9).ceil());
    let ticks = (0..=(last - first) as u32).map(|n| (first + f64::from(n)) * step).collect();
    (first * step, last * step, ticks)
}

/// Round numbers around and between two above zero: 1, 2 and 5 of each power of ten, or over many of them 1 alone.
fn log_ticks(least: f64, most: f64) -> (f64, f64, Vec<f64>) {
    let (first, last) = (least.log10().floor() as i32, most.log10().ceil() as i32);
    let several: &[f64] = if last - first > 4 { &[1.0] } else { &[1.0, 2.0, 5.0] };
    let every = (last - first) / 12 + 1;
    let round = (first..=last + 1).step_by(every as usize).flat_map(|n| several.iter().map(move |m| m * 10f64.powi(n)));
    let round: Vec<f64> = round.collect();
    let low = round.iter().copied().rfind(|tick| *tick <= least * 1.000_001).unwrap_or(least);
    let high = round.iter().copied().find(|tick| *tick >= most / 1.000_001 && *tick > low).unwrap_or(most * 10.0);
    (low, high, round.into_iter().filter(|tick| (low..=high).contains(tick)).collect())
}

/// A number to the digits of its step, with a comma before each group of three.
fn text(value: f64, step: f64) -> String {
    if value.abs() >= 1e9 || (value != 0.0 && value.abs() < 1e-6) {
        return format!("{value:e}");
    }
    let digits = (-step.log10() - 1e-9).ceil().clamp(0.0, 9.0) as usize;
    let plain = format!("{value:.digits$}");
    let (sign, plain) = plain.strip_prefix('-').map_or(("", plain.as_str()), |rest| ("-", rest));
    let (whole, fraction) = plain.split_at(plain.find('.').unwrap_or(plain.len()));
    let mut grouped = String::new();
    for (n, digit) in whole.chars().enumerate() {
        if n > 0 && (whole.len() - n).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    format!("{sign}{grouped}{fraction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(axis: &Axis, values: &[f64]) -> Vec<String> {
        axis.place(values.iter().copied(), 0, 100).ticks().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_enclose_all() {
        assert_eq!(labels(&Axis::linear("").showing(&[0.0, 100.0]), &[37.0]), ["0", "20", "40", "60", "80", "100"]);
        assert_eq!(labels(&Axis::linear(""), &[0.996, 1.03]), ["0.99", "1.00", "1.01", "1.02", "1.03"]);
        assert_eq!(labels(&Axis::log(""), &[83.0, 4_100.0]), ["50", "100", "200", "500", "1,000", "2,000", "5,000"]);
        assert_eq!(labels(&Axis::log(""), &[0.5, 3.0]), ["0.5", "1", "2", "5"]);
        assert_eq!(labels(&Axis::log(""), &[1.0, 1e6]).len(), 7);
    }

    #[test]
    fn values_lie_between_their_ticks() {
        let place = Axis::log("").place([10.0, 1000.0].into_iter(), 100, 300);
        assert_eq!((place.pixel(10.0), place.pixel(100.0), place.pixel(1000.0)), (Some(100), Some(200), Some(300)));
        assert_eq!((place.pixel(0.0), place.pixel(-1.0), place.pixel(f64::NAN)), (None, None, None));
        let upwards = Axis::linear("").place([0.0, 10.0].into_iter(), 300, 100);
        assert_eq!(upwards.pixel(5.0), Some(200));
    }
}
