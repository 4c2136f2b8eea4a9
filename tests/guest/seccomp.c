/* seccomp(2): modes, what filters answer, inheritance, TSYNC, user notification. */
#include "t.h"
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

static long sc(unsigned op, unsigned flags, void *args) { return syscall(SYS_seccomp, op, flags, args); }

/* Answers ACTION for call NR with first argument ARG (or any), and allows the rest. */
static long install(unsigned flags, int nr, unsigned action) {
  struct sock_filter f[] = {
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
    BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, nr, 0, 1),
    BPF_STMT(BPF_RET | BPF_K, action),
    BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog p = {sizeof f / sizeof *f, f};
  return sc(SECCOMP_SET_MODE_FILTER, flags, &p);
}
static void nnp(void) { MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)); }
static const char *status(const char *key) {
  static char line[128];
  FILE *f = fopen("/proc/self/status", "r");
  while (fgets(line, sizeof line, f))
    if (!strncmp(line, key, strlen(key))) { fclose(f); line[strcspn(line, "\n")] = 0; return line; }
  fclose(f);
  return "";
}

static volatile siginfo_t seen;
static volatile long rax;
static void sigsys(int s, siginfo_t *i, void *u) {
  (void)s;
  seen = *i;
  rax = ((ucontext_t *)u)->uc_mcontext.gregs[REG_RAX];
  ((ucontext_t *)u)->uc_mcontext.gregs[REG_RAX] = 4711;
}
static void *idle(void *a) {
  int *go = a;
  char c;
  read(go[0], &c, 1);
  return (void *)syscall(SYS_getppid);
}

static int sendfd(int s, int fd) {
  char b = 0, ctl[CMSG_SPACE(4)] = {0};
  struct iovec v = {&b, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  c->cmsg_level = SOL_SOCKET; c->cmsg_type = SCM_RIGHTS; c->cmsg_len = CMSG_LEN(4);
  memcpy(CMSG_DATA(c), &fd, 4);
  return sendmsg(s, &m, 0);
}
static int recvfd(int s) {
  char b, ctl[CMSG_SPACE(4)];
  struct iovec v = {&b, 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
  MUST(recvmsg(s, &m, 0));
  int fd;
  memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), 4);
  return fd;
}

TEST {
  if (argc > 1) {
    R(syscall(SYS_getppid));
    R(prctl(PR_GET_SECCOMP));
    return;
  }
  SECTION("what is there");
  unsigned actions[] = {SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_KILL_THREAD, SECCOMP_RET_TRAP, SECCOMP_RET_ERRNO,
                        SECCOMP_RET_USER_NOTIF, SECCOMP_RET_TRACE, SECCOMP_RET_LOG, SECCOMP_RET_ALLOW, 0x12340000};
  for (unsigned i = 0; i < 9; i++) R(sc(SECCOMP_GET_ACTION_AVAIL, 0, &actions[i]));
  struct seccomp_notif_sizes sizes;
  R(sc(SECCOMP_GET_NOTIF_SIZES, 0, &sizes));
  R(sizes.seccomp_notif); R(sizes.seccomp_notif_resp); R(sizes.seccomp_data);
  R(sc(99, 0, NULL));
  R(sc(SECCOMP_SET_MODE_STRICT, 1, NULL));
  R(prctl(PR_GET_SECCOMP));
  R(prctl(PR_SET_SECCOMP, 77, 0));
  S(status("Seccomp:"));
  if (geteuid()) CHILDST("without no_new_privs", R(install(0, SYS_getppid, SECCOMP_RET_ALLOW)));
  CHILDST("bad programs", {
    nnp();
    struct sock_filter bad = BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 2);
    struct sock_fprog p = {1, &bad};
    R(sc(SECCOMP_SET_MODE_FILTER, 0, &p));
    p.len = 0;
    R(sc(SECCOMP_SET_MODE_FILTER, 0, &p));
    R(sc(SECCOMP_SET_MODE_FILTER, 0, (void *)8));
    R(sc(SECCOMP_SET_MODE_FILTER, 1 << 20, &p));
  });

  SECTION("answers");
  CHILDST("errno", { nnp(); R(install(0, SYS_getppid, SECCOMP_RET_ERRNO | ENOTNAM)); R(syscall(SYS_getppid)); R(prctl(PR_GET_SECCOMP)); S(status("Seccomp")); });
  CHILDST("errno 0", { nnp(); R(install(0, SYS_getppid, SECCOMP_RET_ERRNO)); R(syscall(SYS_getppid)); });
  CHILDST("errno beyond", { nnp(); R(install(0, SYS_getppid, SECCOMP_RET_ERRNO | 0xffff)); long r = syscall(SYS_getppid); CK(r == -1 && errno == 4095); });
  CHILDST("kill", { nnp(); R(install(0, SYS_getppid, SECCOMP_RET_KILL_PROCESS)); syscall(SYS_getppid); });
  CHILDST("trace without tracer", { nnp(); R(install(0, SYS_getppid, SECCOMP_RET_TRACE)); R(syscall(SYS_getppid)); });
  CHILDST("trap", {
    nnp();
    struct sigaction sa = {.sa_sigaction = sigsys, .sa_flags = SA_SIGINFO};
    sigaction(SIGSYS, &sa, NULL);
    R(install(0, SYS_getppid, SECCOMP_RET_TRAP | 55));
    R(syscall(SYS_getppid, 1, 2));
    R(seen.si_code); R(seen.si_errno); R(seen.si_syscall == SYS_getppid); R(rax == SYS_getppid);
    X(seen.si_arch);
  });
  CHILDST("trap unhandled", { nnp(); install(0, SYS_getppid, SECCOMP_RET_TRAP); syscall(SYS_getppid); });
  CHILDST("trap ignored", { nnp(); signal(SIGSYS, SIG_IGN); install(0, SYS_getppid, SECCOMP_RET_TRAP); syscall(SYS_getppid); });
  CHILDST("the most severe counts", {
    nnp();
    install(0, SYS_getppid, SECCOMP_RET_ERRNO | EDOM);
    install(0, SYS_getppid, SECCOMP_RET_ALLOW);
    R(syscall(SYS_getppid));
    install(0, SYS_getppid, SECCOMP_RET_ERRNO | ERANGE);
    R(syscall(SYS_getppid));
    S(status("Seccomp_filters"));
  });
  CHILDST("strict", { R(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)); write(1, "still\n", 6); syscall(SYS_exit, 3); });
  CHILDST("strict kills", { prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT); getppid(); });
  CHILDST("modes don't mix", { nnp(); install(0, SYS_getppid, SECCOMP_RET_ALLOW); R(prctl(PR_SET_SECCOMP, SECCOMP_MODE_STRICT)); });

  SECTION("inheritance");
  CHILDST("fork and exec", {
    nnp();
    install(0, SYS_getppid, SECCOMP_RET_ERRNO | EUCLEAN);
    CHILDST("child", R(syscall(SYS_getppid)));
    CHILDST("program", { execl("/proc/self/exe", "seccomp", "again", NULL); });
  });
  SECTION("threads");
  CHILDST("alone", {
    nnp();
    int go[2];
    pipe(go);
    pthread_t t;
    void *r;
    pthread_create(&t, NULL, idle, go);
    install(0, SYS_getppid, SECCOMP_RET_ERRNO | EXFULL);
    write(go[1], "", 1);
    pthread_join(t, &r);
    CK((long)r == getpid() || (long)r > 0);
  });
  CHILDST("all", {
    nnp();
    int go[2];
    pipe(go);
    pthread_t t;
    void *r;
    pthread_create(&t, NULL, idle, go);
    R(install(SECCOMP_FILTER_FLAG_TSYNC, SYS_getppid, SECCOMP_RET_ERRNO | EXFULL));
    write(go[1], "", 1);
    pthread_join(t, &r);
    X((long)r);
  });
  CHILDST("kill one", {
    nnp();
    int go[2];
    pipe(go);
    pthread_t t;
    pthread_create(&t, NULL, idle, go);
    R(install(SECCOMP_FILTER_FLAG_TSYNC, SYS_getppid, SECCOMP_RET_KILL_THREAD));
    write(go[1], "", 1);
    pthread_join(t, NULL);
    printf("the other lives\n");
  });

  SECTION("a supervisor answers");
  int sp[2];
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sp));
  pid_t p = fork();
  if (!p) {
    nnp();
    int fd = install(SECCOMP_FILTER_FLAG_NEW_LISTENER, SYS_getppid, SECCOMP_RET_USER_NOTIF);
    CK(fd >= 0);
    CK(fcntl(fd, F_GETFD) & FD_CLOEXEC);
    errno = 0;
    int second = install(SECCOMP_FILTER_FLAG_NEW_LISTENER, SYS_getppid, SECCOMP_RET_USER_NOTIF);
    CK(second == -1 && errno == EBUSY);
    sendfd(sp[1], fd);
    close(fd);
    long r[4], e[4];
    for (int i = 0; i < 4; i++) { r[i] = syscall(SYS_getppid, 42); e[i] = errno; }
    /* Printed only when nobody else prints. */
    errno = e[0]; R(r[0]);
    errno = e[1]; CK(r[1] == -1 && errno == ENOANO);
    CK(r[2] > 0);
    errno = e[3]; CK(r[3] == -1 && errno == ENOSYS);
    _exit(t_failed);
  }
  int fd = recvfd(sp[0]);
  struct seccomp_notif n;
  struct seccomp_notif_resp a;
  for (int i = 0; i < 3; i++) {
    memset(&n, 0, sizeof n);
    R(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n));
    CK(n.pid == (unsigned)p && n.data.nr == SYS_getppid);
    if (i == 0) R(n.data.args[0]);
    R(ioctl(fd, SECCOMP_IOCTL_NOTIF_ID_VALID, &n.id));
    struct pollfd pf = {fd, POLLIN | POLLOUT, 0};
    R(poll(&pf, 1, 0));
    X(pf.revents);
    memset(&a, 0, sizeof a);
    a.id = n.id;
    if (i == 0) a.val = 1234;
    if (i == 1) a.error = -ENOANO;
    if (i == 2) a.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
    R(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &a));
  }
  R(ioctl(fd, SECCOMP_IOCTL_NOTIF_RECV, &n));
  a.id = 1;
  R(ioctl(fd, SECCOMP_IOCTL_NOTIF_SEND, &a));
  CK(ASLEEP(p));
  close(fd);
  printf("%s\n", t_status(t_wait(p)));
}
