//! Memory devices, mem(4), null(4), random(4), and /dev/kmsg. Terminals are in `tty`.

mod kmsg;
mod mem;
mod random;

use abi::Result;
use abi::fcntl::OpenFlags;
use std::sync::Arc;

use crate::vfs::dev::register_chrdev;
use crate::vfs::{FileOps, Inode};

/// Major number of the memory devices.
const MEM_MAJOR: u32 = 1;

/// Makes the devices known by their numbers.
pub fn register_devices() {
    let mem: [(u32, &str, fn() -> Box<dyn FileOps>); 5] = [
        (3, "null", || Box::new(mem::Null)),
        (5, "zero", || Box::new(mem::Zero)),
        (7, "full", || Box::new(mem::Full)),
        (8, "random", || Box::new(random::Random)),
        (9, "urandom", || Box::new(random::Random)),
    ];
    for (minor, name, make) in mem {
        register_chrdev(MEM_MAJOR, minor, name, Arc::new(move |_: &Arc<Inode>, _: OpenFlags| Ok(make())));
    }
    register_chrdev(MEM_MAJOR, 11, "kmsg", Arc::new(open_kmsg));
}

fn open_kmsg(_: &Arc<Inode>, flags: OpenFlags) -> Result<Box<dyn FileOps>> {
    Ok(Box::new(kmsg::Kmsg::open(flags)))
}
