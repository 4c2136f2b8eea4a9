//! The option `ubdN[rscdt]=FILE[,BACKING][,SERIAL]`, `ubd=sync`, and `ubd.engine=`, which User-Mode Linux hasn't.

use std::path::PathBuf;

use host::block::Engine;

/// Disks that there may be.
pub const MAX_DEVICES: u32 = 16;
const FLAGS: &str = "rscdt";

/// One disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UbdConfig {
    /// From 0, for ubda.
    pub index: u32,
    /// The image, or the copy-on-write file.
    pub file: PathBuf,
    /// What a copy-on-write file is over.
    pub backing: Option<PathBuf>,
    /// Shown in sysfs.
    pub serial: Option<String>,
    /// `r`
    pub read_only: bool,
    /// `s`: O_SYNC.
    pub sync: bool,
    /// `c`: no lock.
    pub shared: bool,
    /// `d`: a plain disk whatever the file looks like.
    pub no_cow: bool,
    /// `t`: discards do nothing.
    pub no_trim: bool,
    /// `ubd.engine=`
    pub engine: Engine,
}

impl UbdConfig {
    /// Name of the device: ubda.
    pub fn name(&self) -> String {
        let letter = u8::try_from(self.index).map_or('?', |index| char::from(b'a' + index % 26));
        format!("ubd{letter}")
    }
}

/// All `ubd` words of a command line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Setup {
    /// Each index once.
    pub devices: Vec<UbdConfig>,
    /// `ubd=sync`
    pub sync: bool,
    /// `ubd.engine=auto|uring|threads`
    pub engine: Engine,
}

impl Setup {
    /// Takes a word `ubd…=value`; `name` is what comes before the `=`.
    ///
    /// # Errors
    /// In words for the user.
    pub fn word(&mut self, name: &str, value: &str) -> Result<(), String> {
        let word = format!("{name}={value}");
        if name == "ubd.engine" {
            self.engine = match value {
                "auto" => Engine::Auto,
                "uring" => Engine::Uring,
                "threads" => Engine::Threads,
                _ => return Err(format!("{word}: must be auto, uring or threads")),
            };
            return Ok(());
        }
        let Some(rest) = name.strip_prefix("ubd").filter(|rest| !rest.is_empty()) else {
            if value == "sync" {
                self.sync = true;
                return Ok(());
            }
            return Err(format!("{word}: only ubd=sync has no device number (ubd0=FILE names a disk)"));
        };
        let device = parse(rest, value).map_err(|e| format!("{word}: {e}"))?;
        if self.devices.iter().any(|d| d.index == device.index) {
            return Err(format!("{word}: {} is already configured", device.name()));
        }
        self.devices.push(device);
        Ok(())
    }

    /// The disks by number, with what holds for all.
    pub fn finish(mut self) -> Vec<UbdConfig> {
        self.devices.sort_by_key(|d| d.index);
        for device in &mut self.devices {
            device.sync |= self.sync;
            device.engine = self.engine;
        }
        self.devices
    }

    /// The lowest number that no disk has.
    pub fn free_index(&self) -> Option<u32> {
        (0..MAX_DEVICES).find(|index| self.devices.iter().all(|d| d.index != *index))
    }
}

/// `N[flags]` and the value.
fn parse(name: &str, value: &str) -> Result<UbdConfig, String> {
    if !name.is_ascii() {
        return Err("the disk must be a number or a letter".to_owned());
    }
    let digits = name.bytes().take_while(u8::is_ascii_digit).count();
    let (unit, flags) = name.split_at(if digits > 0 { digits } else { 1.min(name.len()) });
    let index = match unit.parse::<u32>() {
        Ok(index) => index,
        Err(_) if digits > 0 => u32::MAX,
        Err(_) => match unit.bytes().next() {
            Some(letter @ b'a'..=b'z') => u32::from(letter - b'a'),
            _ => return Err("the disk must be a number or a letter".to_owned()),
        },
    };
    if index >= MAX_DEVICES {
        return Err(format!("the disk must be 0 to {} or a to p", MAX_DEVICES - 1));
    }
    if flags.len() > 6 {
        return Err("too many flags".to_owned());
    }
    let mut device = UbdConfig { index, ..UbdConfig::default() };
    for flag in flags.chars() {
        match flag {
            'r' => device.read_only = true,
            's' => device.sync = true,
            'c' => device.shared = true,
            'd' => device.no_cow = true,
            't' => device.no_trim = true,
            _ => return Err(format!("'{flag}' is none of the flags {FLAGS}")),
        }
    }
    let mut parts = value.splitn(3, [',', ':']);
    let mut part = || parts.next().filter(|p| !p.is_empty());
    device.file = part().ok_or("there is no file name")?.into();
    device.backing = part().map(PathBuf::from);
    device.serial = part().map(str::to_owned);
    if device.no_cow && device.backing.is_some() {
        return Err("with 'd' there can be only one file".to_owned());
    }
    Ok(device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse_word(word: &str) -> Result<UbdConfig, String> {
        let (name, value) = word.split_once('=').unwrap();
        let mut setup = Setup::default();
        setup.word(name, value)?;
        setup.finish().pop().ok_or("none".to_owned())
    }

    #[test]
    fn numbers_and_letters_name_disks() {
        for (word, index, name) in
            [("ubd0=f", 0, "ubda"), ("ubda=f", 0, "ubda"), ("ubd15=f", 15, "ubdp"), ("ubdp=f", 15, "ubdp")]
        {
            let device = parse_word(word).unwrap();
            assert_eq!((device.index, &*device.name(), device.file.to_str()), (index, name, Some("f")));
        }
        for word in
            ["ubd16=f", "ubdq=f", "ubd-1=f", "ubd99999999999=f", "ubd0=", "ubd=0", "ubd0x=f", "ubd0é=f"]
        {
            assert!(parse_word(word).is_err(), "{word}");
        }
    }

    #[test]
    fn flags_in_any_order_and_both_separators() {
        let device = parse_word("ubdbcr=cow,back:0815").unwrap();
        assert_eq!((device.index, device.read_only, device.shared, device.sync), (1, true, true, false));
        assert_eq!(device.backing, Some("back".into()));
        assert_eq!(device.serial.as_deref(), Some("0815"));
        let device = parse_word("ubd1st=f,,serial").unwrap();
        assert_eq!((device.backing, device.serial.as_deref()), (None, Some("serial")));
        assert!(device.sync && device.no_trim);
        // A letter that is a flag as well names the disk where a disk is wanted.
        assert_eq!(parse_word("ubdd=f").unwrap().index, 3);
        assert!(parse_word("ubd0d=f,back").is_err());
        assert!(parse_word("ubd0rrrrrrr=f").is_err());
    }

    #[test]
    fn a_disk_is_configured_once_and_sync_holds_for_all() {
        let mut setup = Setup::default();
        setup.word("ubd1", "x").unwrap();
        setup.word("ubd", "sync").unwrap();
        assert!(setup.word("ubdb", "y").is_err());
        assert_eq!(setup.free_index(), Some(0));
        setup.word("ubd0", "y").unwrap();
        let all = setup.finish();
        assert_eq!(all.iter().map(|d| (d.index, d.sync)).collect::<Vec<_>>(), [(0, true), (1, true)]);
    }
}
