/* SCM_RIGHTS and SCM_CREDENTIALS. */
#include "t.h"
static long sfd(int s, int *fd, int n, int with) {
  char c[CMSG_SPACE(300 * sizeof(int))] = {0};
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = with, .msg_control = c, .msg_controllen = CMSG_SPACE(n * sizeof(int))};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_RIGHTS, h->cmsg_len = CMSG_LEN(n * sizeof(int));
  memcpy(CMSG_DATA(h), fd, n * sizeof(int));
  return sendmsg(s, &m, 0);
}
static int rfd(int s, int *fd, int room, int flags) {
  char c[CMSG_SPACE(300 * sizeof(int))] = {0}, b[8];
  struct iovec v = {b, sizeof b};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = c, .msg_controllen = room};
  long r = recvmsg(s, &m, flags);
  printf("  recvmsg %s flags %x controllen %d\n", t_res(r), m.msg_flags, (int)m.msg_controllen);
  int n = 0;
  for (struct cmsghdr *h = CMSG_FIRSTHDR(&m); h; h = CMSG_NXTHDR(&m, h)) {
    if (h->cmsg_type == SCM_RIGHTS) { n = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int); memcpy(fd, CMSG_DATA(h), n * sizeof(int)); }
    if (h->cmsg_type == SCM_CREDENTIALS) {
      struct ucred *u = (void *)CMSG_DATA(h);
      printf("  cred pid %s uid %s gid %s\n", u->pid == getpid() ? "self" : u->pid ? "other" : "0",
             u->uid == geteuid() ? "own" : "other", u->gid == getegid() ? "own" : "other");
    }
  }
  printf("  %d fds\n", n);
  return n;
}
TEST {
  t_tmpdir();
  int s[2], g[300], p[2];
  char b[64] = {0};
  MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, s));
  pipe(p);
  SECTION("one");
  R(sfd(s[0], &p[1], 1, 1));
  rfd(s[1], g, CMSG_SPACE(4), 0);
  R(write(g[0], "via", 3));
  R(read(p[0], b, 10));
  R(fcntl(g[0], F_GETFD));
  close(g[0]);
  R(sfd(s[0], &p[1], 1, 1));
  rfd(s[1], g, CMSG_SPACE(4), MSG_CMSG_CLOEXEC);
  R(fcntl(g[0], F_GETFD));
  close(g[0]);
  SECTION("several, no room");
  int four[4] = {p[0], p[1], 0, 1};
  R(sfd(s[0], four, 4, 1));
  rfd(s[1], g, CMSG_SPACE(2 * 4), 0);
  R(sfd(s[0], four, 4, 1));
  rfd(s[1], g, 0, 0);
  R(sfd(s[0], four, 4, 1));
  R(read(s[1], b, 1));
  int bad = 999;
  R(sfd(s[0], &bad, 1, 1));
  for (int i = 0; i < 254; i++) g[i] = 0;
  R(sfd(s[0], g, 254, 1));
  R(sfd(s[0], g, 253, 1));
  rfd(s[1], g, CMSG_SPACE(253 * 4), 0);
  for (int i = 0; i < 253; i++) close(g[i]);
  SECTION("a message ends where descriptors begin");
  send(s[0], "aa", 2, 0), sfd(s[0], &p[0], 1, 1), send(s[0], "bb", 2, 0);
  R(read(s[1], b, 1));
  rfd(s[1], g, CMSG_SPACE(4), 0);
  R(read(s[1], b, 10));
  SECTION("peek");
  sfd(s[0], &p[0], 1, 1);
  rfd(s[1], g, CMSG_SPACE(4), MSG_PEEK);
  rfd(s[1], g + 1, CMSG_SPACE(4), 0);
  CK(g[0] != g[1]);
  SECTION("in flight keeps it open");
  int q[2];
  pipe(q);
  sfd(s[0], &q[1], 1, 1);
  close(q[1]);
  fcntl(q[0], F_SETFL, O_NONBLOCK);
  R(read(q[0], b, 1));
  rfd(s[1], g, CMSG_SPACE(4), 0);
  close(g[0]);
  R(read(q[0], b, 1));
  pipe(q);
  sfd(s[0], &q[1], 1, 1), close(q[1]);
  close(s[1]);
  R(read(q[0], b, 1));
  SECTION("a socket sent over itself");
  socketpair(AF_UNIX, SOCK_STREAM, 0, s);
  R(sfd(s[0], &s[1], 1, 1));
  close(s[0]), close(s[1]);
  SECTION("to another process");
  socketpair(AF_UNIX, SOCK_DGRAM, 0, s);
  t_write("f", "file");
  pid_t c = fork();
  if (!c) { int f = open("f", O_RDONLY); lseek(f, 2, SEEK_SET); sfd(s[0], &f, 1, 1); _exit(0); }
  t_wait(c);
  rfd(s[1], g, CMSG_SPACE(4), 0);
  memset(b, 0, sizeof b);
  R(read(g[0], b, 10));
  S(b);
  SECTION("datagram without data");
  R(sfd(s[0], &p[0], 1, 0));
  rfd(s[1], g, CMSG_SPACE(4), 0);
  SECTION("credentials");
  int on = 1;
  R(setsockopt(s[1], SOL_SOCKET, SO_PASSCRED, &on, 4));
  send(s[0], "x", 1, 0);
  rfd(s[1], g, 300, 0);
  c = fork();
  if (!c) { send(s[0], "x", 1, 0); _exit(0); }
  t_wait(c);
  rfd(s[1], g, 300, 0);
  sfd(s[0], &p[0], 1, 1);
  rfd(s[1], g, 300, 0);
  char cb[CMSG_SPACE(sizeof(struct ucred))] = {0};
  struct iovec v = {"x", 1};
  struct msghdr m = {.msg_iov = &v, .msg_iovlen = 1, .msg_control = cb, .msg_controllen = sizeof cb};
  struct cmsghdr *h = CMSG_FIRSTHDR(&m);
  h->cmsg_level = SOL_SOCKET, h->cmsg_type = SCM_CREDENTIALS, h->cmsg_len = CMSG_LEN(sizeof(struct ucred));
  struct ucred u = {getpid(), getuid(), getgid()};
  memcpy(CMSG_DATA(h), &u, sizeof u);
  R(sendmsg(s[0], &m, 0));
  rfd(s[1], g, 300, 0);
  if (geteuid()) {
    u.uid++;
    memcpy(CMSG_DATA(h), &u, sizeof u);
    R(sendmsg(s[0], &m, 0));
    u.uid--, u.pid = 1;
    memcpy(CMSG_DATA(h), &u, sizeof u);
    R(sendmsg(s[0], &m, 0));
  }
  h->cmsg_type = 77;
  R(sendmsg(s[0], &m, 0));
  h->cmsg_len = 3;
  R(sendmsg(s[0], &m, 0));
  SECTION("an unprivileged user's descriptors in flight");
  c = fork();
  if (!c) {
    struct { unsigned version; int pid; } head = {0x20080522, 0};
    unsigned none[6] = {0};
    struct rlimit few = {40, 40};
    int q[2];
    R(socketpair(AF_UNIX, SOCK_STREAM, 0, q));
    R(syscall(SYS_capset, &head, none));
    R(setrlimit(RLIMIT_NOFILE, &few));
    int n = 0;
    long r;
    for (int k = 0; k < 10; k++) g[k] = q[0];
    while (n < 100 && (r = sfd(q[0], g, 10, 1)) == 1) n++;
    R(r);
    printf("  %s\n", n > 1 && n < 10 ? "after a few" : "at once or never");
    rfd(q[1], g, 300, 0);
    for (int k = 0; k < 10; k++) close(g[k]), g[k] = q[0];
    R(sfd(q[0], g, 1, 1));
    _exit(0);
  }
  t_wait(c);
}
