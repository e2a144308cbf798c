/* The processor's own word on x86, the kernel's on ARM. Cannot fail; an unknown architecture is taken to have it all. */
#include "common/base/cpu.h"

#if defined(__aarch64__) || defined(__arm__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

bool cpu_has_aes(void)
{
#if defined(__x86_64__) || defined(__i386__)
	return __builtin_cpu_supports("aes");
#elif defined(__aarch64__)
	return getauxval(AT_HWCAP) & HWCAP_AES;
#elif defined(__arm__)
	return getauxval(AT_HWCAP2) & HWCAP2_AES;
#else
	return true;
#endif
}
