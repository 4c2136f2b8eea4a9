/* Tracers and filters see text that has made many system calls, and those calls, as if nothing had been done about them. */
#include "t.h"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/user.h>

/* The syscall is 5 bytes on. Pages of its own, so that nothing else is in the text that a breakpoint changes. */
extern char site_pid[], site_pgid[];
asm(".text\n .balign 4096\n site_pid: mov $39, %eax\n syscall\n ret\n .balign 16\n"
    "site_pgid: mov $121, %eax\n syscall\n ret\n .balign 4096\n");

static long call(void *f) {
  long r;
  asm volatile("call *%1" : "=a"(r) : "r"(f), "D"(0) : "rcx", "r11", "rdx", "rsi", "r8", "r9", "r10", "memory");
  return r;
}

static int hot(void *f, int n) {
  long first = call(f), bad = 0;
  for (int i = 0; i < n; i++) bad += call(f) != first;
  return bad;
}

static long word(pid_t p, void *at) {
  errno = 0;
  return ptrace(PTRACE_PEEKTEXT, p, at, 0);
}

/* How far behind `site` it stands, and the signal that it stopped by. */
static void where(pid_t p, char *site) {
  int st;
  struct user_regs_struct r;
  MUST(waitpid(p, &st, 0));
  CK(WIFSTOPPED(st));
  X(WSTOPSIG(st));
  MUST(ptrace(PTRACE_GETREGS, p, 0, &r));
  X(r.rip - (long)site);
}

static void breakpoints(void) {
  SECTION("a breakpoint");
  CK(hot(site_pid, 3000) == 0 && hot(site_pgid, 3000) == 0);
  pid_t p = fork();
  if (!p) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    int bad = call(site_pid) != getpid();
    raise(SIGSTOP);
    bad += hot(site_pid, 3000) + hot(site_pgid, 3000) + (call(site_pid) != getpid());
    _exit(bad);
  }
  int st;
  waitpid(p, &st, 0);
  long was = word(p, site_pid);
  X(was);
  X(word(p, site_pgid));
  /* What is in memory, by the other ways to look. */
  unsigned char seen[8] = {0};
  char path[40];
  sprintf(path, "/proc/%d/mem", p);
  int fd = open(path, O_RDWR);
  CK(pread(fd, seen, 8, (long)site_pid) == 8 && !memcmp(seen, &was, 8));
  R(ptrace(PTRACE_POKETEXT, p, site_pid, (was & ~0xffl) | 0xcc));
  X(word(p, site_pid));
  CK(pread(fd, seen, 8, (long)site_pid) == 8 && seen[0] == 0xcc);
  R(ptrace(PTRACE_CONT, p, 0, 0));
  where(p, site_pid);
  struct user_regs_struct r;
  MUST(ptrace(PTRACE_GETREGS, p, 0, &r));
  R(ptrace(PTRACE_POKETEXT, p, site_pid, was));
  r.rip--;
  MUST(ptrace(PTRACE_SETREGS, p, 0, &r));
  SECTION("steps over a call");
  for (int i = 0; i < 2; i++) {
    R(ptrace(PTRACE_SINGLESTEP, p, 0, 0));
    where(p, site_pid);
  }
  R(ptrace(PTRACE_CONT, p, 0, 0));
  waitpid(p, &st, 0);
  X(WSTOPSIG(st));
  R(ptrace(PTRACE_DETACH, p, 0, 0));
  waitpid(p, &st, 0);
  X(st);
  close(fd);
  CK(hot(site_pid, 100) == 0 && call(site_pid) == getpid());
}

static void steps(void) {
  SECTION("steps through text that was not touched");
  CK(hot(site_pgid, 3000) == 0);
  pid_t p = fork();
  if (!p) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    _exit(call(site_pgid) != getpgrp());
  }
  int st, at_site = 0, after = 0, alien = 0;
  waitpid(p, &st, 0);
  for (int i = 0; i < 100000 && !ptrace(PTRACE_SINGLESTEP, p, 0, 0); i++) {
    struct user_regs_struct r;
    if (waitpid(p, &st, 0) != p || !WIFSTOPPED(st)) break;
    MUST(ptrace(PTRACE_GETREGS, p, 0, &r));
    long off = r.rip - (long)site_pgid;
    at_site += off == 0;
    after += off == 7;
    alien += off > 0x10000000 && off < 0x7f000000;
  }
  X(st);
  X(at_site);
  X(after);
  X(alien);
}

static void traced_calls(void) {
  SECTION("a tracer sees the calls");
  CK(hot(site_pid, 3000) == 0);
  pid_t p = fork();
  if (!p) {
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    for (int i = 0; i < 20; i++) call(site_pid);
    _exit(0);
  }
  int st, seen = 0, stops = 0;
  waitpid(p, &st, 0);
  ptrace(PTRACE_SETOPTIONS, p, 0, PTRACE_O_TRACESYSGOOD);
  for (;;) {
    MUST(ptrace(PTRACE_SYSCALL, p, 0, 0));
    MUST(waitpid(p, &st, 0));
    if (!WIFSTOPPED(st)) break;
    struct user_regs_struct r;
    MUST(ptrace(PTRACE_GETREGS, p, 0, &r));
    stops++;
    seen += r.orig_rax == SYS_getpid && r.rip == (unsigned long)site_pid + 7;
  }
  X(st);
  X(seen);
  CK(stops >= seen);
}

static void filtered(void) {
  SECTION("a filter sees the calls");
  pid_t p = fork();
  if (!p) {
    CK(hot(site_pid, 3000) == 0);
    struct sock_filter f[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_getpid, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, instruction_pointer)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)(long)site_pid + 7, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | 77),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW)};
    struct sock_fprog prog = {6, f};
    MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
    MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog));
    X(call(site_pid));
    CK(hot(site_pid, 500) == 0 && hot(site_pgid, 500) == 0);
    X(call(site_pid));
    fflush(stdout);
    _exit(0);
  }
  int st;
  waitpid(p, &st, 0);
  X(st);
}

static void test(int argc, char **argv) {
  (void)argc, (void)argv;
  breakpoints();
  steps();
  traced_calls();
  filtered();
}
