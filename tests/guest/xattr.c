/* Extended attributes in the user name space. */
#include "t.h"
#include <sys/xattr.h>
static int cmp(const void *a, const void *b) { return strcmp(*(char **)a, *(char **)b); }
static void names(const char *p) {
  char b[4096], *n[64];
  int k = 0;
  long l = listxattr(p, b, sizeof b);
  if (l < 0) { printf("listxattr: %s\n", t_res(-1)); return; }
  for (char *s = b; s < b + l; s += strlen(s) + 1) if (!strncmp(s, "user.", 5)) n[k++] = s;
  qsort(n, k, sizeof *n, cmp);
  printf("%s:", p);
  for (int i = 0; i < k; i++) printf(" %s", n[i]);
  printf("\n");
}
TEST {
  t_tmpdir();
  char b[512] = {0};
  t_write("f", "x"), mkdir("d", 0755), symlink("f", "l"), mkfifo("p", 0600);
  R(getxattr("f", "user.a", b, 10));
  R(setxattr("f", "user.a", "hello", 5, 0));
  R(getxattr("f", "user.a", b, 10));
  S(b);
  R(getxattr("f", "user.a", NULL, 0));
  R(getxattr("f", "user.a", b, 4));
  R(setxattr("f", "user.a", "x", 1, XATTR_CREATE));
  R(setxattr("f", "user.b", "x", 1, XATTR_REPLACE));
  R(setxattr("f", "user.b", "", 0, XATTR_CREATE));
  R(getxattr("f", "user.b", b, 10));
  R(setxattr("f", "user.a", "yy", 2, XATTR_REPLACE));
  R(setxattr("f", "user.a", "yy", 2, 4));
  names("f");
  R(removexattr("f", "user.a"));
  R(removexattr("f", "user.a"));
  names("f");
  R(setxattr("f", "user.", "x", 1, 0));
  R(setxattr("f", "", "x", 1, 0));
  R(setxattr("f", "noname", "x", 1, 0));
  R(setxattr("f", "bogus.x", "x", 1, 0));
  R(setxattr("none", "user.x", "x", 1, 0));
  memset(b, 'n', 300), memcpy(b, "user.", 5), b[300] = 0;
  R(setxattr("f", b, "x", 1, 0));
  b[255] = 0;
  R(setxattr("f", b, "x", 1, 0));
  static char big[65537];
  R(setxattr("f", "user.big", big, 65537, 0));
  R(setxattr("f", "user.k", big, 1000, 0));
  R(getxattr("f", "user.k", big, 65536));
  R(setxattr("d", "user.dir", "d", 1, 0));
  names("d");
  R(lsetxattr("l", "user.l", "x", 1, 0));
  R(setxattr("l", "user.l", "x", 1, 0));
  R(lgetxattr("l", "user.l", b, 10));
  R(getxattr("f", "user.l", b, 10));
  R(setxattr("p", "user.p", "x", 1, 0));
  int fd = open("f", O_RDONLY);
  R(fsetxattr(fd, "user.fd", "x", 1, 0));
  R(fgetxattr(fd, "user.fd", b, 10));
  R(fremovexattr(fd, "user.fd"));
  R(fgetxattr(-1, "user.fd", b, 10));
  R(setxattr("f", "user.x", (void *)8, 4, 0));
  R(getxattr("f", "user.k", (void *)8, 2000));
  R(listxattr("f", b, 2));
  chmod("f", 0444);
  if (geteuid()) R(setxattr("f", "user.x", "x", 1, 0));
  R(getxattr("f", "user.k", NULL, 0));
  R(rename("f", "g"));
  names("g");
}
