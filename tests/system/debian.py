"""A Debian image made by `ruml image create` boots by User-Mode Linux's classic command line, in ruml and in Debian's
own User-Mode Linux, over the same copy-on-write pair; what was written is there and e2fsck calls it clean."""
import os, shutil, sys, tempfile
from machine import boot, clean, run

RUML = sys.argv[1]
UML = shutil.which("linux.uml")

with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
    os.chdir(d)
    os.environ.update(HOME=d, TMPDIR=d)
    run(RUML, "image", "create", "base", "--size", "1G", "--hostname", "probe")
    clean("base")
    before = run("sha256sum", "base")
    boot(RUML, "cow,base", [("mount | head -1", "/dev/ubda on / type ext4"), ("hostname; stty -a | head -1", "rows 24"),
                            ("cp -a /usr/share/perl5 /root/copy && echo one > /root/mark && ps ax | grep -c getty", "")])
    if run("sha256sum", "base") != before:
        sys.exit("the backing file has changed")
    run("uml_moo", "cow", "merged")
    clean("merged")
    if "Type: regular" not in run("/sbin/debugfs", "-R", "stat /root/mark", "merged"):
        sys.exit("/root/mark is not in the merged image")
    os.unlink("merged")
    if UML:
        boot(UML, "cow,base", [("cat /root/mark; echo two >> /root/mark", "one"), ("diff -r /usr/share/perl5 /root/copy && echo same", "same")], 120)
        boot(RUML, "cow", [("cat /root/mark", "two"), ("rm -r /root/copy; ls /root | wc -l", "1")])
    run(RUML, "moo", "cow", "merged")
    clean("merged")
    # The same tree as ext3 and ext2.
    run(RUML, "run", "--disk", "merged:ro", "-v", d + ":/mnt/d", "--", "sh", "-ec",
        "mkdir /mnt/r; mount -o ro /dev/ubda /mnt/r; tar -C /mnt/r --one-file-system -cf /mnt/d/tree.tar .")
    for kind in "ext3", "ext2":
        run(RUML, "image", "create", kind, "-t", kind, "--size", "1G", "--from", "tree.tar")
        clean(kind)
        boot(RUML, kind, [("mount | head -1", "type " + kind), ("mkdir /root/d; cp /bin/* /root/d; rm /root/d/[a-m]*; echo x > /root/new", "")])
        clean(kind)
    run("qemu-img", "convert", "-O", "qcow2", "merged", "disk.qcow2") if shutil.which("qemu-img") else None
    if os.path.exists("disk.qcow2"):
        boot(RUML, "disk.qcow2", [("echo q > /root/q; cat /root/mark", "one")])
        run("qemu-img", "check", "disk.qcow2")
print("PASS")
