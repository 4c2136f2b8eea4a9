//! Extended attributes: in the inode's spare space, else in a block (`block`). Values in inodes of their own (ea_inode) are
//! read and released, not made.

mod acl;
pub(crate) mod block;
mod entries;

use crate::features::Compat;
use crate::inode::{Inode, InodeState};
use crate::layout::inode::InodeFlags;
use crate::layout::xattr::XATTR_MAGIC;
use crate::{Filesystem, Handle, Result, orphan};
use abi::errno::{E2BIG, EEXIST, EINVAL, ENODATA, ENOSPC, EOPNOTSUPP, ERANGE};
use entries::{Attr, Value};
use std::sync::atomic::Ordering;

/// `e_name_index` and the prefix it stands for. An exact name has no rest.
const NAMESPACES: &[(u8, &[u8], bool)] = &[
    (1, b"user.", false),
    (2, b"system.posix_acl_access", true),
    (3, b"system.posix_acl_default", true),
    (4, b"trusted.", false),
    (6, b"security.", false),
];

/// The largest value, as for every file system.
const VALUE_MAX: usize = 65536;
/// Credits of a change: the inode, and the block's.
const CREDITS: usize = 12;

bitflags::bitflags! {
    /// setxattr(2)'s flags.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub struct XattrFlags: u32 {
        /// `EEXIST` if there is one.
        const CREATE = 1;
        /// `ENODATA` if there is none.
        const REPLACE = 2;
    }
}

fn is_acl(index: u8) -> bool {
    index == 2 || index == 3
}

/// Namespace and rest of a full name.
fn split<'a>(fs: &Filesystem, name: &'a [u8]) -> Result<(u8, &'a [u8])> {
    let options = fs.options.read();
    for &(index, prefix, exact) in NAMESPACES {
        let Some(rest) = name.strip_prefix(prefix) else { continue };
        if exact != rest.is_empty() {
            return Err(if exact { EOPNOTSUPP } else { EINVAL });
        }
        if index == 1 && !options.user_xattr || is_acl(index) && !options.acl {
            return Err(EOPNOTSUPP);
        }
        return if rest.len() > 255 { Err(ERANGE) } else { Ok((index, rest)) };
    }
    Err(EOPNOTSUPP)
}

/// The attributes in the inode's own space.
fn inode_attrs(inode: &Inode, state: &InodeState) -> Result<Vec<Attr>> {
    if state.xattrs.len() < 8 || state.xattrs[..4] != XATTR_MAGIC.to_le_bytes() {
        return Ok(Vec::new());
    }
    entries::parse(&state.xattrs, 4, 4)
        .map_err(|_| inode.fs.corrupted("inode xattrs", inode.ino, 0, format_args!("bad entry")))
}

/// Puts attributes into the inode's own space.
fn set_inode_attrs(state: &mut InodeState, attrs: &[Attr]) -> Result<()> {
    if state.xattrs.len() < 8 {
        return if attrs.is_empty() { Ok(()) } else { Err(ENOSPC) };
    }
    if attrs.is_empty() {
        state.xattrs.fill(0);
        return Ok(());
    }
    entries::write(&mut state.xattrs, 4, 4, attrs)?;
    state.xattrs[..4].copy_from_slice(&XATTR_MAGIC.to_le_bytes());
    Ok(())
}

/// The value of attribute (`index`, `name`) in the inode's own space (`state.xattrs`).
pub(crate) fn inode_get(
    inode: &Inode,
    state: &InodeState,
    index: u8,
    name: &[u8],
) -> Result<Option<Vec<u8>>> {
    let found = inode_attrs(inode, state)?.into_iter().find(|attr| attr.is(index, name));
    found.map(|attr| load(inode, attr.value)).transpose()
}

/// Sets or removes it, in the inode's own space only: ENOSPC if it doesn't fit. The caller stores the inode.
pub(crate) fn inode_set(
    inode: &Inode,
    state: &mut InodeState,
    index: u8,
    name: &[u8],
    value: Option<&[u8]>,
) -> Result<()> {
    let mut attrs = inode_attrs(inode, state)?;
    attrs.retain(|attr| !attr.is(index, name));
    if let Some(value) = value {
        attrs.push(Attr { index, name: name.to_vec(), value: Value::Here(value.to_vec()) });
    }
    set_inode_attrs(state, &attrs)
}

/// The bytes of a value.
fn load(inode: &Inode, value: Value) -> Result<Vec<u8>> {
    let (ino, len) = match value {
        Value::Here(bytes) => return Ok(bytes),
        Value::Inode { ino, len, .. } => (ino, len),
    };
    let holder = value_inode(inode, ino)?;
    if len as usize > VALUE_MAX || holder.state.read().size < u64::from(len) {
        return Err(inode.fs.corrupted("xattr inode", ino, 0, format_args!("bad length {len}")));
    }
    let mut bytes = vec![0; len as usize];
    holder.read_at(0, &mut bytes)?;
    Ok(bytes)
}

fn value_inode(inode: &Inode, ino: u32) -> Result<std::sync::Arc<Inode>> {
    if ino == inode.ino {
        return Err(inode.fs.corrupted("xattr inode", ino, 0, format_args!("is its own attribute")));
    }
    let holder = inode.fs.load_inode(ino, false)?;
    if !holder.state.read().flags.contains(InodeFlags::EA_INODE) {
        return Err(inode.fs.corrupted("xattr inode", ino, 0, format_args!("not an attribute's value")));
    }
    Ok(holder)
}

/// `inode` has no use for a value in an inode of its own any more (one credit, six for the last user). The count is in
/// `i_ctime` (high half) and `i_version` (low); the value's blocks were counted among those of each user.
fn release_value(inode: &Inode, user: &mut InodeState, handle: &mut Handle, value: &Value) -> Result<()> {
    let Value::Inode { ino, len, .. } = value else { return Ok(()) };
    let blocks = inode.fs.blocks_for(u64::from(*len)) << (inode.fs.geometry.block_bits - 9);
    user.blocks = user.blocks.saturating_sub(blocks);
    let holder = value_inode(inode, *ino)?;
    let mut state = holder.state.write();
    let count = (state.ctime.tv_sec as u64) << 32 | state.version & 0xffff_ffff;
    let count = count.saturating_sub(1);
    state.ctime.tv_sec = (count >> 32) as i64;
    state.version = state.version & !0xffff_ffff | count & 0xffff_ffff;
    if count == 0 {
        state.links = 0;
        orphan::add(&holder, &mut state, handle)?;
    }
    let stored = holder.store(&state, handle);
    drop(state);
    // Deleting it takes a handle of its own: later.
    inode.fs.xattr_dying.lock().push(holder);
    stored
}

/// Drops everything outside the inode (block reference, attribute inodes) when an inode is deleted.
pub(crate) fn release(inode: &Inode, state: &mut InodeState, handle: &mut Handle) -> Result<()> {
    if state.file_acl != 0 {
        // Values of a shared block have one user for the block.
        for attr in block::read(inode, state)? {
            release_value(inode, state, handle, &attr.value)?;
        }
    }
    for attr in inode_attrs(inode, state)? {
        release_value(inode, state, handle, &attr.value)?;
    }
    block::release(inode, state, handle)
}

/// Says in the superblock that there are attributes (one credit).
fn note_feature(fs: &Filesystem, handle: &mut Handle) -> Result<()> {
    let ext_attr = Compat::EXT_ATTR.bits();
    let has = |bits: u32| bits & ext_attr != 0;
    if has(fs.geometry.features.compat.bits()) || fs.xattr_blocks.noted.swap(true, Ordering::Relaxed) {
        return Ok(());
    }
    fs.update_super(handle, |raw| raw.feature_compat.set(raw.feature_compat.get() | ext_attr))
}

/// Deletes values whose last user is gone. The caller holds no handle and no inode.
pub(crate) fn reap(fs: &Filesystem) {
    let dying = std::mem::take(&mut *fs.xattr_dying.lock());
    drop(dying);
}

impl Inode {
    /// getxattr(2): the value, ACLs in user space's form.
    ///
    /// # Errors
    /// `ENODATA`, `EOPNOTSUPP` (no such namespace, or switched off), `EINVAL`, `ERANGE` (bad names), `EUCLEAN`.
    pub fn xattr_get(&self, name: &[u8]) -> Result<Vec<u8>> {
        let (index, rest) = split(&self.fs, name)?;
        let state = self.state.read();
        let mut attrs = inode_attrs(self, &state)?;
        if !attrs.iter().any(|attr| attr.is(index, rest)) {
            attrs = block::read(self, &state)?;
        }
        let attr = attrs.into_iter().find(|attr| attr.is(index, rest)).ok_or(ENODATA)?;
        drop(state);
        let value = load(self, attr.value)?;
        if is_acl(index) { acl::from_disk(&value) } else { Ok(value) }
    }

    /// setxattr(2). For an access ACL, changing the mode to match is the caller's.
    ///
    /// # Errors
    /// `EEXIST`, `ENODATA` by `flags`; `EOPNOTSUPP`, `EINVAL`, `ERANGE`; `E2BIG`; `ENOSPC` (also: all of the inode's
    /// attributes must fit into a block); `EROFS`.
    pub fn xattr_set(&self, name: &[u8], value: &[u8], flags: XattrFlags) -> Result<()> {
        self.xattr_change(name, Some(value), flags)
    }

    /// removexattr(2).
    ///
    /// # Errors
    /// `ENODATA`; as [`Inode::xattr_set`].
    pub fn xattr_remove(&self, name: &[u8]) -> Result<()> {
        self.xattr_change(name, None, XattrFlags::REPLACE)
    }

    /// listxattr(2): full names. Which of them the caller of the system call may see is not known here.
    ///
    /// # Errors
    /// `EUCLEAN`, `EBADMSG`, `EIO`.
    pub fn xattr_list(&self) -> Result<Vec<Vec<u8>>> {
        let state = self.state.read();
        let mut attrs = inode_attrs(self, &state)?;
        attrs.extend(block::read(self, &state)?);
        let options = self.fs.options.read();
        let visible = |index: u8| (index != 1 || options.user_xattr) && (!is_acl(index) || options.acl);
        Ok(attrs
            .iter()
            .filter_map(|attr| {
                let (_, prefix, _) = NAMESPACES.iter().find(|space| space.0 == attr.index)?;
                visible(attr.index).then(|| [prefix, &attr.name[..]].concat())
            })
            .collect())
    }

    fn xattr_change(&self, name: &[u8], value: Option<&[u8]>, flags: XattrFlags) -> Result<()> {
        let (index, rest) = split(&self.fs, name)?;
        let value = match value {
            Some(value) if value.len() > VALUE_MAX => return Err(E2BIG),
            Some(value) if is_acl(index) => Some(acl::to_disk(value)?),
            value => value.map(<[u8]>::to_vec),
        };
        self.fs.retry_enospc(|| self.xattr_try_change(index, rest, value.as_deref(), flags))?;
        reap(&self.fs);
        Ok(())
    }

    fn xattr_try_change(
        &self,
        index: u8,
        name: &[u8],
        value: Option<&[u8]>,
        flags: XattrFlags,
    ) -> Result<()> {
        let mut state = self.state.write();
        let state = &mut *state;
        let (mut own, mut shared) = (inode_attrs(self, state)?, block::read(self, state)?);
        let place = |attrs: &[Attr]| attrs.iter().position(|attr| attr.is(index, name));
        let old = match (place(&own), place(&shared)) {
            (Some(at), _) => Some(own.remove(at)),
            (None, Some(at)) => Some(shared.remove(at)),
            (None, None) => None,
        };
        match &old {
            Some(_) if flags.contains(XattrFlags::CREATE) => return Err(EEXIST),
            None if flags.contains(XattrFlags::REPLACE) => return Err(ENODATA),
            _ => {}
        }
        let before = (state.xattrs.clone(), state.file_acl);
        let new = value.map(|value| Attr { index, name: name.to_vec(), value: Value::Here(value.to_vec()) });
        let mut handle = self.fs.begin(CREDITS)?;
        let result = (|| {
            if let Some(new) = new {
                own.push(new);
                if set_inode_attrs(state, &own).is_err()
                    && let Some(new) = own.pop()
                {
                    set_inode_attrs(state, &own)?;
                    shared.push(new);
                }
            } else {
                set_inode_attrs(state, &own)?;
            }
            block::write(self, state, &mut handle, &shared)?;
            note_feature(&self.fs, &mut handle)?;
            old.as_ref().map_or(Ok(()), |old| release_value(self, state, &mut handle, &old.value))
        })();
        if result.is_err() && state.file_acl == before.1 {
            state.xattrs = before.0;
            return result;
        }
        state.touch(self.fs.log.now());
        let stored = self.store(state, &mut handle);
        self.data.note(handle.tid(), false);
        result.and(stored)
    }
}
