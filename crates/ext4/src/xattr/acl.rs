//! POSIX ACLs: the form of `system.posix_acl_*` that user space sees (version 2, every entry with an id), and the one on
//! disk (version 1, ids only where they mean something). Pure.

use crate::Result;
use abi::errno::{EINVAL, EUCLEAN};

const DISK_VERSION: u32 = 1;
const USER_VERSION: u32 = 2;
/// ACL_USER and ACL_GROUP: the tags with an id.
const WITH_ID: [u16; 2] = [0x02, 0x08];
/// ACL_USER_OBJ, ACL_GROUP_OBJ, ACL_MASK, ACL_OTHER.
const WITHOUT_ID: [u16; 4] = [0x01, 0x04, 0x10, 0x20];
const UNDEFINED_ID: u32 = u32::MAX;

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

/// From user space's form to the disk's.
///
/// # Errors
/// `EINVAL`.
pub fn to_disk(value: &[u8]) -> Result<Vec<u8>> {
    convert(value, USER_VERSION, DISK_VERSION).ok_or(EINVAL)
}

/// From the disk's form to user space's.
///
/// # Errors
/// `EUCLEAN`.
pub fn from_disk(value: &[u8]) -> Result<Vec<u8>> {
    convert(value, DISK_VERSION, USER_VERSION).ok_or(EUCLEAN)
}

fn convert(value: &[u8], from: u32, to: u32) -> Option<Vec<u8>> {
    if word(value, 0)? != from {
        return None;
    }
    let mut out = to.to_le_bytes().to_vec();
    let mut at = 4;
    while at < value.len() {
        let tag = half(value, at)?;
        let has_id = WITH_ID.contains(&tag);
        if !has_id && !WITHOUT_ID.contains(&tag) || half(value, at + 2)? > 7 {
            return None;
        }
        out.extend_from_slice(&value[at..at + 4]);
        at += 4;
        let id = if has_id || from == USER_VERSION {
            at += 4;
            word(value, at - 4)?
        } else {
            UNDEFINED_ID
        };
        if has_id || to == USER_VERSION {
            out.extend_from_slice(&(if has_id { id } else { UNDEFINED_ID }).to_le_bytes());
        }
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways() {
        let mut user = vec![2, 0, 0, 0];
        for (tag, perm, id) in
            [(1u16, 6u16, u32::MAX), (2, 4, 1000), (4, 4, u32::MAX), (0x10, 7, u32::MAX), (0x20, 0, u32::MAX)]
        {
            user.extend(tag.to_le_bytes());
            user.extend(perm.to_le_bytes());
            user.extend(id.to_le_bytes());
        }
        let disk = to_disk(&user).unwrap();
        assert_eq!(disk.len(), 4 + 4 * 4 + 8);
        assert_eq!(from_disk(&disk).unwrap(), user);
        assert_eq!(to_disk(&disk), Err(EINVAL));
        assert_eq!(to_disk(&user[..user.len() - 1]), Err(EINVAL));
        user[6] = 9;
        assert_eq!(to_disk(&user), Err(EINVAL));
    }
}
