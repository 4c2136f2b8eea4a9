"""Debian images whose devices udev makes, as `ruml image create` makes them, reach their login prompt: one with sysvinit, in
which `udevadm settle` has nothing to wait for, and one with systemd, of which no unit fails. Both are clean after poweroff."""
import os, sys, tempfile
from machine import boot, clean, run

RUML, KIND = sys.argv[1:]
JOBS = {
    "udev": [
        # All but instantly: what it waits for, events that are never answered, ends in minutes only.
        ("timeout 5 udevadm settle; echo status $?", "status 0"),
        ("udevadm trigger && timeout 20 udevadm settle; echo status $?", "status 0"),
        ("readlink -f /dev/disk/by-label/root", "/dev/ubda"),
        ("udevadm info -q property /dev/ubda | grep FS_TYPE", "ID_FS_TYPE=ext4"),
        ("echo devices $(udevadm info /dev/null | grep -c ^P:)", "devices 1"),
    ],
    "systemd": [
        ("echo state $(systemctl is-system-running --wait)", "state running"),
        ("echo failed: [$(systemctl list-units --failed --no-legend --plain --no-pager)]", "failed: []"),
        ("cat /proc/1/comm; systemctl is-active systemd-journald multi-user.target", "systemd\r\nactive\r\nactive"),
        # A service of our own is started, watched, restarted, and its whole control group is stopped.
        ("systemd-run --unit probe -p Restart=on-failure -p RestartSec=0 sh -c 'sleep 1000 & test -e /run/probe || { touch /run/probe; exit 3; }; wait'; "
         "for i in $(seq 100); do test $(systemctl show -P NRestarts probe) = 1 && break; sleep 0.1; done; "
         "echo now $(systemctl is-active probe) $(systemctl show -P NRestarts probe); systemctl stop probe; pgrep -fc 'sleep 1000'", "now active 1\r\n0"),
        ("echo told $(journalctl --no-pager -b -u probe | grep -c 'status=3') times", "told 1 times"),
        ("systemd-run --quiet --unit who -p User=nobody -p StandardOutput=file:/run/who -p RemainAfterExit=yes id -u; "
         "for i in $(seq 100); do test -s /run/who && break; sleep 0.1; done; cat /run/who", "65534"),
    ],
}
with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
    os.chdir(d)
    os.environ.update(HOME=d, TMPDIR=d)
    run(RUML, "image", "create", "image", "--size", "1G", *({"udev": ["--include", "udev"], "systemd": ["--init", "systemd"]}[KIND]))
    clean("image")
    # The first boot makes keys and a machine ID, the second finds them.
    for _ in range(2):
        boot(RUML, "image", JOBS[KIND])
        clean("image")
print("PASS")
