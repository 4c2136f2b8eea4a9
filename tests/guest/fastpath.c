/* System calls from instructions that have made many of them: registers, signals, and text that changes. */
#include "t.h"
#include <asm/prctl.h>
#include <elf.h>
#include <setjmp.h>
#include <sys/auxv.h>
#include <ucontext.h>

/* Each begins with its mov; the syscall is 5 bytes on. */
extern char site_pgid[], site_pid[], site_step[], site_smc[], site_read[], site_write[], site_sleep[], site_kill[];
extern char in[], out[], vin[], vout[], red[], regs_call[], regs_after[];
asm(".text\n .balign 64\n nop\n .balign 128\n"
    "site_pgid: mov $121, %eax\n syscall\n ret\n nop\n nop\n"
    "site_pid: mov $39, %eax\n syscall\n ret\n"
    "site_step: mov $121, %eax\n syscall\n nop\n nop\n ret\n"
    "site_read: mov $0, %eax\n syscall\n ret\n"
    "site_write: mov $1, %eax\n syscall\n ret\n"
    "site_kill: mov $62, %eax\n syscall\n ret\n"
    ".balign 4096\n site_smc: mov $39, %eax\n syscall\n ret\n .balign 4096\n");
#define EACH16(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11) op(12) op(13) op(14) op(15)
#define LD(n) "movaps vin+16*" #n "(%rip), %xmm" #n "\n"
#define ST(n) "movaps %xmm" #n ", vout+16*" #n "(%rip)\n"
/* Words: rax rcx rdx rbx rsp rbp rsi rdi r8..r15, flags. Four words of red zone. */
#define GPR(op) op(0, rax) op(2, rdx) op(3, rbx) op(5, rbp) op(6, rsi) op(7, rdi) op(8, r8) op(9, r9) op(10, r10) op(12, r12) op(13, r13) op(14, r14) op(15, r15)
#define GET(n, r) "mov in+8*" #n "(%rip), %" #r "\n"
#define PUT(n, r) "mov %" #r ", out+8*" #n "(%rip)\n"
asm(".globl regs_call, regs_after\n regs_call:\n push %rbp\n push %rbx\n push %r12\n push %r13\n push %r14\n push %r15\n"
    "mov %rsp, in+8*4(%rip)\n" EACH16(LD) "mov in+8*16(%rip), %rax\n push %rax\n popfq\n" GPR(GET)
    "mov %r15, -8(%rsp)\n mov %r14, -64(%rsp)\n mov %r13, -120(%rsp)\n mov %r12, -128(%rsp)\n"
    ".byte 0x0f, 0x1f, 0x44, 0, 0\n" /* a nop of 5 bytes */
    "syscall\n regs_after:\n" GPR(PUT) "mov %rcx, out+8*1(%rip)\n mov %r11, out+8*11(%rip)\n mov %rsp, out+8*4(%rip)\n"
    "mov -8(%rsp), %rax\n mov %rax, red(%rip)\n mov -64(%rsp), %rax\n mov %rax, red+8(%rip)\n"
    "mov -120(%rsp), %rax\n mov %rax, red+16(%rip)\n mov -128(%rsp), %rax\n mov %rax, red+24(%rip)\n"
    "pushfq\n pop %rax\n cld\n mov %rax, out+8*16(%rip)\n" EACH16(ST)
    "pop %r15\n pop %r14\n pop %r13\n pop %r12\n pop %rbx\n pop %rbp\n ret\n"
    ".bss\n .balign 64\n in: .skip 136\n .balign 64\n out: .skip 136\n .balign 64\n vin: .skip 256\n vout: .skip 256\n red: .skip 32\n .text\n");

static long call3(void *f, long a, long b, long c) {
  long r;
  asm volatile("call *%4" : "=a"(r), "+D"(a), "+S"(b), "+d"(c) : "r"(f) : "rcx", "r11", "r8", "r9", "r10", "memory");
  return r;
}
#define call(f) call3(f, 0, 0, 0)

static volatile int ticks;
static void count_ticks(int s) {
  (void)s;
  char buf[512];
  snprintf(buf, sizeof buf, "%f", ticks * 1.5); /* uses vector registers */
  ticks++;
}

static int hot(void *f, int n) { /* how often it does not answer what it did at first */
  long first = call(f), bad = 0;
  for (int i = 0; i < n; i++) bad += call(f) != first;
  return bad;
}

/* What a call changes that it may not: a bit each. */
static unsigned keeps(long nr, long flags, long a, long b, long c) {
  uint64_t *i = (uint64_t *)in, *o = (uint64_t *)out, *r = (uint64_t *)red;
  for (int n = 0; n < 16; n++) i[n] = 0x0102030405060708ul * (n + 3) ^ flags;
  for (int n = 0; n < 256; n++) vin[n] = n * 5 + flags;
  memset(vout, 0, 256);
  i[0] = nr, i[7] = a, i[6] = b, i[2] = c, i[16] = flags;
  ((void (*)(void))regs_call)();
  unsigned bad = 0;
  for (int n = 2; n < 16; n++) if (n != 11 && i[n] != o[n]) bad |= 1u << n;
  if (o[1] != (uint64_t)regs_after) bad |= 2;
  if ((o[11] & 0xcd5) != (flags & 0xcd5)) bad |= 1 << 11;
  if ((o[16] & 0xcd5) != (flags & 0xcd5)) bad |= 1 << 16;
  if (memcmp(vin, vout, 256)) bad |= 1 << 17;
  if (r[0] != i[15] || r[1] != i[14] || r[2] != i[13] || r[3] != i[12]) bad |= 1 << 18;
  return bad;
}
static unsigned keeps_all(void) {
  static char page[4096] __attribute__((aligned(4096)));
  unsigned bad = 0;
  long flags[] = {0x202, 0x202 | 1, 0x202 | 0x8d5, 0x202 | 0x400, 0x202 | 0xcd5};
  struct timespec t;
  for (int f = 0; f < 5; f++) {
    bad |= keeps(SYS_getpgid, flags[f], 0, 0, 0);
    bad |= keeps(SYS_getpid, flags[f], 0, 0, 0);
    bad |= keeps(SYS_clock_gettime, flags[f], 1, (long)&t, 0);
    bad |= keeps(SYS_clock_gettime, flags[f], 1, 8, 0);
    bad |= keeps(SYS_mprotect, flags[f], (long)page, 4096, PROT_READ | PROT_WRITE);
    bad |= keeps(1000, flags[f], 0, 0, 0);
    bad |= keeps(SYS_uname, flags[f], 8, 0, 0);
    bad |= keeps(SYS_sched_yield, flags[f], 0, 0, 0);
  }
  return bad;
}

static volatile long count, wrong;
static char *lo, *hi;
static void storm(int s, siginfo_t *i, void *u) {
  (void)s, (void)i;
  ucontext_t *c = u;
  char *rip = (char *)c->uc_mcontext.gregs[REG_RIP];
  count++;
  /* Nowhere but in this program, and in a site at an instruction. */
  if (rip < lo || rip >= hi) wrong++;
  if (rip >= site_pgid && rip < site_pgid + 8 && rip != site_pgid && rip != site_pgid + 5 && rip != site_pgid + 7) wrong++;
  if (call(site_pgid) != getpgrp()) wrong++;
}
static void handler(int sig, void (*f)(int, siginfo_t *, void *), int flags) {
  struct sigaction a = {.sa_sigaction = f, .sa_flags = SA_SIGINFO | flags};
  sigaction(sig, &a, 0);
}

static char trace[2][64];
static volatile int which, steps;
static void step(int s, siginfo_t *i, void *u) {
  (void)s;
  ucontext_t *c = u;
  long at = c->uc_mcontext.gregs[REG_RIP] - (long)site_step;
  if (at >= 0 && at < 16 && steps < 60) trace[which][steps++] = at + 1;
  if ((long)i->si_addr != c->uc_mcontext.gregs[REG_RIP]) wrong++;
}
static void stepped(int w) {
  which = w, steps = 0;
  long f = (long)site_step;
  asm volatile("sub $128, %%rsp\n pushfq\n orl $0x100, (%%rsp)\n popfq\n call *%0\n pushfq\n andl $~0x100, (%%rsp)\n popfq\n add $128, %%rsp"
               : "+r"(f) : "D"(0) : "rax", "rcx", "r11", "memory", "cc");
}

static volatile int go = 1;
static void *thread(void *a) {
  long bad = 0, n = 0;
  while (go || n < 2000) bad += call(site_pgid) != getpgid(0), n++;
  return (void *)(bad + (long)a);
}
static sigjmp_buf jb;
static void jump(int s, siginfo_t *i, void *u) { (void)s, (void)i, (void)u; siglongjmp(jb, 1); }
static int pipes[2];
static void feed(int s, siginfo_t *i, void *u) { (void)s, (void)i, (void)u; count++; if (write(pipes[1], "x", 1) != 1) wrong++; }
static void noted(int s, siginfo_t *i, void *u) { (void)s, (void)i, (void)u; count++; }

static void fork_ids(void) {
  int st;
  pid_t p = fork();
  if (!p) {
    int bad = syscall(SYS_getpid) == syscall(SYS_getppid) || syscall(SYS_gettid) != syscall(SYS_getpid);
    pid_t g = syscall(SYS_getpgrp);
    bad |= (setpgid(0, 0) != 0) << 1;
    bad |= (syscall(SYS_getpgrp) != getpid() || g == getpid()) << 2;
    pid_t me = getpid();
    if (!fork()) {
      while (syscall(SYS_getppid) == me) sched_yield();
      _exit(0);
    }
    if (getuid() == 0) {
      bad |= (syscall(SYS_setgid, 7) != 0 || syscall(SYS_getgid) != 7 || syscall(SYS_getegid) != 7) << 3;
      bad |= (syscall(SYS_setresuid, 5, 6, -1) != 0 || syscall(SYS_getuid) != 5 || syscall(SYS_geteuid) != 6) << 4;
    }
    _exit(bad);
  }
  waitpid(p, &st, 0);
  CK(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

static void pending(void) {
  struct timespec t = {0, 100000};
  for (int i = 0; i < 50; i++) nanosleep(&t, 0);
}

static char *map_text(char *at, size_t len) { /* this program's text at `at`, once more */
  int fd = MUST(open("/proc/self/exe", O_RDONLY));
  Elf64_Ehdr e;
  MUST(pread(fd, &e, sizeof e, 0) == sizeof e ? 0 : -1);
  Elf64_Phdr p[32];
  MUST(pread(fd, p, sizeof *p * e.e_phnum, e.e_phoff));
  char *base = (char *)(e.e_type == ET_EXEC ? 0 : getauxval(AT_PHDR) - e.e_phoff), *m = MAP_FAILED;
  for (int i = 0; i < e.e_phnum; i++) {
    if (p[i].p_type != PT_LOAD || !(p[i].p_flags & PF_X)) continue;
    lo = base + p[i].p_vaddr, hi = lo + p[i].p_memsz;
    if (at) m = mmap(0, len, PROT_READ | PROT_EXEC, MAP_PRIVATE, fd, p[i].p_offset + (at - lo));
  }
  if (at) {
    char b[8] = {0};
    for (int i = 0; i < e.e_phnum; i++)
      if (p[i].p_type == PT_LOAD && p[i].p_flags & PF_X) pread(fd, b, 7, p[i].p_offset + (site_pgid - lo));
    CK(!memcmp(b, "\xb8\x79\0\0\0\x0f\x05", 7));
  }
  close(fd);
  return m;
}

TEST {
  if (argc > 1 && !strcmp(argv[1], "again")) {
    int bad = keeps_all() != 0 || hot(site_pid, 100) || hot(site_pgid, 100);
    exit(bad);
  }
  map_text(0, 0);
  handler(SIGTRAP, step, 0);
  stepped(0);
  CK(steps > 0);
  /* Nothing is done to a file that has just been written. */
  struct timespec old = {1, 200000000};
  nanosleep(&old, 0);

  SECTION("threads, while the text is replaced");
  pthread_t t[4];
  for (long i = 0; i < 4; i++) MUST(pthread_create(&t[i], 0, thread, 0) ? -1 : 0);
  CK(hot(site_pgid, 5000) == 0);
  CK(hot(site_pid, 5000) == 0);
  CK(hot(site_step, 2000) == 0);
  CK(hot(site_smc, 2000) == 0);
  go = 0;
  long bad = 0;
  for (int i = 0; i < 4; i++) { void *r; pthread_join(t[i], &r); bad += (long)r; }
  CK(bad == 0);
  for (int i = 0; i < 2000; i++) keeps(SYS_getpgid, 0x202, 0, 0, 0);

  SECTION("what a call keeps");
  X(keeps_all());

  SECTION("answers");
  CK(call(site_pid) == getpid());
  R(syscall(SYS_clock_gettime, 1, 8));
  R(syscall(SYS_clock_gettime, 1, 0));
  R(syscall(SYS_clock_gettime, 77, 8));
  R(syscall(SYS_gettimeofday, 0, 0));
  R(syscall(SYS_gettimeofday, 8, 0));
  R(syscall(SYS_gettimeofday, 0, 8));
  R(syscall(SYS_time, 8));
  R(syscall(SYS_getcpu, 0, 0, 0));
  R(syscall(SYS_getcpu, 8, 0, 0));
  R(syscall(SYS_getcpu, 0, 8, 0));
  R(syscall(SYS_sched_yield));
  struct timespec a, b, c;
  clock_gettime(CLOCK_MONOTONIC, &a);
  syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &b);
  clock_gettime(CLOCK_MONOTONIC, &c);
#define NS(t) ((t).tv_sec * 1000000000l + (t).tv_nsec)
  CK(NS(a) <= NS(b) && NS(b) <= NS(c));
  long sec;
  CK(syscall(SYS_time, &sec) == sec);
  CK(llabs(sec - time(0)) <= 1);
  fork_ids();

  SECTION("signals");
  handler(SIGALRM, storm, 0);
  struct itimerval it = {{0, 300}, {0, 300}}, none = {{0, 0}, {0, 0}};
  pid_t p = fork(); /* somebody to share the processor with */
  if (!p) for (signal(SIGALRM, SIG_DFL), alarm(10);;) call(site_pgid);
  long n = 0;
  bad = 0;
  setitimer(ITIMER_REAL, &it, 0);
  for (; count < 300 && n < 20000000; n++) {
    bad += call(site_pgid) != getpgrp();
    bad += keeps(SYS_getpgid, 0x202 | 0x8d5, 0, 0, 0) != 0;
  }
  setitimer(ITIMER_REAL, &none, 0);
  CK(count >= 300);
  CK(wrong == 0);
  CK(bad == 0);
  kill(p, SIGKILL);
  waitpid(p, 0, 0);
  MUST(pipe(pipes));
  char byte;
  count = 0;
  handler(SIGALRM, feed, SA_RESTART);
  for (int i = 0; i < 300; i++) { /* until each of them is surely patched */
    call3(site_write, pipes[1], (long)"y", 1);
    call3(site_read, pipes[0], (long)&byte, 1);
  }
  struct itimerval once = {{0, 0}, {0, 3000}};
  setitimer(ITIMER_REAL, &once, 0);
  CK(call3(site_read, pipes[0], (long)&byte, 1) == 1 && byte == 'x' && count == 1);
  handler(SIGALRM, noted, 0);
  setitimer(ITIMER_REAL, &once, 0);
  CK(call3(site_read, pipes[0], (long)&byte, 1) == -EINTR && count == 2);
  handler(SIGALRM, jump, SA_NODEFER);
  if (!sigsetjmp(jb, 1)) {
    setitimer(ITIMER_REAL, &once, 0);
    call3(site_read, pipes[0], (long)&byte, 1);
    puts("NO jump");
  }
  handler(SIGUSR1, noted, 0);
  count = 0;
  for (int i = 0; i < 1000; i++) call3(site_kill, getpid(), SIGUSR1, 0);
  CK(count == 1000);
  bad = 0;
  for (int i = 0; i < 30; i++) {
    int st = 0;
    pid_t v = vfork();
    if (!v) _exit(call(site_pid) == getpid() ? 3 : 4);
    waitpid(v, &st, 0);
    bad += !WIFEXITED(st) || WEXITSTATUS(st) != 3;
  }
  CK(bad == 0);

  SECTION("steps");
  stepped(1);
  CK(!memcmp(trace[0], trace[1], 64));
  CK(wrong == 0);

  SECTION("signals while memory changes");
  static char stack[65536];
  stack_t ss = {.ss_sp = stack, .ss_size = sizeof stack};
  R(sigaltstack(&ss, 0));
  struct sigaction counting = {.sa_handler = count_ticks, .sa_flags = SA_ONSTACK | SA_RESTART};
  R(sigaction(SIGALRM, &counting, 0));
  struct itimerval every = {{0, 300}, {0, 300}}, never = {{0, 0}, {0, 0}};
  R(setitimer(ITIMER_REAL, &every, 0));
  double sum = 0, want = 0;
  long spoilt = 0, rounds = 0;
  for (; ticks < 300; rounds++) {
    char *m = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    m[4096] = 1;
    spoilt += madvise(m, 65536, MADV_DONTNEED) != 0 || m[4096] != 0;
    spoilt += munmap(m, 65536) != 0;
    sum += rounds * 0.5;
  }
  R(setitimer(ITIMER_REAL, &never, 0));
  for (long i = 0; i < rounds; i++) want += i * 0.5;
  CK(spoilt == 0 && sum == want);
  signal(SIGALRM, SIG_DFL);
  ss.ss_flags = SS_DISABLE;
  R(sigaltstack(&ss, 0));

  SECTION("a GS base of its own");
  static long own[512] __attribute__((aligned(4096)));
  for (int i = 0; i < 512; i++) own[i] = i;
  long got = 1;
  R(syscall(SYS_arch_prctl, ARCH_GET_GS, &got));
  X(got);
  R(syscall(SYS_arch_prctl, ARCH_SET_GS, own));
  CK(hot(site_pgid, 200) == 0);
  asm volatile("mov %%gs:8*77, %0" : "=r"(got));
  CK(got == 77);
  R(syscall(SYS_arch_prctl, ARCH_GET_GS, &got));
  CK(got == (long)own);
  X(keeps_all());
  R(syscall(SYS_arch_prctl, ARCH_SET_GS, 0));
  CK(hot(site_pgid, 200) == 0);
  if (getauxval(AT_HWCAP2) & 2) {
    asm volatile("wrgsbase %0" : : "r"(own));
    bad = hot(site_pgid, 200) + hot(site_pid, 200);
    asm volatile("rdgsbase %0" : "=r"(got));
    bad += got != (long)own;
    bad += keeps_all() != 0;
    asm volatile("wrgsbase %0" : : "r"(0x10l));
    bad += hot(site_pgid, 200) + hot(site_pid, 200) + keeps_all();
    asm volatile("wrgsbase %0" : : "r"(0l));
    bad += hot(site_pgid, 200) + hot(site_pid, 200) + keeps_all();
  } else bad = 0;
  CK(bad == 0);
  asm volatile("mov %0, %%gs" : : "r"(0));
  CK(hot(site_pgid, 200) == 0);

  SECTION("code made at run time");
  unsigned char *jit = mmap(0, 8192, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memcpy(jit, "\xb8\x27\0\0\0\x0f\x05\xc3", 8);
  CK(hot(jit, 2000) == 0 && call(jit) == getpid());
  CK(jit[0] == 0xb8);
  jit[1] = SYS_getpgrp;
  CK(hot(jit, 2000) == 0 && call(jit) == getpgrp());
  MUST(mprotect(jit, 8192, PROT_READ | PROT_EXEC));
  CK(hot(jit, 2000) == 0 && call(jit) == getpgrp());
  MUST(mprotect(jit, 8192, PROT_READ | PROT_WRITE));
  CK(jit[0] == 0xb8 && jit[1] == SYS_getpgrp);
  jit[1] = SYS_getppid;
  MUST(mprotect(jit, 8192, PROT_READ | PROT_EXEC));
  CK(hot(jit, 2000) == 0 && call(jit) == getppid());

  SECTION("text that changes");
  MUST(mprotect(site_smc, 4096, PROT_READ | PROT_WRITE | PROT_EXEC));
  CK(!memcmp(site_smc, "\xb8\x27\0\0\0\x0f\x05\xc3", 8));
  site_smc[1] = SYS_getppid;
  CK(hot(site_smc, 500) == 0 && call(site_smc) == getppid());
  MUST(mprotect(site_smc, 4096, PROT_READ | PROT_EXEC));
  CK(hot(site_smc, 500) == 0 && call(site_smc) == getppid());
  CK(hot(site_pgid, 500) == 0);
  char *page = (char *)((long)site_pgid & ~4095l), *copy = map_text(lo, page + 4096 - lo);
  size_t whole = page + 4096 - lo;
  MUST((long)copy);
  char *other = copy + (site_pgid - lo);
  CK(hot(other, 500) == 0 && call(other) == getpgrp());
  pending();
  p = fork();
  if (!p) _exit(hot(other, 500) || call(other) != getpgrp());
  int st;
  waitpid(p, &st, 0);
  CK(st == 0);
  char *moved = mmap(0, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  MUST((long)mremap(copy, whole, whole, MREMAP_MAYMOVE | MREMAP_FIXED, moved));
  other = moved + (site_pgid - lo);
  CK(hot(other, 500) == 0 && call(other) == getpgrp());
  if (whole > 4096) MUST(munmap(moved, whole - 4096));
  CK(hot(other, 500) == 0 && call(other) == getpgrp());
  /* Whatever lies far above the text is nobody's. */
  for (char *far = lo + 0x70000000; far < lo + 0x70000000 + 0x10000; far += 4096) {
    char *m = mmap(far, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
    if (m == far) memset(m, 0xcc, 4096);
  }
  CK(hot(site_pgid, 500) == 0);
  X(keeps_all());

  SECTION("exec");
  p = fork();
  if (!p) execl("/proc/self/exe", "fastpath", "again", (char *)0);
  waitpid(p, &st, 0);
  CK(st == 0);
}
