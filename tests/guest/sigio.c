/* O_ASYNC, F_SETOWN, F_SETSIG: signal-driven I/O, fcntl(2). */
#include "t.h"

static sigset_t set;

/* The signal that is pending, with what it says; then the next, and so on. */
static void pending(const char *what) {
  siginfo_t si;
  struct timespec no = {0, 0};
  int s, any = 0;
  while ((s = sigtimedwait(&set, &si, &no)) > 0) {
    any = 1;
    printf("%s: %s code %d", what, t_sig(s), si.si_code);
    if (si.si_code > 0 && si.si_code != SI_KERNEL) printf(" band 0x%lx fd %d", (long)si.si_band, si.si_fd);
    printf("\n");
  }
  if (!any) printf("%s: none\n", what);
}

static void async(int fd, int sig) {
  MUST(fcntl(fd, F_SETOWN, getpid()));
  MUST(fcntl(fd, F_SETSIG, sig));
  MUST(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_ASYNC));
}

static void pipes(int sig) {
  int p[2];
  char b[65536] = {0};
  MUST(pipe(p));
  MUST(dup2(p[0], 100)), MUST(dup2(p[1], 101));
  close(p[0]), close(p[1]);
  async(100, sig), async(101, sig);
  R(!!(fcntl(100, F_GETFL) & O_ASYNC));
  write(101, b, 1), pending("first byte");
  write(101, b, 1), pending("second byte");
  read(100, b, 2), pending("emptied");
  write(101, b, 65536), pending("full");
  read(100, b, 65536), pending("emptied again");
  close(101), pending("writer gone");
  close(100), pending("reader gone");
  MUST(pipe(p));
  MUST(dup2(p[0], 100)), MUST(dup2(p[1], 101));
  close(p[0]), close(p[1]);
  async(101, sig);
  close(100), pending("reader gone first");
  close(101), pending("both gone");
}

static void sockets(int type, int sig) {
  int s[2];
  char b[100];
  MUST(socketpair(AF_UNIX, type, 0, s));
  MUST(dup2(s[0], 100)), MUST(dup2(s[1], 101));
  close(s[0]), close(s[1]);
  async(100, sig), async(101, sig);
  write(101, "x", 1), pending("sent");
  read(100, b, 1), pending("received");
  shutdown(101, SHUT_WR), pending("shutdown");
  close(101), pending("closed");
  close(100), pending("other closed");
}

static void listening(void) {
  struct sockaddr_un a = {AF_UNIX, ""};
  snprintf(a.sun_path + 1, 60, "sigio-%d", getpid());
  int l = MUST(socket(AF_UNIX, SOCK_STREAM, 0)), c;
  MUST(bind(l, (void *)&a, sizeof a)), MUST(listen(l, 4));
  MUST(dup2(l, 100)), close(l);
  async(100, SIGRTMIN);
  c = MUST(socket(AF_UNIX, SOCK_STREAM, 0));
  MUST(connect(c, (void *)&a, sizeof a)), pending("connection");
  close(c), close(100), pending("closed");
}

static void terminal(void) {
  int m = MUST(posix_openpt(O_RDWR | O_NOCTTY));
  MUST(grantpt(m)), MUST(unlockpt(m));
  int s = MUST(open(ptsname(m), O_RDWR | O_NOCTTY));
  MUST(dup2(s, 100)), close(s);
  async(100, SIGRTMIN);
  write(m, "no line yet", 11), t_sleep(30), pending("part of a line");
  write(m, "\n", 1), t_sleep(30), pending("line");
  close(m), t_sleep(30), pending("hang-up");
  close(100);
}

TEST {
  sigemptyset(&set), sigaddset(&set, SIGIO), sigaddset(&set, SIGRTMIN), sigaddset(&set, SIGUSR1);
  sigprocmask(SIG_BLOCK, &set, 0);
  SECTION("pipe, SIGIO"), pipes(0);
  SECTION("pipe, real-time"), pipes(SIGRTMIN);
  SECTION("stream"), sockets(SOCK_STREAM, SIGRTMIN);
  SECTION("datagram"), sockets(SOCK_DGRAM, SIGRTMIN);
  SECTION("seqpacket"), sockets(SOCK_SEQPACKET, 0);
  SECTION("listening"), listening();
  SECTION("tty"), terminal();
  SECTION("owners");
  int p[2];
  char b[10];
  MUST(pipe(p));
  MUST(dup2(p[0], 100)), MUST(dup2(p[1], 101));
  int on = 1;
  R(ioctl(100, FIOASYNC, &on));
  write(101, "x", 1), pending("nobody");
  R(fcntl(100, F_GETOWN));
  R(fcntl(100, F_SETOWN, 0x3fffffff));
  struct f_owner_ex ex = {F_OWNER_TID, gettid()};
  R(fcntl(100, F_SETOWN_EX, &ex));
  read(100, b, 1), write(101, "x", 1), pending("thread");
  R(fcntl(100, F_SETOWN, -getpgrp()));
  R(fcntl(100, F_SETSIG, SIGUSR1));
  read(100, b, 1), write(101, "x", 1), pending("group");
  ex.type = F_OWNER_PID, ex.pid = 0;
  R(fcntl(100, F_SETOWN_EX, &ex));
  read(100, b, 1), write(101, "x", 1), pending("owner 0");
  R(fcntl(100, F_SETOWN, getpid()));
  on = 0;
  R(ioctl(100, FIOASYNC, &on));
  read(100, b, 1), write(101, "x", 1), pending("off");
  /* The signal names the descriptor that O_ASYNC was set on, whichever is used. */
  R(fcntl(100, F_SETFL, O_ASYNC | O_NONBLOCK));
  R(fcntl(100, F_SETSIG, SIGRTMIN));
  read(100, b, 1), dup2(100, 102), close(100);
  write(101, "x", 1), pending("other descriptor");
  close(102), close(p[0]);
  /* Regular files take the flag and say nothing. */
  t_tmpdir();
  int f = MUST(open("f", O_RDWR | O_CREAT, 0600));
  R(fcntl(f, F_SETFL, O_ASYNC));
  R(fcntl(f, F_GETFL) & O_ASYNC);
}
