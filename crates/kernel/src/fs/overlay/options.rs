//! Mount options of overlay.

use abi::Result;
use abi::errno::EINVAL;

/// The options of one mount.
pub(super) struct Options {
    /// Lower directories, the topmost first.
    pub lower: Vec<Vec<u8>>,
    pub upper: Option<Vec<u8>>,
    pub work: Option<Vec<u8>>,
    /// Whether a directory from below may be renamed; else EXDEV, and programs copy.
    pub redirect: bool,
    /// `user.overlay.*` instead of `trusted.overlay.*`: the layers' host lets us set no others.
    pub userxattr: bool,
    /// Nothing is written through.
    pub volatile: bool,
    /// A directory below that the host lets us neither search nor read counts as empty, instead of being EACCES to a
    /// guest's root too. Not an option of mount(2): for the view of the host's own files.
    pub forbidden_is_empty: bool,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            lower: Vec::new(),
            upper: None,
            work: None,
            redirect: true,
            userxattr: false,
            volatile: false,
            forbidden_is_empty: false,
        }
    }
}

/// Splits at `separator`, which a backslash makes an ordinary character; other backslashes stay.
fn split(data: &[u8], separator: u8, unescape: bool) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut bytes = data.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        let last = parts.last_mut().expect("never empty");
        if byte == b'\\' && bytes.peek().is_some() {
            let next = bytes.next().unwrap_or(byte);
            if !unescape {
                last.push(byte);
            }
            last.push(next);
        } else if byte == separator {
            parts.push(Vec::new());
        } else {
            last.push(byte);
        }
    }
    parts
}

fn unescape(name: &[u8]) -> Vec<u8> {
    split(name, 0, true).swap_remove(0)
}

impl Options {
    /// The option string of mount(2). EINVAL for what isn't known.
    pub(super) fn parse(data: &[u8]) -> Result<Options> {
        let mut options = Options::default();
        for word in split(data, b',', false) {
            let (key, value) = match word.iter().position(|&b| b == b'=') {
                Some(at) => (&word[..at], Some(&word[at + 1..])),
                None => (&word[..], None),
            };
            match (key, value) {
                (b"" | b"rw" | b"ro" | b"default_permissions", None) => {}
                (b"lowerdir", Some(value)) => options.lower = split(value, b':', true),
                (b"lowerdir+", Some(value)) => options.lower.push(unescape(value)),
                (b"upperdir", Some(value)) => options.upper = Some(unescape(value)),
                (b"workdir", Some(value)) => options.work = Some(unescape(value)),
                (b"redirect_dir", Some(b"on")) => options.redirect = true,
                (b"redirect_dir", Some(b"off" | b"follow" | b"nofollow")) => options.redirect = false,
                (b"userxattr", None) => options.userxattr = true,
                (b"volatile", None) => options.volatile = true,
                (b"index" | b"metacopy" | b"nfs_export" | b"verity", Some(b"off")) => {}
                (b"xino", Some(b"on" | b"off" | b"auto")) => {}
                (b"uuid", Some(b"on" | b"off" | b"null" | b"auto")) => {}
                _ => return Err(EINVAL),
            }
        }
        if options.lower.iter().any(Vec::is_empty) {
            return Err(EINVAL);
        }
        Ok(options)
    }

    /// The prefix of the attributes that are overlay's own.
    pub(super) fn prefix(&self) -> &'static str {
        if self.userxattr { "user.overlay." } else { "trusted.overlay." }
    }

    /// As /proc/mounts shows them.
    pub(super) fn show(&self) -> String {
        use core::fmt::Write;
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let mut shown = String::new();
        if !self.lower.is_empty() {
            let lower: Vec<_> = self.lower.iter().map(|l| text(l).replace(':', "\\:")).collect();
            let _ = write!(shown, ",lowerdir={}", lower.join(":"));
        }
        if let (Some(upper), Some(work)) = (&self.upper, &self.work) {
            let _ = write!(shown, ",upperdir={},workdir={}", text(upper), text(work));
        }
        if !self.redirect {
            shown.push_str(",redirect_dir=off");
        }
        for (set, name) in [(self.userxattr, ",userxattr"), (self.volatile, ",volatile")] {
            if set {
                shown.push_str(name);
            }
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lowers_and_escapes() {
        let o = Options::parse(b"lowerdir=/a\\:b:/c\\,d,upperdir=/u,workdir=/w,userxattr").unwrap();
        assert_eq!(o.lower, [b"/a:b".to_vec(), b"/c,d".to_vec()]);
        assert_eq!((o.upper.as_deref(), o.work.as_deref()), (Some(&b"/u"[..]), Some(&b"/w"[..])));
        assert_eq!(o.prefix(), "user.overlay.");
        assert_eq!(Options::parse(b"lowerdir=/a::/b").err(), Some(EINVAL));
        assert_eq!(Options::parse(b"lowerdir=/a,metacopy=on").err(), Some(EINVAL));
        assert_eq!(Options::parse(b"lowerdir+=/a,lowerdir+=/b:c").unwrap().lower.len(), 2);
    }
}
