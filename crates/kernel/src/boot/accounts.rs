//! The password files of a copy-on-write view of the host, where the host's are hidden from its ordinary users.
//!
//! Programs that ask for an account's state (su, useradd, a package's scripts) fail without them, root or not. So the
//! guest gets files of the same names that say of every account of /etc/passwd and /etc/group: no password fits. See
//! shadow(5) and gshadow(5).

use abi::Result;
use abi::errno::EACCES;
use abi::fcntl::OpenFlags;

use super::files;
use crate::vfs::namei::{LookupFlags, path_at};
use crate::vfs::{Fd, FileType, IovSource};

/// Longest account file that is read, bytes.
const MAX: usize = 1 << 20;

/// Makes the files that cannot be read anew. What fails is only missing: the machine boots all the same.
pub(super) fn complete() {
    for (hidden, public, line) in [
        ("/etc/shadow", "/etc/passwd", shadow_line as fn(&[u8]) -> Option<Vec<u8>>),
        ("/etc/gshadow", "/etc/group", gshadow_line),
    ] {
        let unreadable = matches!(files::open_file(hidden.as_bytes(), OpenFlags::RDONLY, 0), Err(EACCES));
        if unreadable && let Err(errno) = replace(hidden.as_bytes(), public.as_bytes(), line) {
            crate::pr_warn!("{hidden}: cannot be made: {errno}");
        }
    }
}

fn replace(hidden: &[u8], public: &[u8], line: fn(&[u8]) -> Option<Vec<u8>>) -> Result<()> {
    let accounts = files::open_file(public, OpenFlags::RDONLY, 0)?;
    let mut text = vec![0; MAX];
    let len = accounts.kernel_read(&mut text, 0)?;
    let lines: Vec<Vec<u8>> = text[..len].split(|&b| b == b'\n').filter_map(line).collect();
    let attr = path_at(Fd::CWD, hidden, LookupFlags::empty())?.inode()?.getattr()?;
    files::remove(hidden, FileType::Regular)?;
    let flags = OpenFlags::WRONLY | OpenFlags::CREAT | OpenFlags::EXCL;
    let file = files::open_file(hidden, flags, 0o600)?;
    file.write(&mut IovSource::kernel(&lines.concat())).map(drop)?;
    files::set_attr(hidden, Some(attr.mode & 0o7777), attr.uid, attr.gid, attr.mtime.tv_sec)
}

/// `name:*:::::::` of a line of /etc/passwd; none of one that is no account.
fn shadow_line(account: &[u8]) -> Option<Vec<u8>> {
    let name = account.split(|&b| b == b':').next()?;
    plain(name).then(|| [name, b":*:::::::\n"].concat())
}

/// `name:*::members` of a line of /etc/group.
fn gshadow_line(group: &[u8]) -> Option<Vec<u8>> {
    let mut fields = group.split(|&b| b == b':');
    let (name, members) = (fields.next()?, fields.nth(2).unwrap_or_default());
    plain(name).then(|| [name, b":*::", members, b"\n"].concat())
}

/// Neither nothing, nor a comment, nor a line that stands for another service's accounts (nsswitch's `compat`).
fn plain(name: &[u8]) -> bool {
    name.first().is_some_and(|b| !b"#+-".contains(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_accounts() {
        assert_eq!(shadow_line(b"root:x:0:0:root:/root:/bin/sh").unwrap(), b"root:*:::::::\n");
        assert_eq!(gshadow_line(b"adm:x:4:joe,ann").unwrap(), b"adm:*::joe,ann\n");
        assert_eq!(gshadow_line(b"root:x:0:").unwrap(), b"root:*::\n");
        for odd in [&b""[..], b"+::::::", b"# x", b":x:1:"] {
            assert_eq!((shadow_line(odd), gshadow_line(odd)), (None, None));
        }
    }
}
