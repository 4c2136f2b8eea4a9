//! Kernel events about devices, as udev(7) takes them: NETLINK_KOBJECT_UEVENT, and the `uevent` files of /sys by which it
//! asks for them again.
//!
//! Lock: `ORDER` (sleeping) is held while an event gets its number and is sent, so that listeners see numbers rise.

use std::sync::atomic::{AtomicU64, Ordering};

use abi::Result;
use abi::errno::EINVAL;
use abi::netlink::NETLINK_KOBJECT_UEVENT;

use crate::net::netlink;
use crate::sync::Mutex;

/// Group of the kernel's own messages; udev's are in 2.
const GROUP_KERNEL: u32 = 1;
/// Actions that a program may ask for.
const ACTIONS: [&str; 8] = ["add", "remove", "change", "move", "online", "offline", "bind", "unbind"];
/// Most bytes of variables in a message: `UEVENT_BUFFER_SIZE`.
const MAX: usize = 2048;

static SEQNUM: AtomicU64 = AtomicU64::new(0);

/// The number of the last event: /sys/kernel/uevent_seqnum.
pub fn seqnum() -> u64 {
    SEQNUM.load(Ordering::SeqCst)
}

/// What an event is about.
pub struct Subject<'a> {
    /// Path of its directory below /sys, without a slash at its start.
    pub path: &'a str,
    /// Its class or bus.
    pub subsystem: &'a str,
    /// `KEY=value` each, as its `uevent` file shows them.
    pub variables: &'a [String],
}

/// Tells of an event. Sleeps.
pub fn emit(action: &str, subject: &Subject<'_>) {
    send(action, subject, &[]);
}

fn send(action: &str, subject: &Subject<'_>, synthetic: &[String]) {
    static ORDER: std::sync::LazyLock<Mutex<()>> = std::sync::LazyLock::new(|| Mutex::new(()));
    let _order = ORDER.lock();
    let number = SEQNUM.load(Ordering::SeqCst) + 1;
    let mut message = Vec::new();
    let mut put = |text: &str| {
        message.extend_from_slice(text.as_bytes());
        message.push(0);
    };
    put(&format!("{action}@/{}", subject.path));
    put(&format!("ACTION={action}"));
    put(&format!("DEVPATH=/{}", subject.path));
    put(&format!("SUBSYSTEM={}", subject.subsystem));
    synthetic.iter().chain(subject.variables).for_each(|text| put(text));
    put(&format!("SEQNUM={number}"));
    SEQNUM.store(number, Ordering::SeqCst);
    netlink::broadcast(NETLINK_KOBJECT_UEVENT, GROUP_KERNEL, message);
}

/// What was written to a `uevent` file: an action, and then a UUID and variables of the writer's. EINVAL.
pub fn store(data: &[u8], subject: &Subject<'_>) -> Result<()> {
    let text = crate::fs::kernfs::word(data)?;
    let (action, synthetic) = parse(text).ok_or(EINVAL)?;
    send(action, subject, &synthetic);
    Ok(())
}

fn parse(text: &str) -> Option<(&str, Vec<String>)> {
    if text.len() > MAX {
        return None;
    }
    let mut words = text.split(' ');
    let action = words.next()?;
    if !ACTIONS.contains(&action) {
        return None;
    }
    let Some(uuid) = words.next() else { return Some((action, vec!["SYNTH_UUID=0".to_owned()])) };
    let mut synthetic = vec![format!("SYNTH_UUID={}", uuid_of(uuid)?)];
    for word in words {
        let (key, value) = word.split_once('=')?;
        let plain = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_alphanumeric());
        if !plain(key) || !plain(value) {
            return None;
        }
        synthetic.push(format!("SYNTH_ARG_{key}={value}"));
    }
    Some((action, synthetic))
}

fn uuid_of(text: &str) -> Option<&str> {
    let fits = |(at, byte): (usize, u8)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    };
    (text.len() == 36 && text.bytes().enumerate().all(fits)).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_udevadm_writes_is_understood() {
        assert_eq!(parse("add"), Some(("add", vec!["SYNTH_UUID=0".to_owned()])));
        let uuid = "fe4d7c9d-b8c6-4a70-9ef1-3d8a58d18eed";
        let text = format!("change {uuid} A=1 B=abc");
        let (action, all) = parse(&text).unwrap();
        assert_eq!(action, "change");
        assert_eq!(
            all,
            [format!("SYNTH_UUID={uuid}"), "SYNTH_ARG_A=1".to_owned(), "SYNTH_ARG_B=abc".to_owned()]
        );
        for bad in ["", "explode", "add x", &format!("add {uuid} A"), &format!("add {uuid} A=b/c")] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
