/* Mends what umockdev does not emulate: the device number by fstat(), and O_NOFOLLOW on its symbolic links.
 * Load it in front of libumockdev-preload. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* umockdev keeps, for each pseudo-terminal that plays a node, a link that names the node's device number. */
static int emulated(int fd, dev_t *number) {
    char link[64], pty[64], path[512], target[32];
    const char *root = getenv("UMOCKDEV_DIR");
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = root ? readlink(link, pty, sizeof pty - 1) : -1;
    if (length < 9 || strncmp(pty, "/dev/pts/", 9))
        return 0;
    pty[length] = 0;
    for (char *c = pty; *c; c++)
        if (*c == '/')
            *c = '_';
    snprintf(path, sizeof path, "%s/dev/.ptymap/%s", root, pty);
    length = readlink(path, target, sizeof target - 1);
    if (length <= 0)
        return 0;
    target[length] = 0;
    unsigned major, minor;
    if (sscanf(target, "%u:%u", &major, &minor) != 2)
        return 0;
    *number = makedev(major, minor);
    return 1;
}

#define FSTAT(name, type)                                       \
    int name(int fd, struct type *out) {                        \
        int (*real)(int, struct type *) = dlsym(RTLD_NEXT, #name); \
        dev_t number;                                           \
        int result = real(fd, out);                             \
        if (!result && emulated(fd, &number))                   \
            out->st_rdev = number;                              \
        return result;                                          \
    }
FSTAT(fstat, stat)
FSTAT(fstat64, stat64)

#define OPEN(name)                                              \
    int name(const char *path, int flags, ...) {                \
        int (*real)(const char *, int, ...) = dlsym(RTLD_NEXT, #name); \
        va_list rest;                                           \
        va_start(rest, flags);                                  \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                           \
        if (!strncmp(path, "/dev/hidraw", 11))                  \
            flags &= ~O_NOFOLLOW;                               \
        return real(path, flags, mode);                         \
    }
OPEN(open)
OPEN(open64)
