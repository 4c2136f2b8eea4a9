//! Landlock, landlock(7): which files of the host this program may still open.

use std::ffi::CString;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::sys::{check, check_fd};
use abi::Result;

const WRITE_FILE: u64 = 1 << 1;
const READ_FILE: u64 = 1 << 2;
const READ_DIR: u64 = 1 << 3;
/// All of making and removing names, REMOVE_DIR to MAKE_SYM.
const NAMES: u64 = 0x1ff << 4;
const REFER: u64 = 1 << 13;
const TRUNCATE: u64 = 1 << 14;
const IOCTL_DEV: u64 = 1 << 15;
/// The rights that a file, not a folder, can be given.
const OF_FILES: u64 = WRITE_FILE | READ_FILE | TRUNCATE | IOCTL_DEV;

const BIND_TCP: u64 = 1;
const CONNECT_TCP: u64 = 2;
const SCOPE_ABSTRACT_UNIX_SOCKET: u64 = 1;
const RULE_PATH_BENEATH: i32 = 1;
const CREATE_RULESET_VERSION: u32 = 1;

/// Folders at the host's root that no guest is shown by a view of all of it: devices, and what the host's kernel tells
/// or is told through files.
const APART: &[&str] = &["dev", "proc", "sys"];

/// What stays open to this program.
#[derive(Clone, Debug, Default)]
pub struct Policy {
    /// Folders that are read.
    pub read: Vec<PathBuf>,
    /// Folders and files that are written to as well.
    pub write: Vec<PathBuf>,
    /// Internet sockets.
    pub network: bool,
}

/// Rules, ready to be entered.
#[derive(Debug)]
pub struct Ruleset(OwnedFd);

#[repr(C)]
struct Attr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

#[repr(C, packed)]
struct PathBeneath {
    allowed_access: u64,
    parent_fd: i32,
}

/// The version of the interface that the host has; 0 for none.
fn version() -> i64 {
    // SAFETY: with this flag the call takes no memory.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<Attr>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    version.max(0)
}

impl Ruleset {
    /// The rules of a policy.
    ///
    /// # Errors
    /// Why there can be none on this host, in words.
    pub fn new(policy: &Policy) -> std::result::Result<Ruleset, String> {
        let version = version();
        if version == 0 {
            return Err("the host has no Landlock".into());
        }
        if version < 2 && !policy.write.is_empty() {
            // Without the right to REFER nothing could be renamed to another folder.
            return Err("the host's Landlock is too old for folders that are written to".into());
        }
        let handled = handled(version);
        let attr = Attr {
            handled_access_fs: handled,
            handled_access_net: if version >= 4 && !policy.network { BIND_TCP | CONNECT_TCP } else { 0 },
            scoped: if version >= 6 { SCOPE_ABSTRACT_UNIX_SOCKET } else { 0 },
        };
        let size = match version {
            ..4 => 8,
            4..6 => 16,
            _ => size_of::<Attr>(),
        };
        // SAFETY: `attr` is readable for `size`.
        let fd = unsafe { libc::syscall(libc::SYS_landlock_create_ruleset, &raw const attr, size, 0) };
        let rules = Ruleset(check_fd(fd).map_err(|e| format!("landlock_create_ruleset: {e}"))?);
        let add = |path: &Path, access| match rules.allow(path, access & handled) {
            // What isn't there can't be opened either.
            Ok(()) | Err(abi::errno::ENOENT) => Ok(()),
            Err(e) => Err(format!("Landlock rule for {}: {e}", path.display())),
        };
        add(Path::new("/proc"), READ_FILE | READ_DIR)?;
        // Programs of the guest open /dev/stdin and the like anew.
        for fd in 0..3 {
            // A pipe has no place in the file system, and needs no rule.
            let _ = rules.allow(Path::new(&format!("/proc/self/fd/{fd}")), OF_FILES & handled);
        }
        for path in &policy.read {
            each_shown(path, |path, whole| add(path, if whole { READ_FILE | READ_DIR } else { READ_DIR }))?;
        }
        let all = OF_FILES | READ_DIR | NAMES | REFER;
        for path in &policy.write {
            each_shown(path, |path, whole| add(path, if whole { all } else { READ_DIR | NAMES | REFER }))?;
        }
        Ok(rules)
    }

    fn allow(&self, path: &Path, access: u64) -> Result<()> {
        let path = CString::new(path.as_os_str().as_bytes()).map_err(|_| abi::errno::EINVAL)?;
        // SAFETY: `path` is a C string.
        let fd = check_fd(unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) }.into())?;
        let is_dir = std::fs::File::from(fd.try_clone().map_err(|_| abi::errno::EMFILE)?)
            .metadata()
            .is_ok_and(|meta| meta.is_dir());
        let allowed_access = if is_dir { access } else { access & OF_FILES };
        if allowed_access == 0 {
            return Ok(());
        }
        let rule = PathBeneath { allowed_access, parent_fd: fd.as_raw_fd() };
        // SAFETY: `rule` outlives the call.
        check(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                self.0.as_raw_fd(),
                RULE_PATH_BENEATH,
                &raw const rule,
                0,
            )
        })
        .map(drop)
    }

    /// The calling thread, and those it starts, keep to the rules from now on.
    pub fn enter(&self) -> Result<()> {
        no_new_privs()?;
        // SAFETY: no memory is passed.
        check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, self.0.as_raw_fd(), 0) }).map(drop)
    }
}

/// Gives up what a program with the set-user-ID bit would give: both mechanisms ask for that.
pub(super) fn no_new_privs() -> Result<()> {
    // SAFETY: no memory is passed.
    check(unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) }.into()).map(drop)
}

/// The rights that are ours to give. Execution is not among them: what runs in stubs is mapped there, and seccomp sees to
/// it that this program executes nothing.
fn handled(version: i64) -> u64 {
    let mut handled = WRITE_FILE | READ_FILE | READ_DIR | NAMES;
    for (since, right) in [(2, REFER), (3, TRUNCATE), (5, IOCTL_DEV)] {
        if version >= since {
            handled |= right;
        }
    }
    handled
}

/// Calls `add` for a folder that is shown; for the host's root for its entries but those apart, and for itself as what
/// is not `whole`.
fn each_shown(
    path: &Path,
    mut add: impl FnMut(&Path, bool) -> std::result::Result<(), String>,
) -> std::result::Result<(), String> {
    let path = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    if path != Path::new("/") {
        return add(&path, true);
    }
    add(&path, false)?;
    let entries = std::fs::read_dir(&path).map_err(|e| format!("/: {e}"))?;
    for entry in entries.flatten() {
        let apart = APART.iter().any(|name| entry.file_name() == *name);
        // Links lead to what has a rule of its own.
        let link = entry.file_type().is_ok_and(|kind| kind.is_symlink());
        if !apart && !link {
            add(&entry.path(), true)?;
        }
    }
    Ok(())
}
