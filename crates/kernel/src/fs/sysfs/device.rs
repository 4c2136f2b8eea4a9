//! Devices in /sys: a directory with `uevent`, links to it from its class and from its number.

use std::sync::Arc;

use super::{attribute, dir, link, variable};
use crate::fs::kernfs::Tree;
use crate::uevent::{self, Subject};

/// A character device or one without a number. Disks are more than that: `block/sysfs.rs`.
pub struct Device {
    /// Directory below /sys that its own is in.
    pub parent: String,
    /// Its class.
    pub subsystem: &'static str,
    /// Its name.
    pub name: String,
    /// Major and minor number of a character device.
    pub number: Option<(u32, u32)>,
    /// `KEY=value` each, besides those of the number.
    pub variables: Vec<String>,
    /// What else is in its directory.
    pub entries: Vec<Arc<Tree>>,
}

/// Shows a device and tells of it. Sleeps.
pub fn add(device: Device) {
    let Device { parent, subsystem, name, number, variables, entries } = device;
    let path = format!("{parent}/{name}");
    let up = "../".repeat(path.split('/').count());
    let mut all = variables;
    if let Some((major, minor)) = number {
        let numbers = [format!("MAJOR={major}"), format!("MINOR={minor}"), format!("DEVNAME={name}")];
        all.splice(0..0, numbers);
    }
    let mut own = entries;
    own.push(uevent(path.clone(), subsystem, {
        let all = all.clone();
        move || all.clone()
    }));
    own.push(link("subsystem", format!("{up}class/{subsystem}")));
    own.push(dir("power", [attribute("control", || "auto"), attribute("runtime_status", || "unsupported")]));
    if let Some((major, minor)) = number {
        own.push(attribute("dev", move || format!("{major}:{minor}")));
    }
    let added = super::add(&parent, dir(&name, own))
        .and_then(|()| super::add(&format!("class/{subsystem}"), link(&name, format!("../../{path}"))))
        .and_then(|()| match number {
            Some((major, minor)) => {
                super::add("dev/char", link(&format!("{major}:{minor}"), format!("../../{path}")))
            }
            None => Ok(()),
        });
    if let Err(errno) = added {
        crate::pr_err!("sysfs: {name}: {errno}");
    }
    uevent::emit("add", &Subject { path: &path, subsystem, variables: &all });
}

/// The `uevent` file of a device at `path`: its variables, and events again for who writes an action.
pub fn uevent(
    path: String,
    subsystem: &'static str,
    variables: impl Fn() -> Vec<String> + Send + Sync + 'static,
) -> Arc<Tree> {
    let variables = Arc::new(variables);
    let shown = variables.clone();
    variable(
        "uevent",
        move || shown().join("\n"),
        move |data| uevent::store(data, &Subject { path: &path, subsystem, variables: &variables() }),
    )
}
