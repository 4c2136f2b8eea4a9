//! /proc/kmsg: the kernel log as syslogd reads it, each message once. It shares its place with syslog(2).

use std::sync::Arc;

use abi::Result;
use abi::cred::CAP_SYSLOG;
use abi::errno::EPERM;
use abi::fcntl::OpenFlags;

use crate::fs::kernfs::{Attr, Node, Tree, node};
use crate::printk;
use crate::sync::PollTable;
use crate::task::{capable, syslog};
use crate::vfs::{File, FileOps, FileType, IovDest, PollEvents};

pub(super) fn file() -> Arc<Tree> {
    node("kmsg", || Box::new(KmsgNode))
}

struct KmsgNode;

impl Node for KmsgNode {
    fn kind(&self) -> FileType {
        FileType::Regular
    }

    fn attr(&self) -> Result<Attr> {
        Ok(Attr::root(0o400))
    }

    fn open(&self, _: OpenFlags) -> Result<Option<Box<dyn FileOps>>> {
        if !capable(CAP_SYSLOG) {
            return Err(EPERM);
        }
        Ok(Some(Box::new(Kmsg)))
    }
}

struct Kmsg;

impl FileOps for Kmsg {
    fn read(&self, _: &File, dest: &mut IovDest<'_>, _: &mut u64) -> Result<usize> {
        syslog::take_unread(dest)
    }

    fn poll(&self, _: &File, table: &mut PollTable) -> PollEvents {
        table.register(printk::readers());
        if syslog::has_unread() { PollEvents::READABLE } else { PollEvents::empty() }
    }

    fn can_poll(&self, _: &File) -> bool {
        true
    }

    fn is_stream(&self) -> bool {
        true
    }
}
