//! /proc/PID/task: the threads of a process; /proc/PID/task/TID/children.

use std::collections::BTreeSet;

use abi::Result;
use abi::errno::ENOENT;

use super::super::super::kernfs::{Attr, Entry, Node};
use super::super::{number_or_enoent, put};
use super::{Dir, Who};
use crate::task::Process;
use crate::vfs::FileType;

/// /proc/PID/task
pub(super) struct Threads(pub Who);

/// Thread ids in order: those that live, and the first one, which stays until the process is reaped.
fn tids(process: &Process) -> BTreeSet<i32> {
    let mut tids: BTreeSet<i32> = process.threads().iter().map(|t| t.tid()).collect();
    tids.insert(process.tgid);
    tids
}

impl Node for Threads {
    fn kind(&self) -> FileType {
        FileType::Dir
    }

    fn attr(&self) -> Result<Attr> {
        let process = self.0.process().map_err(|_| ENOENT)?;
        // Programs count threads by the links.
        Ok(Attr { nlink: 2 + tids(&process).len() as u32, ..self.0.attr(0o555, true)? })
    }

    fn is_current(&self) -> bool {
        self.0.task().is_ok()
    }

    fn lookup(&self, name: &[u8]) -> Result<Box<dyn Node>> {
        Ok(Box::new(Dir(self.0.thread(number_or_enoent(name)?)?)))
    }

    fn entry_from(&self, from: u64) -> Result<Option<Entry>> {
        let process = self.0.process().map_err(|_| ENOENT)?;
        let from = i32::try_from(from.saturating_sub(2)).unwrap_or(i32::MAX);
        let next = tids(&process).range(from..).next().copied();
        Ok(next.map(|tid| Entry {
            pos: tid as u64 + 2,
            name: tid.to_string().into_bytes(),
            kind: FileType::Dir,
            ino: None,
        }))
    }
}

/// Processes that this thread has made.
pub(super) fn children(who: &Who) -> Result<Vec<u8>> {
    let children = who.process()?.link.lock().children.clone();
    let mut out = String::new();
    for child in children.iter().filter(|c| c.parent_tid() == who.pid) {
        put!(out, "{} ", child.tgid);
    }
    Ok(out.into_bytes())
}
