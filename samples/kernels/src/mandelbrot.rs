//! The Mandelbrot set, by tiles.

use alloc::vec::Vec;

/// Most iterations of a point.
const ITERATIONS: u32 = 1000;

/// A square part of the picture: tile `index`, counted by rows, of `per_side` × `per_side` tiles of a picture of `size` ×
/// `size` pixels.
#[derive(Clone, Copy, Debug)]
pub struct Tile {
    /// The tile's place.
    pub index: u32,
    /// Tiles in a row and in a column.
    pub per_side: u32,
    /// Pixels in a row and in a column of the picture.
    pub size: u32,
}

impl Tile {
    /// Pixels in a row and in a column of the tile.
    #[must_use]
    pub fn side(&self) -> u32 {
        self.size / self.per_side
    }

    /// Whether it is a part of a picture: at least one tile, one pixel a tile, and not more than 16,384 pixels a side.
    #[must_use]
    pub fn is_valid(&self) -> bool {
        (1..=self.size).contains(&self.per_side)
            && self.size <= 16_384
            && self.size.is_multiple_of(self.per_side)
            && self.index < self.per_side * self.per_side
    }

    /// The tile's pixels by rows, three bytes each: red, green, blue.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        let side = self.side();
        let (left, top) = (self.index % self.per_side * side, self.index / self.per_side * side);
        let mut pixels = Vec::with_capacity(side as usize * side as usize * 3);
        for y in top..top + side {
            for x in left..left + side {
                // The picture shows the square from -2.0 - 1.25i to 0.5 + 1.25i.
                let scale = 2.5 / f64::from(self.size);
                let re = f64::from(x) * scale - 2.0;
                let im = f64::from(y) * scale - 1.25;
                pixels.extend(colour(escape(re, im)));
            }
        }
        pixels
    }
}

/// Iterations until the point leaves the circle of radius 16, with the last square of its distance; `None` if it never
/// does.
fn escape(re: f64, im: f64) -> Option<(u32, f64)> {
    let (mut x, mut y) = (0.0, 0.0);
    for n in 0..ITERATIONS {
        let (xx, yy) = (x * x, y * y);
        if xx + yy > 256.0 {
            return Some((n, xx + yy));
        }
        y = 2.0 * x * y + im;
        x = xx - yy + re;
    }
    None
}

/// Bands of blue, white and gold around a black set; smooth between them.
fn colour(escaped: Option<(u32, f64)>) -> [u8; 3] {
    const PALETTE: [[f64; 3]; 5] =
        [[0.0, 7.0, 100.0], [32.0, 107.0, 203.0], [237.0, 255.0, 255.0], [255.0, 170.0, 0.0], [60.0, 20.0, 10.0]];
    let Some((n, square)) = escaped else { return [0, 0, 0] };
    // How far beyond the radius the point went, between 0 and 1: from |z|² = 256 to its next value of about 256².
    let beyond = ((square / 256.0) - 1.0).clamp(0.0, 255.0) / 255.0;
    let place = (f64::from(n) - beyond + 1.0) * 0.125;
    let band = place as usize;
    let part = place - band as f64;
    let (from, to) = (PALETTE[band % PALETTE.len()], PALETTE[(band + 1) % PALETTE.len()]);
    let mix = |i: usize| (from[i] + (to[i] - from[i]) * part) as u8;
    [mix(0), mix(1), mix(2)]
}

#[cfg(test)]
mod tests {
    use super::{Tile, escape};

    #[test]
    fn known_points() {
        assert!(escape(0.0, 0.0).is_none(), "the origin is in the set");
        assert!(escape(-1.0, 0.0).is_none(), "the centre of the second disc is in the set");
        assert!(escape(0.5, 0.5).is_some(), "this point is not");
    }

    #[test]
    fn tiles_make_the_whole() {
        let whole = Tile { index: 0, per_side: 1, size: 32 }.render();
        for index in 0..16 {
            let tile = Tile { index, per_side: 4, size: 32 };
            let pixels = tile.render();
            for (row, line) in pixels.chunks(8 * 3).enumerate() {
                let start = ((index as usize / 4 * 8 + row) * 32 + index as usize % 4 * 8) * 3;
                assert_eq!(line, &whole[start..start + 24], "tile {index} row {row}");
            }
        }
    }

    #[test]
    fn invalid_tiles() {
        for (index, per_side, size) in [(64, 8, 1024), (0, 0, 1024), (0, 3, 1024), (0, 1, 100_000), (0, 8, 4)] {
            assert!(!Tile { index, per_side, size }.is_valid(), "{index} {per_side} {size}");
        }
    }
}
