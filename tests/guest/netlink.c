/* AF_NETLINK: addresses and ports, NETLINK_ROUTE's loopback device, filters, credentials, groups. */
#include "t.h"
#include <linux/filter.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <ifaddrs.h>
#include <arpa/inet.h>

static int nl(int proto) { return socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, proto); }

static int seq;
static void ask(int fd, int type, int flags, const void *body, size_t len) {
  struct { struct nlmsghdr h; char b[256]; } q = {0};
  q.h.nlmsg_len = NLMSG_LENGTH(len);
  q.h.nlmsg_type = type;
  q.h.nlmsg_flags = NLM_F_REQUEST | flags;
  q.h.nlmsg_seq = ++seq;
  memcpy(q.b, body, len);
  struct sockaddr_nl to = {.nl_family = AF_NETLINK};
  MUST(sendto(fd, &q, q.h.nlmsg_len, 0, (void *)&to, sizeof to));
}

/* Reads answers until one ends it; tells of lo alone. */
static void answers(int fd) {
  char b[32768];
  for (;;) {
    int n = recv(fd, b, sizeof b, 0);
    if (n < 0) { printf("recv %s\n", t_res(-1)); return; }
    for (struct nlmsghdr *h = (void *)b; NLMSG_OK(h, n); h = NLMSG_NEXT(h, n)) {
      if (h->nlmsg_seq != (unsigned)seq) printf("another's answer\n");
      if (h->nlmsg_type == NLMSG_DONE) { printf("done\n"); return; }
      if (h->nlmsg_type == NLMSG_ERROR) {
        struct nlmsgerr *e = NLMSG_DATA(h);
        errno = -e->error;
        printf("ack %s of %d\n", e->error ? t_res(-1) : "0", e->msg.nlmsg_type);
        return;
      }
      if (h->nlmsg_type == RTM_NEWLINK) {
        struct ifinfomsg *i = NLMSG_DATA(h);
        if (i->ifi_index != 1) continue;
        printf("link type %d loopback %d\n", i->ifi_type, !!(i->ifi_flags & IFF_LOOPBACK));
        int len = IFLA_PAYLOAD(h);
        for (struct rtattr *a = IFLA_RTA(i); RTA_OK(a, len); a = RTA_NEXT(a, len)) {
          if (a->rta_type == IFLA_IFNAME) S((char *)RTA_DATA(a));
          if (a->rta_type == IFLA_MTU) R(*(int *)RTA_DATA(a));
        }
        if (!(h->nlmsg_flags & NLM_F_MULTI)) return;
      }
    }
  }
}

TEST {
  SECTION("addresses");
  int a = nl(NETLINK_USERSOCK), b = nl(NETLINK_USERSOCK);
  CK(a >= 0 && b >= 0);
  R(socket(AF_NETLINK, SOCK_STREAM, 0));
  R(socket(AF_NETLINK, SOCK_RAW, 31));
  struct sockaddr_nl sa = {.nl_family = AF_NETLINK}, sb;
  socklen_t len = sizeof sb;
  R(getsockname(a, (void *)&sb, &len));
  CK(len == sizeof sb && sb.nl_family == AF_NETLINK && sb.nl_pid == 0);
  R(bind(a, (void *)&sa, sizeof sa));
  R(getsockname(a, (void *)&sb, &len));
  CK(sb.nl_pid == (unsigned)getpid());
  R(bind(a, (void *)&sb, sizeof sb));
  sa.nl_pid = 77;
  R(bind(a, (void *)&sa, sizeof sa));
  sa.nl_pid = sb.nl_pid;
  R(bind(b, (void *)&sa, sizeof sa));
  R(bind(b, (void *)&sa, 4));
  sa.nl_family = AF_INET;
  R(bind(b, (void *)&sa, sizeof sa));
  sa.nl_family = AF_NETLINK;
  sa.nl_pid = 0;
  R(bind(b, (void *)&sa, sizeof sa));
  len = sizeof sb;
  getsockname(b, (void *)&sb, &len);
  CK((int)sb.nl_pid < 0);

  SECTION("among programs");
  int on = 1;
  R(setsockopt(b, SOL_SOCKET, SO_PASSCRED, &on, sizeof on));
  R(sendto(a, "hello", 5, 0, (void *)&sb, sizeof sb));
  char text[64], ctl[256];
  struct sockaddr_nl from = {0};
  struct iovec iov = {text, 3};
  struct msghdr m = {.msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &iov, .msg_iovlen = 1, .msg_control = ctl, .msg_controllen = sizeof ctl};
  R(recvmsg(b, &m, MSG_PEEK | MSG_TRUNC));
  CK(m.msg_flags & MSG_TRUNC);
  iov.iov_len = sizeof text;
  m.msg_controllen = sizeof ctl;
  R(recvmsg(b, &m, 0));
  CK(from.nl_pid == (unsigned)getpid() && from.nl_groups == 0 && m.msg_namelen == sizeof from);
  struct cmsghdr *c = CMSG_FIRSTHDR(&m);
  CK(c && c->cmsg_type == SCM_CREDENTIALS && ((struct ucred *)CMSG_DATA(c))->pid == getpid());
  R(recv(b, text, sizeof text, MSG_DONTWAIT));
  sb.nl_pid = 0x7ffffff0;
  R(sendto(a, "hello", 5, 0, (void *)&sb, sizeof sb));
  struct pollfd p = {b, POLLIN | POLLOUT, 0};
  R(poll(&p, 1, 0));
  X(p.revents);

  SECTION("groups");
  int group = 3;
  R(setsockopt(b, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
  sb.nl_pid = 0;
  sb.nl_groups = 1 << 2;
  R(sendto(a, "all", 3, 0, (void *)&sb, sizeof sb));
  m.msg_controllen = sizeof ctl;
  R(setsockopt(b, SOL_NETLINK, NETLINK_PKTINFO, &on, sizeof on));
  R(recvmsg(b, &m, MSG_DONTWAIT));
  X(from.nl_groups);
  for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
    if (c->cmsg_level == SOL_NETLINK) R(*(int *)CMSG_DATA(c));
  R(recv(a, text, sizeof text, MSG_DONTWAIT));
  R(setsockopt(b, SOL_NETLINK, NETLINK_DROP_MEMBERSHIP, &group, sizeof group));
  R(sendto(a, "all", 3, 0, (void *)&sb, sizeof sb));
  R(recv(b, text, sizeof text, MSG_DONTWAIT));
  group = 0;
  R(setsockopt(b, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group));
  len = sizeof on;
  R(getsockopt(b, SOL_NETLINK, NETLINK_PKTINFO, &on, &len));
  R(on);

  SECTION("filters");
  /* Takes messages whose first byte is 'y', and three bytes of them. */
  struct sock_filter f[] = {
    BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
    BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 'y', 0, 1),
    BPF_STMT(BPF_RET | BPF_K, 3),
    BPF_STMT(BPF_RET | BPF_K, 0),
  };
  struct sock_fprog prog = {4, f};
  R(setsockopt(b, SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof on));
  R(setsockopt(b, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog));
  len = sizeof sb;
  getsockname(b, (void *)&sb, &len);
  sb.nl_groups = 0;
  R(sendto(a, "nobody", 6, 0, (void *)&sb, sizeof sb));
  R(sendto(a, "yes, you", 8, 0, (void *)&sb, sizeof sb));
  R(recv(b, text, sizeof text, MSG_DONTWAIT));
  R(recv(b, text, sizeof text, MSG_DONTWAIT));
  prog.len = 3;
  f[1].jt = 200;
  R(setsockopt(b, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog));
  prog.len = 0;
  R(setsockopt(b, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog));
  R(setsockopt(b, SOL_SOCKET, SO_DETACH_FILTER, &on, sizeof on));
  close(a);
  close(b);

  SECTION("interfaces");
  int r = nl(NETLINK_ROUTE);
  struct ifinfomsg any = {.ifi_family = AF_UNSPEC};
  ask(r, RTM_GETLINK, NLM_F_DUMP, &any, sizeof any);
  answers(r);
  any.ifi_index = 1;
  ask(r, RTM_GETLINK, 0, &any, sizeof any);
  answers(r);
  any.ifi_index = 12345;
  ask(r, RTM_GETLINK, 0, &any, sizeof any);
  answers(r);
  ask(r, RTM_GETLINK, NLM_F_ACK, &any, sizeof any);
  answers(r);
  any.ifi_index = 0;
  ask(r, RTM_GETLINK, 0, &any, sizeof any);
  answers(r);
  R(if_nametoindex("lo"));
  char name[IF_NAMESIZE];
  S(if_indextoname(1, name));
  R(if_nametoindex("nosuch"));
  struct ifreq q = {0};
  int u = socket(AF_UNIX, SOCK_DGRAM, 0);
  strcpy(q.ifr_name, "lo");
  R(ioctl(u, SIOCGIFMTU, &q));
  R(q.ifr_mtu);
  R(ioctl(u, SIOCGIFFLAGS, &q));
  CK(q.ifr_flags & IFF_LOOPBACK);
  R(ioctl(u, SIOCGIFHWADDR, &q));
  R(q.ifr_hwaddr.sa_family);
  strcpy(q.ifr_name, "nosuch");
  R(ioctl(u, SIOCGIFMTU, &q));
  struct ifaddrs *all = NULL, *i;
  R(getifaddrs(&all));
  int links = 0;
  for (i = all; i; i = i->ifa_next)
    links += i->ifa_addr && i->ifa_addr->sa_family == AF_PACKET && !strcmp(i->ifa_name, "lo");
  R(links);
  freeifaddrs(all);

  SECTION("kernel events");
  int e = nl(NETLINK_KOBJECT_UEVENT);
  struct sockaddr_nl grp = {.nl_family = AF_NETLINK, .nl_groups = 1};
  R(bind(e, (void *)&grp, sizeof grp));
  R(recv(e, text, sizeof text, MSG_DONTWAIT));
}
