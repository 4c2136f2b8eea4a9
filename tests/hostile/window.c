/* Threads that write into the windows and signal stacks of their own process while the kernel uses them. */
#include "h.h"
static volatile int go_on = 1;
static int mode;
static int slots;

/* Where a stub's thread returns to instead of doing what it was told. */
static void own_way(void) { for (;;) __asm__ volatile(""); }
static uint64_t slot(int i) { return SLOTS + SLOT_LEN * i; }
static void flood(volatile uint64_t *p, uint64_t words) { for (uint64_t i = 0; i < words; i++) p[i] = rnd(); }
/* abi.rs: turn, stub_waits, kernel_waits, spin, event, signal, code, command, op_count, fd_count, slot, index, … */
static void *spoil(void *arg) {
  h_seed = (uintptr_t)arg * 0x9e3779b97f4a7c15ull | 1;
  while (go_on) {
    int s = rnd() % slots;
    volatile uint32_t *w = (void *)slot(s);
    volatile uint64_t *q = (void *)slot(s), *stack = (void *)(slot(s) + STACK_OFFSET);
    switch (mode) {
      case 0: w[rnd() % 16] = rnd(); break;
      case 1: w[rnd() % 16] = rnd() % 10; break;
      case 2: w[0] = rnd() % 8; break;
      case 3: w[0] = -1u; w[0] = 1; w[0] = 0; break;
      case 4: flood(q, WINDOW_LEN / 8); break;
      case 5: q[8 + rnd() % 60] = rnd() % 3 ? STUB_BASE + rnd() % 65536 : rnd(); break;
      case 6: { /* forged operations */
        volatile uint64_t *op = q + 64 + rnd() % 64 * 7;
        static const uint64_t nr[] = {9, 11, 10, 25, 28, 2, 59, 56, 41, 60, 231, 15, 47, 3};
        op[0] = nr[rnd() % 14], op[1] = rnd() % 2 ? 0x500000000ull : rnd(), op[2] = 4096, op[3] = 7, op[4] = 0x12, op[5] = rnd() % 17, op[6] = 0;
        w[8] = rnd() % 70;
        break;
      }
      case 7: w[4] = rnd() % 6, w[11] = rnd(), q[9] = rnd(), *(volatile uint64_t *)(q + 10) = -rnd() % 5000; break;
      case 8: stack[rnd() % 4096] = rnd(); break;
      case 9: flood(stack, 4096); break;
      case 15: for (int i = 0; i < 4096; i++) stack[i] = (uint64_t)own_way; break;
      case 10: stack[4096 - 1 - rnd() % 400] = rnd() % 2 ? 0 : STUB_BASE + rnd() % (h_text_end - STUB_BASE); break;
      case 11: w[9] = rnd() % 20, w[8] = rnd() % 70; break;
      case 12: w[7] = rnd() % 10; break;
      case 13: w[1] = 0, w[2] = 0, w[0] &= ~2u; break;
      default: w[3] = rnd() % 2 ? -1u : 0, w[1] = rnd(), w[2] = rnd(); break;
    }
    if (mode > 7 || rnd() % 64 == 0) for (volatile int k = rnd() % 2000; k; k--) {}
  }
  return 0;
}
static void *victim(void *arg) {
  h_seed = (uintptr_t)arg * 77 | 1;
  int p[2];
  if (pipe(p)) return 0;
  while (go_on) {
    char b[8192];
    switch (rnd() % 10) {
      case 0: { void *m = mmap(0, 1 << 16, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0); if (m != MAP_FAILED) memset(m, 1, 1 << 16), munmap(m, 1 << 16); break; }
      case 1: { pid_t c = fork(); if (!c) _exit(0); if (c > 0) waitpid(c, 0, 0); break; }
      case 2: { int fd = open("/proc/self/exe", O_RDONLY); void *m = mmap(0, 4096, 1, MAP_PRIVATE, fd, 0); if (m != MAP_FAILED) (void)*(volatile char *)m, munmap(m, 4096); close(fd); break; }
      case 3: { int fd = syscall(SYS_memfd_create, "m", 0); ftruncate(fd, 65536); char *m = mmap(0, 65536, 3, MAP_SHARED, fd, 0); if (m != MAP_FAILED) m[rnd() % 65536] = 1, munmap(m, 65536); close(fd); break; }
      case 4: write(p[1], b, 4096), read(p[0], b, 8192); break;
      case 5: raise(SIGUSR1); break;
      case 6: { pthread_t t; if (!pthread_create(&t, 0, (void *(*)(void *))getppid, 0)) pthread_join(t, 0); break; }
      case 7: t_sleep(1); break;
      case 8: syscall(SYS_futex, b, 129, 1, 0, 0, 0); break;
      default: syscall(SYS_getpid);
    }
  }
  return 0;
}
static void nothing(int s) { (void)s; }
static void attack(int m) {
  mode = m, slots = 4;
  signal(SIGUSR1, nothing);
  alarm(2);
  pthread_t t[4];
  for (intptr_t i = 0; i < 2; i++) pthread_create(&t[i], 0, victim, (void *)(i + t_ms()));
  pthread_create(&t[2], 0, spoil, (void *)(t_ms() + 1));
  if (rnd() % 2) pthread_create(&t[3], 0, spoil, (void *)(t_ms() + 2));
  for (long stop = t_ms() + 300; t_ms() < stop;) victim(0);
}
HOSTILE({
  h_scan();
  long seconds = argc > 1 ? atol(argv[1]) : 25;
  long stop = t_ms() + seconds * 1000;
  for (int i = 0; t_ms() < stop; i++) {
    h_seed = t_ms() * 0x9e3779b97f4a7c15ull | 1;
    ATTACK(600, attack(argc > 2 ? atoi(argv[2]) : i % 16));
  }
})
