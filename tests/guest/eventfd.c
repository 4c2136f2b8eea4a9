/* eventfd: counting, semaphore mode, blocking. */
#include "t.h"
#include <sys/eventfd.h>
TEST {
  uint64_t v = 0;
  int e = OK(eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC));
  R(fcntl(e, F_GETFD));
  X(fcntl(e, F_GETFL) & (O_NONBLOCK | O_ACCMODE));
  R(eventfd(0, 0x100));
  R(read(e, &v, 7));
  R(read(e, &v, 8));
  R(v);
  R(read(e, &v, 8));
  v = 5;
  R(write(e, &v, 8));
  R(write(e, &v, 4));
  R(write(e, &v, 20));
  v = -1;
  R(write(e, &v, 8));
  v = -2;
  R(write(e, &v, 8));
  R(read(e, &v, 100));
  R(v);
  v = -2;
  R(write(e, &v, 8));
  struct pollfd p = {e, POLLIN | POLLOUT, 0};
  R(poll(&p, 1, 0));
  X(p.revents);
  v = 1;
  R(write(e, &v, 8));
  R(read(e, &v, 8));
  X(v);
  R(poll(&p, 1, 0));
  X(p.revents);
  R(write(e, (void *)8, 8));
  R(lseek(e, 0, SEEK_SET));
  R(pread(e, &v, 8, 0));
  SECTION("semaphore");
  int s = OK(eventfd(2, EFD_SEMAPHORE | EFD_NONBLOCK));
  R(read(s, &v, 8));
  R(v);
  R(read(s, &v, 8));
  R(read(s, &v, 8));
  SECTION("blocking");
  int b = eventfd(0, 0);
  pid_t c = fork();
  if (!c) { uint64_t r; read(b, &r, 8); _exit(r); }
  CK(ASLEEP(c));
  v = 42;
  R(write(b, &v, 8));
  S(t_status(t_wait(c)));
  v = -2;
  R(write(b, &v, 8));
  c = fork();
  if (!c) { uint64_t r = 1; _exit(write(b, &r, 8)); }
  CK(ASLEEP(c));
  R(read(b, &v, 8));
  S(t_status(t_wait(c)));
  R(read(b, &v, 8));
  R(v);
  SECTION("three readers, one token each");
  int sem = eventfd(0, EFD_SEMAPHORE);
  for (int i = 0; i < 3; i++) if (!fork()) { uint64_t r; read(sem, &r, 8); _exit(r); }
  v = 3;
  write(sem, &v, 8);
  for (int i = 0; i < 3; i++) { int st; wait(&st); S(t_status(st)); }
}
