//! POSIX access control lists, acl(5), in the form that getxattr(2) has them: `system.posix_acl_access` and
//! `system.posix_acl_default`.

use abi::Result;
use abi::errno::{EACCES, EINVAL, EOPNOTSUPP};

use crate::task::Cred;
use crate::vfs::Access;

/// The list that decides.
pub const ACCESS: &[u8] = b"system.posix_acl_access";
/// The list that new files of a directory get.
pub const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const HEADER: usize = 4;
const ENTRY: usize = 8;
const UNDEFINED_ID: u32 = u32::MAX;

/// Whom an entry is about; in the order that a list has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Who {
    Owner,
    User(u32),
    Group,
    NamedGroup(u32),
    Mask,
    Other,
}

impl Who {
    fn new(tag: u16, id: u32) -> Option<Who> {
        Some(match tag {
            0x01 => Who::Owner,
            0x02 => Who::User(id),
            0x04 => Who::Group,
            0x08 => Who::NamedGroup(id),
            0x10 => Who::Mask,
            0x20 => Who::Other,
            _ => return None,
        })
    }

    fn encode(self) -> (u16, u32) {
        match self {
            Who::Owner => (0x01, UNDEFINED_ID),
            Who::User(id) => (0x02, id),
            Who::Group => (0x04, UNDEFINED_ID),
            Who::NamedGroup(id) => (0x08, id),
            Who::Mask => (0x10, UNDEFINED_ID),
            Who::Other => (0x20, UNDEFINED_ID),
        }
    }
}

/// A list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acl(Vec<(Who, u32)>);

impl Acl {
    /// Reads an attribute's value. EOPNOTSUPP for another version, EINVAL for a list that makes no sense.
    pub fn decode(value: &[u8]) -> Result<Acl> {
        let version = value.first_chunk().map(|b| u32::from_le_bytes(*b)).ok_or(EINVAL)?;
        if version != VERSION {
            return Err(EOPNOTSUPP);
        }
        let entries = &value[HEADER..];
        if !entries.len().is_multiple_of(ENTRY) {
            return Err(EINVAL);
        }
        let mut list = Vec::with_capacity(entries.len() / ENTRY);
        for e in entries.chunks_exact(ENTRY) {
            let half = |at: usize| u16::from_le_bytes([e[at], e[at + 1]]);
            let id = u32::from_le_bytes([e[4], e[5], e[6], e[7]]);
            let who = Who::new(half(0), id).ok_or(EINVAL)?;
            if half(2) > 7 {
                return Err(EINVAL);
            }
            list.push((who, u32::from(half(2))));
        }
        let acl = Acl(list);
        if acl.is_valid() { Ok(acl) } else { Err(EINVAL) }
    }

    /// As an attribute's value.
    pub fn encode(&self) -> Vec<u8> {
        let mut value = VERSION.to_le_bytes().to_vec();
        for (who, perm) in &self.0 {
            let (tag, id) = who.encode();
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&(*perm as u16).to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        value
    }

    /// One entry each for owner, group and others; with named entries a mask; in order.
    fn is_valid(&self) -> bool {
        let rank = |who: Who| match who {
            Who::Owner => 0,
            Who::User(_) => 1,
            Who::Group => 2,
            Who::NamedGroup(_) => 3,
            Who::Mask => 4,
            Who::Other => 5,
        };
        let count = |r: u32| self.0.iter().filter(|(who, _)| rank(*who) == r).count();
        let named = count(1) + count(3) > 0;
        let masks = count(4);
        self.0.is_sorted_by_key(|(who, _)| rank(*who))
            && [0, 2, 5].iter().all(|r| count(*r) == 1)
            && masks <= 1
            && (!named || masks == 1)
            && !self.0.iter().any(|(who, _)| matches!(who, Who::User(u32::MAX) | Who::NamedGroup(u32::MAX)))
    }

    /// Whether it says no more than the permission bits do.
    pub fn is_trivial(&self) -> bool {
        self.0.len() == 3
    }

    fn perm(&self, wanted: Who) -> Option<u32> {
        self.0.iter().find(|(who, _)| *who == wanted).map(|(_, perm)| *perm)
    }

    fn set(&mut self, wanted: Who, perm: u32) {
        if let Some(entry) = self.0.iter_mut().find(|(who, _)| *who == wanted) {
            entry.1 = perm;
        }
    }

    /// The permission bits that stand for it: the mask in the group's place.
    pub fn mode(&self) -> u32 {
        let group = self.perm(Who::Mask).or(self.perm(Who::Group)).unwrap_or(0);
        self.perm(Who::Owner).unwrap_or(0) << 6 | group << 3 | self.perm(Who::Other).unwrap_or(0)
    }

    /// chmod(2): the list follows the permission bits.
    pub fn chmod(&mut self, mode: u32) {
        let group = if self.perm(Who::Mask).is_some() { Who::Mask } else { Who::Group };
        self.set(Who::Owner, mode >> 6 & 7);
        self.set(group, mode >> 3 & 7);
        self.set(Who::Other, mode & 7);
    }

    /// A new file's list from its directory's default list, and its permission bits: those of `mode` that the list
    /// allows.
    pub fn inherit(mut self, mode: u32) -> (Acl, u32) {
        let group = if self.perm(Who::Mask).is_some() { Who::Mask } else { Who::Group };
        for (who, shift) in [(Who::Owner, 6), (group, 3), (Who::Other, 0)] {
            let perm = self.perm(who).unwrap_or(0) & mode >> shift & 7;
            self.set(who, perm);
        }
        let mode = mode & !0o777 | self.mode();
        (self, mode)
    }

    /// Whether `cred` gets `access` to a file of `uid` and `gid`. EACCES.
    pub fn check(&self, uid: u32, gid: u32, access: Access, cred: &Cred) -> Result<()> {
        let mask = self.perm(Who::Mask).unwrap_or(7);
        let allow = |perm: u32| if perm & access == access { Ok(()) } else { Err(EACCES) };
        if cred.fsuid == uid {
            return allow(self.perm(Who::Owner).unwrap_or(0));
        }
        if let Some(perm) = self.perm(Who::User(cred.fsuid)) {
            return allow(perm & mask);
        }
        let mut in_one = false;
        for (who, perm) in &self.0 {
            let member = match who {
                Who::Group => cred.in_group(gid),
                Who::NamedGroup(group) => cred.in_group(*group),
                _ => false,
            };
            if member {
                in_one = true;
                // One that grants it all is enough; the mask holds for whichever it is.
                if perm & access == access {
                    return allow(perm & mask);
                }
            }
        }
        if in_one { Err(EACCES) } else { allow(self.perm(Who::Other).unwrap_or(0)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&perm.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        value
    }

    const NONE: u32 = u32::MAX;

    #[test]
    fn lists_are_read_strictly() {
        let good = list(&[(1, 6, NONE), (2, 7, 1000), (4, 4, NONE), (0x10, 5, NONE), (0x20, 0, NONE)]);
        let acl = Acl::decode(&good).unwrap();
        assert_eq!(acl.encode(), good);
        assert_eq!(acl.mode(), 0o650);
        assert!(!acl.is_trivial());
        // No mask beside a named entry; two owners; no others; out of order; a bit too many.
        for bad in [
            list(&[(1, 6, NONE), (2, 7, 1000), (4, 4, NONE), (0x20, 0, NONE)]),
            list(&[(1, 6, NONE), (1, 6, NONE), (4, 4, NONE), (0x20, 0, NONE)]),
            list(&[(1, 6, NONE), (4, 4, NONE)]),
            list(&[(4, 4, NONE), (1, 6, NONE), (0x20, 0, NONE)]),
            list(&[(1, 8, NONE), (4, 4, NONE), (0x20, 0, NONE)]),
            good[..good.len() - 1].to_vec(),
        ] {
            assert_eq!(Acl::decode(&bad), Err(EINVAL));
        }
        assert_eq!(Acl::decode(&1u32.to_le_bytes()), Err(EOPNOTSUPP));
        assert_eq!(Acl::decode(&[]), Err(EINVAL));
    }

    #[test]
    fn the_mask_limits_all_but_owner_and_others() {
        let acl = Acl::decode(&list(&[
            (1, 7, NONE),
            (2, 7, 1000),
            (4, 7, NONE),
            (8, 4, 50),
            (0x10, 5, NONE),
            (0x20, 1, NONE),
        ]))
        .unwrap();
        let check = |uid, gid, access| acl.check(500, 500, access, &Cred::user(uid, gid));
        assert_eq!(check(500, 1, 7), Ok(()));
        assert_eq!(check(1000, 1, 5), Ok(()));
        assert_eq!(check(1000, 1, 2), Err(EACCES));
        assert_eq!(check(1001, 500, 5), Ok(()));
        assert_eq!(check(1001, 500, 2), Err(EACCES));
        assert_eq!(check(1001, 50, 4), Ok(()));
        // In a group that doesn't grant it: others do not count.
        assert_eq!(check(1001, 50, 1), Err(EACCES));
        assert_eq!(check(1001, 2, 1), Ok(()));
        assert_eq!(check(1001, 2, 4), Err(EACCES));
    }

    #[test]
    fn new_files_get_what_both_list_and_mode_allow() {
        let default =
            Acl::decode(&list(&[(1, 7, NONE), (2, 7, 9), (4, 7, NONE), (0x10, 7, NONE), (0x20, 5, NONE)]))
                .unwrap();
        let (acl, mode) = default.inherit(0o100_664);
        assert_eq!(mode, 0o100_664);
        assert_eq!(
            (acl.perm(Who::Mask), acl.perm(Who::Group), acl.perm(Who::Other)),
            (Some(6), Some(7), Some(4))
        );
        let mut acl = acl;
        acl.chmod(0o700);
        assert_eq!((acl.mode(), acl.perm(Who::Group)), (0o700, Some(7)));
    }
}
