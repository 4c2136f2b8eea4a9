//! Debian's packages: fetched on the host by apt-get with folders of its own, unpacked in the machine by mmdebstrap.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

use super::build::{self, Build};
use super::{Init, Options};

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What a machine is of little use without.
const BASE: &[&str] =
    &["login", "passwd", "mount", "procps", "e2fsprogs", "netbase", "ifupdown", "iproute2", "less"];

/// Fetches the packages and has them unpacked in `/mnt/tree`.
pub fn fetch(build: &mut Build, options: &Options) -> Result<(), String> {
    build::need(&[("apt-get", "apt"), ("mmdebstrap", "mmdebstrap")])?;
    if !Path::new(KEYRING).exists() {
        return Err(format!("{KEYRING} not found: install debian-archive-keyring"));
    }
    let apt = build.folder("apt")?;
    let name = |file: &str| apt.join(file).display().to_string();
    let write =
        |file: &str, text: &str| fs::write(apt.join(file), text).map_err(|e| format!("{}: {e}", name(file)));
    for folder in ["lists/partial", "archives/partial", "empty"] {
        build.folder(&format!("apt/{folder}"))?;
    }
    write("sources.list", &sources(options))?;
    write("status", "")?;
    write(
        "apt.conf",
        &format!(
            "#clear APT::Update::Post-Invoke;\n#clear APT::Update::Post-Invoke-Success;\n#clear DPkg::Post-Invoke;\n\
         Dir::State \"{0}\";\nDir::State::lists \"{0}/lists\";\nDir::State::status \"{0}/status\";\nDir::Cache \"{0}\";\n\
         Dir::Cache::archives \"{0}/archives\";\nDir::Etc::sourcelist \"{0}/sources.list\";\nDir::Etc::sourceparts \"{0}/empty\";\n\
         Dir::Etc::preferencesparts \"{0}/empty\";\nAPT::Architecture \"amd64\";\nAPT::Architectures {{ \"amd64\"; }};\n\
         APT::Sandbox::User \"\";\nAPT::Install-Recommends \"false\";\nAcquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\nDebug::NoLocking \"true\";\n",
            apt.display()
        ),
    )?;
    let get = || {
        let mut command = Command::new("apt-get");
        command.env("APT_CONFIG", name("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    };
    build.host("Reading package lists", get().args(["-q", "update", "--error-on=any"]))?;
    let mut packages = base_system(&apt.join("lists"))?;
    packages.insert("apt".into());
    packages.extend(BASE.iter().map(|p| (*p).to_owned()));
    match options.init {
        Init::Sysvinit => packages.insert("sysvinit-core".into()),
        Init::Systemd => packages.insert("systemd-sysv".into()),
        Init::None => false,
    };
    packages.extend(options.include.iter().cloned());
    build.host("Fetching packages", get().args(["-qy", "--download-only", "install"]).args(&packages))?;
    let include: Vec<&str> = packages.iter().map(String::as_str).collect();
    build.step(
        "Unpacking packages",
        // mmdebstrap finds lists and packages where apt would have put them, and so needs no network.
        &format!(
            "mmdebstrap --mode=root --variant=essential --format=directory --skip=update,cleanup/apt/lists \
             --include={} --aptopt='Acquire::Languages \"none\"' \
             --setup-hook='mkdir -p \"$1/var/lib/apt/lists\" \"$1/var/cache/apt/archives\"' \
             --setup-hook='cp /mnt/out/apt/lists/*_* \"$1/var/lib/apt/lists\"' \
             --setup-hook='cp /mnt/out/apt/archives/*.deb \"$1/var/cache/apt/archives\"' \
             {} /mnt/tree /mnt/out/apt/sources.list",
            include.join(","),
            options.suite
        ),
    );
    build.step("Setting up", "rm -f /mnt/tree/var/cache/apt/archives/*.deb /mnt/tree/var/lib/apt/lists/*_*");
    set_up(build, options);
    Ok(())
}

/// One-line sources of the suite, with updates and security for the releases that have them.
fn sources(options: &Options) -> String {
    let (mirror, suite) = (&options.mirror, &options.suite);
    let mut text = format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n");
    let rolling =
        ["sid", "unstable", "testing", "experimental"].contains(&suite.as_str()) || suite.contains('/');
    if !rolling && mirror == "http://deb.debian.org/debian" {
        text += &format!("deb [signed-by={KEYRING}] {mirror} {suite}-updates main\n");
        text += &format!(
            "deb [signed-by={KEYRING}] http://deb.debian.org/debian-security {suite}-security main\n"
        );
    }
    text
}

/// Packages that apt's lists call essential or required.
fn base_system(lists: &Path) -> Result<BTreeSet<String>, String> {
    let mut packages = BTreeSet::new();
    let failed = |e| format!("{}: {e}", lists.display());
    for entry in fs::read_dir(lists).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if !path.to_string_lossy().contains("_Packages") {
            continue;
        }
        let text = read_list(&path)?;
        for stanza in text.split("\n\n") {
            let field = |name: &str| stanza.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "));
            if (field("Essential") == Some("yes") || field("Priority") == Some("required"))
                && let Some(name) = field("Package")
            {
                packages.insert(name.to_owned());
            }
        }
    }
    if packages.is_empty() {
        return Err("the package lists name no essential package: is the suite right?".into());
    }
    Ok(packages)
}

/// A list as apt keeps it: plain, or as hosts that save space have it.
fn read_list(path: &Path) -> Result<String, String> {
    let helper = "/usr/lib/apt/apt-helper";
    if path.extension().is_none() || !Path::new(helper).exists() {
        return fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()));
    }
    let out =
        Command::new(helper).arg("cat-file").arg(path).output().map_err(|e| format!("{helper}: {e}"))?;
    String::from_utf8(out.stdout).map_err(|e| format!("{}: {e}", path.display()))
}

/// What no package brings: names, file systems, terminals, root's password.
fn set_up(build: &mut Build, options: &Options) {
    let host = &options.hostname;
    build.script(&format!(
        "cd /mnt/tree\necho {host} > etc/hostname\n\
         printf '127.0.0.1 localhost\\n127.0.1.1 {host}\\n::1 localhost ip6-localhost ip6-loopback\\n' > etc/hosts\n\
         printf '/dev/ubda / {} errors=remount-ro 0 1\\n' > etc/fstab\n\
         mkdir -p etc/network && printf 'auto lo\\niface lo inet loopback\\n' > etc/network/interfaces",
        options.kind
    ));
    match &options.password {
        None => build.script("chroot . passwd -q -d root"),
        Some(password) => {
            let line = build::quote(format!("root:{password}").as_bytes());
            build.script(&format!("printf '%s\\n' {line} | chroot . chpasswd"));
        }
    }
    if options.init == Init::Sysvinit {
        // One login on tty1, and one on tty0 that waits for a key: it is the kernel's console as well.
        build.script(
            "sed -i -e '/^[2-6]:.*getty/d' etc/inittab\n\
             echo '0:2345:respawn:/sbin/getty --wait-cr 38400 tty0 linux' >> etc/inittab",
        );
    }
    build.script("cd /");
}
