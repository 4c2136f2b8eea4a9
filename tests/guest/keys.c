/* Keyrings: add_key, request_key, keyctl as PAM and systemd use them. */
#include "t.h"
#include <linux/keyctl.h>

typedef int key;
static key add(const char *t, const char *d, const void *p, size_t n, key ring) { return syscall(SYS_add_key, t, d, p, n, ring); }
static key request(const char *t, const char *d, key dest) { return syscall(SYS_request_key, t, d, NULL, dest); }
static long ctl(int op, long a, long b, long c, long d) { return syscall(SYS_keyctl, op, a, b, c, d); }

TEST {
  errno = 0;
  if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0) exit(77);
  SECTION("session keyring");
  key ses = ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0);
  CK(ses > 0);
  key next = ctl(KEYCTL_JOIN_SESSION_KEYRING, 0, 0, 0, 0);
  CK(next > 0 && next != ses);
  key user = ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_USER_KEYRING, 1, 0, 0);
  CK(user > 0);
  R(ctl(KEYCTL_LINK, KEY_SPEC_USER_KEYRING, KEY_SPEC_SESSION_KEYRING, 0, 0));
  CHILDST("inherited", CK(ctl(KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0, 0, 0) == next));
  SECTION("keys");
  R(add("nosuch", "a", "x", 1, KEY_SPEC_SESSION_KEYRING));
  R(add("user", "a", "", 0, KEY_SPEC_SESSION_KEYRING));
  R(add("logon", "plain", "x", 1, KEY_SPEC_SESSION_KEYRING));
  key k = add("user", "secret", "hello", 5, KEY_SPEC_SESSION_KEYRING);
  CK(k > 0);
  char b[256] = "";
  R(ctl(KEYCTL_READ, k, (long)b, sizeof b, 0));
  S(b);
  R(ctl(KEYCTL_READ, k, (long)b, 2, 0));
  int n = ctl(KEYCTL_DESCRIBE, k, (long)b, sizeof b, 0);
  CK(n == (int)strlen(b) + 1);
  CK(!strncmp(b, "user;", 5) && !strcmp(strrchr(b, ';'), ";secret"));
  CK(add("user", "secret", "world!", 6, KEY_SPEC_SESSION_KEYRING) == k);
  R(ctl(KEYCTL_READ, k, 0, 0, 0));
  R(ctl(KEYCTL_UPDATE, k, (long)"abc", 3, 0));
  R(ctl(KEYCTL_READ, k, 0, 0, 0));
  CK(request("user", "secret", 0) == k);
  R(request("user", "other", 0));
  key ring = add("keyring", "ring", NULL, 0, KEY_SPEC_SESSION_KEYRING);
  CK(ring > 0);
  R(ctl(KEYCTL_LINK, k, ring, 0, 0));
  CK(ctl(KEYCTL_SEARCH, ring, (long)"user", (long)"secret", 0) == k);
  R(ctl(KEYCTL_SEARCH, ring, (long)"user", (long)"nothing", 0));
  R(ctl(KEYCTL_SEARCH, k, (long)"user", (long)"nothing", 0));
  R(ctl(KEYCTL_LINK, ring, ring, 0, 0));
  R(ctl(KEYCTL_UNLINK, k, ring, 0, 0));
  R(ctl(KEYCTL_UNLINK, k, ring, 0, 0));
  R(ctl(KEYCTL_READ, ring, 0, 0, 0));
  R(ctl(KEYCTL_CLEAR, ring, 0, 0, 0));
  R(ctl(KEYCTL_SETPERM, k, 1 << 30, 0, 0));
  R(ctl(KEYCTL_SETPERM, k, 0x3f3f0000, 0, 0));
  R(ctl(KEYCTL_SET_TIMEOUT, k, 1000, 0, 0));
  key logon = add("logon", "a:b", "x", 1, KEY_SPEC_SESSION_KEYRING);
  CK(logon > 0);
  R(ctl(KEYCTL_READ, logon, (long)b, sizeof b, 0) < 0);
  SECTION("the end");
  R(ctl(KEYCTL_REVOKE, k, 0, 0, 0));
  R(ctl(KEYCTL_READ, k, 0, 0, 0));
  R(request("user", "secret", 0));
  R(ctl(KEYCTL_INVALIDATE, ring, 0, 0, 0));
  R(ctl(KEYCTL_READ, 0x7ffffff0, 0, 0, 0));
  R(ctl(KEYCTL_READ, 0, 0, 0, 0));
  R(ctl(9999, 0, 0, 0, 0));
  R(ctl(KEYCTL_REVOKE, KEY_SPEC_SESSION_KEYRING, 0, 0, 0));
}
