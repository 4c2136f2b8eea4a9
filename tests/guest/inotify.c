/* inotify: what a watch reports, in which order. */
#include "t.h"
#include <sys/inotify.h>
static int fd;
static unsigned ck[64];
static int nck;
static void drain(const char *what) {
  char b[8192] __attribute__((aligned(8)));
  long n = read(fd, b, sizeof b);
  printf("%s:%s\n", what, n < 0 ? t_res(-1) : "");
  for (char *p = b; n > 0 && p < b + n;) {
    struct inotify_event *e = (void *)p;
    int k = 0;
    if (e->cookie) { for (k = 0; k < nck && ck[k] != e->cookie; k++) {} if (k == nck && nck < 64) ck[nck++] = e->cookie; k++; }
    printf("  wd %d mask %x cookie %d %s\n", e->wd, e->mask, k, e->len ? e->name : "-");
    p += sizeof *e + e->len;
  }
}
TEST {
  t_tmpdir();
  fd = OK(inotify_init1(IN_NONBLOCK | IN_CLOEXEC));
  R(inotify_init1(1));
  mkdir("d", 0755), t_write("d/f", "x");
  R(inotify_add_watch(fd, "d", IN_ALL_EVENTS));
  R(inotify_add_watch(fd, "none", IN_ALL_EVENTS));
  R(inotify_add_watch(fd, "d", 0));
  R(inotify_add_watch(0, "d", IN_OPEN));
  R(inotify_add_watch(fd, "d/f", IN_ONLYDIR | IN_OPEN));
  drain("nothing");
  int f = open("d/new", O_CREAT | O_RDWR, 0600);
  drain("create");
  write(f, "a", 1);
  drain("write");
  write(f, "a", 1), write(f, "b", 1);
  drain("two writes are one event");
  char b[8];
  pread(f, b, 1, 0);
  drain("read");
  fchmod(f, 0644);
  drain("chmod");
  ftruncate(f, 0);
  drain("truncate");
  close(f);
  drain("close");
  rename("d/new", "d/newer");
  drain("rename");
  rename("d/newer", "out");
  drain("move out");
  rename("out", "d/in");
  drain("move in");
  link("d/in", "d/hard"), symlink("x", "d/soft"), mkdir("d/sub", 0755);
  drain("link, symlink, mkdir");
  rmdir("d/sub"), unlink("d/hard");
  drain("rmdir, unlink");
  close(open("d/in", O_RDONLY));
  drain("open, close");
  SECTION("a watch on a file");
  int w = R(inotify_add_watch(fd, "d/in", IN_MODIFY | IN_ATTRIB | IN_DELETE_SELF | IN_MOVE_SELF));
  R(inotify_add_watch(fd, "d", IN_DELETE));
  t_write("d/in", "z");
  drain("write");
  rename("d/in", "d/in2");
  drain("moved");
  unlink("d/in2");
  drain("unlink");
  R(inotify_rm_watch(fd, w));
  SECTION("masks");
  R(inotify_add_watch(fd, "d", IN_CREATE));
  R(inotify_add_watch(fd, "d", IN_MASK_ADD | IN_DELETE));
  R(inotify_add_watch(fd, "d", IN_MASK_CREATE | IN_DELETE));
  t_write("d/q", ""), unlink("d/q");
  drain("create, delete");
  w = R(inotify_add_watch(fd, ".", IN_ONESHOT | IN_CREATE));
  t_write("o1", ""), t_write("o2", "");
  drain("oneshot");
  SECTION("removal");
  w = R(inotify_add_watch(fd, "o1", IN_ALL_EVENTS));
  R(inotify_rm_watch(fd, w));
  drain("rm_watch");
  R(inotify_rm_watch(fd, 99));
  R(inotify_rm_watch(-1, 1));
  unlink("d/f"), unlink("d/soft");
  drain("before rmdir");
  rmdir("d");
  drain("rmdir of the watched");
  SECTION("polling and sizes");
  mkdir("e", 0755);
  R(inotify_add_watch(fd, "e", IN_CREATE));
  struct pollfd p = {fd, POLLIN, 0};
  R(poll(&p, 1, 0));
  t_write("e/longer-than-sixteen-bytes", "");
  R(poll(&p, 1, 0));
  int n;
  R(ioctl(fd, FIONREAD, &n));
  R(n);
  R(read(fd, b, 8));
  drain("it");
}
