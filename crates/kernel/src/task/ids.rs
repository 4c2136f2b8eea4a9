//! Who a task is: getpid(2) and its kin, set_tid_address(2).

use std::sync::atomic::Ordering;

use abi::Result;

use super::current;

/// getpid(2)
pub fn getpid() -> Result<i32> {
    Ok(current().tgid())
}

/// getppid(2)
pub fn getppid() -> Result<i32> {
    Ok(current().process.ppid())
}

/// gettid(2)
pub fn gettid() -> Result<i32> {
    Ok(current().tid())
}

/// set_tid_address(2)
pub fn set_tid_address(addr: u64) -> Result<i32> {
    let task = current();
    task.clear_child_tid.store(addr, Ordering::Relaxed);
    Ok(task.tid())
}
