//! devpts: a device node for each pseudo-terminal, and `ptmx`, which makes them. pts(4).
//!
//! The nodes are whatever `tty::pty` has at the moment. Every mount shows all of them with options of its own.
//!
//! Lock: SUPER, over the options and what chmod(2) and chown(2) have changed.

use std::collections::BTreeMap;
use std::sync::Arc;

use abi::Result;
use abi::errno::{EINVAL, ENOENT};
use abi::stat::{Statfs, makedev};

use super::kernfs::{self, Attr, Entry, Node};
use crate::sync::{SpinLock, rank};
use crate::tty::pty::{self, PtyNode};
use crate::vfs::{FileType, FsType, SetAttr, SuperBlock, SuperOps};

/// devpts
pub static DEVPTS: FsType = FsType { name: "devpts", nodev: true, cache_negative: false, mount };

/// Inode number of `ptmx`; terminal N has N + 3.
const PTMX_INO: u64 = 2;
/// Major numbers: /dev/ptmx is 5:2.
const TTYAUX_MAJOR: u32 = 5;
const PTS_MAJOR: u32 = 136;

fn mount(fs_type: &'static FsType, source: &[u8], _: u32, data: &[u8]) -> Result<Arc<SuperBlock>> {
    let options = Options::parse(data)?;
    let state = Arc::new(SpinLock::new(rank::SUPER, State { options, changed: BTreeMap::new() }));
    Ok(kernfs::new_super(fs_type, source, Box::new(Devpts(state.clone())), Box::new(Root(state))))
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Options {
    uid: Option<u32>,
    gid: Option<u32>,
    mode: u32,
    ptmxmode: u32,
    max: Option<u32>,
}

impl Options {
    fn parse(data: &[u8]) -> Result<Options> {
        let mut options = Options { uid: None, gid: None, mode: 0o600, ptmxmode: 0, max: None };
        let text = core::str::from_utf8(data).map_err(|_| EINVAL)?;
        let mode = |value: &str| u32::from_str_radix(value, 8).map(|m| m & 0o7777).map_err(|_| EINVAL);
        let id = |value: &str| value.parse().map_err(|_| EINVAL);
        for word in text.split(',').filter(|w| !w.is_empty()) {
            match word.split_once('=') {
                Some(("uid", value)) => options.uid = Some(id(value)?),
                Some(("gid", value)) => options.gid = Some(id(value)?),
                Some(("mode", value)) => options.mode = mode(value)?,
                Some(("ptmxmode", value)) => options.ptmxmode = mode(value)?,
                Some(("max", value)) => {
                    let max: u32 = id(value)?;
                    if max as usize > pty::MAX {
                        return Err(EINVAL);
                    }
                    options.max = Some(max);
                }
                // Has had no effect since Linux 4.7.
                None if word == "newinstance" => {}
                _ => return Err(EINVAL),
            }
        }
        Ok(options)
    }

    fn show(&self) -> String {
        let mut text = String::new();
        if let Some(uid) = self.uid {
            text += &format!(",uid={uid}");
        }
        if let Some(gid) = self.gid {
            text += &format!(",gid={gid}");
        }
        text += &format!(",mode={:03o},ptmxmode={:03o}", self.mode, self.ptmxmode);
        if let Some(max) = self.max {
            text += &format!(",max={max}");
        }
        text
    }
}

struct State {
    options: Options,
    /// By the pair's serial number; 0 is `ptmx`.
    changed: BTreeMap<u64, SetAttr>,
}

impl State {
    fn attr(&self, serial: u64, attr: Attr) -> Attr {
        match self.changed.get(&serial) {
            Some(set) => Attr {
                mode: set.mode.unwrap_or(attr.mode) & 0o7777,
                uid: set.uid.unwrap_or(attr.uid),
                gid: set.gid.unwrap_or(attr.gid),
                ..attr
            },
            None => attr,
        }
    }

    /// Remembers a change, and forgets those of terminals that are gone: there are no more than terminals.
    fn change(&mut self, serial: u64, set: &SetAttr, live: &[PtyNode]) {
        self.changed.retain(|&s, _| s == 0 || live.iter().any(|n| n.serial == s));
        let old = self.changed.entry(serial).or_default();
        old.mode = set.mode.or(old.mode);
        old.uid = set.uid.or(old.uid);
        old.gid = set.gid.or(old.gid);
    }
}

type Shared = Arc<SpinLock<State>>;

struct Devpts(Shared);

impl SuperOps for Devpts {
    fn statfs(&self, _: &SuperBlock) -> Result<Statfs> {
        Ok(kernfs::statfs(abi::stat::DEVPTS_SUPER_MAGIC))
    }

    fn remount(&self, _: &SuperBlock, _: u32, data: &[u8]) -> Result<()> {
        let options = Options::parse(data)?;
        self.0.lock().options = options;
        Ok(())
    }

    fn show_options(&self, _: &SuperBlock) -> String {
        self.0.lock().options.show()
    }
}

struct Root(Shared);

impl Node for Root {
    fn kind(&self) -> FileType {
        FileType::Dir
    }

    fn attr(&self) -> Result<Attr> {
        Ok(Attr { nlink: 2, ..Attr::root(0o755) })
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        if name == b"ptmx" {
            return Ok(Box::new(Ptmx(self.0.clone())));
        }
        let text = core::str::from_utf8(name).map_err(|_| ENOENT)?;
        let index: usize = text.parse().map_err(|_| ENOENT)?;
        // Only the number as it is listed: not "01", not "+1".
        if index.to_string() != text {
            return Err(ENOENT);
        }
        Ok(Box::new(Slave { pty: pty::node(index).ok_or(ENOENT)?, state: self.0.clone() }))
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        let kind = FileType::CharDev;
        if from <= PTMX_INO {
            return Ok(Some(Entry { pos: PTMX_INO, name: b"ptmx".to_vec(), kind, ino: Some(PTMX_INO) }));
        }
        let next = pty::nodes().into_iter().map(|n| n.index as u64 + 3).find(|&pos| pos >= from);
        Ok(next.map(|pos| Entry { pos, name: (pos - 3).to_string().into_bytes(), kind, ino: Some(pos) }))
    }
}

struct Ptmx(Shared);

impl Node for Ptmx {
    fn kind(&self) -> FileType {
        FileType::CharDev
    }

    fn attr(&self) -> Result<Attr> {
        let state = self.0.lock();
        let attr = Attr { rdev: makedev(TTYAUX_MAJOR, 2), ..Attr::root(state.options.ptmxmode) };
        Ok(state.attr(0, attr))
    }

    fn ino(&self) -> Option<u64> {
        Some(PTMX_INO)
    }

    fn setattr(&self, set: &SetAttr) -> Result<()> {
        let live = pty::nodes();
        self.0.lock().change(0, set, &live);
        Ok(())
    }
}

struct Slave {
    pty: PtyNode,
    state: Shared,
}

impl Node for Slave {
    fn kind(&self) -> FileType {
        FileType::CharDev
    }

    fn attr(&self) -> Result<Attr> {
        let state = self.state.lock();
        let options = &state.options;
        let attr = Attr {
            uid: options.uid.unwrap_or(self.pty.uid),
            gid: options.gid.unwrap_or(self.pty.gid),
            rdev: makedev(PTS_MAJOR, self.pty.index as u32),
            ..Attr::root(options.mode)
        };
        Ok(state.attr(self.pty.serial, attr))
    }

    fn ino(&self) -> Option<u64> {
        Some(self.pty.index as u64 + 3)
    }

    fn is_current(&self) -> bool {
        pty::node(self.pty.index).is_some_and(|n| n.serial == self.pty.serial)
    }

    fn setattr(&self, set: &SetAttr) -> Result<()> {
        let live = pty::nodes();
        self.state.lock().change(self.pty.serial, set, &live);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read_and_shown() {
        let options = Options::parse(b"gid=5,mode=620,ptmxmode=666").unwrap();
        assert_eq!(options.show(), ",gid=5,mode=620,ptmxmode=666");
        assert_eq!(Options::parse(b"").unwrap().show(), ",mode=600,ptmxmode=000");
        assert_eq!(Options::parse(b"mode=9"), Err(EINVAL));
        assert_eq!(Options::parse(b"what"), Err(EINVAL));
    }

    #[test]
    fn changes_of_closed_terminals_are_forgotten() {
        let options = Options::parse(b"").unwrap();
        let mut state = State { options, changed: BTreeMap::new() };
        let set = SetAttr { uid: Some(7), ..SetAttr::default() };
        let node = |serial| PtyNode { index: 0, uid: 0, gid: 0, serial };
        state.change(1, &set, &[node(1)]);
        assert_eq!(state.attr(1, Attr::root(0o600)).uid, 7);
        state.change(2, &set, &[node(2)]);
        assert_eq!(state.changed.len(), 1);
    }
}
