/* The figures of a Linux kernel as a program feels it. One static binary, run natively, in ruml and in UML:
 *
 *   bench [--runs N] NAME...     prints `BENCH name ns` per name, the least of N runs, in ns per operation
 *   bench --list                 the names
 *
 * As process 1 (the init of a UML) it powers the machine off at its end. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PG 4096
static const char *self;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}
static void die(const char *what) {
  perror(what);
  exit(1);
}
#define LOOP(n, ...) double t0 = now(); for (long i = 0; i < (n); i++) { __VA_ARGS__; } return (now() - t0) / (n)

static double getppid_(void) { LOOP(100000, syscall(SYS_getppid)); }
static double getpid_(void) { LOOP(100000, syscall(SYS_getpid)); }
static double clocksys(void) { struct timespec t; LOOP(100000, syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t)); }
static double getpgid_(void) { LOOP(100000, syscall(SYS_getpgid, 0)); }
static double getfd(void) { LOOP(100000, fcntl(0, F_GETFD)); }
static double byte(const char *name, int flags) {
  char c = 0;
  int fd = open(name, flags);
  if (fd < 0) die(name);
  double t0 = now();
  for (long i = 0; i < 100000; i++) if ((flags == O_RDONLY ? read(fd, &c, 1) : write(fd, &c, 1)) != 1) die(name);
  double t = (now() - t0) / 100000;
  close(fd);
  return t;
}
static double readzero(void) { return byte("/dev/zero", O_RDONLY); }
static double writenull(void) { return byte("/dev/null", O_WRONLY); }
static double clock_(void) { struct timespec t; LOOP(200000, clock_gettime(CLOCK_MONOTONIC, &t)); }
static double fork_(void) { LOOP(300, pid_t p = fork(); if (!p) _exit(0); if (p < 0) die("fork"); waitpid(p, 0, 0)); }
static double vforkexec(void) {
  LOOP(200, pid_t p = vfork(); if (!p) { execl(self, self, "--nop", (char *)0); _exit(1); } if (p < 0) die("vfork"); waitpid(p, 0, 0));
}
static double shtrue(void) {
  LOOP(50, pid_t p = vfork(); if (!p) { execl("/bin/sh", "sh", "-c", "true", (char *)0); _exit(1); } waitpid(p, 0, 0));
}
static double loop200(void) {
  double t0 = now();
  pid_t p = fork();
  if (!p) {
    execl("/bin/sh", "sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done", (char *)0);
    _exit(1);
  }
  waitpid(p, 0, 0);
  return (now() - t0) / 200;
}
static double anon(void) {
  long n = 16384;
  char *m = mmap(0, n * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) die("mmap");
  madvise(m, n * PG, MADV_NOHUGEPAGE);
  double t0 = now();
  for (long i = 0; i < n; i++) m[i * PG] = 1;
  double t = (now() - t0) / n;
  munmap(m, n * PG);
  return t;
}
static int cached(long n) {
  char name[] = "/tmp/bench.XXXXXX", b[PG];
  int fd = mkstemp(name);
  if (fd < 0) die(name);
  unlink(name);
  memset(b, 7, sizeof b);
  for (long i = 0; i < n; i++) if (write(fd, b, PG) != PG) die("write");
  for (long i = 0; i < n; i++) if (pread(fd, b, PG, i * PG) != PG) die("read");
  return fd;
}
static double filemap(void) {
  long n = 4096;
  static int fd = -1;
  if (fd < 0) fd = cached(n);
  volatile char *m = mmap(0, n * PG, PROT_READ, MAP_SHARED, fd, 0);
  if (m == MAP_FAILED) die("mmap");
  double t0 = now();
  for (long i = 0; i < n; i++) (void)m[i * PG];
  double t = (now() - t0) / n;
  munmap((void *)m, n * PG);
  return t;
}
static double mmap_(void) {
  LOOP(5000, char *m = mmap(0, PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); m[0] = 1; munmap(m, PG));
}
static double mprotect_(void) {
  char *m = mmap(0, 16 * PG, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(m, 1, 16 * PG);
  LOOP(5000, mprotect(m, 16 * PG, PROT_READ); mprotect(m, 16 * PG, PROT_READ | PROT_WRITE); m[0] = 1);
}
static double pipe_(void) {
  int a[2], b[2];
  char c = 0;
  if (pipe(a) || pipe(b)) die("pipe");
  pid_t p = fork();
  if (!p) {
    close(a[1]), close(b[0]);
    while (read(a[0], &c, 1) == 1) if (write(b[1], &c, 1) != 1) break;
    _exit(0);
  }
  close(a[0]), close(b[1]);
  long n = 5000;
  double t0 = now();
  for (long i = 0; i < n; i++) if (write(a[1], &c, 1) != 1 || read(b[0], &c, 1) != 1) die("pipe");
  double t = (now() - t0) / n;
  close(a[1]), close(b[0]), waitpid(p, 0, 0);
  return t;
}
static double pipebulk(void) {
  int a[2];
  static char b[65536];
  if (pipe(a)) die("pipe");
  pid_t p = fork();
  if (!p) { close(a[0]); for (int i = 0; i < 1000; i++) if (write(a[1], b, sizeof b) < 0) break; _exit(0); }
  close(a[1]);
  double t0 = now();
  long n = 0, r;
  while ((r = read(a[0], b, sizeof b)) > 0) n += r;
  double t = (now() - t0) / (n / 65536.0);
  close(a[0]), waitpid(p, 0, 0);
  return t;
}
static double read4k(void) {
  char b[PG];
  int fd = cached(16);
  double t0 = now();
  for (long i = 0; i < 20000; i++) if (pread(fd, b, PG, (i & 15) * PG) != PG) die("pread");
  double t = (now() - t0) / 20000;
  close(fd);
  return t;
}
static double block(long size, int writes) {
  static char b[65536];
  int fd = cached(64);
  double t0 = now();
  for (long i = 0; i < 10000; i++)
    if ((writes ? pwrite(fd, b, size, (i & 15) * PG) : pread(fd, b, size, (i & 15) * PG)) != size) die("block");
  double t = (now() - t0) / 10000;
  close(fd);
  return t;
}
static double read64k(void) { return block(65536, 0); }
static double write4k(void) { return block(PG, 1); }
static double create(void) {
  char name[64];
  sprintf(name, "/tmp/bench.create.%d", getpid());
  LOOP(5000, int fd = open(name, O_CREAT | O_EXCL | O_WRONLY, 0600); if (fd < 0) die(name); close(fd); unlink(name));
}
static volatile int turn __attribute__((aligned(64)));
#define TURNS 10000
static void take_turns(int mine) {
  for (int i = 0; i < TURNS; i++) {
    while (turn != mine) syscall(SYS_futex, &turn, FUTEX_WAIT_PRIVATE, !mine, 0, 0, 0);
    turn = !mine;
    syscall(SYS_futex, &turn, FUTEX_WAKE_PRIVATE, 1, 0, 0, 0);
  }
}
static void *other(void *a) { take_turns(1); return a; }
static double futex_(void) {
  pthread_t t;
  turn = 0;
  double t0 = now();
  if (pthread_create(&t, 0, other, 0)) die("thread");
  take_turns(0);
  pthread_join(t, 0);
  return (now() - t0) / TURNS;
}
static double unix_(void) {
  int s[2];
  char c = 0;
  if (socketpair(AF_UNIX, SOCK_STREAM, 0, s)) die("socketpair");
  pid_t p = fork();
  if (!p) {
    close(s[0]);
    while (read(s[1], &c, 1) == 1) if (write(s[1], &c, 1) != 1) break;
    _exit(0);
  }
  close(s[1]);
  double t0 = now();
  for (int i = 0; i < 5000; i++) if (write(s[0], &c, 1) != 1 || read(s[0], &c, 1) != 1) die("unix");
  double t = (now() - t0) / 5000;
  close(s[0]), waitpid(p, 0, 0);
  return t;
}
static void nothing(int sig) { (void)sig; }
static double sigself(void) {
  signal(SIGUSR1, nothing);
  pid_t me = getpid();
  LOOP(20000, kill(me, SIGUSR1));
}
static double openclose(void) { LOOP(10000, close(open("/etc/passwd", O_RDONLY))); }
static double stat_(void) { struct stat s; LOOP(20000, stat("/etc/passwd", &s)); }
static void *noop(void *a) { return a; }
static double thread(void) { LOOP(1000, pthread_t t; if (pthread_create(&t, 0, noop, 0)) die("thread"); pthread_join(t, 0)); }
static void *work(void *a) {
  unsigned long x = (unsigned long)a | 1;
  for (long i = 0; i < 300000000; i++) { x = x * 6364136223846793005ul + 1; __asm__ volatile("" : "+r"(x)); }
  return (void *)x;
}
static double cpu1(void) { double t0 = now(); volatile void *v = work((void *)1); (void)v; return now() - t0; }
static double cpu2(void) {
  double t0 = now();
  pthread_t t;
  pthread_create(&t, 0, work, (void *)2);
  volatile void *v = work((void *)1);
  (void)v;
  pthread_join(t, 0);
  return now() - t0;
}

static const struct { const char *name; double (*run)(void); } rows[] = {
  {"fork", fork_}, {"vforkexec", vforkexec}, {"shtrue", shtrue}, {"loop200", loop200}, {"anon", anon}, {"filemap", filemap},
  {"mmap", mmap_}, {"mprotect", mprotect_}, {"getppid", getppid_}, {"clock", clock_}, {"getpid", getpid_}, {"clocksys", clocksys},
  {"getpgid", getpgid_}, {"getfd", getfd}, {"readzero", readzero}, {"writenull", writenull}, {"pipe", pipe_}, {"pipebulk", pipebulk},
  {"read4k", read4k}, {"read64k", read64k}, {"write4k", write4k}, {"create", create}, {"futex", futex_}, {"unix", unix_}, {"sigself", sigself},
  {"openclose", openclose}, {"stat", stat_}, {"thread", thread}, {"cpu1", cpu1}, {"cpu2", cpu2},
};
#define ROWS (sizeof rows / sizeof *rows)

static int bench(int argc, char **argv) {
  int runs = 5;
  for (int a = 1; a < argc; a++) {
    if (!strcmp(argv[a], "--nop")) return 0;
    if (!strcmp(argv[a], "--runs") && a + 1 < argc) { runs = atoi(argv[++a]); continue; }
    if (!strcmp(argv[a], "--list")) { for (size_t i = 0; i < ROWS; i++) puts(rows[i].name); continue; }
    size_t i = 0;
    while (i < ROWS && strcmp(rows[i].name, argv[a])) i++;
    if (i == ROWS) { fprintf(stderr, "no bench '%s'\n", argv[a]); return 2; }
    double best = -1;
    for (int r = 0; r < runs; r++) { double t = rows[i].run(); if (best < 0 || t < best) best = t; }
    printf("BENCH %s %.1f\n", rows[i].name, best);
    fflush(stdout);
  }
  return 0;
}

int main(int argc, char **argv) {
  self = argv[0];
  if (getpid() != 1) return bench(argc, argv);
  mount("proc", "/proc", "proc", 0, "");
  mount("tmpfs", "/tmp", "tmpfs", 0, "");
  bench(argc, argv);
  fflush(stdout);
  reboot(RB_POWER_OFF);
  return 1;
}
