"""An image made of a folder, and one made of a tar archive, keep what the folder's files have: owners, modes, holes, links,
capabilities, access control lists and other attributes."""
import os, struct, subprocess, sys, tarfile, tempfile
from machine import clean, run

RUML = sys.argv[1]
ACCESS = struct.pack("<I" + "HHI" * 5, 2, 1, 6, 2**32 - 1, 2, 7, 1234, 4, 4, 2**32 - 1, 16, 7, 2**32 - 1, 32, 4, 2**32 - 1)
DEFAULT = struct.pack("<I" + "HHI" * 5, 2, 1, 7, 2**32 - 1, 4, 5, 2**32 - 1, 8, 5, 4321, 16, 5, 2**32 - 1, 32, 0, 2**32 - 1)
NET_RAW = bytes.fromhex("0100000200200000000000000000000000000000")
KEPT = {"system.posix_acl_access": ACCESS, "system.posix_acl_default": DEFAULT, "security.capability": NET_RAW, "user.x": b"y"}
SHOW = r"""
import os, sys
for top, names, files in os.walk("/mnt"):
    names.sort()
    for name in sorted(names + files):
        path = os.path.join(top, name)
        if name == "lost+found": continue
        s = os.lstat(path)
        print(path[4:], oct(s.st_mode), s.st_uid, s.st_gid, s.st_nlink if not os.path.isdir(path) else "", s.st_size if not os.path.isdir(path) else "", s.st_mtime_ns,
              s.st_rdev, os.readlink(path) if os.path.islink(path) else "", [(n, os.getxattr(path, n, follow_symlinks=False).hex()) for n in sorted(os.listxattr(path, follow_symlinks=False))])
"""


def tree(image):
    """The tree of an image as a machine sees it."""
    return run(RUML, "run", "--disk", image + ":ro", "--", "sh", "-ec", "mount -o ro /dev/ubda /mnt; exec /usr/bin/python3 -c '%s'" % SHOW)


with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
    os.chdir(d)
    os.environ.update(HOME=d, TMPDIR=d)
    # An archive may name what only root may make.
    with tarfile.open("first.tar", "w", format=tarfile.PAX_FORMAT) as t:
        def add(name, kind=tarfile.REGTYPE, data=b"", **more):
            info = tarfile.TarInfo(name)
            info.type, info.size, info.mtime, info.mode, info.uid, info.gid = kind, len(data), 1234567890, 0o640, 7, 8
            for key, value in more.items():
                setattr(info, key, value)
            with open("data", "wb") as f:
                f.write(data)
            with open("data", "rb") as f:
                t.addfile(info, f)
        acl = "user::rw-,user:1234:rwx,group::r--,mask::rwx,other::r--"
        add("dir", tarfile.DIRTYPE, mode=0o750, pax_headers={"SCHILY.acl.default": "user::rwx,group::r-x,group:4321:r-x,mask::r-x,other::---"})
        add("dir/acl", data=b"a" * 5000, mode=0o674, pax_headers={"SCHILY.acl.access": acl})
        add("dir/plain", mode=0o4755)
        add("capable", pax_headers={"SCHILY.xattr.security.capability": NET_RAW.decode("ascii")})
        add("hard", tarfile.LNKTYPE, linkname="dir/acl")
        add("symbolic", tarfile.SYMTYPE, linkname="dir/acl")
        add("null", tarfile.CHRTYPE, devmajor=1, devminor=3)
        add("user", pax_headers={"SCHILY.xattr.user.x": "y"})
    run(RUML, "image", "create", "first", "--size", "64M", "--from", "first.tar")
    clean("first")
    first = tree("first")
    for name in KEPT:
        if "('%s', '%s')" % (name, KEPT[name].hex()) not in first:
            sys.exit("no %s in %s" % (name, first))
    for want in "/null 0o20640 7 8 1 0 1234567890000000000 259", "/dir/plain 0o104755 7 8", "/dir/acl 0o100674 7 8 2 5000":
        if want not in first:
            sys.exit("no %r in %s" % (want, first))
    # A folder of the host with what its user may give: attributes, lists where the file system has them, links, holes.
    os.makedirs("folder/sub")
    os.chmod("folder", 0o700)
    with open("folder/sub/file", "wb") as f:
        f.write(b"x" * 3000)
    os.link("folder/sub/file", "folder/hard")
    os.symlink("sub/file", "folder/symbolic")
    with open("folder/hole", "wb") as f:
        f.truncate(40 << 20)
    given = []
    for name, path in ("user.x", "folder/sub/file"), ("system.posix_acl_access", "folder/sub/file"), ("system.posix_acl_default", "folder/sub"):
        try:
            os.setxattr(path, name, KEPT[name])
            given.append(name)
        except OSError:
            pass
    run(RUML, "image", "create", "third", "--size", "32M", "--from", "folder")
    clean("third")
    third = tree("third")
    for name in given:
        if "('%s', '%s')" % (name, KEPT[name].hex()) not in third:
            sys.exit("no %s in %s" % (name, third))
    for want in "/hole 0o100", " 3000 ", "sub/file []", "%d" % (40 << 20):
        if want not in third:
            sys.exit("no %r in %s" % (want, third))
    if " Mode:  0755" not in run("/sbin/debugfs", "-R", "stat /", "third"):
        sys.exit("the root folder has the folder's mode")
print("PASS")
