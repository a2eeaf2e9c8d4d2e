/*
 * Preloaded in front of libumockdev-preload.so.0, this mends what umockdev leaves out for a character device that it
 * emulates by a pseudo terminal:
 *
 *   fstat, fstat64, statx on a descriptor   tell the pty's numbers instead of the node's
 *   open of /proc/self/fd/N                 bypasses the testbed
 *   open with O_NOFOLLOW                    fails, because the emulated node is a symbolic link
 *   realpath of a node                      leaves the testbed (and crashes some callers)
 *
 * Built by the tests with `cc -shared -fPIC -o nodeshim.so nodeshim.c -ldl`; it never ships.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* What an emulated node is: its name under /dev and its device number. */
struct node {
    char path[128];
    unsigned major, minor;
};

/* A link's target as a string, by a bare system call so that nobody rewrites the path. */
static int link_target(const char *path, char *out, size_t size)
{
    long length = syscall(SYS_readlinkat, AT_FDCWD, path, out, size - 1);
    if (length < 0)
        return -1;
    out[length] = '\0';
    return 0;
}

/* Reads "MAJOR:MINOR" from a link of the testbed. */
static int read_number(const char *root, const char *folder, const char *name, struct node *node)
{
    char path[PATH_MAX], number[32];
    snprintf(path, sizeof path, "%s/dev/%s/%s", root, folder, name);
    if (link_target(path, number, sizeof number) != 0)
        return -1;
    return sscanf(number, "%u:%u", &node->major, &node->minor) == 2 ? 0 : -1;
}

/* Which emulated node a descriptor belongs to; -1 for every other descriptor. Keeps errno. */
static int node_of(int fd, struct node *node)
{
    int before = errno, found = -1;
    const char *root = getenv("UMOCKDEV_DIR");
    char self[64], target[PATH_MAX];
    snprintf(self, sizeof self, "/proc/self/fd/%d", fd);
    if (root == NULL || link_target(self, target, sizeof target) != 0)
        goto out;
    if (strncmp(target, "/dev/pts/", 9) == 0) {
        /* The testbed keeps a map from ptys, named with underscores, to device numbers. */
        for (char *c = target; *c != '\0'; c++)
            if (*c == '/')
                *c = '_';
        if (read_number(root, ".ptymap", target, node) == 0) {
            snprintf(node->path, sizeof node->path, "/dev/hidraw%u", node->minor);
            found = 0;
        }
    } else {
        size_t length = strlen(root);
        if (strncmp(target, root, length) == 0 && strncmp(target + length, "/dev/", 5) == 0) {
            const char *name = target + length + 5;
            if (strlen(name) < 100 && read_number(root, ".node", name, node) == 0) {
                snprintf(node->path, sizeof node->path, "/dev/%.100s", name);
                found = 0;
            }
        }
    }
out:
    errno = before;
    return found;
}

#define NEXT(function) \
    static __typeof__(function) *next; \
    if (next == NULL) \
        next = (__typeof__(function) *)dlsym(RTLD_NEXT, #function)

int fstat(int fd, struct stat *st)
{
    NEXT(fstat);
    struct node node;
    int result = next(fd, st);
    if (result == 0 && node_of(fd, &node) == 0) {
        st->st_rdev = makedev(node.major, node.minor);
        st->st_mode = S_IFCHR | (st->st_mode & 07777);
    }
    return result;
}

int fstat64(int fd, struct stat64 *st)
{
    NEXT(fstat64);
    struct node node;
    int result = next(fd, st);
    if (result == 0 && node_of(fd, &node) == 0) {
        st->st_rdev = makedev(node.major, node.minor);
        st->st_mode = S_IFCHR | (st->st_mode & 07777);
    }
    return result;
}

int statx(int fd, const char *restrict path, int flags, unsigned mask, struct statx *restrict st)
{
    NEXT(statx);
    struct node node;
    int result = next(fd, path, flags, mask, st);
    if (result == 0 && path != NULL && *path == '\0' && node_of(fd, &node) == 0) {
        st->stx_rdev_major = node.major;
        st->stx_rdev_minor = node.minor;
        st->stx_mode = S_IFCHR | (st->stx_mode & 07777);
    }
    return result;
}

/* Path and flags as umockdev can take them. */
static const char *mend(const char *path, int *flags, struct node *node)
{
    int fd;
    char rest;
    if (sscanf(path, "/proc/self/fd/%d%c", &fd, &rest) == 1 && node_of(fd, node) == 0)
        path = node->path;
    if (getenv("UMOCKDEV_DIR") != NULL && strncmp(path, "/dev/hidraw", 11) == 0)
        *flags &= ~O_NOFOLLOW;
    return path;
}

static int wants_mode(int flags)
{
    return (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE;
}

#define OPEN(function) \
    int function(const char *path, int flags, ...) \
    { \
        NEXT(function); \
        struct node node; \
        mode_t mode = 0; \
        if (wants_mode(flags)) { \
            va_list rest; \
            va_start(rest, flags); \
            mode = va_arg(rest, mode_t); \
            va_end(rest); \
        } \
        path = mend(path, &flags, &node); \
        return next(path, flags, mode); \
    }

OPEN(open)
OPEN(open64)

char *realpath(const char *restrict path, char *restrict resolved)
{
    NEXT(realpath);
    if (getenv("UMOCKDEV_DIR") == NULL || path == NULL || strncmp(path, "/dev/hidraw", 11) != 0)
        return next(path, resolved);
    return resolved == NULL ? strdup(path) : strcpy(resolved, path);
}
