//! Extended attributes, and the access control lists among them.

use abi::Result;
use abi::errno::{EACCES, EINVAL, ENODATA, EOPNOTSUPP, EPERM};
use ext4::{InodeFlags, XattrFlags};

use super::acl::{self, Acl};
use super::node::{Node, tick};
use crate::task::current;
use crate::vfs::namei::is_owner;
use crate::vfs::{FileType, Inode};

impl Node {
    /// getxattr(2)
    pub(super) fn get_attribute(&self, name: &[u8]) -> Result<Vec<u8>> {
        self.namespace(name)?;
        self.inode.xattr_get(name)
    }

    /// setxattr(2)
    pub(super) fn set_attribute(&self, inode: &Inode, name: &[u8], value: &[u8], flags: u32) -> Result<()> {
        self.namespace(name)?;
        self.changeable()?;
        let flags = XattrFlags::from_bits(flags).ok_or(EINVAL)?;
        if name != acl::ACCESS && name != acl::DEFAULT {
            return self.inode.xattr_set(name, value, flags);
        }
        self.may_set_acl(inode, name)?;
        if value.is_empty() {
            return self.remove_acl(name);
        }
        let list = Acl::decode(value)?;
        if name == acl::DEFAULT {
            self.inode.xattr_set(name, &list.encode(), flags)?;
        } else {
            let stat = self.inode.stat();
            let cred = current().cred();
            let mut mode = u32::from(stat.mode) & 0o7000 | list.mode();
            if !cred.in_group(stat.gid) && !cred.capable(abi::cred::CAP_FSETID) {
                mode &= !abi::stat::S_ISGID;
            }
            if list.is_trivial() {
                // The permission bits say it all.
                self.remove_acl(name).or_else(|e| if e == ENODATA { Ok(()) } else { Err(e) })?;
            } else {
                self.inode.xattr_set(name, &list.encode(), flags)?;
            }
            self.inode.set_attr(&ext4::SetAttr {
                mode: Some(mode as u16),
                ctime: Some(tick()),
                ..ext4::SetAttr::default()
            })?;
        }
        self.forget_acls();
        Ok(())
    }

    /// removexattr(2)
    pub(super) fn remove_attribute(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        self.namespace(name)?;
        self.changeable()?;
        if name == acl::ACCESS || name == acl::DEFAULT {
            self.may_set_acl(inode, name)?;
            return self.remove_acl(name);
        }
        self.inode.xattr_remove(name)
    }

    fn namespace(&self, name: &[u8]) -> Result<()> {
        let options = self.volume.fs.options();
        let known = match name {
            n if n.starts_with(b"user.") => options.user_xattr,
            n if n == acl::ACCESS || n == acl::DEFAULT => options.acl,
            n => n.starts_with(b"trusted.") || n.starts_with(b"security."),
        };
        if known { Ok(()) } else { Err(EOPNOTSUPP) }
    }

    fn changeable(&self) -> Result<()> {
        self.volume.writable()?;
        self.volume.changed();
        let fixed = InodeFlags::IMMUTABLE | InodeFlags::APPEND;
        if self.inode.flags().intersects(fixed) { Err(EPERM) } else { Ok(()) }
    }

    fn may_set_acl(&self, inode: &Inode, name: &[u8]) -> Result<()> {
        if inode.kind == FileType::Symlink {
            return Err(EOPNOTSUPP);
        }
        if name == acl::DEFAULT && !inode.is_dir() {
            return Err(EACCES);
        }
        if is_owner(&inode.getattr()?, &current().cred()) { Ok(()) } else { Err(EPERM) }
    }

    fn remove_acl(&self, name: &[u8]) -> Result<()> {
        let outcome = self.inode.xattr_remove(name);
        self.forget_acls();
        outcome
    }
}
