/* pidfd: open, poll, signals, waitid, getfd. */
#include "t.h"
static long po(pid_t p, unsigned f) { return syscall(SYS_pidfd_open, p, f); }
static long ps(int fd, int s, void *i, unsigned f) { return syscall(SYS_pidfd_send_signal, fd, s, i, f); }
TEST {
  R(po(0, 0));
  R(po(-1, 0));
  R(po(999999, 0));
  R(po(getpid(), 0x1));
  int me = OK(po(getpid(), 0));
  R(fcntl(me, F_GETFD));
  char b[8];
  R(read(me, b, 8));
  R(write(me, b, 8));
  R(ps(me, 0, 0, 0));
  R(ps(me, 0, 0, 0x1000));
  R(ps(0, 0, 0, 0));
  R(ps(me, 99, 0, 0));
  pid_t c = fork();
  if (!c) for (;;) pause();
  int fd = po(c, 0);
  struct pollfd p = {fd, POLLIN, 0};
  R(poll(&p, 1, 0));
  siginfo_t i;
  memset(&i, 0, sizeof i);
  R(waitid(P_PIDFD, fd, &i, WEXITED | WNOHANG));
  R(i.si_pid);
  R(ps(fd, SIGTERM, 0, 0));
  R(poll(&p, 1, 5000));
  X(p.revents);
  R(waitid(P_PIDFD, fd, &i, WEXITED | WNOWAIT));
  CK(i.si_pid == c && i.si_code == CLD_KILLED && i.si_status == SIGTERM);
  R(ps(fd, 0, 0, 0));
  R(waitid(P_PIDFD, fd, &i, WEXITED));
  R(ps(fd, 0, 0, 0));
  R(poll(&p, 1, 0));
  R(waitid(P_PIDFD, fd, &i, WEXITED));
  R(waitid(P_PIDFD, 0, &i, WEXITED));
  R(waitid(P_PIDFD, me, &i, WEXITED));
  fd = open("/proc/self", O_RDONLY | O_DIRECTORY);
  R(ps(fd, 0, 0, 0));
  SECTION("waiting in poll, non-blocking waitid");
  c = fork();
  if (!c) { t_sleep(50); _exit(3); }
  p.fd = po(c, O_NONBLOCK);
  R(waitid(P_PIDFD, p.fd, &i, WEXITED));
  R(poll(&p, 1, 5000));
  R(waitid(P_PIDFD, p.fd, &i, WEXITED));
  R(i.si_status);
  SECTION("getfd");
  int q[2];
  pipe(q);
  R(syscall(SYS_pidfd_getfd, me, 999, 0));
  R(syscall(SYS_pidfd_getfd, me, q[1], 1));
  R(syscall(SYS_pidfd_getfd, q[0], q[1], 0));
  int d = OK(syscall(SYS_pidfd_getfd, me, q[1], 0));
  R(fcntl(d, F_GETFD));
  R(write(d, "x", 1));
  R(read(q[0], b, 1));
}
