//! Memory devices, mem(4), null(4), random(4), and /dev/kmsg. Terminals are in `tty`.

mod kmsg;
mod mem;
mod random;

use crate::fs::devtmpfs::CONSOLES;
use crate::fs::sysfs::{self, device::Device};
use crate::vfs::dev::register_chrdev;

/// Major number of the memory devices.
const MEM_MAJOR: u32 = 1;

/// Shows the devices in /sys and tells udev of them. Sleeps.
pub fn show_devices() {
    let device = |subsystem, name: String, number| {
        let variables = match number {
            (MEM_MAJOR, 1..=9) | (5, 0 | 2) => vec!["DEVMODE=0666".to_owned()],
            _ => Vec::new(),
        };
        let parent = format!("devices/virtual/{subsystem}");
        sysfs::device::add(Device {
            parent,
            subsystem,
            name,
            number: Some(number),
            variables,
            entries: Vec::new(),
        });
    };
    for (minor, name) in [(3, "null"), (5, "zero"), (7, "full"), (8, "random"), (9, "urandom"), (11, "kmsg")]
    {
        device("mem", name.to_owned(), (MEM_MAJOR, minor));
    }
    for (minor, name) in [(0, "tty"), (1, "console"), (2, "ptmx")] {
        device("tty", name.to_owned(), (5, minor));
    }
    for minor in 0..CONSOLES {
        device("tty", format!("tty{minor}"), (4, minor));
    }
}

/// Makes the devices known by their numbers.
pub fn register_devices() {
    register_chrdev(MEM_MAJOR, 3, "null", |_, _| Ok(Box::new(mem::Null)));
    register_chrdev(MEM_MAJOR, 5, "zero", |_, _| Ok(Box::new(mem::Zero)));
    register_chrdev(MEM_MAJOR, 7, "full", |_, _| Ok(Box::new(mem::Full)));
    register_chrdev(MEM_MAJOR, 8, "random", |_, _| Ok(Box::new(random::Random { pollable: true })));
    register_chrdev(MEM_MAJOR, 9, "urandom", |_, _| Ok(Box::new(random::Random { pollable: false })));
    register_chrdev(MEM_MAJOR, 11, "kmsg", |_, flags| Ok(Box::new(kmsg::Kmsg::open(flags))));
}
