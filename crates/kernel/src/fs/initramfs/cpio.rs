//! The "new ASCII" cpio format, as in Linux's initramfs buffer format document: magic 070701, or 070702 with sums.

use std::io::Read;

/// Longest name with its zero.
const NAME_MAX: u32 = 4096;
const HEADER: usize = 110;

/// One member of an archive.
#[derive(Debug, PartialEq, Eq)]
pub struct Entry {
    pub name: Vec<u8>,
    pub ino: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub nlink: u32,
    pub mtime: u32,
    pub size: u32,
    pub dev: (u32, u32),
    pub rdev: (u32, u32),
    /// Sum of the data's bytes; none in the format without sums.
    pub sum: Option<u32>,
}

/// Reads an archive from a stream; hostile ones end in an error.
pub struct Reader<R> {
    stream: R,
    /// Bytes since the start of the archive: names and data are padded to multiples of four.
    at: u64,
    /// A byte read ahead by [`Reader::skip_padding`].
    ahead: Option<u8>,
}

impl<R: Read> Reader<R> {
    pub fn new(stream: R) -> Reader<R> {
        Reader { stream, at: 0, ahead: None }
    }

    fn fill(&mut self, buf: &mut [u8]) -> Result<(), String> {
        let mut rest = &mut *buf;
        if let (Some(byte), false) = (self.ahead, rest.is_empty()) {
            self.ahead = None;
            rest[0] = byte;
            rest = &mut rest[1..];
        }
        self.stream.read_exact(rest).map_err(|e| format!("the archive ends early or is damaged: {e}"))?;
        self.at += buf.len() as u64;
        Ok(())
    }

    fn align(&mut self) -> Result<(), String> {
        let mut padding = [0; 3];
        let n = (4 - self.at % 4) % 4;
        self.fill(&mut padding[..n as usize])
    }

    /// Skips zeros between archives. Whether another one follows.
    pub fn skip_padding(&mut self) -> Result<bool, String> {
        let mut byte = [0];
        loop {
            match self.stream.read(&mut byte).map_err(|e| e.to_string())? {
                0 => return Ok(false),
                _ if byte[0] == 0 => {}
                _ => {
                    self.ahead = Some(byte[0]);
                    self.at = 0;
                    return Ok(true);
                }
            }
        }
    }

    /// The next member; none at the trailer. The data of the last one must have been taken.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, String> {
        self.align()?;
        let mut header = [0; HEADER];
        self.fill(&mut header)?;
        let with_sum = match &header[..6] {
            b"070701" => false,
            b"070702" => true,
            _ => return Err("not a cpio header (newc)".to_owned()),
        };
        let mut fields = [0u32; 13];
        for (field, text) in fields.iter_mut().zip(header[6..].chunks_exact(8)) {
            let text = core::str::from_utf8(text).map_err(|_| "damaged cpio header".to_owned())?;
            *field = u32::from_str_radix(text, 16).map_err(|_| "damaged cpio header".to_owned())?;
        }
        let [ino, mode, uid, gid, nlink, mtime, size, major, minor, rmajor, rminor, name_size, sum] = fields;
        if name_size == 0 || name_size > NAME_MAX {
            return Err("a name in the archive is too long".to_owned());
        }
        let mut name = vec![0; name_size as usize];
        self.fill(&mut name)?;
        self.align()?;
        let end = name.iter().position(|&b| b == 0).ok_or("a name in the archive has no end")?;
        name.truncate(end);
        if name == b"TRAILER!!!" {
            return Ok(None);
        }
        let sum = with_sum.then_some(sum);
        let (dev, rdev) = ((major, minor), (rmajor, rminor));
        Ok(Some(Entry { name, ino, mode, uid, gid, nlink, mtime, size, dev, rdev, sum }))
    }

    /// Hands the data of `entry` on, piece by piece, and checks its sum.
    pub fn copy_data(
        &mut self,
        entry: &Entry,
        mut take: impl FnMut(&[u8]) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut left = entry.size as usize;
        let mut buf = vec![0; left.min(64 * 1024)];
        let mut sum = 0u32;
        while left > 0 {
            let n = left.min(buf.len());
            self.fill(&mut buf[..n])?;
            sum = buf[..n].iter().fold(sum, |sum, &b| sum.wrapping_add(u32::from(b)));
            take(&buf[..n])?;
            left -= n;
        }
        match entry.sum {
            Some(expected) if expected != sum => Err("checksum does not match".to_owned()),
            _ => Ok(()),
        }
    }

    /// The data of `entry`, which must not be longer than `max`.
    pub fn read_data(&mut self, entry: &Entry, max: u32) -> Result<Vec<u8>, String> {
        if entry.size > max {
            return Err("data is too long".to_owned());
        }
        let mut data = Vec::new();
        self.copy_data(entry, |piece| {
            data.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(data)
    }

    /// Passes over the data of `entry`.
    pub fn skip_data(&mut self, entry: &Entry) -> Result<(), String> {
        self.copy_data(entry, |_| Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(magic: &str, name: &str, mode: u32, data: &[u8], sum: u32) -> Vec<u8> {
        let mut out = format!(
            "{magic}{:08x}{mode:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{sum:08x}",
            1,
            0,
            0,
            1,
            0,
            data.len(),
            0,
            0,
            0,
            0,
            name.len() + 1
        )
        .into_bytes();
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(4), 0);
        out
    }

    #[test]
    fn members_come_back_with_their_data() {
        let mut archive = member("070701", "etc/motd", 0o100644, b"hello", 0);
        archive.extend(member("070701", "TRAILER!!!", 0, b"", 0));
        let mut reader = Reader::new(&archive[..]);
        let entry = reader.next_entry().unwrap().unwrap();
        assert_eq!((entry.name.as_slice(), entry.mode), (&b"etc/motd"[..], 0o100644));
        assert_eq!(reader.read_data(&entry, 100).unwrap(), b"hello");
        assert_eq!(reader.next_entry().unwrap(), None);
    }

    #[test]
    fn a_wrong_sum_is_an_error() {
        for (sum, good) in [(b'a' as u32 + b'b' as u32, true), (1, false)] {
            let archive = member("070702", "f", 0o100644, b"ab", sum);
            let mut reader = Reader::new(&archive[..]);
            let entry = reader.next_entry().unwrap().unwrap();
            assert_eq!(reader.skip_data(&entry).is_ok(), good);
        }
    }

    #[test]
    fn damage_is_an_error_at_every_cut() {
        let archive = member("070701", "name", 0o100644, b"data", 0);
        for cut in 0..archive.len() {
            let mut reader = Reader::new(&archive[..cut]);
            let outcome = reader.next_entry().and_then(|e| reader.skip_data(&e.unwrap()));
            assert!(outcome.is_err() || cut >= archive.len() - 3, "cut at {cut}");
        }
        let long_name = [b"070701".as_slice(), &[b'f'; 104]].concat();
        assert!(Reader::new(&long_name[..]).next_entry().is_err());
    }
}
