//! File systems.

pub mod pipefs;
pub mod pseudo;
