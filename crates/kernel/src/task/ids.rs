//! Who a task is: getpid(2), getppid(2), gettid(2).

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
    Ok(current().tid)
}
