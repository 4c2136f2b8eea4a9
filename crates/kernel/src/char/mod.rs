//! Memory devices, mem(4), null(4), random(4), and /dev/kmsg. Terminals are in `tty`.

mod kmsg;
mod mem;
mod random;

use crate::vfs::dev::register_chrdev;

/// Major number of the memory devices.
const MEM_MAJOR: u32 = 1;

/// Makes the devices known by their numbers.
pub fn register_devices() {
    register_chrdev(MEM_MAJOR, 3, "null", |_, _| Ok(Box::new(mem::Null)));
    register_chrdev(MEM_MAJOR, 5, "zero", |_, _| Ok(Box::new(mem::Zero)));
    register_chrdev(MEM_MAJOR, 7, "full", |_, _| Ok(Box::new(mem::Full)));
    register_chrdev(MEM_MAJOR, 8, "random", |_, _| Ok(Box::new(random::Random { pollable: true })));
    register_chrdev(MEM_MAJOR, 9, "urandom", |_, _| Ok(Box::new(random::Random { pollable: false })));
    register_chrdev(MEM_MAJOR, 11, "kmsg", |_, flags| Ok(Box::new(kmsg::Kmsg::open(flags))));
}
