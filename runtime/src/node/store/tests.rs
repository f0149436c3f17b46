//! Crash, reopen, expiry.
