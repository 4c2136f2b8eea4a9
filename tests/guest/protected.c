/* /proc/sys/fs/protected_*, and kernel events of devices. In a guest only: it sets what the whole machine has. As root. */
#include "t.h"
#include <linux/netlink.h>

static void set(const char *name, const char *value) {
  char path[64];
  snprintf(path, sizeof path, "/proc/sys/fs/protected_%s", name);
  int fd = MUST(open(path, O_WRONLY));
  MUST(write(fd, value, strlen(value)));
  close(fd);
}
static void be(int uid) { MUST(setresgid(uid, uid, uid)); MUST(setresuid(uid, uid, uid)); }
#define AS(uid, ...) CHILD(be(uid); __VA_ARGS__)

TEST {
  if (geteuid() || access("/proc/ruml", F_OK)) exit(77);
  t_tmpdir();
  chmod(".", 0755);
  mkdir("sticky", 0755);
  chmod("sticky", 01777);
  umask(0);
  t_write("plain", "x"); chmod("plain", 0666);
  t_write("secret", "x"); chmod("secret", 0600);
  t_write("suid", "x"); chmod("suid", 04666);
  AS(1001, symlink("../plain", "sticky/theirs"); mkfifo("sticky/fifo", 0666); t_write("sticky/file", "x"); chmod("sticky/file", 0666));
  symlink("../plain", "sticky/roots");
  SECTION("links");
  set("symlinks", "1");
  AS(1002, CK(open("sticky/theirs", O_RDONLY) < 0 && errno == EACCES); CK(open("sticky/roots", O_RDONLY) >= 0); CK(readlink("sticky/theirs", (char[9]){0}, 9) == 8));
  AS(1001, CK(open("sticky/theirs", O_RDONLY) >= 0));
  CK(open("sticky/theirs", O_RDONLY) < 0 && errno == EACCES);
  set("symlinks", "0");
  AS(1002, CK(open("sticky/theirs", O_RDONLY) >= 0));
  set("hardlinks", "1");
  AS(1002, CK(link("secret", "sticky/l1") < 0 && errno == EPERM); CK(link("suid", "sticky/l2") < 0 && errno == EPERM); CK(!link("plain", "sticky/l3")));
  set("hardlinks", "0");
  AS(1002, CK(!link("secret", "sticky/l1")));
  set("hardlinks", "1");
  SECTION("files");
  set("regular", "0"); set("fifos", "0");
  AS(1002, CK(open("sticky/file", O_CREAT | O_RDWR, 0600) >= 0); CK(open("sticky/fifo", O_CREAT | O_RDWR, 0600) >= 0));
  set("regular", "1"); set("fifos", "1");
  AS(1002, CK(open("sticky/file", O_CREAT | O_RDWR, 0600) < 0 && errno == EACCES); CK(open("sticky/fifo", O_CREAT | O_RDWR, 0600) < 0 && errno == EACCES); CK(open("sticky/file", O_RDWR) >= 0));
  AS(1001, CK(open("sticky/file", O_CREAT | O_RDWR, 0600) >= 0));
  chmod("sticky", 01775);
  CK(open("sticky/file", O_CREAT | O_RDWR, 0600) >= 0);
  set("regular", "2");
  CK(open("sticky/file", O_CREAT | O_RDWR, 0600) < 0 && errno == EACCES);
  set("regular", "0"); set("fifos", "0");
  int fd = MUST(open("/proc/sys/fs/protected_regular", O_WRONLY));
  CK(write(fd, "3", 1) < 0 && errno == EINVAL);
  close(fd);

  SECTION("events");
  int nl = MUST(socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT));
  struct sockaddr_nl a = {.nl_family = AF_NETLINK, .nl_groups = 1}, from;
  MUST(bind(nl, (void *)&a, sizeof a));
  fd = MUST(open("/sys/class/mem/null/uevent", O_WRONLY));
  CK(write(fd, "explode", 7) < 0 && errno == EINVAL);
  CK(write(fd, "change", 6) == 6);
  char b[2048];
  socklen_t n = sizeof from;
  int len = recvfrom(nl, b, sizeof b - 1, MSG_DONTWAIT, (void *)&from, &n);
  CK(len > 0 && from.nl_pid == 0 && from.nl_groups == 1);
  CK(!strcmp(b, "change@/devices/virtual/mem/null"));
  int found = 0;
  for (char *p = b; p < b + len; p += strlen(p) + 1)
    found |= !strcmp(p, "ACTION=change") ? 1 : !strcmp(p, "SUBSYSTEM=mem") ? 2 : !strcmp(p, "MINOR=3") ? 4 : !strcmp(p, "DEVNAME=null") ? 8 : !strncmp(p, "SEQNUM=", 7) ? 16 : !strcmp(p, "SYNTH_UUID=0") ? 32 : 0;
  CK(found == 63);
}
