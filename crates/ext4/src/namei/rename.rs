//! rename(2) and renameat2(2).

use super::create::new_inode;
use super::{NewInode, RenameFlags, check_name};
use crate::dir::{self, Found};
use crate::inode::{Inode, InodeState, S_IFCHR};
use crate::journal::Handle;
use crate::sync::RwLockWriteGuard;
use crate::{Result, orphan};
use abi::errno::{EEXIST, EINVAL, EISDIR, ENOENT, ENOTDIR, ENOTEMPTY};
use abi::time::Timespec;
use std::sync::Arc;

/// A name is added, another removed; four inodes, a directory's "..", a whiteout, the orphan list.
const RENAME_CREDITS: usize = dir::INSERT_CREDITS + dir::REMOVE_CREDITS + 24;

type Guard<'a> = RwLockWriteGuard<'a, InodeState>;

/// The two directories, locked; they may be the same.
struct Dirs<'a> {
    from: &'a Inode,
    to: &'a Inode,
    from_state: Guard<'a>,
    /// None if it is the same directory.
    to_state: Option<Guard<'a>>,
}

impl<'a> Dirs<'a> {
    fn lock(from: &'a Inode, to: &'a Inode) -> Dirs<'a> {
        if from.ino == to.ino {
            return Dirs { from, to, from_state: from.state.write(), to_state: None };
        }
        if from.ino < to.ino {
            let from_state = from.state.write();
            return Dirs { from, to, from_state, to_state: Some(to.state.write()) };
        }
        let to_state = Some(to.state.write());
        Dirs { from, to, from_state: from.state.write(), to_state }
    }

    fn same(&self) -> bool {
        self.to_state.is_none()
    }

    fn target_dir(&mut self) -> &mut InodeState {
        self.to_state.as_mut().unwrap_or(&mut self.from_state)
    }

    fn store(&mut self, handle: &mut Handle) -> Result<()> {
        self.from.store(&self.from_state, handle)?;
        match &self.to_state {
            Some(state) => self.to.store(state, handle),
            None => Ok(()),
        }
    }
}

/// What is renamed, and what is in its way or swapped with it.
struct Pair<'a> {
    inode: &'a Arc<Inode>,
    found: Found,
    target: Option<(&'a Arc<Inode>, Found)>,
}

impl Inode {
    /// Renames `name` in this directory to `new_name` in `new_dir`. The caller has made sure that no directory moves
    /// below itself. EEXIST, ENOENT, EISDIR, ENOTDIR, ENOTEMPTY, EMLINK, EINVAL, ENOSPC.
    pub fn rename(
        &self,
        name: &[u8],
        new_dir: &Inode,
        new_name: &[u8],
        flags: RenameFlags,
        now: Timespec,
    ) -> Result<()> {
        check_name(name)?;
        check_name(new_name)?;
        let dots = |name: &[u8]| name == b"." || name == b"..";
        if dots(name) || dots(new_name) {
            return Err(EINVAL);
        }
        if flags.contains(RenameFlags::EXCHANGE)
            && flags.intersects(RenameFlags::NOREPLACE | RenameFlags::WHITEOUT)
        {
            return Err(EINVAL);
        }
        self.fs.retry_enospc(|| {
            loop {
                let _renames = (self.ino != new_dir.ino).then(|| self.fs.rename_lock.write());
                match self.try_rename(name, new_dir, new_name, flags, now)? {
                    None => return Ok(()),
                    Some(busy) => drop(busy.state.write()),
                }
            }
        })
    }

    /// Renames, or returns a directory whose lock has to be waited for with no other held.
    fn try_rename(
        &self,
        name: &[u8],
        new_dir: &Inode,
        new_name: &[u8],
        flags: RenameFlags,
        now: Timespec,
    ) -> Result<Option<Arc<Inode>>> {
        // Let go after the handle, whatever happens.
        let (inode, target);
        let mut whiteout = None;
        let mut dirs = Dirs::lock(self, new_dir);
        dirs.from_state.check_dir()?;
        dirs.target_dir().check_dir()?;
        let found = dir::find(self, &dirs.from_state, name)?;
        let there = match dir::find(new_dir, dirs.target_dir(), new_name) {
            Err(ENOENT) if flags.contains(RenameFlags::EXCHANGE) => return Err(ENOENT),
            Err(ENOENT) => None,
            Ok(_) if flags.contains(RenameFlags::NOREPLACE) => return Err(EEXIST),
            found => Some(found?),
        };
        inode = self.entry_inode(found.ino)?;
        target = there.as_ref().map(|found| self.entry_inode(found.ino)).transpose()?;
        if target.as_ref().is_some_and(|target| target.ino == inode.ino) {
            return Ok(None);
        }
        if [self.ino, new_dir.ino].contains(&inode.ino) {
            return Err(EINVAL);
        }
        if let Some(target) = &target {
            if [self.ino, new_dir.ino].contains(&target.ino) {
                return Err(if flags.contains(RenameFlags::EXCHANGE) { EINVAL } else { ENOTEMPTY });
            }
            if !flags.contains(RenameFlags::EXCHANGE) && inode.is_dir() != target.is_dir() {
                return Err(if inode.is_dir() { ENOTDIR } else { EISDIR });
            }
        }
        let (mut state, mut target_state) = match lock_pair(&inode, target.as_ref()) {
            Ok(states) => states,
            Err(busy) => return Ok(Some(busy)),
        };
        if let (Some(target), Some(target_state)) = (&target, &target_state)
            && target.is_dir()
            && !flags.contains(RenameFlags::EXCHANGE)
            && !dir::is_empty(target, target_state)?
        {
            return Err(ENOTEMPTY);
        }
        let gains = |gained: bool, lost: bool| gained && !lost;
        let target_is_dir = target.as_ref().is_some_and(|target| target.is_dir());
        if !dirs.same() {
            if gains(inode.is_dir(), target_is_dir) {
                new_dir.check_subdirs(dirs.target_dir())?;
            }
            if flags.contains(RenameFlags::EXCHANGE) && gains(target_is_dir, inode.is_dir()) {
                self.check_subdirs(&dirs.from_state)?;
            }
        }
        let mut handle = self.fs.begin(RENAME_CREDITS)?;
        self.maybe_sync(&dirs.from_state, &mut handle);
        let pair = Pair { inode: &inode, found, target: target.as_ref().zip(there) };
        let result = match (flags.contains(RenameFlags::EXCHANGE), target_state.as_deref_mut()) {
            (true, Some(target_state)) => {
                exchange(&mut dirs, &pair, &mut state, target_state, &mut handle, now)
            }
            (_, target_state) => {
                let names = (name, new_name, flags.contains(RenameFlags::WHITEOUT));
                replace(&mut dirs, &pair, names, &mut state, target_state, &mut handle, now, &mut whiteout)
            }
        };
        // What was changed in memory, of a failed attempt too, must be what the transaction has.
        dirs.store(&mut handle)?;
        drop((state, target_state, dirs));
        handle.stop()?;
        result.map(|()| None)
    }
}

/// Locks both: files in the order of their numbers, directories only if that needs no waiting.
fn lock_pair<'a>(
    inode: &'a Arc<Inode>,
    target: Option<&'a Arc<Inode>>,
) -> core::result::Result<(Guard<'a>, Option<Guard<'a>>), Arc<Inode>> {
    let lock = |inode: &'a Arc<Inode>| {
        if inode.is_dir() {
            inode.state.try_write().ok_or_else(|| inode.clone())
        } else {
            Ok(inode.state.write())
        }
    };
    let Some(target) = target else { return Ok((lock(inode)?, None)) };
    // A directory is tried for after the file is locked, or else nothing waits under it.
    let inode_first = match (inode.is_dir(), target.is_dir()) {
        (false, false) => inode.ino < target.ino,
        (false, true) => true,
        (true, _) => false,
    };
    if inode_first {
        let state = lock(inode)?;
        return Ok((state, Some(lock(target)?)));
    }
    let target_state = lock(target)?;
    Ok((lock(inode)?, Some(target_state)))
}

/// Swaps two names.
fn exchange(
    dirs: &mut Dirs<'_>,
    pair: &Pair<'_>,
    state: &mut InodeState,
    target_state: &mut InodeState,
    handle: &mut Handle,
    now: Timespec,
) -> Result<()> {
    let Some((target, there)) = &pair.target else { return Err(ENOENT) };
    let (kind, target_kind) = (dir::file_type(state.mode), dir::file_type(target_state.mode));
    let to = dirs.to;
    dir::replace(to, dirs.target_dir(), handle, there, pair.inode.ino, kind)?;
    dir::replace(dirs.from, &mut dirs.from_state, handle, &pair.found, target.ino, target_kind)?;
    if !dirs.same() {
        if pair.inode.is_dir() {
            dir::set_parent(pair.inode, state, handle, dirs.to.ino)?;
        }
        if target.is_dir() {
            dir::set_parent(target, target_state, handle, dirs.from.ino)?;
        }
        if pair.inode.is_dir() && !target.is_dir() {
            dirs.from_state.drop_subdir();
            dirs.target_dir().add_subdir();
        } else if target.is_dir() && !pair.inode.is_dir() {
            dirs.target_dir().drop_subdir();
            dirs.from_state.add_subdir();
        }
    }
    dirs.from_state.touch_entries(now);
    dirs.target_dir().touch_entries(now);
    state.touch(now);
    target_state.touch(now);
    pair.inode.store(state, handle)?;
    target.store(target_state, handle)
}

/// Moves a name, over another if there is one.
#[expect(clippy::too_many_arguments, reason = "everything that a rename touches")]
fn replace(
    dirs: &mut Dirs<'_>,
    pair: &Pair<'_>,
    (name, new_name, leave_whiteout): (&[u8], &[u8], bool),
    state: &mut InodeState,
    target_state: Option<&mut InodeState>,
    handle: &mut Handle,
    now: Timespec,
    whiteout: &mut Option<Arc<Inode>>,
) -> Result<()> {
    let inode = pair.inode;
    let kind = dir::file_type(state.mode);
    let to = dirs.to;
    if leave_whiteout {
        let new = NewInode { mode: S_IFCHR, uid: state.uid, gid: state.gid, rdev: (0, 0), now };
        *whiteout = Some(new_inode(dirs.from, &dirs.from_state, handle, &new)?);
    }
    let added = match &pair.target {
        Some((_, there)) => dir::replace(to, dirs.target_dir(), handle, there, inode.ino, kind),
        None => dir::insert(to, dirs.target_dir(), handle, new_name, inode.ino, kind),
    };
    if let Some(whiteout) = whiteout {
        let mut state = whiteout.state.write();
        if added.is_err() {
            state.links = 0;
            orphan::add(whiteout, &mut state, handle)?;
        }
        whiteout.store_new(&state, handle)?;
    }
    added?;
    // Adding a name may have moved the old one to another block.
    let found = dir::find(dirs.from, &dirs.from_state, name)?;
    match whiteout {
        Some(whiteout) => {
            dir::replace(
                dirs.from,
                &mut dirs.from_state,
                handle,
                &found,
                whiteout.ino,
                dir::file_type(S_IFCHR),
            )?;
        }
        None => dir::remove(dirs.from, &mut dirs.from_state, handle, &found)?,
    }
    if inode.is_dir() {
        if !dirs.same() {
            dir::set_parent(inode, state, handle, dirs.to.ino)?;
        }
        dirs.from_state.drop_subdir();
        if pair.target.is_none() {
            dirs.target_dir().add_subdir();
        }
    }
    dirs.from_state.touch_entries(now);
    dirs.target_dir().touch_entries(now);
    state.touch(now);
    inode.store(state, handle)?;
    if let (Some((target, _)), Some(target_state)) = (&pair.target, target_state) {
        target_state.links = if target.is_dir() { 0 } else { target_state.links.saturating_sub(1) };
        target_state.touch(now);
        if target_state.links == 0 {
            orphan::add(target, target_state, handle)?;
        }
        target.store(target_state, handle)?;
    }
    Ok(())
}
