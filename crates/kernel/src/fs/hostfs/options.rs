//! Mount options of hostfs.

use abi::Result;
use abi::errno::EINVAL;

/// What may be remembered of the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Cache {
    /// Nothing that can change: the host is asked again at every path walk.
    #[default]
    None,
    /// Names and attributes: for a tree that doesn't change while it is mounted.
    Always,
}

/// How a host directory is mounted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// `cache=none`, `cache=always`
    pub cache: Cache,
    /// `append`: files can be made and can grow; nothing is removed, renamed or cut.
    pub append: bool,
}

impl Options {
    /// The option string of mount(2), and the directory that it names: UML's forms `/path` and `hostfs=/path`.
    /// A path takes the rest of the string, commas and all, unless an option follows. EINVAL.
    pub(super) fn parse(data: &[u8]) -> Result<(Options, Option<Vec<u8>>)> {
        let mut options = Options::default();
        let mut path: Option<Vec<u8>> = None;
        for word in data.split(|&b| b == b',') {
            match word {
                b"" | b"rw" | b"ro" => {}
                b"append" => options.append = true,
                b"cache=always" => options.cache = Cache::Always,
                b"cache=none" => options.cache = Cache::None,
                _ if word.starts_with(b"/") && path.is_none() => path = Some(word.to_vec()),
                _ if word.starts_with(b"hostfs=") && path.is_none() => path = Some(word[7..].to_vec()),
                _ => match &mut path {
                    Some(path) => {
                        path.push(b',');
                        path.extend_from_slice(word);
                    }
                    None => return Err(EINVAL),
                },
            }
        }
        Ok((options, path.filter(|p| !p.is_empty())))
    }

    /// As /proc/mounts shows them.
    pub(super) fn show(&self) -> String {
        let mut shown = String::new();
        if self.append {
            shown.push_str(",append");
        }
        if self.cache == Cache::Always {
            shown.push_str(",cache=always");
        }
        shown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_the_path() {
        let path = |data: &[u8]| Options::parse(data).map(|(_, path)| path);
        assert_eq!(path(b"/srv/x"), Ok(Some(b"/srv/x".to_vec())));
        assert_eq!(path(b"hostfs=/srv/x,append"), Ok(Some(b"/srv/x".to_vec())));
        assert_eq!(path(b"/srv/a,b"), Ok(Some(b"/srv/a,b".to_vec())));
        assert_eq!(path(b""), Ok(None));
        assert_eq!(path(b"bogus"), Err(EINVAL));
        let (options, _) = Options::parse(b"cache=always,append").unwrap();
        assert_eq!(options, Options { cache: Cache::Always, append: true });
        assert_eq!(options.show(), ",append,cache=always");
    }
}
