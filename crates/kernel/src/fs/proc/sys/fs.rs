//! /proc/sys/fs.

use std::sync::Arc;

use super::{fixed, number, told};
use crate::event::{epoll, inotify};
use crate::fs::kernfs::{Tree, dir, text};
use crate::ipc::mqueue;
use crate::ipc::pipe::PIPE_MAX_SIZE;
use crate::task::{dumpable, pid};
use crate::vfs::namei::protected;
use crate::vfs::{NR_OPEN, mount};

pub(super) fn tree() -> Arc<Tree> {
    let [queued, instances, watches] = inotify::limits();
    let inotify = dir(
        "inotify",
        [
            fixed("max_queued_events", queued as i64),
            fixed("max_user_instances", instances as i64),
            fixed("max_user_watches", watches as i64),
        ],
    );
    dir(
        "fs",
        [
            inotify,
            dir("mqueue", mqueue::limits::ALL.map(limit)),
            dir("epoll", [fixed("max_user_watches", epoll::max_user_watches() as i64)]),
            fixed("file-max", i64::MAX),
            text("file-nr", || format!("{}\t0\t{}\n", open_files(), i64::MAX)),
            fixed("nr_open", NR_OPEN as i64),
            fixed("mount-max", mount::MOUNT_MAX as i64),
            fixed("pipe-max-size", PIPE_MAX_SIZE as i64),
            told("lease-break-time", || 45),
            number(
                "suid_dumpable",
                || i64::from(dumpable::suid()),
                (0, 2),
                |value| dumpable::set_suid(value as i32),
            ),
            fixed("overflowuid", 65534),
            fixed("overflowgid", 65534),
        ]
        .into_iter()
        .chain(protected::ALL.map(setting)),
    )
}

fn setting(setting: &'static protected::Setting) -> Arc<Tree> {
    let range = (0, i64::from(setting.max));
    number(setting.name, || i64::from(setting.get()), range, |value| setting.set(value as u32))
}

fn limit(limit: &'static mqueue::limits::Limit) -> Arc<Tree> {
    let range = (limit.range.0 as i64, limit.range.1 as i64);
    number(limit.name, || limit.get() as i64, range, |value| limit.set(value as usize))
}

/// Open files of all processes, each counted once.
fn open_files() -> usize {
    let tables: Vec<_> = pid::tasklist().all_tasks().iter().filter_map(|t| t.files().ok()).collect();
    let files: Vec<_> = tables.iter().flat_map(|t| t.list()).map(|(_, file)| file).collect();
    let mut addresses: Vec<usize> = files.iter().map(|f| Arc::as_ptr(f) as usize).collect();
    addresses.sort_unstable();
    addresses.dedup();
    addresses.len()
}
