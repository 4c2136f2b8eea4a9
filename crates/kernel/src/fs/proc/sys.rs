//! /proc/sys: values that sysctl(8) reads and root sets.
//!
//! What belongs to another part of the kernel is asked of it. A few values only exist so that programs find them: they
//! are kept in a [`Cell`] where setting them is harmless, and refuse a change where it would promise something.
//!
//! - `sys/kernel.rs`, `sys/vm.rs`, `sys/fs.rs`: the directories of those names. /proc/sys/net is here.

mod fs;
mod kernel;
mod vm;

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use abi::Result;
use abi::errno::EINVAL;

use crate::fs::kernfs::{self, Tree, dir, text, var};

pub(super) fn tree() -> Arc<Tree> {
    dir("sys", [dir("abi", []), dir("dev", []), fs::tree(), kernel::tree(), net(), vm::tree()])
}

fn net() -> Arc<Tree> {
    let core = dir(
        "core",
        [
            fixed("somaxconn", 4096),
            fixed("rmem_default", i64::from(crate::net::BUF_DEFAULT)),
            fixed("rmem_max", i64::from(crate::net::BUF_MAX)),
            fixed("wmem_default", i64::from(crate::net::BUF_DEFAULT)),
            fixed("wmem_max", i64::from(crate::net::BUF_MAX)),
        ],
    );
    let unix = dir("unix", [fixed("max_dgram_qlen", crate::net::unix::MAX_DGRAM_QLEN as i64)]);
    dir("net", [core, unix])
}

/// A number that nothing here looks at.
struct Cell {
    value: AtomicI64,
    min: i64,
    max: i64,
}

/// A number that can be set within bounds, and does nothing.
fn cell(name: &str, initial: i64, (min, max): (i64, i64)) -> Arc<Tree> {
    let cell = Arc::new(Cell { value: AtomicI64::new(initial), min, max });
    let shown = cell.clone();
    let show = move || format!("{}\n", shown.value.load(Ordering::Relaxed));
    var(name, 0o644, show, move |data| {
        let value = within(data, cell.min, cell.max)?;
        cell.value.store(value, Ordering::Relaxed);
        Ok(())
    })
}

/// A number that this kernel has decided on: setting it to what it is succeeds, to anything else doesn't.
fn fixed(name: &str, value: i64) -> Arc<Tree> {
    var(name, 0o644, move || format!("{value}\n"), move |data| within(data, value, value).map(drop))
}

/// A number with an owner elsewhere.
fn number(
    name: &str,
    get: impl Fn() -> i64 + Send + Sync + 'static,
    (min, max): (i64, i64),
    set: impl Fn(i64) + Send + Sync + 'static,
) -> Arc<Tree> {
    let store = move |data: &[u8]| within(data, min, max).map(&set);
    var(name, 0o644, move || format!("{}\n", get()), store)
}

/// A number that only tells.
fn told(name: &str, get: impl Fn() -> i64 + Send + Sync + 'static) -> Arc<Tree> {
    text(name, move || format!("{}\n", get()))
}

/// EINVAL outside the bounds.
fn within(data: &[u8], min: i64, max: i64) -> Result<i64> {
    let value = kernfs::number(data)?;
    if (min..=max).contains(&value) { Ok(value) } else { Err(EINVAL) }
}
