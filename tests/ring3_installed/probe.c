/* Tries, one after the other, what the unit forbids or grants, and tells each outcome in a line: NAME RESULT. The result is “ok”, the
 * name of an errno, “signal N” or a value. It runs three times: in a copy of the shipped unit, in a plain service of the same user, and in
 * one of root's; what the last two can do and the first cannot is the unit's doing. Written in C: system calls, and nothing in between.
 *
 * usage: probe acts DIRECTORY | probe writable | probe udp */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/keyctl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *name, long result)
{
    if (result >= 0)
        printf("%s ok\n", name);
    else
        printf("%s %s\n", name, strerrorname_np(errno));
    fflush(stdout);
}

static void number(const char *name, unsigned long value) { printf("%s %lu\n", name, value), fflush(stdout); }

static void opened(const char *name, const char *path, int flags)
{
    int fd = open(path, flags | O_CLOEXEC, 0666);
    tell(name, fd);
    if (fd >= 0)
        close(fd);
}

static void socket_of(const char *name, int family, int kind)
{
    int fd = socket(family, kind | SOCK_CLOEXEC, 0);
    tell(name, fd);
    if (fd >= 0)
        close(fd);
}

static void namespace_of(const char *name, const char *path)
{
    struct stat there;
    if (stat(path, &there) < 0)
        tell(name, -1);
    else
        number(name, there.st_ino);
}

static void read_only(const char *name, const char *path)
{
    struct statvfs there;
    if (statvfs(path, &there) < 0)
        tell(name, -1);
    else
        printf("%s %s\n", name, there.f_flag & ST_RDONLY ? "read-only" : "writable"), fflush(stdout);
}

/* Things that may end the process or change it, in a child. */
static void apart(const char *name, long (*act)(void))
{
    int status = 0;
    fflush(stdout);
    pid_t child = fork();
    if (child < 0) {
        tell(name, -1);
        return;
    }
    if (child == 0) {
        tell(name, act());
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        printf("%s signal-%d\n", name, WTERMSIG(status)), fflush(stdout);
}

static long new_user_namespace(void) { return syscall(SYS_unshare, CLONE_NEWUSER); }
static long new_network(void) { return syscall(SYS_unshare, CLONE_NEWNET); }
static long other_personality(void) { return personality(PER_LINUX32); }
static long real_time(void)
{
    struct sched_param first = { .sched_priority = 1 };
    return syscall(SYS_sched_setscheduler, 0, SCHED_FIFO, &first);
}
static long traced(void) { return syscall(SYS_ptrace, 0, 0, 0, 0); }
static long nicer(void) { return syscall(SYS_setpriority, PRIO_PROCESS, 0, 5); }
static long locked(void) { return syscall(SYS_mlock, 0, 0); }
static long aio(void)
{
    unsigned long context = 0;
    return syscall(SYS_io_setup, 1, &context);
}
static long keyring(void) { return syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, -2, 0); }
static long chrooted(void) { return syscall(SYS_chroot, "/"); }
static long mounted(void) { return syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL); }
static long named_host(void)
{
    char name[64] = { 0 };
    gethostname(name, sizeof name - 1);
    return syscall(SYS_sethostname, name, strlen(name));
}
static long rebooted(void) { return syscall(SYS_reboot, 0, 0, 0, 0); } /* Wrong magic: EINVAL where the call exists. */
static long module(void) { return syscall(SYS_init_module, NULL, 0UL, ""); }
static long kernel_log(void) { return syscall(SYS_syslog, 10, NULL, 0); }
static long swapped(void) { return syscall(SYS_swapoff, "/nonexistent"); }
static long raw_io(void) { return syscall(SYS_iopl, 0); }
static long writable_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : 0;
}
static long later_code(void)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return page == MAP_FAILED ? -1 : mprotect(page, 4096, PROT_READ | PROT_EXEC);
}
static long clock_read(void)
{
    struct timex now = { 0 };
    return adjtimex(&now);
}
/* By nothing; root is not asked to. */
static long clock_set(void)
{
    struct timex now = { .modes = ADJ_SETOFFSET | ADJ_NANO };
    return getuid() == 0 ? 0 : adjtimex(&now);
}
static long many_children(void)
{
    for (int n = 0; n < 300; n++) {
        pid_t child = fork();
        if (child < 0)
            return -1;
        if (child == 0) {
            pause();
            _exit(0);
        }
    }
    return 0;
}
#ifdef __x86_64__
static long other_architecture(void)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(20L) : "memory", "r8", "r9", "r10", "r11"); /* i386: getpid */
    if (result < 0 && result > -4096) {
        errno = (int)-result;
        return -1;
    }
    return 0;
}
#endif

static unsigned capabilities(int which)
{
    unsigned held = 0;
    for (unsigned long number = 0; number <= 40; number++) {
        int has = which == 0 ? prctl(PR_CAPBSET_READ, number, 0, 0, 0)
                             : prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, number, 0, 0);
        held += has == 1;
    }
    return held;
}

static void acts(const char *state)
{
    char path[512];
    struct rlimit limit;
    struct stat there;

    number("uid", getuid());
    number("gid", getgid());
    number("no-new-privileges", (unsigned long)prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0));
    number("bounding-capabilities", capabilities(0));
    number("ambient-capabilities", capabilities(1));
    number("secure-bits", (unsigned long)prctl(PR_GET_SECUREBITS, 0, 0, 0, 0));
    number("seccomp", (unsigned long)prctl(PR_GET_SECCOMP, 0, 0, 0, 0));
    getrlimit(RLIMIT_CORE, &limit), number("limit-core", limit.rlim_cur);
    getrlimit(RLIMIT_NOFILE, &limit), number("limit-files", limit.rlim_cur);

    snprintf(path, sizeof path, "%s/probe", state);
    opened("state-file", path, O_WRONLY | O_CREAT);
    if (stat(path, &there) == 0)
        number("state-file-mode", there.st_mode & 07777);
    tell("set-uid-bit", chmod(path, 04700));
    unlink(path);
    if (stat(state, &there) == 0)
        number("state-mode", there.st_mode & 07777);
    if (stat("/run/claviger", &there) == 0)
        number("runtime-mode", there.st_mode & 07777);

    opened("fuse-device", "/dev/probe-fuse", O_RDWR);
    opened("hidraw-device", "/dev/probe-hidraw", O_RDWR);
    opened("null-device", "/dev/null", O_RDWR);
    opened("kernel-log-device", "/dev/kmsg", O_RDONLY);

    socket_of("unix", AF_UNIX, SOCK_STREAM);
    socket_of("netlink", AF_NETLINK, SOCK_RAW);
    socket_of("inet", AF_INET, SOCK_DGRAM);
    socket_of("inet6", AF_INET6, SOCK_DGRAM);
    socket_of("packet", AF_PACKET, SOCK_RAW);
    socket_of("vsock", AF_VSOCK, SOCK_STREAM);
    socket_of("alg", AF_ALG, SOCK_SEQPACKET);

    opened("usr", "/usr/probe-open/file", O_WRONLY | O_CREAT);
    opened("etc", "/etc/probe-open/file", O_WRONLY | O_CREAT);
    opened("configuration", "/etc/claviger/probe-open/file", O_WRONLY | O_CREAT);
    opened("var", "/var/probe-open/file", O_WRONLY | O_CREAT);
    opened("run", "/run/lock/probe-file", O_WRONLY | O_CREAT);
    opened("shared-memory", "/dev/shm/probe-file", O_WRONLY | O_CREAT);
    opened("message-queue", "/dev/mqueue/probe-file", O_WRONLY | O_CREAT);
    opened("home", "/home/probe-open/file", O_RDONLY);
    opened("root-home", "/root/probe-open", O_RDONLY);
    opened("others-tmp", "/tmp/probe-planted", O_RDONLY);
    opened("modules", "/usr/lib/modules/probe-open", O_RDONLY);
    read_only("kernel-tunables", "/proc/sys");
    read_only("control-groups", "/sys/fs/cgroup");
    namespace_of("mount-namespace", "/proc/self/ns/mnt");
    namespace_of("host-name-namespace", "/proc/self/ns/uts");
    namespace_of("network-namespace", "/proc/self/ns/net");

    apart("user-namespace", new_user_namespace);
    apart("new-network", new_network);
    apart("personality", other_personality);
    apart("real-time", real_time);
    apart("writable-code", writable_code);
    apart("later-code", later_code);
    apart("ptrace", traced);
    apart("priority", nicer);
    apart("mlock", locked);
    apart("aio", aio);
    apart("keyctl", keyring);
    apart("chroot", chrooted);
    apart("mount", mounted);
    apart("host-name", named_host);
    apart("reboot", rebooted);
    apart("init-module", module);
    apart("kernel-log", kernel_log);
    apart("swapoff", swapped);
#ifdef __x86_64__
    apart("iopl", raw_io);
    apart("other-architecture", other_architecture);
#endif
    apart("clock-read", clock_read);
    apart("clock-set", clock_set);

    int segment = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
    tell("shared-segment", segment);
    number("shared-segment-id", segment < 0 ? 0 : (unsigned long)segment);
    apart("many-children", many_children);
}

/* Every directory and file below that this process could write to. Other file systems, too. */
static void writable(const char *directory)
{
    char path[4096];
    struct dirent *entry;
    DIR *list = opendir(directory);

    if (!list)
        return;
    while ((entry = readdir(list))) {
        struct stat there;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (snprintf(path, sizeof path, "%s/%s", strcmp(directory, "/") ? directory : "", entry->d_name) >= (int)sizeof path)
            continue;
        /* The kernel's own trees are judged by other acts. */
        if (!strcmp(path, "/proc") || !strcmp(path, "/sys") || lstat(path, &there) < 0 || S_ISLNK(there.st_mode))
            continue;
        /* Sockets and pipes are talked to, not written into; devices have acts of their own. */
        if ((S_ISDIR(there.st_mode) || S_ISREG(there.st_mode)) && access(path, W_OK) == 0)
            printf("writable %s\n", path);
        if (S_ISDIR(there.st_mode))
            writable(path);
    }
    closedir(list);
}

static void datagram(void)
{
    struct sockaddr_in here = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK), .sin_port = htons(9) };
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    tell("inet", fd);
    tell("datagram", sendto(fd, "x", 1, 0, (struct sockaddr *)&here, sizeof here));
}

int main(int count, char **arguments)
{
    if (count == 3 && !strcmp(arguments[1], "acts"))
        acts(arguments[2]);
    else if (count == 2 && !strcmp(arguments[1], "writable"))
        writable("/");
    else if (count == 2 && !strcmp(arguments[1], "udp"))
        datagram();
    else
        return 2;
    return 0;
}
