/* Runs a fuzz target without libFuzzer: every seed, then mutations of them, the same ones each time.
 *
 *    replay_X COUNT SEEDS            run the seeds and COUNT mutations
 *    replay_X --unpack DIR SEEDS     write the seeds as raw bytes into DIR, for libFuzzer
 *
 * A seed is a text file: line ends are nothing, \r \n \t \0 \\ \xNN are bytes, the rest stands for itself. An input
 * that brings the target down is printed in the same form first, so that it can become a seed.
 */
#include "tests/fuzz/fuzz.h"

#include <dirent.h>
#include <signal.h>
#include <stdbool.h>
#include <unistd.h>

#define SEEDS_MAX 256
#define INPUT_MAX 70000u /* a little more than the largest frame */
#define STEPS_MAX 6u	 /* mutations on top of one another */

struct input {
	char name[64];
	uint8_t *data;
	size_t len;
};

static struct input seeds[SEEDS_MAX];
static size_t seed_count;
static uint8_t current[INPUT_MAX];
static size_t current_len;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint32_t random_below(uint32_t limit)
{
	random_state ^= random_state << 13; /* xorshift64 */
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return limit > 0 ? (uint32_t)(random_state >> 32) % limit : 0;
}

static void print_current(int signal_number)
{
	(void)signal_number;
	fprintf(stderr, "the input was: ");
	for (size_t i = 0; i < current_len; i++) {
		uint8_t c = current[i];

		if (c == '\\')
			fprintf(stderr, "\\\\");
		else if (c >= ' ' && c < 0x7f)
			fputc(c, stderr);
		else
			fprintf(stderr, "\\x%02x", c);
	}
	fputc('\n', stderr);
}

static unsigned hex_value(const char *text)
{
	const char digits[3] = {text[0], text[0] ? text[1] : '\0', '\0'};

	return (unsigned)strtoul(digits, NULL, 16);
}

/* Reads one escape behind its backslash. Return: characters used. */
static size_t unescape(const char *text, uint8_t *ret)
{
	switch (*text) {
	case 'r':
		*ret = '\r';
		return 1;
	case 'n':
		*ret = '\n';
		return 1;
	case 't':
		*ret = '\t';
		return 1;
	case '0':
		*ret = '\0';
		return 1;
	case 'x':
		*ret = (uint8_t)hex_value(text + 1);
		return 3;
	default:
		*ret = (uint8_t)*text;
		return 1;
	}
}

static size_t unpack(const char *text, size_t len, uint8_t *out)
{
	size_t out_len = 0;

	for (size_t i = 0; i < len;) {
		if (text[i] == '\n') {
			i++;
		} else if (text[i] == '\\' && i + 1 < len) {
			i += 1 + unescape(text + i + 1, &out[out_len]);
			out_len++;
		} else {
			out[out_len++] = (uint8_t)text[i++];
		}
	}
	return out_len;
}

static void read_seed(const char *folder, const char *name)
{
	struct input *seed = &seeds[seed_count];
	static char text[4 * INPUT_MAX + 4];
	char path[4096];
	FILE *file;
	size_t len;

	snprintf(path, sizeof(path), "%s/%s", folder, name);
	file = fopen(path, "r");
	CLAIM(file && seed_count < SEEDS_MAX);
	len = fread(text, 1, sizeof(text) - 4, file);
	fclose(file);
	memset(text + len, 0, 4);
	seed->data = malloc(len + 1);
	CLAIM(seed->data);
	seed->len = unpack(text, len, seed->data);
	CLAIM(seed->len <= INPUT_MAX);
	snprintf(seed->name, sizeof(seed->name), "%s", name);
	seed_count++;
}

/* In the order of their names: the same on every file system. */
static void read_seeds(const char *folder)
{
	struct dirent **entries;
	int count = scandir(folder, &entries, NULL, alphasort);

	CLAIM(count > 0);
	for (int i = 0; i < count; i++) {
		if (entries[i]->d_name[0] != '.')
			read_seed(folder, entries[i]->d_name);
		free(entries[i]);
	}
	free(entries);
	CLAIM(seed_count > 0);
}

static void run_current(void)
{
	uint8_t *exact = fuzz_copy(current, current_len);

	LLVMFuzzerTestOneInput(exact, current_len);
	free(exact);
}

static void load(const struct input *seed)
{
	memcpy(current, seed->data, seed->len);
	current_len = seed->len;
}

/* Put @len bytes in place of @gone bytes at @at; too much is left out. */
static void replace(size_t at, size_t gone, const uint8_t *data, size_t len)
{
	if (current_len - gone + len > INPUT_MAX)
		return;
	memmove(current + at + len, current + at + gone, current_len - at - gone);
	if (len > 0)
		memcpy(current + at, data, len);
	current_len = current_len - gone + len;
}

static void put_odd_byte(size_t at)
{
	static const uint8_t odd[] = {0, 1, 2, '\t', '\n', '\r', ' ', '"', ',', '.', ':', ';', '=', '0', '9', 0x7d,
		0x7e, 0x7f, 0x80, 0x81, 0x82, 0x88, 0x89, 0xfe, 0xff};

	if (at < current_len)
		current[at] = odd[random_below(sizeof(odd))];
}

/* A piece of a seed, the same one or another, in place of a piece of the input. */
static void splice(size_t at)
{
	const struct input *seed = &seeds[random_below((uint32_t)seed_count)];
	size_t from = random_below((uint32_t)seed->len + 1);
	size_t len = random_below((uint32_t)(seed->len - from) + 1);
	size_t gone = random_below(2) ? random_below((uint32_t)(current_len - at) + 1) : 0;

	replace(at, gone, seed->data + from, len);
}

static void mutate(void)
{
	size_t at = random_below((uint32_t)current_len + 1);
	uint8_t byte = (uint8_t)random_below(256);

	switch (random_below(7)) {
	case 0:
		if (at < current_len)
			current[at] ^= (uint8_t)(1u << random_below(8));
		break;
	case 1:
		put_odd_byte(at);
		break;
	case 2:
		replace(at, 0, &byte, 1);
		put_odd_byte(at);
		break;
	case 3:
		replace(at, random_below((uint32_t)(current_len - at < 16 ? current_len - at : 16) + 1), NULL, 0);
		break;
	case 4:
		current_len = at;
		break;
	default:
		splice(at);
		break;
	}
}

static void run_mutations(unsigned long count)
{
	for (unsigned long i = 0; i < count; i++) {
		unsigned steps = 1 + random_below(STEPS_MAX);

		load(&seeds[random_below((uint32_t)seed_count)]);
		while (steps-- > 0)
			mutate();
		run_current();
	}
}

static int write_raw(const char *folder)
{
	for (size_t i = 0; i < seed_count; i++) {
		char path[4096];
		bool fits = snprintf(path, sizeof(path), "%s/%s", folder, seeds[i].name) < (int)sizeof(path);
		FILE *file = fits ? fopen(path, "w") : NULL;

		if (!file || fwrite(seeds[i].data, 1, seeds[i].len, file) != seeds[i].len || fclose(file) != 0) {
			perror(path);
			return 1;
		}
	}
	return 0;
}

static void free_seeds(void)
{
	for (size_t i = 0; i < seed_count; i++)
		free(seeds[i].data);
}

int main(int argc, char **argv)
{
	int rc = 0;

	if (argc != 3 && (argc != 4 || strcmp(argv[1], "--unpack") != 0)) {
		fprintf(stderr, "usage: %s COUNT SEEDS | --unpack DIR SEEDS\n", argv[0]);
		return 2;
	}
	read_seeds(argv[argc - 1]);
	if (argc == 4) {
		rc = write_raw(argv[2]);
	} else {
		signal(SIGABRT, print_current);
		for (size_t i = 0; i < seed_count; i++) {
			load(&seeds[i]);
			run_current();
		}
		run_mutations(strtoul(argv[1], NULL, 10));
		printf("%zu seeds and %s mutations\n", seed_count, argv[1]);
	}
	free_seeds();
	return rc;
}
