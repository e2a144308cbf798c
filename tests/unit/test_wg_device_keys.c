/* No key stays behind in memory that was freed, on the stack, or anywhere else in the process.
 *
 * The keys are held masked, unmasked for the one call, and wiped; then all of the process's writable memory is searched
 * for them. The search itself is tried on a key that was freed as it was.
 */
#include "tests/unit/wg_device_bed.h"

#include "common/base/secret.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sys/mman.h>

#define MASK 0x5a
#define WINDOW (1 << 18)
/* AddressSanitizer's shadow and reserves. */
#define HUGE_MAPPING (1UL << 30)
/* The allocator writes its own into the first bytes of freed memory. */
#define SKIPPED 8

/* 32 bytes each, masked; the private one is clamped when it is unmasked. */
static const uint8_t masked_private[WG_CONFIG_KEY_LEN] = "\x1a-private-key-of-this-very-test!";
static const uint8_t masked_preshared[WG_CONFIG_KEY_LEN] = "preshared-key-of-this-very-test!";
static const uint8_t masked_second[WG_CONFIG_KEY_LEN] = "another-preshared-key-of-a-test!";
static const uint8_t public_key[WG_CONFIG_KEY_LEN] = "the peer's public key, no secret";

static void unmask(uint8_t *key, const uint8_t *masked)
{
	for (size_t i = 0; i < WG_CONFIG_KEY_LEN; i++)
		key[i] = masked[i] ^ MASK;
}

/* --- search --- */

static bool is_key(const uint8_t *at, const uint8_t *masked)
{
	for (size_t i = SKIPPED; i < WG_CONFIG_KEY_LEN - 1; i++)
		if ((at[i] ^ MASK) != masked[i])
			return false;
	return true;
}

/* Pages that were never touched hold no key, and AddressSanitizer has many of them. */
static bool is_touched(uintptr_t begin, size_t len)
{
	const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), first = begin / page * page;
	unsigned char resident[WINDOW / 4096 + 2];

	if (mincore((void *)first, begin + len - first, resident) < 0)
		return true;
	for (size_t i = 0; i * page < begin + len - first; i++)
		if (resident[i] & 1)
			return true;
	return false;
}

static int search_window(const uint8_t *window, size_t len, const uint8_t *masked)
{
	const uint8_t first = masked[SKIPPED] ^ MASK, *end = window + len - WG_CONFIG_KEY_LEN + SKIPPED + 1;
	int found = 0;

	for (const uint8_t *at = window + SKIPPED; at < end; at++) {
		at = memchr(at, first, (size_t)(end - at));
		if (!at)
			break;
		found += is_key(at - SKIPPED, masked);
	}
	return found;
}

/* Return: how often @masked's key stands in the memory from @begin to @end, read through @window. */
static int search_mapping(int memory, uintptr_t begin, uintptr_t end, uint8_t *window, const uint8_t *masked)
{
	int found = 0;

	while (begin + WG_CONFIG_KEY_LEN <= end) {
		size_t len = end - begin < WINDOW ? end - begin : WINDOW;

		if (is_touched(begin, len)) {
			if (pread(memory, window, len, (off_t)begin) != (ssize_t)len)
				break;
			found += search_window(window, len, masked);
		}
		begin += len - WG_CONFIG_KEY_LEN + 1;
	}
	return found;
}

/* Return: how often the key stands in this process's memory. */
static int count_key(const uint8_t *masked)
{
	uint8_t *window = mmap(NULL, WINDOW, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int memory = open("/proc/self/mem", O_RDONLY | O_CLOEXEC), found = 0;
	FILE *maps = fopen("/proc/self/maps", "re");
	uintptr_t begin, end;
	char line[512];

	assert_true(window != MAP_FAILED && memory >= 0);
	assert_non_null(maps);
	while (fgets(line, sizeof(line), maps)) {
		if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " rw", &begin, &end) != 2 || !strstr(line, " rw"))
			continue;
		if (end - begin >= HUGE_MAPPING)
			continue;
		/* The kernel may show the window as one mapping with a neighbour. */
		if ((uintptr_t)window >= begin && (uintptr_t)window < end) {
			found += search_mapping(memory, begin, (uintptr_t)window, window, masked);
			begin = (uintptr_t)window + WINDOW;
		}
		found += search_mapping(memory, begin, end, window, masked);
	}
	secret_wipe(window, WINDOW);
	munmap(window, WINDOW);
	fclose(maps);
	close(memory);
	return found;
}

/* --- what is tried --- */

/* A peer with @masked as preshared key, for the one call of @apply. */
static void with_keys(const uint8_t *masked, int (*apply)(const struct wg_device_setup *plan))
{
	struct wg_config config = {.peer_count = 1};
	struct addr endpoint = {0};
	const struct wg_device_setup plan = {.config = &config, .endpoints = &endpoint};

	config.peers = calloc(1, sizeof(*config.peers));
	assert_non_null(config.peers);
	memcpy(config.peers->public_key, public_key, sizeof(public_key));
	config.peers->has_public_key = config.peers->has_preshared_key = true;
	unmask(config.peers->preshared_key, masked);
	unmask(config.interface.private_key, masked_private);
	config.interface.has_private_key = true;
	assert_int_equal(apply(&plan), 0);
	wg_config_done(&config);
}

static int configure(const struct wg_device_setup *plan)
{
	return wg_device_configure("wgt0", plan, NULL);
}

static int sync_device(const struct wg_device_setup *plan)
{
	return wg_device_sync("wgt0", plan, NULL, NULL);
}

/* Refused by the kernel after the keys were sent. */
static int configure_in_vain(const struct wg_device_setup *plan)
{
	return wg_device_configure("no-such-device", plan, NULL) == -ENODEV ? 0 : -EIO;
}

static void assert_no_key(void)
{
	assert_int_equal(count_key(masked_private), 0);
	assert_int_equal(count_key(masked_preshared), 0);
	assert_int_equal(count_key(masked_second), 0);
}

static void make_device(void)
{
	need_devices();
	assert_run("ip link add wgt0 type wireguard");
}

/* The search finds a key that is freed as it was. Comes last, for that key stays. */
static void unwiped_key_is_found(void **state)
{
	uint8_t *volatile freed = malloc(300);

	(void)state;
	assert_non_null(freed);
	unmask(freed + 100, masked_preshared);
	assert_int_equal(count_key(masked_preshared), 1);
	secret_wipe(freed, 300);
	assert_int_equal(count_key(masked_preshared), 0);
	unmask(freed + 100, masked_second);
	free(freed);
	assert_int_equal(count_key(masked_second), 1);
}

static void configuring_leaves_none(void **state)
{
	(void)state;
	make_device();
	with_keys(masked_preshared, configure);
	assert_no_key();
}

static void refusal_leaves_none(void **state)
{
	(void)state;
	make_device();
	with_keys(masked_preshared, configure_in_vain);
	assert_no_key();
}

static void reading_leaves_none(void **state)
{
	struct wg_state device;

	(void)state;
	make_device();
	with_keys(masked_preshared, configure);
	assert_int_equal(wg_device_read("wgt0", &device, NULL), 0);
	assert_int_equal(device.peer_count, 1);
	assert_no_key();
	wg_state_done(&device);
}

static void syncing_leaves_none(void **state)
{
	(void)state;
	make_device();
	with_keys(masked_preshared, configure);
	with_keys(masked_second, sync_device);
	assert_no_key();
}

static void reviving_leaves_none(void **state)
{
	(void)state;
	make_device();
	with_keys(masked_preshared, configure);
	assert_int_equal(wg_device_revive_peer("wgt0", public_key, NULL), 1);
	assert_no_key();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configuring_leaves_none),
		cmocka_unit_test(refusal_leaves_none),
		cmocka_unit_test(reading_leaves_none),
		cmocka_unit_test(syncing_leaves_none),
		cmocka_unit_test(reviving_leaves_none),
		cmocka_unit_test(unwiped_key_is_found),
	};

	return cmocka_run_group_tests_name("wg_device_keys", tests, NULL, NULL);
}
