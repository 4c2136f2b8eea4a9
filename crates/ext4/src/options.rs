//! Mount options, see ext4(5).

use crate::Result;
use abi::errno::EINVAL;

/// `data=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum DataMode {
    /// Data is on the device before the transaction that makes it reachable commits.
    #[default]
    Ordered,
    /// No order between data and metadata.
    Writeback,
    /// Data goes through the journal.
    Journal,
}

/// `errors=`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorsMode {
    /// Log and go on.
    Continue,
    /// No more writes.
    RemountRo,
    /// [`Log::panic`](crate::Log::panic).
    Panic,
}

/// Mount options. `Default` is what Linux does without any.
#[derive(Clone, Debug)]
pub struct MountOptions {
    /// `ro`.
    pub read_only: bool,
    /// `data=`.
    pub data: DataMode,
    /// `errors=`; none: what the superblock says.
    pub errors: Option<ErrorsMode>,
    /// `commit=` in seconds; 0 is the default of 5.
    pub commit_interval: u32,
    /// `barrier`: flush the device at commits.
    pub barrier: bool,
    /// `journal_checksum`: checksums in the journal also where metadata has none.
    pub journal_checksum: bool,
    /// `discard`: tell the device about freed blocks after each commit.
    pub discard: bool,
    /// `noload`: mount without replaying the journal (read-only).
    pub noload: bool,
    /// `sync`: every operation waits for its commit.
    pub sync: bool,
    /// `dirsync`.
    pub dirsync: bool,
    /// `user_xattr`.
    pub user_xattr: bool,
    /// `acl`.
    pub acl: bool,
    /// `grpid`: new files have the directory's group.
    pub grpid: bool,
    /// `resuid=`: may use the reserved blocks; none: what the superblock says.
    pub resuid: Option<u32>,
    /// `resgid=`.
    pub resgid: Option<u32>,
    /// `max_dir_size_kb=`, 0 for none.
    pub max_dir_size_kb: u32,
}

impl Default for MountOptions {
    fn default() -> MountOptions {
        MountOptions {
            read_only: false,
            data: DataMode::Ordered,
            errors: None,
            commit_interval: 0,
            barrier: true,
            journal_checksum: false,
            discard: false,
            noload: false,
            sync: false,
            dirsync: false,
            user_xattr: true,
            acl: true,
            grpid: false,
            resuid: None,
            resgid: None,
            max_dir_size_kb: 0,
        }
    }
}

impl MountOptions {
    /// Applies one comma-separated list, as mount(2)'s data has it, on top of `self`. EINVAL for an option that is
    /// unknown or makes no sense.
    pub fn parse(&mut self, list: &str) -> Result<()> {
        list.split(',').filter(|word| !word.is_empty()).try_for_each(|word| self.parse_one(word))
    }

    fn parse_one(&mut self, word: &str) -> Result<()> {
        let (key, value) = match word.split_once('=') {
            Some((key, value)) => (key, Some(value)),
            None => (word, None),
        };
        let number = || value.and_then(|v| v.parse::<u32>().ok()).ok_or(EINVAL);
        match (key, value) {
            ("ro", None) => self.read_only = true,
            ("rw", None) => self.read_only = false,
            ("data", Some("ordered")) => self.data = DataMode::Ordered,
            ("data", Some("writeback")) => self.data = DataMode::Writeback,
            ("data", Some("journal")) => self.data = DataMode::Journal,
            ("errors", Some("continue")) => self.errors = Some(ErrorsMode::Continue),
            ("errors", Some("remount-ro")) => self.errors = Some(ErrorsMode::RemountRo),
            ("errors", Some("panic")) => self.errors = Some(ErrorsMode::Panic),
            ("commit", Some(_)) => self.commit_interval = number()?,
            ("barrier", None | Some("1")) => self.barrier = true,
            ("barrier", Some("0")) | ("nobarrier", None) => self.barrier = false,
            ("journal_checksum", None) => self.journal_checksum = true,
            ("nojournal_checksum", None) => self.journal_checksum = false,
            ("discard", None) => self.discard = true,
            ("nodiscard", None) => self.discard = false,
            ("noload" | "norecovery", None) => self.noload = true,
            ("sync", None) => self.sync = true,
            ("async", None) => self.sync = false,
            ("dirsync", None) => self.dirsync = true,
            ("user_xattr", None) => self.user_xattr = true,
            ("nouser_xattr", None) => self.user_xattr = false,
            ("acl", None) => self.acl = true,
            ("noacl", None) => self.acl = false,
            ("grpid" | "bsdgroups", None) => self.grpid = true,
            ("nogrpid" | "sysvgroups", None) => self.grpid = false,
            ("resuid", Some(_)) => self.resuid = Some(number()?),
            ("resgid", Some(_)) => self.resgid = Some(number()?),
            ("max_dir_size_kb", Some(_)) => self.max_dir_size_kb = number()?,
            // How an implementation goes about its work, with no effect that a user could see here.
            ("delalloc" | "nodelalloc" | "block_validity" | "noblock_validity", None)
            | ("dioread_lock" | "dioread_nolock" | "auto_da_alloc" | "noauto_da_alloc", None)
            | ("init_itable" | "noinit_itable" | "i_version" | "journal_async_commit", None)
            | ("nombcache" | "mblk_io_submit" | "nomblk_io_submit" | "minixdf", None)
            | ("stripe" | "inode_readahead_blks" | "max_batch_time" | "min_batch_time", Some(_))
            | ("journal_ioprio" | "init_itable" | "mb_optimize_scan", Some(_)) => {}
            _ => return Err(EINVAL),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_parsed_strictly() {
        let mut options = MountOptions::default();
        options.parse("ro,errors=panic,commit=30,data=journal,nobarrier,resuid=7").unwrap();
        assert!(options.read_only && !options.barrier);
        assert_eq!(options.errors, Some(ErrorsMode::Panic));
        assert_eq!((options.commit_interval, options.resuid), (30, Some(7)));
        assert_eq!(options.data, DataMode::Journal);
        assert_eq!(options.parse("bogus"), Err(EINVAL));
        assert_eq!(options.parse("commit=x"), Err(EINVAL));
        assert_eq!(options.parse("data=none"), Err(EINVAL));
    }
}
