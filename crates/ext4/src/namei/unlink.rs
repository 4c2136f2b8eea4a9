//! Removing names.

use crate::dir;
use crate::inode::Inode;
use crate::{Result, orphan};
use abi::errno::{EINVAL, EISDIR, ENOTDIR, ENOTEMPTY};
use abi::time::Timespec;

/// Directory block, two inodes, orphan list or file.
const UNLINK_CREDITS: usize = dir::REMOVE_CREDITS + 8;

impl Inode {
    /// Removes a name of anything but a directory (EISDIR). Without another name or holder the inode is deleted.
    pub fn unlink(&self, name: &[u8], now: Timespec) -> Result<()> {
        let mut dir_state = self.state.write();
        dir_state.check_dir()?;
        let found = dir::find(self, &dir_state, name)?;
        let inode = self.entry_inode(found.ino)?;
        if inode.is_dir() {
            return Err(EISDIR);
        }
        let mut state = inode.state.write();
        let mut handle = self.fs.begin(UNLINK_CREDITS)?;
        self.maybe_sync(&dir_state, &mut handle);
        dir::remove(self, &mut dir_state, &mut handle, &found)?;
        dir_state.touch_entries(now);
        self.store(&dir_state, &mut handle)?;
        state.links = state.links.saturating_sub(1);
        state.touch(now);
        if state.links == 0 {
            orphan::add(&inode, &mut state, &mut handle)?;
        }
        inode.store(&state, &mut handle)?;
        drop((state, dir_state));
        handle.stop()
    }

    /// Removes an empty directory. ENOTDIR, ENOTEMPTY, EINVAL (".").
    pub fn rmdir(&self, name: &[u8], now: Timespec) -> Result<()> {
        match name {
            b"." => return Err(EINVAL),
            b".." => return Err(ENOTEMPTY),
            _ => {}
        }
        loop {
            let mut dir_state = self.state.write();
            dir_state.check_dir()?;
            let found = dir::find(self, &dir_state, name)?;
            let inode = self.entry_inode(found.ino)?;
            if !inode.is_dir() {
                return Err(ENOTDIR);
            }
            let Some(mut state) = inode.state.try_write() else {
                drop(dir_state);
                drop(inode.state.write());
                continue;
            };
            if !dir::is_empty(&inode, &state)? {
                return Err(ENOTEMPTY);
            }
            let mut handle = self.fs.begin(UNLINK_CREDITS)?;
            self.maybe_sync(&dir_state, &mut handle);
            dir::remove(self, &mut dir_state, &mut handle, &found)?;
            dir_state.touch_entries(now);
            dir_state.drop_subdir();
            self.store(&dir_state, &mut handle)?;
            state.links = 0;
            state.touch(now);
            orphan::add(&inode, &mut state, &mut handle)?;
            inode.store(&state, &mut handle)?;
            drop((state, dir_state));
            return handle.stop();
        }
    }
}
