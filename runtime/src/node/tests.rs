//! A whole node on loopback, with a worker in the test process.
