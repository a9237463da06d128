/*
 * Preloaded into a runtime that insists on raising RLIMIT_MEMLOCK, on machines where root lacks CAP_SYS_RESOURCE:
 * the kernel has not charged eBPF programs to that limit since 5.11, so success is a harmless answer.
 */
#include <sys/resource.h>

int setrlimit(__rlimit_resource_t resource, const struct rlimit *limit)
{
	(void)resource;
	(void)limit;
	return 0;
}

int setrlimit64(__rlimit_resource_t resource, const struct rlimit64 *limit)
{
	(void)resource;
	(void)limit;
	return 0;
}
