//! Kernel parameters, bootparam(7): `name=value` words that the kernel knows; the others go to init.

use host::cpu::Spin;

use crate::block::ubd;
use crate::syscall::CallSet;

/// What a kernel command line says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Params {
    /// `mem=`, bytes.
    pub mem: Option<u64>,
    /// `ncpus=`
    pub ncpus: Option<usize>,
    /// `root=`
    pub root: Option<String>,
    /// `rootfstype=`
    pub rootfstype: Option<String>,
    /// `rootflags=`
    pub rootflags: Option<String>,
    /// `ro` is true, `rw` false.
    pub read_only: Option<bool>,
    /// `init=`
    pub init: Option<String>,
    /// `rdinit=`
    pub rdinit: Option<String>,
    /// `initrd=`
    pub initrd: Option<String>,
    /// `umid=`
    pub umid: Option<String>,
    /// `hostname=`
    pub hostname: Option<String>,
    /// `panic=`
    pub panic: Option<i32>,
    /// `quiet`, `debug`, `loglevel=`
    pub loglevel: Option<u8>,
    /// `ruml.trace[=CALLS]`
    pub trace: Option<CallSet>,
    /// `conN=`, `con=`, as given.
    pub consoles: Vec<(Option<u32>, String)>,
    /// `hostfs=`
    pub hostfs: Option<String>,
    /// `spin=`
    pub spin: Spin,
    /// `ruml.fastpath=off`
    pub no_fastpath: bool,
    /// `ruml.lockdown=off`
    pub no_lockdown: bool,
    /// `noreboot`
    pub noreboot: bool,
    /// `uml_dir=`
    pub uml_dir: Option<String>,
    /// `ubdN=`, `ubd=sync`
    pub disks: ubd::Setup,
    /// Words for devices of User-Mode Linux that this version doesn't have: networks, serial lines.
    pub unsupported: Vec<String>,
    /// Words for init's arguments, in order; everything after `--` among them.
    pub init_args: Vec<String>,
    /// `K=V` words for init's environment.
    pub init_env: Vec<String>,
}

impl Params {
    /// Reads the words of a command line.
    ///
    /// # Errors
    /// A known parameter with a value that makes no sense, in words for the user.
    pub fn parse<'a>(words: impl IntoIterator<Item = &'a str>) -> Result<Params, String> {
        let mut params = Params::default();
        let mut words = words.into_iter();
        while let Some(word) = words.next() {
            if word == "--" {
                params.init_args.extend(words.map(str::to_owned));
                break;
            }
            params.word(word)?;
        }
        Ok(params)
    }

    fn word(&mut self, word: &str) -> Result<(), String> {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (word, None),
        };
        let text =
            || value.filter(|v| !v.is_empty()).map(str::to_owned).ok_or(format!("{name}= needs a value"));
        match (name, value) {
            ("spin", Some(v)) => {
                self.spin = Spin::parse(v).ok_or(format!("spin={v}: must be auto, off or microseconds"))?
            }
            ("ruml.fastpath", Some("off")) => self.no_fastpath = true,
            ("ruml.lockdown", Some("off")) => self.no_lockdown = true,
            ("mem", Some(v)) => {
                self.mem = Some(parse_size(v).ok_or(format!("mem={v}: not a size (try mem=512M)"))?)
            }
            ("ncpus", Some(v)) => self.ncpus = Some(number(name, v)?),
            ("root", Some(_)) => self.root = Some(text()?),
            ("rootfstype", Some(_)) => self.rootfstype = Some(text()?),
            ("rootflags", Some(v)) => self.rootflags = Some(v.to_owned()),
            ("ro", None) => self.read_only = Some(true),
            ("rw", None) => self.read_only = Some(false),
            ("init", Some(_)) => self.init = Some(text()?),
            ("rdinit", Some(_)) => self.rdinit = Some(text()?),
            ("initrd", Some(_)) => self.initrd = Some(text()?),
            ("umid", Some(_)) => self.umid = Some(text()?),
            ("uml_dir", Some(_)) => self.uml_dir = Some(text()?),
            ("hostname", Some(_)) => self.hostname = Some(text()?),
            ("hostfs", Some(_)) => self.hostfs = Some(text()?),
            ("panic", Some(v)) => self.panic = Some(number(name, v)?),
            ("loglevel", Some(v)) => self.loglevel = Some(number(name, v)?),
            ("quiet", None) => self.loglevel = Some(4),
            ("debug", None) => self.loglevel = Some(8),
            ("noreboot", None) => self.noreboot = true,
            ("ruml.trace", calls) => self.trace = Some(CallSet::parse(calls.unwrap_or_default())?),
            // Words that other kernels know and that change nothing here.
            ("console" | "devfs" | "stderr" | "earlyprintk" | "rootwait" | "rootdelay", _) => {}
            _ if self.console(name, value) => {}
            (_, Some(v)) if name.starts_with("ubd") => self.disks.word(name, v)?,
            (_, _) if is_typo(name) => return Err(format!("{word}: did you mean ubd?")),
            (_, Some(_)) if is_uml_device(name) => self.unsupported.push(word.to_owned()),
            // As in Linux: words with a dot belong to modules.
            (_, _) if name.contains('.') => {}
            (_, Some(_)) => self.init_env.push(word.to_owned()),
            (_, None) => self.init_args.push(word.to_owned()),
        }
        Ok(())
    }

    fn console(&mut self, name: &str, value: Option<&str>) -> bool {
        let (Some(rest), Some(value)) = (name.strip_prefix("con"), value) else { return false };
        let number = if rest.is_empty() { None } else { rest.parse().ok() };
        if !rest.is_empty() && number.is_none() {
            return false;
        }
        self.consoles.push((number, value.to_owned()));
        true
    }
}

/// `udb0=`: nearly always a slip.
fn is_typo(name: &str) -> bool {
    name.strip_prefix("udb").is_some_and(|n| n.starts_with(|c: char| c.is_ascii_digit()))
}

/// `eth1=`, `vec0=`, `ssl=`, `mconsole=`.
fn is_uml_device(name: &str) -> bool {
    let numbered =
        |prefix| name.strip_prefix(prefix).is_some_and(|n: &str| n.bytes().all(|c| c.is_ascii_digit()));
    ["eth", "vec", "ssl", "mconsole"].iter().any(|p| numbered(*p))
}

fn number<T: std::str::FromStr>(name: &str, value: &str) -> Result<T, String> {
    value.parse().map_err(|_| format!("{name}={value}: not a number"))
}

/// A size with an optional K, M, G or T, as memparse() has it. None if it isn't one.
pub fn parse_size(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_ascii_lowercase().as_str() {
        "" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_words_are_taken_and_others_go_to_init() {
        let line = "mem=64M root=/dev/root rootfstype=hostfs con0=fd:0,fd:1 con=null single TERM=vt100 quiet ro -- a b=c";
        let params = Params::parse(line.split(' ')).unwrap();
        assert_eq!(params.mem, Some(64 << 20));
        assert_eq!(params.rootfstype.as_deref(), Some("hostfs"));
        assert_eq!(params.consoles, [(Some(0), "fd:0,fd:1".to_owned()), (None, "null".to_owned())]);
        assert_eq!(params.init_args, ["single", "a", "b=c"]);
        assert_eq!(params.init_env, ["TERM=vt100"]);
        assert_eq!((params.loglevel, params.read_only), (Some(4), Some(true)));
    }

    #[test]
    fn devices_that_are_not_there_are_told_apart_from_words_for_init() {
        let params = Params::parse("ubd0=root_fs ubdbr=x eth0=daemon ethane=1 ssl=pty".split(' ')).unwrap();
        assert_eq!(params.unsupported, ["eth0=daemon", "ssl=pty"]);
        let disks: Vec<_> = params.disks.finish().iter().map(|d| (d.name(), d.read_only)).collect();
        assert_eq!(disks, [("ubda".to_owned(), false), ("ubdb".to_owned(), true)]);
        assert!(Params::parse(["udb0=root_fs"]).is_err());
        assert_eq!(params.init_env, ["ethane=1"]);
    }

    #[test]
    fn sizes() {
        assert_eq!(parse_size("512m"), Some(512 << 20));
        assert_eq!(parse_size("4096"), Some(4096));
        assert_eq!(parse_size("1x"), None);
        assert_eq!(parse_size("99999999999T"), None);
    }

    #[test]
    fn a_wrong_value_is_an_error() {
        assert!(Params::parse(["mem=lots"]).is_err());
        assert!(Params::parse(["ncpus=-1"]).is_err());
        assert!(Params::parse(["ruml.trace=opnat"]).is_err());
    }
}
