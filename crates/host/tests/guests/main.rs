//! Guests of a few instructions on the real host.

mod guest;
mod hostile;
mod life;
mod reuse;
mod stub;
mod vdso;
