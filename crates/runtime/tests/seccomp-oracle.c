/* Test only: reads a policy, one step a line, and writes libseccomp's BPF program for it. */
#include <errno.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static scmp_filter_ctx filter;

static void die(const char *what, const char *object, int error)
{
	fprintf(stderr, "seccomp-oracle: %s %s: %s\n", what, object, strerror(-error));
	exit(1);
}

static void add_rule(char *line)
{
	char *rest = NULL, *name = strtok_r(line, " \n", &rest), *word;
	uint32_t action = strtoul(strtok_r(NULL, " \n", &rest), NULL, 10);
	struct scmp_arg_cmp args[6];
	unsigned count = 0;
	int number = seccomp_syscall_resolve_name(name), error;

	if (number == __NR_SCMP_ERROR)
		return; /* as the runtimes do: a call that this library does not know */
	while ((word = strtok_r(NULL, " \n", &rest)) && count < 6) {
		args[count].arg = strtoul(word, NULL, 10);
		args[count].op = strtoul(strtok_r(NULL, " \n", &rest), NULL, 10);
		args[count].datum_a = strtoull(strtok_r(NULL, " \n", &rest), NULL, 10);
		args[count].datum_b = strtoull(strtok_r(NULL, " \n", &rest), NULL, 10);
		count++;
	}
	error = seccomp_rule_add_array(filter, action, number, count, args);
	if (error)
		die("rule", name, error);
}

int main(void)
{
	static char line[65536];
	int error;

	while (fgets(line, sizeof line, stdin)) {
		if (!strncmp(line, "default ", 8)) {
			filter = seccomp_init(strtoul(line + 8, NULL, 10));
			if (!filter)
				return 1;
			seccomp_attr_set(filter, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
		} else if (!strncmp(line, "arch ", 5)) {
			line[strcspn(line, "\n")] = 0;
			error = seccomp_arch_add(filter, seccomp_arch_resolve_name(line + 5));
			if (error && error != -EEXIST)
				die("arch", line + 5, error);
		} else if (!strncmp(line, "rule ", 5)) {
			add_rule(line + 5);
		}
	}
	return seccomp_export_bpf(filter, 1) ? 1 : 0;
}
