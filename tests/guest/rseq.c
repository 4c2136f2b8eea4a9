/* rseq(2): registration, which CPU, sequences that begin anew after preemption, migration, signals and barriers. */
#include "t.h"
#include <linux/membarrier.h>
#include <linux/rseq.h>
#include <sys/auxv.h>
#include <sys/rseq.h>
#define SIGN 0x53053053
struct area { uint32_t cpu_id_start, cpu_id; uint64_t cs; uint32_t flags, node_id, mm_cid, pad; } __attribute__((aligned(32)));
struct seq { uint32_t version, flags; uint64_t start, length, abort; } __attribute__((aligned(32)));
/* spin: in a sequence until *stop, or its abort: 0, 1. add: one more to the counter of this CPU, in four steps. */
long spin(struct area *, struct seq *, volatile int *stop), add(struct area *, struct seq *, volatile long *counts);
extern char spin_start[], spin_end[], spin_abort[], add_start[], add_end[], add_abort[];
__asm__(".text\n"
        "spin: movq %rsi, 8(%rdi)\n spin_start: cmpl $0, (%rdx)\n je spin_start\n spin_end: xorl %eax, %eax\n ret\n"
        ".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n spin_abort: movl $1, %eax\n ret\n"
        "add: movq %rsi, 8(%rdi)\n add_start: movl 4(%rdi), %eax\n shlq $6, %rax\n movq (%rdx, %rax), %rcx\n pause\n incq %rcx\n pause\n"
        "movq %rcx, (%rdx, %rax)\n add_end: xorl %eax, %eax\n ret\n"
        ".byte 0x0f, 0xb9, 0x3d\n .long 0x53053053\n add_abort: movl $1, %eax\n ret\n");
#define SEQ(n) ((struct seq){0, 0, (uintptr_t)n##_start, n##_end - n##_start, (uintptr_t)n##_abort})
static long rseq(void *a, unsigned len, int flags, unsigned sig) { return syscall(SYS_rseq, a, len, flags, sig); }
static void *own(void) { return (char *)__builtin_thread_pointer() + __rseq_offset; }
/* The C library registers the threads of one that is registered: its own must go first. */
static void leave(void) { if ((int)((struct area *)own())->cpu_id >= 0) MUST(rseq(own(), 32, RSEQ_FLAG_UNREGISTER, SIGN)); }
static void pin(int cpu) {
  cpu_set_t c;
  CPU_ZERO(&c);
  CPU_SET(cpu, &c);
  MUST(sched_setaffinity(0, sizeof c, &c));
}
static int here(void) {
  unsigned c;
  syscall(SYS_getcpu, &c, 0, 0);
  return c;
}
static volatile int *stop;
static struct area mine, other;
static volatile int handled;
static void handler(int s) { handled = s; }
/* Again and again: the first may come before the sequence begins. */
static const struct itimerval often = {{0, 20000}, {0, 20000}}, never;
static volatile long counts[64 * 8];
#define ADDS 100000
static void *adder(void *p) {
  static __thread struct area a;
  struct seq s = SEQ(add);
  leave();
  MUST(rseq(&a, 32, 0, SIGN));
  for (int i = 0; i < ADDS; i++) while (add(&a, &s, counts)) {}
  *(long *)p = a.mm_cid < 64;
  MUST(rseq(&a, 32, RSEQ_FLAG_UNREGISTER, SIGN));
  return 0;
}
static volatile int spinning;
static void *spinner(void *p) {
  static __thread struct area a;
  struct seq s = SEQ(spin);
  leave();
  MUST(rseq(&a, 32, 0, SIGN));
  long n = 0;
  while (!*stop) spinning = 1, n += spin(&a, &s, stop);
  *(long *)p = n;
  return 0;
}
static void bad(const char *what, struct seq *s) {
  CHILDST(what, {
    signal(SIGALRM, handler);
    MUST(rseq(&mine, 32, 0, SIGN));
    setitimer(ITIMER_REAL, &often, 0);
    spin(&mine, s, stop);
  });
}
TEST {
  stop = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (argc > 1) {
    /* After execve, the C library's registration is the only one. */
    R(rseq(own(), 32, 0, SIGN));
    exit(0);
  }
  SECTION("the C library registers");
  R(__rseq_size >= 20);
  CK(getauxval(27) == 0 || getauxval(27) >= 28);
  CK(getauxval(28) == 0 || getauxval(28) >= 32);
  R(RSEQ_CPU_ID_UNINITIALIZED != (int)((struct area *)own())->cpu_id);
  R(rseq(own(), 32, 0, SIGN));
  R(rseq(own(), 32, 0, 1));
  R(rseq(own(), 64, 0, SIGN));
  R(rseq(&mine, 32, 0, SIGN));
  R(rseq(own(), 32, RSEQ_FLAG_UNREGISTER, 1));
  R(rseq(own(), 64, RSEQ_FLAG_UNREGISTER, SIGN));
  R(rseq(&mine, 32, RSEQ_FLAG_UNREGISTER, SIGN));
  R(rseq(own(), 32, RSEQ_FLAG_UNREGISTER | 2, SIGN));
  R(rseq(own(), 32, RSEQ_FLAG_UNREGISTER, SIGN));
  R(((struct area *)own())->cpu_id == (unsigned)RSEQ_CPU_ID_UNINITIALIZED);
  R(((struct area *)own())->cpu_id_start);
  R(rseq(own(), 32, RSEQ_FLAG_UNREGISTER, SIGN));
  SECTION("registration");
  R(rseq(&mine, 31, 0, SIGN));
  R(rseq((char *)&mine + 8, 32, 0, SIGN));
  R(rseq(&mine, 32, 4, SIGN));
  R(rseq((void *)0xffff800000000000, 32, 0, SIGN));
  R(rseq(&mine, 32, 0, SIGN));
  R(mine.cpu_id == mine.cpu_id_start);
  CK(mine.cpu_id == (unsigned)here());
  R(mine.mm_cid);
  /* Newer kernels say so, older ones kill. */
  int st = CHILD(MUST(rseq(&mine, 32, RSEQ_FLAG_UNREGISTER, SIGN)); _exit(rseq((void *)0x10000, 32, 0, SIGN) == -1 && errno == EFAULT));
  CK(WIFEXITED(st) ? WEXITSTATUS(st) == 1 : WTERMSIG(st) == SIGSEGV);
  SECTION("which CPU");
  cpu_set_t all;
  sched_getaffinity(0, sizeof all, &all);
  int wrong = 0, first = -1;
  for (int round = 0; round < 20; round++) for (int c = 0; c < CPU_SETSIZE; c++) if (CPU_ISSET(c, &all)) pin(c), wrong += (int)mine.cpu_id != c || (int)mine.cpu_id_start != c, first = c;
  R(wrong);
  sched_setaffinity(0, sizeof all, &all);
  for (int i = 0; i < 2000; i++) {
    unsigned c = mine.cpu_id, h = here();
    if (c != h && mine.cpu_id != h && mine.cpu_id == c) wrong++;
    if (i % 100 == 0) t_sleep(1);
  }
  R(wrong);
  SECTION("children");
  CHILDST("fork", R(rseq(&mine, 32, 0, SIGN)); pin(first); R((int)mine.cpu_id == first));
  pid_t v = vfork();
  if (!v) _exit(rseq(&other, 32, 0, SIGN) ? 9 : rseq(&other, 32, RSEQ_FLAG_UNREGISTER, SIGN) ? 8 : 7);
  R(WEXITSTATUS(t_wait(v)));
  CHILDST("execve", execl("/proc/self/exe", "rseq", "again", NULL));
  SECTION("a signal ends a sequence");
  signal(SIGALRM, handler);
  struct seq s = SEQ(spin);
  setitimer(ITIMER_REAL, &often, 0);
  R(spin(&mine, &s, stop));
  setitimer(ITIMER_REAL, &never, 0);
  R(t_sig(handled) != 0);
  R(mine.cs);
  *stop = 1;
  R(spin(&mine, &s, stop));
  CK(mine.cs == (uintptr_t)&s || mine.cs == 0);
  mine.cs = 0, *stop = 0;
  SECTION("preemption ends a sequence");
  pid_t k = fork();
  if (!k) { pin(first); for (;;) {} }
  pin(first);
  R(spin(&mine, &s, stop));
  R(mine.cs);
  kill(k, SIGKILL), t_wait(k);
  sched_setaffinity(0, sizeof all, &all);
  SECTION("sequences that make no sense");
  MUST(rseq(&mine, 32, RSEQ_FLAG_UNREGISTER, SIGN));
  *stop = 0, s = SEQ(spin), bad("none of it", &s);
  *stop = 0, s = SEQ(spin), s.version = 1, bad("version", &s);
  *stop = 0, s = SEQ(spin), s.flags = 1, bad("flags", &s);
  *stop = 0, s = SEQ(spin), s.abort = s.start, bad("abort within", &s);
  *stop = 0, s = SEQ(spin), s.abort += 1, bad("signature", &s);
  *stop = 0, s = SEQ(spin), s.start = 0x800000000000, bad("not in user space", &s);
  *stop = 0, s = SEQ(spin), s.length = -1, bad("too long", &s);
  CHILDST("pointer", signal(SIGALRM, handler); MUST(rseq(&mine, 32, 0, SIGN)); setitimer(ITIMER_REAL, &often, 0); *stop = 0; s = SEQ(spin); spin(&mine, (struct seq *)0x10000, stop));
  SECTION("counters of each CPU");
  pthread_t t[6];
  long low[6] = {0}, sum = 0;
  for (int i = 0; i < 6; i++) pthread_create(&t[i], 0, adder, &low[i]);
  for (int i = 0; i < 6; i++) pthread_join(t[i], 0);
  for (int i = 0; i < 64; i++) sum += counts[i * 8];
  R(sum);
  SECTION("barrier");
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0));
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED_RSEQ, 0, 0));
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 1, 0));
  R(syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 2, 0));
  long aborts = 0;
  *stop = 0;
  pthread_create(&t[0], 0, spinner, &aborts);
  while (!spinning) t_sleep(1);
  for (int i = 0; i < 50; i++) if (syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED_RSEQ, 0, 0)) wrong++;
  *stop = 1;
  pthread_join(t[0], 0);
  R(wrong);
  CK(aborts > 0);
}
