//! The Denali virtual machine monitor.

pub mod worker;
