//! The layers of an OCI image layout (a folder, as `skopeo copy … oci:FOLDER` makes it).
//!
//! The host only reads which files each layer removes and replaces; unpacking is the machine's.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use serde_json::Value;

use super::UNTAR;
use super::build::{self, Build};

/// A manifest or an index is not larger than this, bytes.
const MAX_JSON: u64 = 4 << 20;
const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";

/// Has the image's layers unpacked in `/mnt/tree`.
pub fn unpack(build: &mut Build, layout: &Path) -> Result<(), String> {
    let index = json(&layout.join("index.json"))?;
    let manifest = manifest(layout, &index, 0)?;
    let layers = manifest["layers"].as_array().ok_or("the image's manifest has no layers")?;
    build.show(layout, "/mnt/from")?;
    let lists = build.folder("oci")?;
    build.step("Unpacking layers", "cd /mnt/tree");
    for (number, layer) in layers.iter().enumerate() {
        let blob = blob(layer)?;
        let changes = changes(&layout.join(&blob), layer["mediaType"].as_str().unwrap_or(""))?;
        let lists_of = [("removed", changes.removed), ("emptied", changes.emptied), ("files", changes.files)];
        for (name, list) in lists_of {
            let path = lists.join(format!("{name}{number}"));
            fs::write(&path, list).map_err(|e| format!("{}: {e}", path.display()))?;
        }
        build.script(&format!(
            "xargs -0r rm -rf -- < /mnt/out/oci/removed{number}\n\
             xargs -0r sh -c 'for p; do test ! -d \"$p\" || find \"$p\" -mindepth 1 -delete; done' sh \
             < /mnt/out/oci/emptied{number}\n\
             xargs -0r sh -c 'for p; do test ! -d \"$p\" || test -L \"$p\" || rm -rf \"$p\"; done' sh \
             < /mnt/out/oci/files{number}\n\
             {UNTAR} --exclude='.wh.*' -f /mnt/from/{}",
            build::quote(blob.as_bytes())
        ));
    }
    build.script("cd /");
    Ok(())
}

fn json(path: &Path) -> Result<Value, String> {
    let mut text = String::new();
    File::open(path)
        .and_then(|file| file.take(MAX_JSON).read_to_string(&mut text))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    serde_json::from_str(&text).map_err(|e| format!("{}: {e}", path.display()))
}

/// The file of a descriptor, within the layout.
fn blob(descriptor: &Value) -> Result<String, String> {
    let digest = descriptor["digest"].as_str().ok_or("a descriptor of the image has no digest")?;
    match digest.split_once(':') {
        Some((algorithm, hex))
            if algorithm.chars().all(|c| c.is_ascii_alphanumeric())
                && hex.chars().all(|c| c.is_ascii_hexdigit()) =>
        {
            Ok(format!("blobs/{algorithm}/{hex}"))
        }
        _ => Err(format!("'{digest}' is no digest")),
    }
}

/// The manifest for this machine, through indexes of indexes.
fn manifest(layout: &Path, index: &Value, depth: u32) -> Result<Value, String> {
    let Some(manifests) = index["manifests"].as_array() else { return Ok(index.clone()) };
    let fits = |m: &&Value| {
        let platform = &m["platform"];
        platform.is_null() || platform["architecture"] == "amd64" && platform["os"] == "linux"
    };
    let chosen = manifests.iter().find(fits).ok_or("the image has nothing for linux/amd64")?;
    if depth > 4 {
        return Err("the image's index goes too deep".into());
    }
    manifest(layout, &json(&layout.join(blob(chosen)?))?, depth + 1)
}

/// What a layer does to those below: names with a NUL after each.
#[derive(Default)]
struct Changes {
    removed: Vec<u8>,
    /// Folders of which it removes everything.
    emptied: Vec<u8>,
    /// What is no folder in it, and may be one below, which tar would not replace.
    files: Vec<u8>,
}

fn changes(path: &Path, kind: &str) -> Result<Changes, String> {
    let failed = |e: &dyn std::fmt::Display| format!("{}: {e}", path.display());
    let file = File::open(path).map_err(|e| failed(&e))?;
    let reader: Box<dyn Read> = if kind.ends_with("gzip") {
        Box::new(flate2::read::MultiGzDecoder::new(file))
    } else if kind.ends_with("zstd") {
        Box::new(ruzstd::decoding::StreamingDecoder::new(file).map_err(|e| failed(&e))?)
    } else {
        Box::new(file)
    };
    let mut changes = Changes::default();
    let mut archive = tar::Archive::new(reader);
    for entry in archive.entries().map_err(|e| failed(&e))? {
        let entry = entry.map_err(|e| failed(&e))?;
        let path = entry.path_bytes();
        let (folder, name) = match path.iter().rposition(|b| *b == b'/') {
            Some(slash) => path.split_at(slash + 1),
            None => (&b""[..], &path[..]),
        };
        // Names are relative to the root folder, whatever the archive says.
        let (list, last) = match name.strip_prefix(WHITEOUT) {
            Some(_) if name == OPAQUE => (&mut changes.emptied, &b""[..]),
            Some(hidden) => (&mut changes.removed, hidden),
            None if entry.header().entry_type().is_dir() => continue,
            None => (&mut changes.files, name),
        };
        list.extend_from_slice(b"./");
        list.extend_from_slice(folder);
        list.extend_from_slice(last);
        list.push(0);
    }
    Ok(changes)
}
