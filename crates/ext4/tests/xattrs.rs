//! Extended attributes, against debugfs and e2fsck.

mod common;

use abi::errno::{E2BIG, EEXIST, EINVAL, ENODATA, ENOSPC, EOPNOTSUPP};
use common::{Image, KINDS, Random, file, pattern, time};
use ext4::XattrFlags;
use std::collections::BTreeMap;

#[test]
fn set_get_list_remove() {
    for (name, args) in KINDS {
        let image = Image::make("16M", args);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let a = root.create(b"a", &file(0o644)).unwrap();
        a.xattr_set(b"user.one", b"1", XattrFlags::CREATE).unwrap();
        assert_eq!(a.xattr_set(b"user.one", b"1", XattrFlags::CREATE), Err(EEXIST), "{name}");
        assert_eq!(a.xattr_set(b"user.two", b"1", XattrFlags::REPLACE), Err(ENODATA));
        assert_eq!(a.xattr_get(b"user.two"), Err(ENODATA));
        assert_eq!(a.xattr_set(b"nonsense.x", b"1", XattrFlags::empty()), Err(EOPNOTSUPP));
        assert_eq!(a.xattr_set(b"user.", b"1", XattrFlags::empty()), Err(EINVAL));
        let big = pattern(3, 600);
        a.xattr_set(b"security.big", &big, XattrFlags::empty()).unwrap();
        a.xattr_set(b"trusted.empty", b"", XattrFlags::empty()).unwrap();
        assert_eq!(a.xattr_set(b"user.huge", &[0; 65537], XattrFlags::empty()), Err(E2BIG));
        assert_eq!(a.xattr_set(b"user.huge", &[0; 65536], XattrFlags::empty()), Err(ENOSPC));
        let acl = [
            2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 4, 0, 4, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255,
            255, 255, 255,
        ];
        a.xattr_set(b"system.posix_acl_access", &acl, XattrFlags::empty()).unwrap();
        drop(a);
        drop(root);
        fs.unmount().unwrap();
        image.check(name);
        let listed = String::from_utf8_lossy(&image.debugfs("ea_list a")).into_owned();
        assert!(listed.contains("user.one (1) = \"1\"") && listed.contains("security.big (600)"), "{listed}");
        image.debugfs_write("ea_set a user.fromtool value");
        let fs = image.mount();
        let root = fs.root().unwrap();
        let a = root.lookup(b"a").unwrap();
        assert_eq!(a.xattr_get(b"user.fromtool").unwrap(), b"value");
        assert_eq!(a.xattr_get(b"user.one").unwrap(), b"1");
        assert!(a.xattr_get(b"security.big").unwrap() == big);
        assert_eq!(a.xattr_get(b"trusted.empty").unwrap(), b"");
        assert_eq!(a.xattr_get(b"system.posix_acl_access").unwrap(), acl);
        let mut names = a.xattr_list().unwrap();
        names.sort();
        let expect: [&[u8]; 5] =
            [b"security.big", b"system.posix_acl_access", b"trusted.empty", b"user.fromtool", b"user.one"];
        assert_eq!(names, expect);
        for name in names {
            a.xattr_remove(&name).unwrap();
        }
        assert_eq!(a.xattr_list().unwrap().len(), 0);
        assert_eq!(a.stat().blocks, 0);
        drop((a, root));
        fs.unmount().unwrap();
        image.check(name);
    }
}

#[test]
fn blocks_are_shared() {
    for args in [["-t", "ext4", "-I", "128"], ["-t", "ext2", "-b", "1024"]] {
        let image = Image::make("32M", &args);
        let fs = image.mount();
        let root = fs.root().unwrap();
        let value = pattern(1, 300);
        let before = fs.statfs().blocks_free;
        for n in 0..1500 {
            let inode = root.create(format!("{n}").as_bytes(), &file(0o644)).unwrap();
            inode.xattr_set(b"user.same", &value, XattrFlags::empty()).unwrap();
        }
        assert!(before - fs.statfs().blocks_free < 100, "shared");
        for n in 0..700 {
            let inode = root.lookup(format!("{n}").as_bytes()).unwrap();
            inode.xattr_set(b"user.own", format!("{}", n / 10).as_bytes(), XattrFlags::empty()).unwrap();
        }
        drop(root);
        fs.unmount().unwrap();
        image.check("shared");
        let fs = image.mount();
        let root = fs.root().unwrap();
        for n in 0..1500 {
            if n % 3 != 0 {
                root.unlink(format!("{n}").as_bytes(), time(1)).unwrap();
            } else {
                assert_eq!(
                    root.lookup(format!("{n}").as_bytes()).unwrap().xattr_get(b"user.same").unwrap(),
                    value
                );
            }
        }
        drop(root);
        fs.unmount().unwrap();
        image.check("unlinked");
    }
}

#[test]
fn random_changes() {
    for (name, args) in KINDS.iter().step_by(3) {
        let image = Image::make("16M", args);
        let mut random = Random(17);
        let mut models: Vec<BTreeMap<Vec<u8>, Vec<u8>>> = vec![BTreeMap::new(); 8];
        for round in 0..4 {
            let fs = image.mount();
            let root = fs.root().unwrap();
            for _ in 0..200 {
                let n = random.below(8) as usize;
                let path = format!("f{n}");
                let inode = root
                    .lookup(path.as_bytes())
                    .or_else(|_| root.create(path.as_bytes(), &file(0o600)))
                    .unwrap();
                let space = ["user.", "trusted.", "security."][random.below(3) as usize];
                let key = format!("{space}{}", "k".repeat(1 + random.below(12) as usize)).into_bytes();
                if random.below(3) == 0 {
                    assert_eq!(inode.xattr_remove(&key).is_ok(), models[n].remove(&key).is_some());
                } else {
                    let value = pattern(random.below(9), random.below(120) as usize);
                    match inode.xattr_set(&key, &value, XattrFlags::empty()) {
                        Ok(()) => drop(models[n].insert(key, value)),
                        Err(error) => assert_eq!(error, ENOSPC),
                    }
                }
            }
            for (n, model) in models.iter().enumerate() {
                let Ok(inode) = root.lookup(format!("f{n}").as_bytes()) else { continue };
                let mut names = inode.xattr_list().unwrap();
                names.sort();
                assert_eq!(names, model.keys().cloned().collect::<Vec<_>>(), "{name}");
                for (key, value) in model {
                    assert_eq!(&inode.xattr_get(key).unwrap(), value);
                }
            }
            drop(root);
            fs.unmount().unwrap();
            image.check(&format!("{name} round {round}"));
        }
    }
}

#[test]
fn values_in_inodes_of_their_own() {
    // debugfs can't make such a value, mke2fs -d can, from a file that has one.
    let source = common::TempDir::new();
    let value = pattern(5, 9000);
    std::fs::write(source.path().join("f"), b"contents").unwrap();
    let raw = source.path().join("value");
    std::fs::write(&raw, &value).unwrap();
    let script = "import os,sys; os.setxattr(sys.argv[1], 'user.large', open(sys.argv[2],'rb').read())";
    let set = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(source.path().join("f"))
        .arg(&raw)
        .status();
    if !set.is_ok_and(|status| status.success()) {
        eprintln!("skipped: the temporary directory takes no attribute of 9000 bytes");
        return;
    }
    let make = || {
        let image =
            Image::make("16M", &["-t", "ext4", "-O", "ea_inode", "-d", source.path().to_str().unwrap()]);
        // mke2fs counts the value's blocks wrongly.
        let _ = common::tool("e2fsck", &["-fy", image.name()]);
        image.check("made");
        image
    };
    let image = make();
    let fs = image.mount();
    let root = fs.root().unwrap();
    let inode = root.lookup(b"f").unwrap();
    assert!(inode.xattr_get(b"user.large").unwrap() == value);
    inode.xattr_set(b"user.small", b"x", XattrFlags::empty()).unwrap();
    assert!(inode.xattr_get(b"user.large").unwrap() == value);
    inode.xattr_remove(b"user.large").unwrap();
    drop((inode, root));
    fs.unmount().unwrap();
    image.check("removed");
    let image = make();
    let fs = image.mount();
    fs.root().unwrap().unlink(b"f", time(1)).unwrap();
    fs.unmount().unwrap();
    image.check("unlinked");
}
