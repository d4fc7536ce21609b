/*
 * floor ROOTFS CGROUP HIERARCHY… — the least that starting a container can cost.
 *
 * Makes the system calls that the default bundle of an OCI runtime (`runc spec`) asks for, in a sensible order
 * and with nothing in between: no JSON, no checks, no protocol. What a runtime takes beyond this is its own.
 * HIERARCHY is `v1:DIR` or `v2:DIR`. Runs /bin/true in ROOTFS and exits with its status.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if.h>
#include <linux/mount.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

enum { HIERARCHIES = 16 };
static struct { char dir[256]; int v1, tasks; } groups[HIERARCHIES];
static int count, unified = -1;

static int must(long answer, const char *what)
{
	if (answer < 0) {
		fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
		_exit(1);
	}
	return (int)answer;
}

static void put(const char *dir, const char *file, const char *value)
{
	char path[512];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, file);
	fd = must(open(path, O_WRONLY | O_CLOEXEC), path);
	must(write(fd, value, strlen(value)), path);
	close(fd);
}

static void copy(const char *from, const char *to, const char *file)
{
	char path[512], value[256];
	int fd, n;

	snprintf(path, sizeof path, "%s/%s", from, file);
	fd = must(open(path, O_RDONLY | O_CLOEXEC), path);
	n = must(read(fd, value, sizeof value - 1), path);
	value[n] = 0;
	close(fd);
	put(to, file, value);
}

/* The devices of the default bundle, in the order that the runtimes write them. */
static void allow_devices(const char *dir)
{
	static const char *allowed[] = { "c *:* m", "b *:* m", "c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm",
		"c 1:9 rwm", "c 5:0 rwm", "c 5:2 rwm", "c 136:* rwm" };

	put(dir, "devices.deny", "a");
	for (size_t i = 0; i < sizeof allowed / sizeof *allowed; i++)
		put(dir, "devices.allow", allowed[i]);
}

static void make_cgroups(char **hierarchies, const char *cgroup)
{
	char tasks[512];

	for (; *hierarchies && count < HIERARCHIES; hierarchies++, count++) {
		const char *root = *hierarchies + 3;
		char *dir = groups[count].dir;

		groups[count].v1 = !strncmp(*hierarchies, "v1:", 3);
		snprintf(dir, sizeof groups[count].dir, "%s%s", root, cgroup);
		must(mkdir(dir, 0755), dir);
		if (!groups[count].v1) {
			unified = must(open(dir, O_DIRECTORY | O_CLOEXEC), dir);
			continue;
		}
		if (strstr(root, "cpuset")) {
			char parent[256];

			snprintf(parent, sizeof parent, "%s", dir);
			*strrchr(parent, '/') = 0;
			copy(parent, dir, "cpuset.cpus");
			copy(parent, dir, "cpuset.mems");
		}
		if (strstr(root, "devices"))
			allow_devices(dir);
		snprintf(tasks, sizeof tasks, "%s/tasks", dir);
		groups[count].tasks = must(open(tasks, O_WRONLY | O_CLOEXEC), tasks);
	}
}

static void attach(const char *type, const char *options, const char *at, int attributes)
{
	int fs = must(syscall(SYS_fsopen, type, FSOPEN_CLOEXEC), type), mnt;
	char list[256], *rest = list, *option;

	snprintf(list, sizeof list, "%s", options);
	while ((option = strsep(&rest, ",")) && *option) {
		char *value = strchr(option, '=');

		if (value)
			*value++ = 0;
		must(syscall(SYS_fsconfig, fs, value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG, option, value, 0), option);
	}
	must(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0), type);
	mnt = must(syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attributes), type);
	must(syscall(SYS_move_mount, mnt, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH), at);
	close(mnt);
	close(fs);
}

static int clone_tree(const char *path)
{
	return syscall(SYS_open_tree, AT_FDCWD, path, OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
}

/* A second sight of `path` at `at`; false if there is no such path. */
static int show(const char *path, const char *at, uint64_t attributes)
{
	struct mount_attr attr = { .attr_set = attributes };
	int tree = clone_tree(path);

	if (tree < 0)
		return 0;
	if (attributes)
		must(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH, &attr, sizeof attr), path);
	must(syscall(SYS_move_mount, tree, "", AT_FDCWD, at, MOVE_MOUNT_F_EMPTY_PATH), at);
	close(tree);
	return 1;
}

static void mounts(char **hierarchies)
{
	const int plain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;
	char at[512];

	attach("proc", "", "proc", 0);
	attach("tmpfs", "mode=755,size=65536k", "dev", MOUNT_ATTR_NOSUID);
	must(mkdir("dev/pts", 0755), "dev/pts");
	attach("devpts", "newinstance,ptmxmode=0666,mode=0620,gid=5", "dev/pts", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
	must(mkdir("dev/shm", 0755), "dev/shm");
	attach("tmpfs", "mode=1777,size=65536k", "dev/shm", plain);
	must(mkdir("dev/mqueue", 0755), "dev/mqueue");
	attach("mqueue", "", "dev/mqueue", plain);
	attach("sysfs", "", "sys", plain | MOUNT_ATTR_RDONLY);
	if (groups[0].v1) {
		attach("tmpfs", "mode=755", "sys/fs/cgroup", plain);
		for (int i = 0; i < count; i++) {
			snprintf(at, sizeof at, "sys/fs/cgroup%s", strrchr(hierarchies[i], '/'));
			must(mkdir(at, 0755), at);
			show(groups[i].dir, at, plain | MOUNT_ATTR_RDONLY);
		}
	} else {
		attach("cgroup2", "", "sys/fs/cgroup", plain | MOUNT_ATTR_RDONLY);
	}
}

static void devices(void)
{
	static const struct { const char *path; int major, minor; } nodes[] = { { "dev/null", 1, 3 },
		{ "dev/zero", 1, 5 }, { "dev/full", 1, 7 }, { "dev/random", 1, 8 }, { "dev/urandom", 1, 9 },
		{ "dev/tty", 5, 0 } };
	static const char *links[][2] = { { "/proc/self/fd", "dev/fd" }, { "/proc/self/fd/0", "dev/stdin" },
		{ "/proc/self/fd/1", "dev/stdout" }, { "/proc/self/fd/2", "dev/stderr" }, { "/proc/kcore", "dev/core" },
		{ "pts/ptmx", "dev/ptmx" } };

	umask(0);
	for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
		must(mknod(nodes[i].path, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)), nodes[i].path);
	for (size_t i = 0; i < sizeof links / sizeof *links; i++)
		must(symlink(links[i][0], links[i][1]), links[i][1]);
	umask(022);
}

static void hide(void)
{
	static const char *masked[] = { "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys",
		"/proc/latency_stats", "/proc/timer_list", "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware",
		"/proc/scsi" };
	static const char *readonly[] = { "/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger" };
	struct stat st;

	for (size_t i = 0; i < sizeof readonly / sizeof *readonly; i++)
		show(readonly[i], readonly[i], MOUNT_ATTR_RDONLY);
	for (size_t i = 0; i < sizeof masked / sizeof *masked; i++) {
		if (stat(masked[i], &st))
			continue;
		if (S_ISDIR(st.st_mode))
			attach("tmpfs", "", masked[i], MOUNT_ATTR_RDONLY);
		else
			show("/dev/null", masked[i], 0);
	}
}

static void loopback(void)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = must(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), "socket");

	must(ioctl(fd, SIOCSIFFLAGS, &lo), "lo");
	close(fd);
}

/* The default bundle's three capabilities: audit_write, kill, net_bind_service. */
static void drop(void)
{
	struct __user_cap_header_struct header = { _LINUX_CAPABILITY_VERSION_3, 0 };
	uint32_t keep = 1u << CAP_AUDIT_WRITE | 1u << CAP_KILL | 1u << CAP_NET_BIND_SERVICE;
	struct __user_cap_data_struct data[2] = { { keep, keep, 0 }, { 0, 0, 0 } };
	struct rlimit files = { 1024, 1024 };

	for (int cap = 0; cap <= CAP_LAST_CAP; cap++)
		if (cap > 31 || !(keep >> cap & 1))
			prctl(PR_CAPBSET_DROP, cap, 0, 0, 0);
	must(setrlimit(RLIMIT_NOFILE, &files), "rlimit");
	must(syscall(SYS_capset, &header, data), "capset");
	must(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs");
}

static void container(const char *root, char **hierarchies)
{
	char *argv[] = { "/bin/true", NULL }, *env[] = { "PATH=/bin", NULL };
	int tree;

	for (int i = 0; i < count; i++)
		if (groups[i].v1)
			must(write(groups[i].tasks, "0", 1), "tasks");
	must(unshare(CLONE_NEWCGROUP), "cgroup namespace");
	must(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), "private");
	tree = must(clone_tree(root), root);
	must(syscall(SYS_move_mount, tree, "", AT_FDCWD, root, MOVE_MOUNT_F_EMPTY_PATH), root);
	must(fchdir(tree), root);
	loopback();
	mounts(hierarchies);
	devices();
	must(syscall(SYS_pivot_root, ".", "."), "pivot_root");
	must(umount2(".", MNT_DETACH), "umount");
	hide();
	must(mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY, NULL), "read-only");
	must(sethostname("floor", 5), "hostname");
	must(setsid(), "setsid");
	drop();
	execve(argv[0], argv, env);
	must(-1, argv[0]);
}

int main(int argc, char **argv)
{
	int pidfd = -1;
	siginfo_t info;
	struct clone_args args = { 0 };

	if (argc < 4)
		return 2;
	make_cgroups(argv + 3, argv[2]);
	args.flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWNET | CLONE_PIDFD;
	args.pidfd = (uint64_t)(uintptr_t)&pidfd;
	args.exit_signal = SIGCHLD;
	if (unified >= 0) {
		args.flags |= CLONE_INTO_CGROUP;
		args.cgroup = unified;
	}
	if (must(syscall(SYS_clone3, &args, sizeof args), "clone3") == 0)
		container(argv[1], argv + 3);
	must(waitid(P_PIDFD, pidfd, &info, WEXITED), "waitid");
	for (int i = 0; i < count; i++)
		must(rmdir(groups[i].dir), groups[i].dir);
	return info.si_status;
}
