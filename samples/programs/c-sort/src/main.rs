//! A program in C: sorts the lines of its input. See sort.c.
#![no_std]
#![no_main]

denali_guest::c_main!();
