//! /proc/net: tables of sockets and interfaces.
//!
//! A protocol shows its table under a name that it registers with [`register`]; what isn't there has no file, so that
//! programs don't take an empty table for an answer.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use crate::fs::kernfs::{Node, Tree, dir, text};
use crate::net::unix::proc_line;
use crate::task::pid;

fn tree() -> &'static Arc<Tree> {
    static TREE: OnceLock<Arc<Tree>> = OnceLock::new();
    TREE.get_or_init(|| dir("net", [text("unix", unix)]))
}

/// Every open socket of AF_UNIX, once.
fn unix() -> Vec<u8> {
    let tables: Vec<_> = pid::tasklist().all_tasks().iter().filter_map(|t| t.files().ok()).collect();
    let files = tables.iter().flat_map(|t| t.list()).map(|(_, file)| (file.inode().ino, file));
    let mut by_ino = BTreeMap::new();
    for (ino, file) in files {
        if let Some(line) = proc_line(&file) {
            by_ino.entry(ino).or_insert(line);
        }
    }
    let mut out = b"Num       RefCount Protocol Flags    Type St Inode Path\n".to_vec();
    by_ino.into_values().for_each(|line| out.extend(line));
    out
}

/// Adds a table: /proc/net/NAME.
pub fn register(name: &str, show: impl Fn() -> String + Send + Sync + 'static) {
    let added = tree().add(text(name, show));
    debug_assert!(added.is_ok());
}

/// The directory in each process's.
pub(super) fn dir_node() -> Box<dyn Node> {
    tree().clone().into_node()
}
