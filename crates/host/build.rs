//! Builds the freestanding images that the host embeds: the stub and, as a shared object, the guest's vDSO.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn build(out: &Path, main: &str, name: &str, args: &[&str]) {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
    let target = env::var("TARGET").expect("cargo sets TARGET");
    let status = Command::new(rustc)
        .args(["--edition", "2024", "--crate-name", name, "--target", &target])
        .args(["-C", "panic=abort", "-C", "opt-level=2", "-C", "debuginfo=0", "-C", "strip=symbols"])
        .args(["-C", "overflow-checks=off", "-C", "debug-assertions=off", "-C", "codegen-units=1"])
        .args(args)
        .arg("-o")
        .arg(out.join(name))
        .arg(main)
        .env_remove("RUSTC_WRAPPER")
        .status()
        .unwrap_or_else(|e| panic!("cannot run rustc for {name}: {e}"));
    assert!(status.success(), "building {name} failed");
}

fn main() {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR").expect("cargo sets CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env::var("OUT_DIR").expect("cargo sets OUT_DIR"));
    let (stub, vdso) = (root.join("../stub/src"), root.join("../vdso/src"));
    for dir in [&stub, &vdso] {
        println!("cargo::rerun-if-changed={}", dir.display());
    }
    build(
        &out,
        stub.join("main.rs").to_str().expect("a UTF-8 path"),
        "stub",
        &[
            "-C",
            "relocation-model=pic",
            // The fast way saves no vector registers, so nothing in the stub may use them.
            "-C",
            "target-feature=-sse,-sse2",
            "-C",
            "link-arg=-nostdlib",
            "-C",
            "link-arg=-nostartfiles",
            "-C",
            "link-arg=-static",
            "-C",
            "link-arg=-no-pie",
            "-C",
            "link-arg=-Wl,--build-id=none",
            "-C",
            "link-arg=-Wl,--gc-sections",
            "-C",
            &format!("link-arg=-Wl,-T,{}", stub.join("stub.ld").display()),
        ],
    );

    // A shared object without rustc's own version script, so it is linked here.
    build(
        &out,
        vdso.join("lib.rs").to_str().expect("a UTF-8 path"),
        "vdso",
        &[
            "--crate-type",
            "lib",
            "--emit",
            "obj",
            "-C",
            "relocation-model=pic",
            "-C",
            "force-unwind-tables=yes",
        ],
    );
    let status = Command::new(env::var("CC").unwrap_or_else(|_| "cc".into()))
        .args(["-shared", "-nostdlib", "-nostartfiles", "-s", "-Wl,-soname,linux-vdso.so.1"])
        .args(["-Wl,--hash-style=both", "-Wl,--eh-frame-hdr", "-Wl,-Bsymbolic", "-Wl,--build-id=none"])
        .arg(format!("-Wl,-T,{}", vdso.join("vdso.ld").display()))
        .arg(format!("-Wl,--version-script={}", vdso.join("vdso.map").display()))
        .arg("-o")
        .arg(out.join("vdso.so"))
        .arg(out.join("vdso"))
        .status()
        .unwrap_or_else(|e| panic!("cannot run cc for the vDSO: {e}"));
    assert!(status.success(), "linking the vDSO failed");
}
