/*
 * Preloaded into clavigerd by tests/matrix_kills.rs: counts what is written to files of the state directory and kills the
 * process at one of those writes; and stands its real-time clock still where a test wants that.
 *
 * The test steers it by a page of shared memory, a file named in CLAVIGER_SHIM_PAGE:
 *   mode   0 nothing, 1 count, 2 die before write `nth`, 3 die after it, 4 die in the middle of it
 *   nth    counted from 1 since `count` was last set to 0
 *   count  writes so far
 *   clock  milliseconds since 1970 that the clock shows, 0: the true time
 *   boot   milliseconds since boot that CLOCK_BOOTTIME shows, 0: the true time
 * CLAVIGER_SHIM_STATE is the path of the state directory.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

struct page {
    _Atomic uint64_t mode;
    _Atomic uint64_t nth;
    _Atomic uint64_t count;
    _Atomic int64_t clock;
    _Atomic int64_t boot;
};

enum { NOTHING, COUNT, BEFORE, AFTER, TORN };

static struct page *page;
static const char *state;

__attribute__((constructor)) static void start(void)
{
    const char *path = getenv("CLAVIGER_SHIM_PAGE");
    state = getenv("CLAVIGER_SHIM_STATE");
    if (!path || !state)
        return;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return;
    void *at = mmap(NULL, sizeof(struct page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (at != MAP_FAILED)
        page = at;
}

static int is_ours(int fd)
{
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0)
        return 0;
    path[length] = 0;
    size_t prefix = strlen(state);
    return strncmp(path, state, prefix) == 0 && path[prefix] == '/';
}

static void die(void)
{
    kill(getpid(), SIGKILL);
    for (;;)
        pause();
}

/* What is to be done at this write: NOTHING, AFTER or TORN. Does not return from BEFORE. */
static int meet(int fd)
{
    if (!page || atomic_load(&page->mode) == NOTHING || !is_ours(fd))
        return NOTHING;
    uint64_t mode = atomic_load(&page->mode);
    uint64_t number = atomic_fetch_add(&page->count, 1) + 1;
    if (mode == COUNT || number < atomic_load(&page->nth))
        return NOTHING;
    /* Other threads stop here too: nothing is written after the moment of death. */
    if (number > atomic_load(&page->nth))
        for (;;)
            pause();
    if (mode == BEFORE)
        die();
    return (int)mode;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

#define WRITES(name, ...)                                       \
    {                                                           \
        REAL(name);                                             \
        int then = meet(fd);                                    \
        ssize_t done = real(__VA_ARGS__);                       \
        if (then != NOTHING)                                    \
            die();                                              \
        return done;                                            \
    }

#define WRITES_BYTES(name, ...)                                 \
    {                                                           \
        REAL(name);                                             \
        int then = meet(fd);                                    \
        if (then == TORN)                                       \
            length /= 2;                                        \
        ssize_t done = real(__VA_ARGS__);                       \
        if (then != NOTHING)                                    \
            die();                                              \
        return done;                                            \
    }

ssize_t write(int fd, const void *bytes, size_t length) WRITES_BYTES(write, fd, bytes, length)
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) WRITES_BYTES(pwrite, fd, bytes, length, at)
ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t at) WRITES_BYTES(pwrite64, fd, bytes, length, at)
ssize_t writev(int fd, const struct iovec *parts, int count) WRITES(writev, fd, parts, count)
int fsync(int fd) WRITES(fsync, fd)
int fdatasync(int fd) WRITES(fdatasync, fd)
int ftruncate(int fd, off_t length) WRITES(ftruncate, fd, length)
int ftruncate64(int fd, off64_t length) WRITES(ftruncate64, fd, length)

int clock_gettime(clockid_t id, struct timespec *now)
{
    REAL(clock_gettime);
    int64_t still = 0;
    if (page && id == CLOCK_REALTIME)
        still = atomic_load(&page->clock);
    else if (page && id == CLOCK_BOOTTIME)
        still = atomic_load(&page->boot);
    if (still == 0)
        return real(id, now);
    now->tv_sec = still / 1000;
    now->tv_nsec = still % 1000 * 1000000;
    return 0;
}
