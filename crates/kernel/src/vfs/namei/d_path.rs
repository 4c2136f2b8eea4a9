//! From a place back to a path name: getcwd(2), /proc/PID/maps, /proc/PID/fd.

use std::sync::Arc;

use crate::vfs::{Dentry, Path};

/// The name of `path` as seen from `root`: absolute, with " (deleted)" after it if it is gone. What has no name in any
/// directory (a pipe, a socket) shows its own: `pipe:[7]`.
pub fn d_path(path: &Path, root: &Path) -> Vec<u8> {
    if let Some(own) = own_name(&path.dentry) {
        return own;
    }
    let (mut name, _) = build(path, root);
    if path.dentry.is_unhashed() {
        name.extend_from_slice(b" (deleted)");
    }
    name
}

/// The name of `path` from `root` with whether it lies below it: "(unreachable)" is put before it if not. None for a
/// name that is gone.
pub fn d_path_reachable(path: &Path, root: &Path) -> Option<(Vec<u8>, bool)> {
    if path.dentry.is_unhashed() {
        return None;
    }
    let (mut name, reachable) = build(path, root);
    if !reachable {
        name.splice(0..0, *b"(unreachable)");
    }
    Some((name, reachable))
}

fn own_name(dentry: &Arc<Dentry>) -> Option<Vec<u8>> {
    let (name, parent) = dentry.name_and_parent();
    (parent.is_none() && dentry.is_unhashed()).then(|| name.to_vec())
}

fn build(path: &Path, root: &Path) -> (Vec<u8>, bool) {
    let mut parts: Vec<Arc<[u8]>> = Vec::new();
    let mut at = path.clone();
    let reachable = loop {
        if at == *root {
            break true;
        }
        if Arc::ptr_eq(&at.dentry, &at.mnt.root) {
            match at.mnt.parent() {
                Some(below) => at = below,
                // The top of a tree of mounts that isn't the caller's: a chroot left behind, or a detached mount.
                None => break false,
            }
            continue;
        }
        let (name, parent) = at.dentry.name_and_parent();
        let Some(parent) = parent else { break false };
        parts.push(name);
        at.dentry = parent;
    };
    let mut text = Vec::new();
    for part in parts.iter().rev() {
        text.push(b'/');
        text.extend_from_slice(part);
    }
    if text.is_empty() {
        text.push(b'/');
    }
    (text, reachable)
}
