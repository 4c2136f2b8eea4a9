/* Identity: the set*id family as an ordinary user, groups, capabilities, no_new_privs, prctl. */
#include "t.h"
#include <grp.h>
#include <linux/capability.h>
#include <sys/fsuid.h>
#include <sys/personality.h>
static void h(int s) { (void)s; }
TEST {
  SECTION("ids");
  uid_t r, e, s, me = getuid();
  R(getresuid(&r, &e, &s));
  CK(r == me && e == me && s == me && geteuid() == me);
  R(syscall(SYS_getresuid, 8, &e, &s));
  if (me) {
    R(setuid(0));
    R(setgid(0));
    R(seteuid(0));
    R(setreuid(0, -1));
    R(setresuid(-1, 0, -1));
    R(setresgid(0, 0, 0));
    R(setgroups(0, NULL));
    R(setfsuid(0) == (int)me);
    R(setfsuid(-1) == (int)me);
  }
  R(setuid(me));
  R(setreuid(me, me));
  R(setresuid(me, me, me));
  R(setresuid(-1, -1, -1));
  R(syscall(SYS_setuid, -1));
  gid_t g[64];
  CK(getgroups(0, NULL) >= 0 && getgroups(64, g) >= 0);
  R(getgroups(-1, g));
  SECTION("capabilities");
  struct __user_cap_header_struct hd = {_LINUX_CAPABILITY_VERSION_3, 0};
  struct __user_cap_data_struct d[2];
  R(syscall(SYS_capget, &hd, d));
  if (me) X(d[0].effective | d[0].permitted | d[1].effective);
  if (me) { d[0].permitted = 1; R(syscall(SYS_capset, &hd, d)); }
  hd.version = 1;
  R(syscall(SYS_capget, &hd, NULL));
  R(syscall(SYS_capget, &hd, d));
  X(hd.version);
  hd.pid = 999999;
  R(syscall(SYS_capget, &hd, d));
  hd.pid = -1;
  R(syscall(SYS_capget, &hd, d));
  R(prctl(PR_CAPBSET_READ, 0) >= 0);
  R(prctl(PR_CAPBSET_READ, 99));
  if (me) R(prctl(PR_CAPBSET_DROP, 0));
  SECTION("prctl");
  char n[20] = {0};
  R(prctl(PR_SET_NAME, "a-name-that-is-too-long"));
  R(prctl(PR_GET_NAME, n));
  S(n);
  S(t_read("/proc/self/comm"));
  int v = -1;
  R(prctl(PR_SET_PDEATHSIG, SIGUSR1));
  R(prctl(PR_GET_PDEATHSIG, &v));
  R(v);
  R(prctl(PR_SET_PDEATHSIG, 100));
  CHILDST("not inherited", prctl(PR_GET_PDEATHSIG, &v); R(v));
  int p[2];
  char b;
  pipe(p);
  pid_t mid = fork();
  if (!mid) {
    pid_t c = fork();
    if (!c) {
      sigset_t m;
      int sig;
      sigemptyset(&m), sigaddset(&m, SIGUSR2), sigprocmask(SIG_BLOCK, &m, 0);
      prctl(PR_SET_PDEATHSIG, SIGUSR2);
      write(p[1], "r", 1);
      sigwait(&m, &sig);
      write(p[1], sig == SIGUSR2 ? "d" : "x", 1);
      _exit(0);
    }
    read(p[0], &b, 1);
    _exit(0);
  }
  t_wait(mid);
  R(read(p[0], &b, 1));
  R(b == 'd');
  R(prctl(PR_GET_DUMPABLE));
  R(prctl(PR_SET_DUMPABLE, 0));
  R(prctl(PR_GET_DUMPABLE));
  R(prctl(PR_SET_DUMPABLE, 7));
  R(prctl(PR_GET_KEEPCAPS));
  R(prctl(PR_SET_KEEPCAPS, 2));
  R(prctl(PR_GET_TIMERSLACK));
  R(prctl(PR_SET_TIMERSLACK, 70000));
  R(prctl(PR_GET_TIMERSLACK));
  R(prctl(PR_SET_CHILD_SUBREAPER, 1));
  R(prctl(PR_GET_CHILD_SUBREAPER, &v));
  R(v);
  CHILDST("child", R(prctl(PR_GET_CHILD_SUBREAPER, &v)); R(v));
  R(prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0));
  R(prctl(PR_SET_NO_NEW_PRIVS, 1, 1, 0, 0));
  R(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
  R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
  CHILDST("inherited", R(prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)));
  R(prctl(12345, 0, 0, 0, 0));
  signal(SIGHUP, h);
  R(personality(0xffffffff));
}
