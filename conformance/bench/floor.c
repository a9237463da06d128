/*
 * The floor: the kernel's share of a container, and nothing else.
 *
 *   floor ROOTFS          one container after the default configuration of `spec`, running /bin/true of ROOTFS
 *   floor ROOTFS nonet    the same without a network namespace
 *   floor exec PID CGROUP one more /bin/true in the namespaces of PID, in the cgroup directory CGROUP
 *
 * It parses no configuration, checks nothing it does not have to, keeps no state and uses the classic mount calls.
 * A runtime cannot be faster than this without doing less; how near it comes is the cost of the runtime itself.
 * The calls it makes are recorded in floor.calls, and a test compares them: a changed floor changes every ratio.
 * Needs root, and a cgroup v2 tree at /sys/fs/cgroup.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#define SAFE (MS_NOSUID | MS_NODEV | MS_NOEXEC)

static void must(long result, const char *what)
{
	if (result >= 0)
		return;
	fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
	_exit(99);
}

/* What the default configuration mounts, in its order. */
static const struct {
	const char *type, *source, *target, *data;
	unsigned long flags;
} mounts[] = {
	{ "proc", "proc", "proc", NULL, SAFE },
	{ "tmpfs", "tmpfs", "dev", "mode=755,size=65536k", MS_NOSUID | MS_STRICTATIME },
	{ "devpts", "devpts", "dev/pts", "newinstance,ptmxmode=0666,mode=0620,gid=5", MS_NOSUID | MS_NOEXEC },
	{ "tmpfs", "shm", "dev/shm", "mode=1777,size=65536k", SAFE },
	{ "mqueue", "mqueue", "dev/mqueue", NULL, SAFE },
	{ "sysfs", "sysfs", "sys", NULL, SAFE | MS_RDONLY },
	{ "cgroup2", "cgroup", "sys/fs/cgroup", NULL, SAFE | MS_RELATIME | MS_RDONLY },
};
static const char *const below_dev[] = { "dev/pts", "dev/shm", "dev/mqueue" };

static const struct {
	const char *path;
	int major, minor;
} devices[] = {
	{ "dev/null", 1, 3 },	{ "dev/zero", 1, 5 },	 { "dev/full", 1, 7 },
	{ "dev/random", 1, 8 }, { "dev/urandom", 1, 9 }, { "dev/tty", 5, 0 },
};

static const char *const links[][2] = {
	{ "/proc/self/fd", "dev/fd" },	    { "pts/ptmx", "dev/ptmx" },
	{ "/proc/self/fd/0", "dev/stdin" }, { "/proc/self/fd/1", "dev/stdout" },
	{ "/proc/self/fd/2", "dev/stderr" },
};

static const char *const masked_files[] = { "/proc/kcore", "/proc/keys", "/proc/timer_list", "/proc/sched_debug" };
static const char *const masked_dirs[] = { "/proc/acpi", "/sys/firmware", "/proc/scsi" };
static const char *const readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };

#define EACH(i, table) for (size_t i = 0; i < sizeof(table) / sizeof((table)[0]); i++)

static void become_true(void)
{
	char *argv[] = { "/bin/true", NULL };
	char *envp[] = { "PATH=/bin", NULL };

	execve(argv[0], argv, envp);
	_exit(98);
}

static void mount_everything(const char *root)
{
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "make / private");
	must(mount(root, root, NULL, MS_BIND | MS_REC, NULL), "bind the root");
	must(chdir(root), "chdir to the root");
	EACH(i, mounts) {
		must(mount(mounts[i].source, mounts[i].target, mounts[i].type, mounts[i].flags, mounts[i].data),
		     mounts[i].target);
		if (strcmp(mounts[i].target, "dev"))
			continue;
		EACH(d, below_dev)
			mkdir(below_dev[d], 0755);
	}
}

static void fill_dev(void)
{
	EACH(i, devices)
		must(mknodat(AT_FDCWD, devices[i].path, S_IFCHR | 0666, makedev(devices[i].major, devices[i].minor)),
		     devices[i].path);
	EACH(i, links)
		if (symlink(links[i][0], links[i][1]))
			must(-1, links[i][1]);
}

static void enter_root(void)
{
	int host = openat(AT_FDCWD, "/", O_DIRECTORY | O_PATH);

	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(fchdir(host), "fchdir to the old root");
	must(umount2(".", MNT_DETACH), "detach the old root");
	must(chdir("/"), "chdir to /");
}

/* Paths that this kernel does not have are passed over, as the specification wants it. */
static void hide_paths(void)
{
	EACH(i, masked_files)
		mount("/dev/null", masked_files[i], NULL, MS_BIND, NULL);
	EACH(i, masked_dirs)
		mount("tmpfs", masked_dirs[i], "tmpfs", MS_RDONLY, NULL);
	EACH(i, readonly) {
		if (mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC, NULL))
			continue;
		mount(readonly[i], readonly[i], NULL, MS_BIND | MS_REC | MS_REMOUNT | MS_RDONLY | SAFE, NULL);
	}
}

static int run(const char *root, int network)
{
	char cgroup[64];
	struct clone_args args = { .exit_signal = SIGCHLD };
	int status = 0;

	snprintf(cgroup, sizeof(cgroup), "/sys/fs/cgroup/floor%d", getpid());
	must(mkdir(cgroup, 0755), cgroup);
	int dir = openat(AT_FDCWD, cgroup, O_DIRECTORY | O_PATH);
	must(dir, cgroup);

	args.cgroup = dir;
	args.flags = CLONE_INTO_CGROUP | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP;
	if (network)
		args.flags |= CLONE_NEWNET;
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	must(pid, "clone3");
	if (pid == 0) {
		mount_everything(root);
		fill_dev();
		enter_root();
		must(sethostname("floor", 5), "sethostname");
		hide_paths();
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		become_true();
	}
	waitpid(pid, &status, 0);
	/* The kernel lets go of a cgroup a moment after its last process was reaped. */
	while (rmdir(cgroup) && errno == EBUSY)
		usleep(50);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 97;
}

static int exec_in(pid_t target, const char *cgroup)
{
	struct clone_args args = { .exit_signal = SIGCHLD, .flags = CLONE_INTO_CGROUP };
	int status = 0;

	int pidfd = syscall(SYS_pidfd_open, target, 0);
	must(pidfd, "pidfd_open");
	int dir = openat(AT_FDCWD, cgroup, O_DIRECTORY | O_PATH);
	must(dir, cgroup);
	must(setns(pidfd, CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET),
	     "setns");
	args.cgroup = dir;
	long pid = syscall(SYS_clone3, &args, sizeof(args));
	must(pid, "clone3");
	if (pid == 0) {
		prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
		become_true();
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 97;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "exec"))
		return exec_in(atoi(argv[2]), argv[3]);
	if (argc == 2 || (argc == 3 && !strcmp(argv[2], "nonet")))
		return run(argv[1], argc == 2);
	fprintf(stderr, "usage: floor ROOTFS [nonet] | floor exec PID CGROUP\n");
	return 2;
}
