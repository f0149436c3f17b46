//! An image put together from square tiles, and written as PNG.

use anyhow::{Context, ensure};

/// Bytes of one pixel: red, green, blue.
const PIXEL_BYTES: usize = 3;

/// A square image of square tiles.
pub(crate) struct Mosaic {
    size: usize,
    tiles: usize,
    pixels: Vec<u8>,
}

impl Mosaic {
    /// An image of `size` pixels a side, with `tiles` tiles a side.
    pub(crate) fn new(size: usize, tiles: usize) -> Self {
        Self { size, tiles, pixels: vec![0; size * size * PIXEL_BYTES] }
    }

    /// Puts the tile of this index in its place, counted by rows from the top left.
    pub(crate) fn place(&mut self, index: usize, tile: &[u8]) -> anyhow::Result<()> {
        let side = self.size / self.tiles;
        let row_bytes = side * PIXEL_BYTES;
        let expected = row_bytes * side;
        ensure!(tile.len() == expected, "tile {index} has {} bytes, not {expected}", tile.len());
        ensure!(index < self.tiles * self.tiles, "there is no tile {index}");
        let (top, left) = (index / self.tiles * side, index % self.tiles * row_bytes);
        for (row, bytes) in tile.chunks_exact(row_bytes).enumerate() {
            let start = (top + row) * self.size * PIXEL_BYTES + left;
            self.pixels[start..start + row_bytes].copy_from_slice(bytes);
        }
        Ok(())
    }

    /// The image as a PNG file.
    pub(crate) fn png(&self) -> anyhow::Result<Vec<u8>> {
        let size = u32::try_from(self.size).context("the image is too large")?;
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, size, size);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&self.pixels)?;
        Ok(file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_find_their_place() {
        let mut mosaic = Mosaic::new(4, 2);
        for index in 0..4 {
            mosaic.place(index, &[index as u8; 12]).unwrap();
        }
        let reds: Vec<_> = mosaic.pixels.chunks(3).map(|pixel| pixel[0]).collect();
        assert_eq!(reds, [0, 0, 1, 1, 0, 0, 1, 1, 2, 2, 3, 3, 2, 2, 3, 3]);
        assert!(mosaic.place(0, &[0; 11]).is_err());
        assert!(mosaic.place(4, &[0; 12]).is_err());
        assert!(mosaic.png().unwrap().starts_with(b"\x89PNG"));
    }
}
