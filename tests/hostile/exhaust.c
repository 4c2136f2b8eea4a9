/* Taking all there is of everything, one thing after another: exhaust WHAT.
 *
 * A child takes until it is refused or killed. Refusals are fine, as is the OOM killer; what is asked is that others
 * go on and that all of it comes back. */
#include "h.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ipc.h>
#include <sys/mount.h>
#include <sys/sendfile.h>
#include <sys/msg.h>
#include <sys/shm.h>
#include <sys/timerfd.h>
#include <sys/xattr.h>

static void limits(void) {
  struct rlimit r = {1 << 20, 1 << 20}, all = {RLIM_INFINITY, RLIM_INFINITY};
  setrlimit(RLIMIT_NOFILE, &r);
  setrlimit(RLIMIT_NPROC, &all), setrlimit(RLIMIT_SIGPENDING, &all), setrlimit(RLIMIT_MSGQUEUE, &all), setrlimit(RLIMIT_MEMLOCK, &all), setrlimit(RLIMIT_STACK, &all);
}
static long end;
static int more(void) { return t_ms() < end; }
#define UNTIL_REFUSED(e) while (more() && (long)(e) != -1) {}

static void fds_files(void) { UNTIL_REFUSED(open("/etc/passwd", O_RDONLY)); }
static void fds_pipes(void) { int p[2]; UNTIL_REFUSED(pipe(p)); }
static void fds_sockets(void) { int p[2]; UNTIL_REFUSED(socketpair(AF_UNIX, SOCK_STREAM, 0, p)); }
static void fds_events(void) { UNTIL_REFUSED(epoll_create1(0) + eventfd(0, 0) + timerfd_create(CLOCK_MONOTONIC, 0) + inotify_init1(0) + syscall(SYS_memfd_create, "m", 0)); }
static int mapped_memfd(void) {
  int fd = syscall(SYS_memfd_create, "m", 0);
  if (fd < 0 || ftruncate(fd, 4096) || mmap(0, 4096, 3, MAP_SHARED, fd, 0) == MAP_FAILED) return -1;
  return fd;
}
static void fds_objects(void) { UNTIL_REFUSED(mapped_memfd()); }
static void shared_maps(void) { UNTIL_REFUSED(mmap(0, 4096, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0)); }
static void host_files(void) {
  /* Many different files of the host, each kept open. */
  static char *tops[] = {"/usr/share/doc", "/usr/lib", "/usr/include", "/etc", "/usr/bin", "/proc", "/sys", 0};
  for (int i = 0; tops[i] && more(); i++) {
    char *one[] = {tops[i], 0};
    (void)one;
    int visit(const char *p, const struct stat *s, int f, struct FTW *w) { (void)s, (void)w; if (f == FTW_F) { int fd = open(p, O_RDONLY | O_NONBLOCK); if (fd >= 0) mmap(0, 4096, 1, MAP_PRIVATE, fd, 0); } return !more(); }
    nftw(tops[i], visit, 16, FTW_PHYS);
  }
}
static void *sleeper(void *a) { (void)a; for (;;) pause(); }
static void threads(void) {
  pthread_attr_t a;
  pthread_attr_init(&a), pthread_attr_setstacksize(&a, 16384);
  pthread_t t;
  while (more() && pthread_create(&t, &a, sleeper, 0) == 0) {}
}
static void processes(void) {
  while (more()) {
    pid_t c = fork();
    if (c < 0) break;
    if (!c) { for (;;) pause(); }
  }
}
static void bomb(void) { while (more()) if (fork() < 0) t_sleep(1); }
static void vmas(void) {
  char *m = mmap(0, 1ull << 32, 0, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  for (uint64_t i = 0; more() && i < 1 << 20; i += 2) if (mprotect(m + i * 4096, 4096, 3)) break;
  int fd = open("/proc/self/maps", O_RDONLY);
  char b[65536];
  while (read(fd, b, sizeof b) > 0) {}
  if (!fork()) _exit(0);
}
static void anonymous(void) { for (char *m; more() && (m = mmap(0, 1 << 22, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED;) memset(m, 1, 1 << 22); }
static void shared(void) { for (char *m; more() && (m = mmap(0, 1 << 22, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) != MAP_FAILED;) memset(m, 1, 1 << 22), madvise(m, 1 << 22, MADV_DONTNEED); }
static void memfds(void) {
  for (;;) {
    int fd = syscall(SYS_memfd_create, "m", 0);
    if (fd < 0 || ftruncate(fd, 1 << 24)) return;
    char *m = mmap(0, 1 << 24, 3, MAP_SHARED, fd, 0);
    if (m == MAP_FAILED || !more()) return;
    memset(m, 1, 1 << 24), munmap(m, 1 << 24);
  }
}
/* Memory of an object that the guest keeps mapped behind the kernel's back. */
static void hoarded(void) {
  h_scan();
  uint64_t to = 0x600000000000ull;
  for (; more(); to += 1 << 24) {
    char *m = mmap(0, 1 << 24, 3, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (m == MAP_FAILED) return;
    memset(m, 1, 1 << 24);
    long r = h_host(SYS_mremap, (uint64_t)m, 0, 1 << 24, 3, to, 0);
    if (r < 0) return;
    h_host(SYS_madvise, to, 1 << 24, MADV_DONTNEED, 0, 0, 0), munmap(m, 1 << 24);
  }
}
static void hidden(void) {
  h_scan();
  for (uint64_t to = 0x600000000000ull; more(); to += 1 << 22) {
    long r = h_host(SYS_mmap, to, 1 << 22, 3, MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (r != (long)to) r = h_host(SYS_mmap, to, 1 << 22, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    if (r != (long)to || FAULTS(memset((void *)to, 1, 1 << 22))) return;
    if (to % (1 << 23)) h_host(SYS_madvise, to, 1 << 22, MADV_COLD, 0, 0, 0);
  }
}
static void tables(void) {
  for (char *m; more() && (m = mmap(0, 1ull << 40, 1, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0)) != MAP_FAILED;)
    for (uint64_t i = 0; i < 1ull << 40 && more(); i += 2 << 20) (void)*(volatile char *)(m + i);
}
static void tmpfs(void) {
  for (int n = 0; more(); n++) {
    char d[64], f[80];
    snprintf(d, 64, "/tmp/t%d", n), mkdir(d, 0777);
    if (mount("t", d, "tmpfs", 0, 0)) return;
    for (int k = 0; k < 200 && more(); k++) {
      snprintf(f, 80, "%s/%d", d, k);
      int fd = open(f, O_RDWR | O_CREAT, 0600);
      static char b[1 << 20];
      if (fd < 0 || write(fd, b, sizeof b) < 0) break;
      close(fd);
    }
  }
}
static void many_files(void) {
  char f[64];
  mkdir("/tmp/many", 0777);
  for (int n = 0; more(); n++) { snprintf(f, 64, "/tmp/many/%d", n); int fd = creat(f, 0600); if (fd < 0) return; close(fd); }
}
static void names(void) {
  char f[64];
  for (int n = 0; more() && n < 1000000; n++) { snprintf(f, 64, "/usr/no-such-name-%d", n); access(f, F_OK); }
}
static void pipes_full(void) {
  int p[2];
  static char b[1 << 20];
  while (more() && !pipe2(p, O_NONBLOCK)) { fcntl(p[1], F_SETPIPE_SZ, 1 << 20); while (write(p[1], b, sizeof b) > 0) {} }
}
static void sockets_full(void) {
  int p[2], big = 1 << 30;
  static char b[1 << 17];
  while (more() && !socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p)) {
    setsockopt(p[0], SOL_SOCKET, SO_SNDBUF, &big, 4), setsockopt(p[0], SOL_SOCKET, 32 /* SO_SNDBUFFORCE */, &big, 4);
    while (more() && send(p[0], b, sizeof b, 0) > 0) {}
    while (more() && send(p[0], b, 0, 0) >= 0) {}
  }
}
static void signals(void) {
  sigset_t all;
  sigfillset(&all), sigprocmask(SIG_SETMASK, &all, 0);
  UNTIL_REFUSED(sigqueue(getpid(), SIGRTMIN, (union sigval){0}));
}
static void timers(void) {
  timer_t t;
  struct sigevent e = {.sigev_notify = SIGEV_NONE};
  struct itimerspec soon = {{0, 1}, {0, 1}};
  while (more() && !timer_create(CLOCK_MONOTONIC, &e, &t)) timer_settime(t, 0, &soon, 0);
  int fd;
  while (more() && (fd = timerfd_create(CLOCK_MONOTONIC, 0)) >= 0) timerfd_settime(fd, 0, &soon, 0);
}
static void watches(void) {
  char f[64];
  int fd = inotify_init1(0);
  mkdir("/tmp/w", 0777);
  for (int n = 0; more(); n++) { snprintf(f, 64, "/tmp/w/%d", n); close(creat(f, 0600)); if (inotify_add_watch(fd, f, IN_ALL_EVENTS) < 0) return; }
}
static void events(void) {
  int fd = inotify_init1(0);
  inotify_add_watch(fd, "/tmp", IN_ALL_EVENTS);
  while (more()) close(creat("/tmp/e", 0600)), unlink("/tmp/e");
}
static void locks(void) {
  int fd = open("/tmp/l", O_RDWR | O_CREAT, 0600);
  for (long n = 0; more(); n += 2) { struct flock l = {.l_type = F_WRLCK, .l_start = n, .l_len = 1}; if (fcntl(fd, F_SETLK, &l)) return; }
}
static void xattrs(void) {
  static char v[65536];
  char n[64];
  for (int f = 0; more(); f++) {
    snprintf(n, 64, "/tmp/x%d", f), close(creat(n, 0600));
    char k[64];
    for (int i = 0; more(); i++) { snprintf(k, 64, "user.%d", i); if (setxattr(n, k, v, sizeof v, 0)) break; }
    if (f > 2000) return;
  }
}
static void arguments(void) {
  static char *a[4096], big[131000];
  memset(big, 'x', sizeof big - 1);
  for (int i = 0; i < 4000; i++) a[i] = big;
  MUSTBE(execv("/bin/true", a) == -1);
  for (int i = 0; i < 4000; i++) a[i] = big + sizeof big - 2;
  for (int n = 0; n < 60; n++) if (fork() == 0) { a[40] = 0; execve("/bin/true", a, a); _exit(1); }
  while (wait(0) > 0) {}
}
static void queues(void) {
  struct { long t; char b[8192]; } m = {1, {0}};
  for (int q; more() && (q = msgget(IPC_PRIVATE, 0600)) >= 0;) while (msgsnd(q, &m, 8192, IPC_NOWAIT) == 0) {}
  for (int id; more() && (id = shmget(IPC_PRIVATE, 1 << 24, 0600)) >= 0;) { char *p = shmat(id, 0, 0); if (p == (void *)-1) break; memset(p, 1, 1 << 24), shmdt(p); }
}
static void mounts(void) {
  mkdir("/tmp/m", 0777);
  mount("/tmp", "/tmp/m", 0, MS_BIND, 0);
  UNTIL_REFUSED(mount("/tmp/m", "/tmp/m", 0, MS_BIND | MS_REC, 0));
}
static void epolls(void) {
  /* Every epoll waits for every other. */
  int e[200];
  for (int i = 0; i < 200; i++) e[i] = epoll_create1(0);
  struct epoll_event ev = {.events = EPOLLIN};
  for (int i = 0; i < 200; i++) for (int j = 0; j < 200 && more(); j++) epoll_ctl(e[i], EPOLL_CTL_ADD, e[j], &ev);
  int p[2];
  MUSTBE(pipe(p) == 0);
  for (int i = 0; i < 200; i++) epoll_ctl(e[i], EPOLL_CTL_ADD, p[0], &ev);
  for (int i = 0; i < 200 && more(); i++) write(p[1], "x", 1), epoll_wait(e[i], &ev, 1, 0);
  /* A long chain. */
  int last = p[0];
  for (int i = 0; i < 5000 && more(); i++) { int n = epoll_create1(0); if (n < 0 || epoll_ctl(n, EPOLL_CTL_ADD, last, &ev)) break; last = n; }
  epoll_wait(last, &ev, 1, 0), write(p[1], "x", 1);
}
static void rights(void) {
  /* Sockets that hold each other in flight, closed while they do. */
  long half = t_ms() + 3000;
  while (t_ms() < half) {
    int a[2], b[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, a) || socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, b)) break;
    for (int k = 0; k < 10; k++) {
      int *s[] = {a, b};
      int fds[2] = {s[k & 1][0], s[k & 1][1]};
      union { char b[CMSG_SPACE(8)]; struct cmsghdr h; } c = {0};
      struct iovec v = {"x", 1};
      struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b};
      c.h = (struct cmsghdr){.cmsg_len = CMSG_LEN(8), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
      memcpy(CMSG_DATA(&c.h), fds, 8);
      sendmsg(s[!(k & 1)][0], &m, 0), sendmsg(s[k & 1][0], &m, 0);
    }
    close(a[0]), close(a[1]), close(b[0]), close(b[1]);
  }
  /* A chain of sockets, each in the next one's queue: how deep does the last close go? */
  int prev = open("/dev/null", O_RDONLY);
  for (int i = 0; i < 20000 && more(); i++) {
    int p[2];
    if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0, p)) break;
    union { char b[CMSG_SPACE(4)]; struct cmsghdr h; } c = {0};
    struct iovec v = {"x", 1};
    struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c.b, .msg_controllen = sizeof c.b};
    c.h = (struct cmsghdr){.cmsg_len = CMSG_LEN(4), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
    memcpy(CMSG_DATA(&c.h), &prev, 4);
    if (sendmsg(p[0], &m, 0) < 0) break;
    close(prev), close(p[0]);
    prev = p[1];
  }
  long began = t_ms();
  close(prev);
  if (t_ms() - began > 2000) h_failed("ms that closing a chain of sockets took", t_ms() - began);
}
static void deep(void) {
  mkdir("/tmp/deep", 0777), chdir("/tmp/deep");
  long n = 0;
  for (; more() && n < 30000; n++) if (mkdir("d", 0777) || chdir("d")) break;
  char b[PATH_MAX];
  getcwd(b, sizeof b), open("../../../x", O_CREAT | O_RDWR, 0600), rename("../d", "../e");
  char path[4096] = "";
  for (int i = 0; i < 2000; i++) strcat(path, "d/");
  chdir("/tmp/deep"), access(path, F_OK);
  mount("x", "/tmp/deep", "tmpfs", 0, 0), umount2("/tmp/deep", MNT_DETACH);
  chdir("/tmp"), rename("/tmp/deep", "/tmp/deeper");
}
static void links(void) {
  char a[64], b[256];
  symlink("loop", "/tmp/loop");
  MUSTBE(open("/tmp/loop", O_RDONLY) == -1 && errno == ELOOP);
  for (int i = 0; i < 60; i++) snprintf(a, 64, "/tmp/s%d", i), snprintf(b, 256, "s%d/../s%d/../s%d/../s%d", i + 1, i + 1, i + 1, i + 1), symlink(b, a);
  for (int i = 0; i < 20; i++) access("/tmp/s0", F_OK), access("/tmp/s30/x", F_OK);
  static char path[4096];
  for (int i = 0; i < 1300; i++) strcat(path, "s0/");
  chdir("/tmp"), access(path, F_OK);
}
static void iovecs(void) {
  static struct iovec v[1025];
  static char b[4096];
  int z = open("/dev/zero", O_RDWR), f = open("/tmp/iov", O_RDWR | O_CREAT, 0600);
  for (int i = 0; i < 1024; i++) v[i] = (struct iovec){b, 4096};
  MUSTBE(readv(z, v, 1025) == -1 && errno == EINVAL);
  for (int i = 0; i < 1024; i++) v[i].iov_len = 0x7fffffff;
  readv(z, v, 1024), writev(f, v, 1024), preadv(f, v, 1024, 1ull << 62), pwritev(f, v, 1024, (1ull << 63) - 4096);
  for (int i = 0; i < 1024; i++) v[i] = (struct iovec){0, -1ull};
  MUSTBE(readv(z, v, 1024) == -1);
  char *m = mmap(0, 1ull << 33, 3, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (m != MAP_FAILED) { read(z, m, 1ull << 33), write(z, m, -1ull), write(f, m, 1ull << 33), pwrite(f, m, 1ull << 33, 1ull << 40); }
  ftruncate(f, -1), ftruncate(f, (1ull << 63) - 1), fallocate(f, 0, (1ull << 63) - 2, 4096), fallocate(f, 0, 0, 1ull << 50), sendfile(f, z, 0, 1ull << 40), lseek(f, -1ull >> 1, SEEK_SET);
  syscall(SYS_getrandom, m, 1ull << 33, 0);
}
static void vforks(void) {
  /* A stack of vforks, and clones that share everything. */
  for (int i = 0; i < 200; i++) if (vfork() == 0) { pause(); _exit(0); }
}
static void swarm(void) {
  /* Many processes that all take memory. */
  for (int i = 0; i < 64; i++) if (fork() == 0) { anonymous(); _exit(0); }
  while (more() && wait(0) > 0) {}
}
static const struct { const char *name; void (*f)(void); } all[] = {
#define T(n) {#n, n}
  T(fds_files), T(fds_pipes), T(fds_sockets), T(fds_events), T(fds_objects), T(shared_maps), T(host_files), T(threads), T(processes), T(bomb), T(vmas), T(anonymous),
  T(shared), T(memfds), T(hoarded), T(hidden), T(tables), T(tmpfs), T(many_files), T(names), T(pipes_full), T(sockets_full), T(signals), T(timers), T(watches), T(events), T(locks),
  T(xattrs), T(arguments), T(queues), T(mounts), T(epolls), T(rights), T(deep), T(links), T(iovecs), T(vforks), T(swarm),
};
HOSTILE({
  h_w->worst = 0;
  limits();
  for (unsigned i = 0; i < sizeof all / sizeof *all; i++) {
    if (argc > 1 && strcmp(argv[1], all[i].name)) continue;
    h_w->worst = 0;
    MUSTBE(mount("attack", "/tmp", "tmpfs", 0, 0) == 0);
    long began = t_ms();
    int st = ATTACK(12000, end = t_ms() + 6000; all[i].f());
    printf("%s: %s in %ld ms; the witness waited %ld ms at most\n", all[i].name, t_status(st), t_ms() - began, h_w->worst);
    umount2("/tmp", MNT_DETACH);
    if (h_w->worst > 3000) h_failed(all[i].name, h_w->worst);
    if (!h_healthy()) printf("NO: unwell after %s\n", all[i].name);
  }
})
