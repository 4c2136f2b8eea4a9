//! The `ruml` executable.
#![forbid(unsafe_code)]
fn main() {}
