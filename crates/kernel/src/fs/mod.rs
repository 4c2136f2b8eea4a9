//! File systems.

pub mod hostfs;
pub mod pipefs;
pub mod pseudo;
