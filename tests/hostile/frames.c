/* Signal frames, flags, segments and other ways between user and kernel that a processor has. */
#include "h.h"
static long u32_gate(const unsigned char *code, int len, int as32) {
  unsigned char *m = mmap((void *)0x10000000, 65536, 7, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
  memcpy(m, code, len);
  m[len] = 0xf4;
  if (!as32) { ((void (*)(void))m)(); return 0; }
  struct { uint32_t off; uint16_t sel; } far = {0x10000000, 0x23};
  __asm__ volatile("mov $0x10008000, %%esp; ljmp *(%0)" :: "r"(&far) : "memory");
  return 0;
}
static void bytes(void) {
  static const struct { int len; unsigned char b[16]; } codes[] = {
    {2, {0xcd, 0x80}}, {7, {0xb8, 0x14, 0, 0, 0, 0xcd, 0x80}}, {7, {0xb8, 1, 0, 0, 0, 0xcd, 0x80}}, {7, {0xb8, 2, 0, 0, 0, 0xcd, 0x80}}, {7, {0xb8, 11, 0, 0, 0, 0xcd, 0x80}},
    {7, {0xb8, 0x77, 0, 0, 0, 0xcd, 0x80}}, {7, {0xb8, 0xad, 0, 0, 0, 0xcd, 0x80}}, {2, {0x0f, 0x34}}, {2, {0x0f, 0x05}}, {3, {0x48, 0x0f, 0x07}}, {2, {0x0f, 0x07}}, {2, {0x0f, 0x35}}, {2, {0x48, 0xcf}}, {1, {0xcf}}, {1, {0xcb}},
    {2, {0x48, 0xcb}}, {1, {0xfa}}, {1, {0xfb}}, {1, {0xf4}}, {2, {0x0f, 0x30}}, {2, {0x0f, 0x32}}, {3, {0x0f, 0x01, 0xd9}}, {3, {0x0f, 0x01, 0xc1}}, {3, {0x0f, 0x01, 0xf8}}, {3, {0x0f, 0x22, 0xd8}},
    {3, {0x0f, 0x20, 0xc0}}, {2, {0x0f, 0x06}}, {2, {0x0f, 0x08}}, {2, {0x0f, 0x0b}}, {1, {0xcc}}, {1, {0xf1}}, {2, {0xcd, 3}}, {2, {0xcd, 4}}, {2, {0xcd, 0x81}}, {1, {0xce}}, {1, {0xec}}, {1, {0x6c}}, {2, {0xe4, 0x70}},
    {3, {0x8e, 0xd8, 0x90}}, {4, {0x31, 0xc0, 0x8e, 0xd0}}, {4, {0x31, 0xc0, 0x8e, 0xe8}}, {4, {0x31, 0xc0, 0x8e, 0xe0}}, {3, {0x0f, 0x01, 0xf9}}, {3, {0x0f, 0xc7, 0xf0}}, {3, {0x0f, 0x00, 0xd0}}, {3, {0x0f, 0x00, 0xd8}}, {7, {0x0f, 0x01, 0x15, 0, 0, 0, 0}},
    {3, {0x0f, 0xae, 0xe0}}, {5, {0xf3, 0x48, 0x0f, 0xae, 0xd8}}, {5, {0xf3, 0x48, 0x0f, 0xae, 0xd0}}, {4, {0xc5, 0xf8, 0x77}}, {3, {0x0f, 0x01, 0xd0}}, {3, {0x0f, 0x01, 0xd1}}, {3, {0x0f, 0x01, 0xd5}}, {3, {0x0f, 0x01, 0xca}}, {2, {0x0f, 0xa2}},
    {4, {0x9d, 0x9c, 0x9d, 0x90}}, {2, {0xf0, 0x90}}, {15, {0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66, 0x66}},
  };
  for (int as32 = 0; as32 < 2; as32++)
    for (unsigned i = 0; i < sizeof codes / sizeof *codes; i++) ATTACK(500, alarm(1); u32_gate(codes[i].b, codes[i].len, as32));
}
/* int $0x80 from 64-bit code with every number. */
static void int80(void) {
  for (int nr = 0; nr < 460; nr++) {
    if (nr == 29 /* pause */ || nr == 88 /* reboot */ || nr == 37 || nr == 238 || nr == 270) continue;
    ATTACK(200, alarm(1); static const uint64_t a[] = {0, 1, -1ull, 0x10000000, STUB_BASE};
           for (int k = 0; k < 5; k++) { long r; __asm__ volatile("int $0x80" : "=a"(r) : "a"((long)nr), "b"(a[k]), "c"(a[(k + 1) % 5]), "d"(a[(k + 2) % 5]), "S"(a[(k + 3) % 5]), "D"(a[(k + 4) % 5]) : "memory"); });
  }
}
static void flags(void) {
  for (int b = 0; b < 32; b++) {
    uint64_t f = 1ull << b;
    ATTACK(1000, alarm(1); for (int i = 0; i < 3; i++) { long r; __asm__ volatile("pushfq; orq %1, (%%rsp); popfq; mov $39, %%eax; syscall; push $0x202; popfq" : "=&a"(r) : "r"(f) : "rcx", "r11", "memory"); if (r != getpid()) _exit(1); });
    /* The same with a fault, a fork and a thread made under that flag. */
    ATTACK(1000, alarm(1); signal(SIGTRAP, SIG_IGN); long r; __asm__ volatile("pushfq; orq %1, (%%rsp); popfq; mov $57, %%eax; syscall; push $0x202; popfq" : "=&a"(r) : "r"(f) : "rcx", "r11", "memory"); if (!r) _exit(0));
    ATTACK(1000, alarm(1); h_catch(h_jump); if (!sigsetjmp(h_env, 1)) __asm__ volatile("pushfq; orq %0, (%%rsp); popfq; movq $0, 8" :: "r"(f) : "memory"));
  }
  /* Alignment checks are the program's own affair: a call works under them. */
  int st = ATTACK(1000, long r; __asm__ volatile("pushfq; orq $0x40000, (%%rsp); popfq; mov $39, %%eax; syscall; pushfq; andq $~0x40000, (%%rsp); popfq" : "=&a"(r) :: "rcx", "r11", "memory"); _exit(r != getpid()));
  if (st != 0) h_failed("a call under the AC flag", st);
}
static uint64_t frame[2048] __attribute__((aligned(64)));
static int variant;
static void on_signal(int s, siginfo_t *i, void *c) {
  (void)s, (void)i;
  ucontext_t *u = c;
  if (variant == 0) {
    for (int k = 0; k < 1 + (int)(rnd() % 3); k++) ((uint64_t *)u)[rnd() % 46] = rnd() % 2 ? rnd() : STUB_BASE + rnd() % 8192;
  } else if (variant == 1) {
    u->uc_mcontext.gregs[REG_EFL] = rnd();
  } else if (variant == 2) {
    u->uc_mcontext.gregs[REG_CSGSFS] = rnd() % 2 ? rnd() : (0x2bull << 48 | (rnd() % 128));
  } else if (variant == 3) {
    char *f = (void *)u->uc_mcontext.fpregs;
    for (int k = 0; k < 30; k++) f[rnd() % 1000] = rnd();
  } else if (variant == 4) {
    static const uint64_t to[] = {0, 1, STUB_BASE, SLOTS, SLOTS + 0x8000, -1ull, 1ull << 47, 1ull << 63, 0x7ffffffff000ull - 100};
    u->uc_mcontext.fpregs = (void *)(to[rnd() % 9] + rnd() % 70);
  } else if (variant == 5) {
    u->uc_mcontext.gregs[REG_RIP] = rnd() % 2 ? STUB_BASE + rnd() % 6000 : 1ull << (rnd() % 64);
    u->uc_mcontext.gregs[REG_RSP] = rnd() % 2 ? SLOTS + rnd() % 65536 : 1ull << (rnd() % 64);
  } else {
    u->uc_stack.ss_sp = (void *)(STUB_BASE + rnd());
    u->uc_stack.ss_size = rnd(), u->uc_flags = rnd();
    memset(&u->uc_sigmask, 255, 8);
  }
}
static void frames(void) {
  for (int i = 0; i < 1400; i++) {
    variant = i % 7;
    h_seed += 0x9e3779b97f4a7c15ull;
    ATTACK(200, {
      alarm(1);
      struct sigaction sa = {.sa_sigaction = on_signal, .sa_flags = SA_SIGINFO};
      sigaction(SIGUSR1, &sa, 0);
      raise(SIGUSR1), syscall(SYS_getpid);
    });
  }
  for (int i = 0; i < 300; i++)
    ATTACK(200, {
      alarm(1);
      h_seed += i;
      for (int k = 0; k < 2048; k++) frame[k] = i % 3 == 0 ? 0 : rnd() % 4 ? rnd() % 4096 : rnd();
      __asm__ volatile("mov %0, %%rsp; mov $15, %%eax; syscall" :: "r"(frame + i % 7) : "memory");
    });
}
static void bases(void) {
  static const uint64_t to[] = {0, 1, STUB_BASE, SLOTS, SLOTS + 8, 1ull << 46, (1ull << 47) - 1, 1ull << 47, 1ull << 63, -1ull, -4096ull, 0x800000000000ull};
  for (int i = 0; i < 12; i++)
    for (int how = 0; how < 4; how++)
      ATTACK(500, {
        alarm(1);
        if (how == 0) syscall(SYS_arch_prctl, 0x1001, to[i]);
        if (how == 1) __asm__ volatile("mov $158, %%eax; mov $0x1002, %%edi; syscall; mov $39, %%eax; syscall; mov $57, %%eax; syscall; mov $60, %%eax; xor %%edi, %%edi; syscall" :: "S"(to[i]) : "rax", "rdi", "rcx", "r11");
        if (how == 2) __asm__ volatile("wrgsbase %0; mov $39, %%eax; syscall" :: "r"(to[i]) : "rax", "rcx", "r11");
        if (how == 3) __asm__ volatile("wrfsbase %0; mov $57, %%eax; syscall; mov $60, %%eax; xor %%edi, %%edi; syscall" :: "r"(to[i]) : "rax", "rdi", "rcx", "r11");
      });
  for (int sel = 0; sel < 256; sel++)
    ATTACK(200, __asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%gs; mov $39, %%eax; syscall" :: "r"(sel) : "rax", "rcx", "r11"));
}
static void vsyscall(void) {
  for (uint64_t at = 0xffffffffff600000ull; at < 0xffffffffff601000ull; at += 0x100) {
    ATTACK(300, h_call(at, 0, 0, 0, 0, 0, 0, 0));
    ATTACK(300, h_call(at, 0, STUB_BASE, SLOTS, 0, 0, 0, 0));
    ATTACK(300, __asm__ volatile("mov $0, %%rsp; jmp *%0" :: "r"(at)));
  }
}
HOSTILE({ bytes(); int80(); flags(); frames(); bases(); vsyscall(); })
