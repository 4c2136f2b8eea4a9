/* POSIX message queues; skipped where the host has none. */
#include "t.h"
#include <mqueue.h>
TEST {
  char n[64], b[128];
  snprintf(n, sizeof n, "/guest-test-%d", getpid());
  struct mq_attr a = {.mq_maxmsg = 4, .mq_msgsize = 64};
  mqd_t q = mq_open(n, O_RDWR | O_CREAT | O_EXCL, 0600, &a);
  if (q == -1 && errno == ENOSYS) exit(77);
  CK(q >= 0);
  R(mq_open(n, O_RDWR | O_CREAT | O_EXCL, 0600, &a));
  R(mq_send(q, "low", 4, 1));
  R(mq_send(q, "high", 5, 9));
  R(mq_send(q, "low2", 5, 1));
  unsigned pr;
  R(mq_receive(q, b, 10, &pr));
  R(mq_receive(q, b, 64, &pr));
  S(b);
  R(pr);
  R(mq_receive(q, b, 64, &pr));
  S(b);
  R(mq_send(q, b, 65, 0));
  R(mq_send(q, b, 1, 40000));
  struct mq_attr o;
  R(mq_getattr(q, &o));
  R(o.mq_curmsgs * 100 + o.mq_maxmsg);
  o.mq_flags = O_NONBLOCK;
  R(mq_setattr(q, &o, 0));
  R(mq_receive(q, b, 64, 0));
  R(mq_receive(q, b, 64, 0));
  for (int i = 0; i < 4; i++) mq_send(q, "x", 1, 0);
  R(mq_send(q, "x", 1, 0));
  struct pollfd p = {q, POLLIN | POLLOUT, 0};
  poll(&p, 1, 0);
  X(p.revents);
  o.mq_flags = 0, mq_setattr(q, &o, 0);
  struct timespec t;
  clock_gettime(CLOCK_REALTIME, &t);
  R(mq_timedsend(q, "x", 1, 0, &t));
  while (mq_getattr(q, &o), o.mq_curmsgs) mq_receive(q, b, 64, 0);
  signal(SIGUSR1, SIG_IGN);
  struct sigevent ev = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
  R(mq_notify(q, &ev));
  R(mq_notify(q, &ev));
  pid_t c = fork();
  if (!c) _exit(mq_receive(q, b, 64, 0));
  ASLEEP(c);
  R(mq_send(q, "wake", 4, 0));
  S(t_status(t_wait(c)));
  R(mq_unlink(n));
  R(mq_unlink(n));
  R(mq_open(n, O_RDWR));
  R(mq_open("bad/name", O_RDWR | O_CREAT, 0600, 0));
  R(mq_close(q));
  R(mq_close(q));
}
