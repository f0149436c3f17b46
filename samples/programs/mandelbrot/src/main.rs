//! Renders one tile of the Mandelbrot set: raw pixels on its output, three bytes each.
#![no_std]
#![no_main]

extern crate alloc;

use alloc::string::{String, ToString};
use denali_guest::{Job, embedded_io::Write};
use denali_kernels::mandelbrot::Tile;

denali_guest::main!(main);

fn main(job: &mut Job) -> Result<(), String> {
    let number = |place, what| job.argument(place, what).map_err(|e| e.to_string());
    let tile = Tile {
        index: number(0, "the tile's index")?,
        per_side: number(1, "the number of tiles a side")?,
        size: number(2, "the picture's size in pixels")?,
    };
    if !tile.is_valid() {
        return Err("no such tile: the index is too large, or the tiles do not divide the picture".to_string());
    }
    let Ok(()) = job.output().write_all(&tile.render());
    Ok(())
}
