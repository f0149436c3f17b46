//! The virtual NIC: two rings of frames in guest memory.

pub mod cable;
pub mod ring;
