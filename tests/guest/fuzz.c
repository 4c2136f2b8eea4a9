/* Every system call number with arguments from a seeded generator: in a guest only, for it may harm what runs it.
 *
 * fuzz [SECONDS [SEED]]: children make the calls, each for a moment, and are killed when they hang. What is asked: the
 * kernel still serves this process afterwards. */
#include "t.h"
static uint64_t x;
static uint64_t rnd(void) { x ^= x << 13, x ^= x >> 7, x ^= x << 17; return x * 2685821657736338717ull; }
static char *area;
static uint64_t arg(void) {
  static const uint64_t odd[] = {0, 1, -1ull, -2ull, 4095, 4096, 4097, 1ull << 31, 1ull << 32, 1ull << 47, 1ull << 63, 0x7fffffff, 0xffffffff, -4096ull,
                                 0x7fffffffffff, 0x800000000000, 0xffffffff80000000ull, 0xdead000000000000ull};
  switch (rnd() % 8) {
    case 0: return odd[rnd() % (sizeof odd / sizeof *odd)];
    case 1: return rnd() % 16;
    case 2: return rnd() % 4096;
    case 3: return (uint64_t)(uintptr_t)area + rnd() % 65536;
    case 4: return ((uint64_t)(uintptr_t)area + rnd() % 65536) & ~7ull;
    case 5: return 1ull << rnd() % 64;
    case 6: return rnd() >> rnd() % 64;
    default: return rnd();
  }
}
static void scramble(void) {
  static const char *names[] = {"/tmp/z", "/proc/self/mem", ".", "/dev/ptmx", "/dev/null", "/proc/self/fd/3", "/tmp/z/../y", ""};
  for (int i = 0; i < 64; i++) *(uint64_t *)(area + rnd() % 65528) = arg();
  strcpy(area + (rnd() % 60000), names[rnd() % 8]);
}
/* What would only end the child, or sleep for ever, and teach nothing. */
static int dull(int n) { return n == SYS_exit || n == SYS_exit_group || n == SYS_pause || n == SYS_rt_sigreturn || n == SYS_reboot; }
static void child(uint64_t seed) {
  x = seed | 1;
  area = mmap(0, 65536, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  alarm(2);
  for (int i = 0; i < 2000; i++) {
    int n = rnd() % 20 == 0 ? (int)arg() : (int)(rnd() % 470);
    if (dull(n)) continue;
    scramble();
    uint64_t a = arg(), b = arg(), c = arg(), d = arg(), e = arg(), f = arg();
    /* Never the whole world, nor the parent. */
    if ((n == SYS_kill || n == SYS_tkill || n == SYS_tgkill || n == SYS_rt_sigqueueinfo || n == SYS_rt_tgsigqueueinfo) && (int)a != getpid()) continue;
    syscall(n, a, b, c, d, e, f);
  }
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
TEST {
  long seconds = argc > 1 ? atol(argv[1]) : 20, end = t_ms() + seconds * 1000;
  uint64_t seed = argc > 2 ? strtoull(argv[2], 0, 0) : 1;
  if (access("/proc/ruml", F_OK)) { printf("fuzz runs in a ruml guest only\n"); exit(77); }
  long rounds = 0;
  for (; t_ms() < end; rounds++, seed++) {
    pid_t c = fork();
    if (c < 0) { t_sleep(10); continue; }
    if (!c) { setpgid(0, 0); setsid(); close(0); child(seed * 0x9e3779b97f4a7c15ull); }
    long stop = t_ms() + 3000;
    int st;
    while (waitpid(c, &st, WNOHANG) == 0) {
      if (t_ms() > stop) { kill(-c, SIGKILL), kill(c, SIGKILL), waitpid(c, &st, 0); break; }
      t_sleep(1);
    }
    kill(-c, SIGKILL);
    while (waitpid(-1, &st, WNOHANG) > 0) {}
    if (!healthy()) { printf("the kernel is unwell after seed %llu: %s\n", (unsigned long long)seed, t_res(-1)); exit(1); }
  }
  printf("%s\n", rounds > 0 ? "fuzzed" : "NO rounds");
  exit(rounds == 0);
}
