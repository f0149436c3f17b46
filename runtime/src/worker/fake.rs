//! A worker in the test process.
