//! `ruml image create`: a bootable disk image, made without root.
//!
//! What needs root (owners, device nodes, packages' scripts) is done by root of a ruml machine that sees the host's own
//! programs and writes the image into a folder of the host.
//!
//! - `debian.rs`: Debian's packages, fetched by apt-get on the host and unpacked by mmdebstrap in the machine.
//! - `oci.rs`: the layers of an OCI image layout.
//! - `build.rs`: the machine that builds, its scratch folder and its log.

mod build;
mod debian;
mod oci;

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use lexopt::prelude::*;

use build::Build;

/// Unpacks with owners, modes and every extended attribute: access control lists, capabilities.
const UNTAR: &str = "tar --numeric-owner --acls --xattrs --xattrs-include='*' -xp";

/// Help of `ruml image`.
pub const HELP: &str = "\
Usage: ruml image create FILE [OPTIONS]

Makes FILE, a disk image that ruml and User-Mode Linux boot (ubd0=FILE), without
root: from Debian's packages, or from what --from names.

      --suite NAME           Debian's release [bookworm]
      --include PKG[,PKG…]   more packages
      --init sysvinit|systemd|none
                             the first program [sysvinit]
      --mirror URL           where packages come from [http://deb.debian.org/debian]
      --hostname NAME        name of the machine [debian]
      --root-password TEXT   root's password [none: log in as root without one]
      --from PATH            a root file system instead of packages: a folder, a
                             tar archive, or an OCI image layout
  -s, --size SIZE            size of the file system [2G]
  -t, --type ext2|ext3|ext4  its type [ext4]
  -m, --mem SIZE             memory of the machine that builds it
  -f, --force                replace FILE if it exists
      --verbose              show what the tools print
  -h, --help

It needs mke2fs (package e2fsprogs) and, for Debian's packages, apt-get (apt),
mmdebstrap (mmdebstrap) and Debian's keys (debian-archive-keyring).
";

/// `ruml image`
pub fn main(args: Vec<OsString>) -> Result<u8, String> {
    match args.first().and_then(|a| a.to_str()) {
        Some("create") => match Options::parse(args[1..].to_vec()) {
            Ok(Some(options)) => create(options),
            Ok(None) => {
                print!("{HELP}");
                Ok(0)
            }
            Err(e) => Err(format!("image create: {e}\nTry 'ruml image --help'.")),
        },
        Some("-h" | "--help") | None => {
            print!("{HELP}");
            Ok(0)
        }
        Some(other) => Err(format!("image {other}: there is only 'image create'")),
    }
}

/// The first program of a Debian image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Init {
    Sysvinit,
    Systemd,
    None,
}

struct Options {
    file: PathBuf,
    suite: String,
    include: Vec<String>,
    init: Init,
    mirror: String,
    hostname: String,
    password: Option<String>,
    from: Option<PathBuf>,
    size: u64,
    kind: String,
    mem: u64,
    force: bool,
    verbose: bool,
}

impl Options {
    /// None if help was asked for.
    fn parse(args: Vec<OsString>) -> Result<Option<Options>, lexopt::Error> {
        let mut file = None;
        let mut options = Options {
            file: PathBuf::new(),
            suite: "bookworm".into(),
            include: Vec::new(),
            init: Init::Sysvinit,
            mirror: "http://deb.debian.org/debian".into(),
            hostname: "debian".into(),
            password: None,
            from: None,
            size: 2 << 30,
            kind: "ext4".into(),
            mem: crate::machine::default_memory(),
            force: false,
            verbose: false,
        };
        let size =
            |text: String| kernel::boot::parse_size(&text).ok_or(format!("{text}: not a size (try 2G)"));
        let mut parser = lexopt::Parser::from_args(args);
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(None),
                Long("suite") => options.suite = word(parser.value()?.string()?)?,
                Long("include") => {
                    for package in parser.value()?.string()?.split(',').filter(|p| !p.is_empty()) {
                        options.include.push(word(package.to_owned())?);
                    }
                }
                Long("init") => {
                    options.init = match parser.value()?.string()?.as_str() {
                        "sysvinit" => Init::Sysvinit,
                        "systemd" => Init::Systemd,
                        "none" => Init::None,
                        other => {
                            return Err(format!("--init {other}: must be sysvinit, systemd or none").into());
                        }
                    }
                }
                Long("mirror") => options.mirror = word(parser.value()?.string()?)?,
                Long("hostname") => options.hostname = word(parser.value()?.string()?)?,
                Long("root-password") => options.password = Some(parser.value()?.string()?),
                Long("from") => options.from = Some(parser.value()?.into()),
                Short('s') | Long("size") => options.size = size(parser.value()?.string()?)?,
                Short('m') | Long("mem") => options.mem = size(parser.value()?.string()?)?,
                Short('t') | Long("type") => {
                    options.kind = parser.value()?.string()?;
                    if !["ext2", "ext3", "ext4"].contains(&options.kind.as_str()) {
                        return Err(format!("--type {}: must be ext2, ext3 or ext4", options.kind).into());
                    }
                }
                Short('f') | Long("force") => options.force = true,
                Long("verbose") => options.verbose = true,
                Value(name) if file.is_none() => file = Some(PathBuf::from(name)),
                _ => return Err(arg.unexpected()),
            }
        }
        options.file = file.ok_or("it needs the name of the file to make")?;
        Ok(Some(options))
    }
}

/// What goes into scripts and sources unquoted.
fn word(text: String) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.+:/~@=".contains(c);
    if !text.is_empty() && !text.starts_with('-') && text.chars().all(plain) {
        Ok(text)
    } else {
        Err(format!("'{text}' is no name"))
    }
}

fn create(options: Options) -> Result<u8, String> {
    if options.file.exists() && !options.force {
        return Err(format!("{} exists (-f replaces it)", options.file.display()));
    }
    build::need(&[("mke2fs", "e2fsprogs")])?;
    let mut build = Build::new(&options)?;
    match &options.from {
        None => {
            debian::fetch(&mut build, &options)?;
            build.step("Writing the file system", &make_fs(&options, "-d /mnt/tree"));
        }
        Some(from) => {
            // Unpacked in the file system itself, which keeps every attribute: the machine's own root knows no access
            // control lists, and a host folder shows none.
            build.step("Making the file system", &make_fs(&options, ""));
            build.script("mkdir /mnt/tree\nmount -o loop /mnt/out/image /mnt/tree\nchmod 755 /mnt/tree");
            fill(&mut build, from)?;
            build.step("Writing the file system", "umount /mnt/tree");
        }
    }
    build.run()?;
    build.finish(&options.file)?;
    Ok(0)
}

/// The command that makes the file system; its size is mke2fs's own unit, KiB.
fn make_fs(options: &Options, more: &str) -> String {
    format!(
        "mke2fs -q -F -t {} -L root -E root_owner=0:0 {more} /mnt/out/image {}k",
        options.kind,
        options.size >> 10
    )
}

/// Has what `--from` names unpacked in `/mnt/tree`.
fn fill(build: &mut Build, from: &Path) -> Result<(), String> {
    if from.join("oci-layout").exists() {
        return oci::unpack(build, from);
    }
    if from.is_dir() {
        build.step(
            "Copying the folder",
            &format!("{UNTAR} -C /mnt/tree -f -\nchown 0:0 /mnt/tree\nchmod 755 /mnt/tree"),
        );
        return build.pack(from);
    }
    let (folder, name) = build::split(from)?;
    build.show(&folder, "/mnt/from")?;
    build
        .step("Unpacking the archive", &format!("{UNTAR} -C /mnt/tree -f /mnt/from/{}", build::quote(&name)));
    Ok(())
}
