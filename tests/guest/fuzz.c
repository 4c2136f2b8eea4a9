/* Every system call number with arguments from a seeded generator: in a guest only, for it may harm what runs it.
 *
 * fuzz [SECONDS [SEED [PROCESSES [PATIENCE]]]]: several at once, each with two threads and descriptors of every kind, make the calls
 * for a moment, and are killed when they hang. What is asked: the kernel still serves this process afterwards, and a
 * watchdog that does nothing else is never kept waiting for long (PATIENCE, ms). */
#include "t.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
static __thread uint64_t x;
static uint64_t rnd(void) { x ^= x << 13, x ^= x >> 7, x ^= x << 17; return x * 2685821657736338717ull; }
#define AREA 65536
static char *area;
static uint64_t somewhere(void) { return (uint64_t)(uintptr_t)area + rnd() % AREA; }
static uint64_t arg(void) {
  static const uint64_t odd[] = {0, 1, -1ull, -2ull, 4095, 4096, 4097, 1ull << 31, 1ull << 32, 1ull << 47, 1ull << 63, 0x7fffffff, 0xffffffff, -4096ull, -100ull,
                                 0x7fffffffffff, 0x800000000000, 0xffffffff80000000ull, 0xdead000000000000ull, 0x7ff000000000ull, 0x7feffffff000ull};
  switch (rnd() % 12) {
    case 0: return odd[rnd() % (sizeof odd / sizeof *odd)];
    case 1: return rnd() % 16;
    case 2: return rnd() % 4096;
    case 3: return somewhere();
    case 4: case 5: return somewhere() & ~7ull;
    case 6: return 1ull << rnd() % 64;
    case 7: return rnd() >> rnd() % 64;
    case 8: case 9: return 3 + rnd() % 32;
    case 10: return 1ull << rnd() % 24 | 1ull << rnd() % 24;
    default: return rnd();
  }
}
static const char *names[] = {"/tmp/z", "/proc/self/mem", ".", "/dev/ptmx", "/dev/null", "/proc/self/fd/3", "/tmp/z/../y", "", "/tmp/dir", "/tmp/dir/a", "/tmp/link",
                              "/tmp/fifo", "/proc/self/maps", "/proc/sys/kernel/hostname", "/sys", "/dev/tty", "/etc/passwd", "tmpfs", "user.x", "proc"};
static void scramble(void) {
  for (int i = 0; i < 48; i++) *(uint64_t *)(area + rnd() % (AREA - 8)) = arg();
  /* Structures that make sense: small numbers, and pointers with lengths. */
  uint64_t *p = (uint64_t *)(area + rnd() % 8000 * 8);
  for (int i = 0; i < 8; i++) p[i] = i % 2 ? rnd() % 5000 : rnd() % 2 ? somewhere() : rnd() % 64;
  p = (uint64_t *)(area + rnd() % 8000 * 8);
  for (int i = 0; i < 8; i++) p[i] = rnd() % 100;
  strcpy(area + (rnd() % 60000), names[rnd() % (sizeof names / sizeof *names)]);
}
/* Those who watch: the program and its lanes, which the calls may reach by pid like any other process of their user. */
static volatile pid_t *guards;
#define GUARDS 65
static int guarded(pid_t pid) {
  for (int i = 0; i < GUARDS; i++) if (guards[i] && guards[i] == pid) return 1;
  return 0;
}
/* What would only end the child, or sleep for ever, and teach nothing. */
static int dull(int n) { return n == SYS_exit || n == SYS_exit_group || n == SYS_pause || n == SYS_rt_sigreturn || n == SYS_reboot; }
static void descriptors(void) {
  int p[2];
  pipe(p), socketpair(AF_UNIX, SOCK_STREAM, 0, p), socketpair(AF_UNIX, SOCK_DGRAM, 0, p), socketpair(AF_UNIX, SOCK_SEQPACKET, 0, p);
  socket(AF_UNIX, SOCK_STREAM, 0);
  mkdir("/tmp/dir", 0777), symlink("dir", "/tmp/link"), mkfifo("/tmp/fifo", 0666);
  open("/tmp/z", O_RDWR | O_CREAT, 0666), open("/tmp/dir", O_RDONLY), open("/etc/passwd", O_RDONLY), open("/proc/self/maps", O_RDONLY), open("/dev/zero", O_RDWR);
  open("/tmp/fifo", O_RDWR), open("/dev/ptmx", O_RDWR | O_NOCTTY), open("/proc", O_RDONLY), open("/tmp", O_PATH);
  epoll_create1(0), eventfd(1, EFD_NONBLOCK), timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), inotify_init1(IN_NONBLOCK);
  sigset_t s;
  sigemptyset(&s), sigaddset(&s, SIGUSR2), signalfd(-1, &s, SFD_NONBLOCK);
  ftruncate(syscall(SYS_memfd_create, "m", 3), 8192), syscall(SYS_pidfd_open, getpid(), 0);
}
static void *calls(void *seed) {
  x = (uintptr_t)seed | 1;
  for (int i = 0; i < 2000; i++) {
    int n = rnd() % 20 == 0 ? (int)arg() : (int)(rnd() % 470);
    if (dull(n)) continue;
    if (rnd() % 4 == 0) scramble();
    uint64_t a = arg(), b = arg(), c = arg(), d = arg(), e = arg(), f = arg();
    /* Never the whole world, nor the parent. */
    if ((n == SYS_kill || n == SYS_tkill || n == SYS_tgkill || n == SYS_rt_sigqueueinfo || n == SYS_rt_tgsigqueueinfo) && (int)a != getpid()) continue;
    /* Nor limits for those who watch: without descriptors, memory or time they would find the kernel unwell. */
    if (n == SYS_prlimit64 && guarded((int)a)) continue;
    syscall(n, a, b, c, d, e, f);
  }
  return 0;
}
static void child(uint64_t seed) {
  x = seed | 1;
  area = mmap(0, AREA, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  /* It is the area's neighbour, and results are written across the area's end as well. */
  mprotect((void *)guards, sizeof *guards * GUARDS, PROT_READ);
  alarm(2);
  /* fork is one of the calls, and each child goes on with the rest: a child that sleeps would let them multiply. */
  setrlimit(RLIMIT_NPROC, &(struct rlimit){64, 64});
  descriptors(), scramble();
  pthread_t t;
  if (rnd() % 3 == 0) pthread_create(&t, 0, calls, (void *)(uintptr_t)rnd());
  calls((void *)(uintptr_t)rnd());
  _exit(0);
}
static int healthy(void) {
  int p[2];
  char b[4];
  if (pipe(p) || write(p[1], "ok", 2) != 2 || read(p[0], b, 4) != 2) return 0;
  close(p[0]), close(p[1]);
  pid_t c = fork();
  if (!c) _exit(7);
  int st;
  if (waitpid(c, &st, 0) != c || WEXITSTATUS(st) != 7) return 0;
  char *m = mmap(0, 1 << 20, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (m == MAP_FAILED) return 0;
  memset(m, 1, 1 << 20);
  munmap(m, 1 << 20);
  int fd = open("/proc/self/stat", O_RDONLY);
  if (fd < 0 || read(fd, b, 4) != 4) return 0;
  close(fd);
  return 1;
}
/* Ends what a child has left behind, in whatever group: it is the subreaper's own by now. */
static void sweep(void) {
  for (int found = 1, round = 0; found && round < 50; round++) {
    found = 0;
    DIR *d = opendir("/proc");
    for (struct dirent *e; d && (e = readdir(d));) {
      char f[300], b[512], *p;
      pid_t pid = atoi(e->d_name);
      if (pid <= 1) continue;
      snprintf(f, sizeof f, "/proc/%d/stat", pid);
      int fd = open(f, O_RDONLY), n = fd < 0 ? -1 : read(fd, b, sizeof b - 1);
      if (fd >= 0) close(fd);
      if (n <= 0) continue;
      b[n] = 0;
      if ((p = strrchr(b, ')')) && atoi(p + 4) == getpid()) kill(pid, SIGKILL), found = 1;
    }
    if (d) closedir(d);
    while (waitpid(-1, 0, WNOHANG) > 0) {}
  }
}
/* What keeps a program from its descriptors, memory or time: tells a limit that a call has set from the kernel's fault. */
static void limits(void) {
  for (int i = 0; i < RLIM_NLIMITS; i++) {
    struct rlimit l;
    if (!getrlimit(i, &l) && l.rlim_cur != RLIM_INFINITY) printf("limit %d is %llu\n", i, (unsigned long long)l.rlim_cur);
  }
}
static void lane(int number, long end, uint64_t seed) {
  guards[number] = getpid();
  prctl(PR_SET_CHILD_SUBREAPER, 1);
  for (; t_ms() < end; seed += 1000) {
    pid_t c = fork();
    if (c < 0) { t_sleep(10); continue; }
    if (!c) { setpgid(0, 0); setsid(); close(0), dup2(open("/dev/null", O_RDWR), 1); child(seed * 0x9e3779b97f4a7c15ull); }
    long stop = t_ms() + 3000;
    int st;
    while (waitpid(c, &st, WNOHANG) == 0) {
      if (t_ms() > stop) {
        kill(-c, SIGKILL), kill(c, SIGKILL);
        while (waitpid(c, &st, WNOHANG) == 0) {
          if (t_ms() > stop + 10000) { printf("seed %llu cannot be killed\n", (unsigned long long)seed); _exit(1); }
          t_sleep(1);
        }
        break;
      }
      t_sleep(1);
    }
    kill(-c, SIGKILL);
    sweep();
    if (!healthy()) { printf("the kernel is unwell after seed %llu: %s\n", (unsigned long long)seed, t_res(-1)), limits(), _exit(1); }
  }
  _exit(0);
}
TEST {
  long seconds = argc > 1 ? atol(argv[1]) : 60, end = t_ms() + seconds * 1000;
  uint64_t seed = argc > 2 ? strtoull(argv[2], 0, 0) : 1;
  int lanes = argc > 3 ? atoi(argv[3]) : 3;
  long patience = argc > 4 ? atol(argv[4]) : 3000;
  if (access("/proc/ruml", F_OK)) { printf("fuzz runs in a ruml guest only\n"); exit(77); }
  pid_t p[GUARDS - 1];
  if (lanes < 1 || lanes > GUARDS - 1) lanes = 3;
  guards = mmap(0, sizeof *guards * GUARDS, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  MUST((long)guards);
  guards[GUARDS - 1] = getpid();
  /* A lane that a child has killed is no finding: the calls may do that (PIDs, prctl), so it starts anew. */
  for (int i = 0; i < lanes; i++) if (!(p[i] = fork())) lane(i, end, seed + i);
  long worst = 0, last = t_ms(), wrong = 0, alive = lanes;
  while (alive) {
    t_sleep(10);
    long now = t_ms();
    if (now - last > worst) worst = now - last;
    last = now;
    /* One that was stopped goes on. */
    if (now > end + 5000) for (int i = 0; i < lanes; i++) if (p[i] > 0) kill(p[i], SIGCONT);
    if (now > end + 10 * patience) {
      for (int i = 0; i < lanes; i++) if (p[i] > 0) printf("lane %d is in state %c\n", p[i], t_state(p[i]));
      printf("lanes that do not end: %ld\n", alive);
      exit(1);
    }
    int st;
    for (int i = 0; i < lanes; i++) {
      if (p[i] <= 0 || waitpid(p[i], &st, WNOHANG) != p[i]) continue;
      if (WIFEXITED(st) && WEXITSTATUS(st)) wrong++;
      if (WIFSIGNALED(st) && now < end && (p[i] = fork()) >= 0) {
        if (!p[i]) lane(i, end, seed + now * 64 + i);
        continue;
      }
      p[i] = 0, alive--;
    }
  }
  if (worst > patience) printf("the watchdog was kept waiting: %ld ms\n", worst), wrong++;
  fprintf(stderr, "fuzz: at worst %ld ms between two beats\n", worst);
  printf("%s\n", wrong ? "NO" : "fuzzed");
  exit(wrong != 0);
}
