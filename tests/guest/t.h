/* What every guest test shares: print a check's own text beside its result, symbolically.
 *
 * The same binary runs on the host's Linux and in ruml, and the two outputs must agree. So nothing printed
 * may depend on a pid, an address, a file descriptor's history or the clock. CK() is for what must hold
 * everywhere: one that fails makes the exit status 1, natively too. */
#ifndef T_H
#define T_H
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* The tests pass bad pointers and sizes on purpose. */
#pragma GCC diagnostic ignored "-Wstringop-overflow"
#pragma GCC diagnostic ignored "-Wstringop-overread"
#pragma GCC diagnostic ignored "-Wunused-result"
#pragma GCC diagnostic ignored "-Wunused-value"
#pragma GCC diagnostic ignored "-Wnonnull"

static int t_failed;
static char t_dir[64];
static pid_t t_owner;

/* An error as "-EINVAL", a success as its number. */
static inline const char *t_res(long r) {
  static __thread char b[4][48];
  static __thread int n;
  char *s = b[n++ & 3];
  if (r == -1) {
    const char *e = strerrorname_np(errno);
    if (e) snprintf(s, 48, "-%s", e);
    else snprintf(s, 48, "-errno %d", errno);
  } else snprintf(s, 48, "%ld", r);
  return s;
}

/* R: the exact result; OK: only whether it worked (descriptors, pids, addresses); both print errno by name. */
#define R(e) ({ errno = 0; long r_ = (long)(e); int e_ = errno; printf("%s = %s\n", #e, t_res(r_)); errno = e_; r_; })
#define OK(e) ({ errno = 0; long r_ = (long)(e); int e_ = errno; \
  printf("%s = %s\n", #e, r_ == -1 ? t_res(-1) : "ok"); errno = e_; r_; })
/* Like R, for pthread-style functions, which return the error. */
#define RE(e) ({ int r_ = (e); printf("%s = %s\n", #e, r_ ? strerrorname_np(r_) : "0"); r_; })
#define CK(c) ({ int r_ = !!(c); printf("%s: %s\n", #c, r_ ? "yes" : "NO"); if (!r_) t_failed = 1; r_; })
#define X(e) ({ printf("%s = 0x%lx\n", #e, (unsigned long)(e)); })
#define S(e) ({ const char *s_ = (e); printf("%s = \"%s\"\n", #e, s_ ? s_ : "(null)"); })
#define SECTION(s) printf("-- %s\n", s)
/* Setting up that must work, or the test means nothing. */
#define MUST(e) ({ long r_ = (long)(e); if (r_ == -1) { printf("setup %s: %s\n", #e, t_res(-1)); exit(99); } r_; })

static inline const char *t_sig(int s) {
  static __thread char b[4][24];
  static __thread int n;
  char *p = b[n++ & 3];
  const char *a = s > 0 && s < 32 ? sigabbrev_np(s) : NULL;
  if (a) snprintf(p, 24, "SIG%s", a);
  else if (s >= SIGRTMIN && s <= SIGRTMAX) snprintf(p, 24, "SIGRTMIN+%d", s - SIGRTMIN);
  else snprintf(p, 24, "signal %d", s);
  return p;
}

static inline const char *t_status(int st) {
  static __thread char b[2][48];
  static __thread int n;
  char *p = b[n++ & 1];
  if (WIFEXITED(st)) snprintf(p, 48, "exit %d", WEXITSTATUS(st));
  else if (WIFSIGNALED(st)) snprintf(p, 48, "killed by %s", t_sig(WTERMSIG(st)));
  else if (WIFSTOPPED(st)) snprintf(p, 48, "stopped by %s", t_sig(WSTOPSIG(st)));
  else if (WIFCONTINUED(st)) snprintf(p, 48, "continued");
  else snprintf(p, 48, "status 0x%x", st);
  return p;
}

static inline int t_wait(pid_t p) {
  int st = 0;
  while (waitpid(p, &st, 0) < 0)
    if (errno != EINTR) { printf("waitpid: %s\n", t_res(-1)); return -1; }
  return st;
}

/* Runs BODY in a child and waits for it; the value is the wait status. A check that fails there fails here. */
#define CHILD(...) ({ pid_t p_ = fork(); if (p_ == 0) { __VA_ARGS__; _exit(t_failed ? 98 : 0); } \
  int st_ = t_wait(p_); if (WIFEXITED(st_) && WEXITSTATUS(st_) == 98) t_failed = 1; st_; })
#define CHILDST(what, ...) printf("%s: %s\n", what, t_status(CHILD(__VA_ARGS__)))

static inline long t_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000L + t.tv_nsec / 1000000;
}
static inline void t_sleep(int ms) {
  struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
  while (nanosleep(&t, &t) < 0 && errno == EINTR) {}
}
/* Waits up to five seconds for a condition another task brings about. */
#define UNTIL(c) ({ long t_ = t_ms() + 5000; while (!(c) && t_ms() < t_) t_sleep(1); !!(c); })
/* Whether a task sleeps (state S) in a syscall: the way to be sure that it blocks before it is poked. */
static inline int t_state(pid_t p) {
  char f[48], b[512], *e;
  snprintf(f, sizeof f, "/proc/%d/stat", p);
  int fd = open(f, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  int n = read(fd, b, sizeof b - 1);
  close(fd);
  if (n <= 0) return 0;
  b[n] = 0;
  e = strrchr(b, ')');
  return e ? e[2] : 0;
}
#define ASLEEP(p) UNTIL(t_state(p) == 'S')

static inline int t_rm(const char *p, const struct stat *s, int f, struct FTW *w) {
  (void)s; (void)f; (void)w;
  return remove(p);
}
static inline void t_cleanup(void) {
  if (t_dir[0] && getpid() == t_owner) {
    if (chdir("/")) return;
    nftw(t_dir, t_rm, 16, FTW_DEPTH | FTW_PHYS);
  }
}
/* A fresh directory of our own as working directory, removed at exit. */
static inline void t_tmpdir(void) {
  const char *top = getenv("TMPDIR");
  snprintf(t_dir, sizeof t_dir, "%.40s/guest.XXXXXX", top ? top : "/tmp");
  t_owner = getpid();
  if (!mkdtemp(t_dir) || chdir(t_dir)) { printf("setup tmpdir: %s\n", t_res(-1)); exit(99); }
  atexit(t_cleanup);
}
static inline void t_write(const char *p, const char *s) {
  int fd = open(p, O_WRONLY | O_CREAT | O_TRUNC, 0644);
  if (fd < 0 || write(fd, s, strlen(s)) != (ssize_t)strlen(s)) { printf("setup %s: %s\n", p, t_res(-1)); exit(99); }
  close(fd);
}
static inline const char *t_read(const char *p) {
  static __thread char b[4][4096];
  static __thread int n;
  char *s = b[n++ & 3];
  int fd = open(p, O_RDONLY);
  if (fd < 0) return t_res(-1);
  int k = read(fd, s, 4095);
  close(fd);
  if (k < 0) return t_res(-1);
  s[k] = 0;
  return s;
}
/* Every test's main: unbuffered, so that children and parents print in the order they ran. */
static void test(int argc, char **argv);
int main(int argc, char **argv) {
  setvbuf(stdout, NULL, _IONBF, 0);
  /* Whoever started us may ignore or block something; a test that runs itself again passes arguments. */
  if (argc == 1) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    /* The bare call: glibc keeps 32 and 33 to itself, and its posix_spawn leaves them ignored. */
    static const long dfl[4];
    for (int s = 1; s < NSIG; s++) syscall(SYS_rt_sigaction, s, dfl, NULL, 8);
  }
  umask(022);
  test(argc, argv);
  return t_failed;
}
#define TEST static void test(int argc __attribute__((unused)), char **argv __attribute__((unused)))
#endif
