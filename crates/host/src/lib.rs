//! Everything that talks to the real kernel, and nearly all of ruml's unsafe code.
//!
//! [`machine`] prepares the host once; [`stub`] holds guest address spaces and threads, each a host process or thread
//! that runs guest instructions natively; [`cpu`] is where a vCPU thread sleeps and how it is placed on host cores;
//! [`fiber`] are the coroutines that kernel code runs in; [`object`] is memory that guests can map, [`blocks`] memory for
//! page caches; [`vdso`] is the guest's own vDSO; [`fs`] are files of the host; [`lockdown`] takes from this program what it
//! doesn't need; [`clock`] and [`random`] are what their names say.

pub mod answers;
pub mod auxv;
pub mod block;
pub mod blocks;
mod bpf;
pub mod clock;
pub mod cpu;
pub mod fiber;
pub mod fs;
pub mod lockdown;
pub mod machine;
pub mod object;
mod place;
pub mod random;
pub mod reactor;
pub mod stub;
pub mod supervise;
mod sys;
pub mod term;
pub mod vdso;
