//! The device that `root=` names, and the list of devices for the message when it isn't there.

use std::sync::Arc;

use abi::stat::{major, makedev, minor};

use super::{BlockDevice, SECTOR, bdev};

/// Finds a device as the kernel's command line names it: `/dev/ubda1`, `98:1`, `6201` (hexadecimal), `PARTUUID=`,
/// `PARTLABEL=`, and, beyond Linux, `UUID=` and `LABEL=` of an ext2, ext3 or ext4 file system. From a task.
pub fn by_name(name: &str) -> Option<Arc<BlockDevice>> {
    let quoted = |value: &str| value.trim_matches('"').to_owned();
    if let Some((key, value)) = name.split_once('=') {
        let value = quoted(value);
        let all = bdev::all().into_iter();
        let same = |own: &Option<String>| own.as_ref().is_some_and(|own| own.eq_ignore_ascii_case(&value));
        return match key {
            "PARTUUID" => all.into_iter().find(|b| same(&b.uuid)),
            "PARTLABEL" => all.into_iter().find(|b| b.label.as_ref() == Some(&value)),
            "UUID" => all
                .into_iter()
                .find(|b| ext_identity(b).is_some_and(|(uuid, _)| uuid == value.to_lowercase())),
            "LABEL" => all.into_iter().find(|b| ext_identity(b).is_some_and(|(_, label)| label == value)),
            _ => None,
        };
    }
    let short = name.strip_prefix("/dev/").unwrap_or(name);
    if let Some(found) = bdev::all().into_iter().find(|b| b.name == short) {
        return Some(found);
    }
    if let Some((major, minor)) = short.split_once(':') {
        return bdev::find(makedev(major.parse().ok()?, minor.parse().ok()?));
    }
    let number = u32::from_str_radix(short, 16).ok()?;
    // The form of old: the minor's high bits above the major.
    bdev::find(makedev(number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00))
}

/// UUID and label of an ext2, ext3 or ext4 file system.
fn ext_identity(bdev: &BlockDevice) -> Option<(String, String)> {
    let mut sb = [0; 1024];
    if bdev.len() < 2048 || bdev.read(1024, &mut sb).is_err() || sb[56..58] != [0x53, 0xef] {
        return None;
    }
    let hex =
        |range: core::ops::Range<usize>| sb[range].iter().map(|b| format!("{b:02x}")).collect::<String>();
    let uuid = [104..108, 108..110, 110..112, 112..114, 114..120].map(hex).join("-");
    let label = sb[120..136].split(|&b| b == 0).next().unwrap_or_default();
    Some((uuid, String::from_utf8_lossy(label).into_owned()))
}

/// Every device in a line each, as Linux lists them when it finds no root.
pub fn describe_all() -> String {
    let line = |b: Arc<BlockDevice>| {
        let uuid = b.uuid.as_deref().unwrap_or_default();
        let indent = if b.number > 0 { "  " } else { "" };
        let number = format!("{:02x}{:02x}", major(b.dev), minor(b.dev));
        format!("{indent}{number} {:>11} {} {uuid}\n", b.len() / SECTOR / 2, b.name)
    };
    bdev::all().into_iter().filter(|b| !b.is_empty()).map(line).collect()
}
