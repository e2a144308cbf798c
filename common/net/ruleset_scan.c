/* The programs are asked one after the other (ruleset_scan.h): ask_next() → on_question_answered() → … → finish_scan().
 *
 * nft alone would list all rules, those of iptables-nft included, but as expressions that nft has no words for. So
 * iptables' own programs are asked as well, each for its family and kind. A program that is missing is skipped, as its
 * rules cannot be there. One that fails, or takes longer than TIMEOUT_MS, is a warning and counts as one without rules:
 * the tunnel works without the answer.
 *
 * The scan belongs to its owner until on_read() has been called or ruleset_scan_close(). Its memory is freed from the
 * loop, when the timer has closed.
 */
#include "common/net/ruleset_scan.h"

#include "common/base/log.h"
#include "common/net/command.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A busy host lists thousands of rules, and another program may hold the lock of iptables. */
#define TIMEOUT_MS 10000

enum { RULES, MAPS, NFT4, NFT6, LEGACY4, LEGACY6, QUESTION_COUNT };

struct ruleset_scan {
	uv_timer_t begin; /* so that on_read() is never called from inside ruleset_scan_start() */
	struct command *command;
	size_t question;
	char *answers[QUESTION_COUNT];
	void (*on_read)(void *owner, const struct ruleset_texts *texts);
	void *owner;
};

/* iptables-legacy makes its table when it is asked for it, so it is asked only where the table is in use already. */
static const struct question {
	const char *argv[6]; /* -t: terse, without the elements of sets, which may be a list of a million addresses */
	const char *tables;  /* the kernel's list of those in use */
} questions[QUESTION_COUNT] = {
	[RULES] = {{"nft", "-j", "-t", "list", "ruleset", NULL}, NULL},
	[MAPS] = {{"nft", "-j", "list", "maps", NULL}, NULL},
	[NFT4] = {{"iptables-nft-save", NULL}, NULL},
	[NFT6] = {{"ip6tables-nft-save", NULL}, NULL},
	[LEGACY4] = {{"iptables-legacy-save", NULL}, "/proc/net/ip_tables_names"},
	[LEGACY6] = {{"ip6tables-legacy-save", NULL}, "/proc/net/ip6_tables_names"},
};

/* The kernel lists the tables that are in use, one a line. A file that is missing means: no such module. */
static bool is_in_use(const char *tables)
{
	FILE *file = fopen(tables, "re");
	bool is = file && fgetc(file) != EOF;

	if (file)
		fclose(file);
	return is;
}

static void on_scan_closed(uv_handle_t *handle)
{
	struct ruleset_scan *scan = handle->data;

	for (size_t i = 0; i < QUESTION_COUNT; i++)
		free(scan->answers[i]);
	free(scan);
}

void ruleset_scan_close(struct ruleset_scan *scan)
{
	if (!scan || uv_is_closing((uv_handle_t *)&scan->begin))
		return;
	command_close(scan->command);
	scan->command = NULL;
	uv_close((uv_handle_t *)&scan->begin, on_scan_closed);
}

static const char *answer_of(const struct ruleset_scan *scan, size_t question)
{
	return scan->answers[question] ? scan->answers[question] : "";
}

static void finish_scan(struct ruleset_scan *scan)
{
	const struct ruleset_texts texts = {.nft = answer_of(scan, RULES),
		.maps = answer_of(scan, MAPS),
		.nft4 = answer_of(scan, NFT4),
		.nft6 = answer_of(scan, NFT6),
		.legacy4 = answer_of(scan, LEGACY4),
		.legacy6 = answer_of(scan, LEGACY6)};

	ruleset_scan_close(scan); /* the memory stays until on_scan_closed() */
	scan->on_read(scan->owner, &texts);
}

static void ask_next(struct ruleset_scan *scan);

static void on_question_answered(void *owner, int status, const char *output)
{
	struct ruleset_scan *scan = owner;
	char reason[COMMAND_WHY_MAX];

	scan->command = NULL;
	if (status == 0)
		scan->answers[scan->question] = strdup(output);
	else
		log_warning("firewall", "%s: %s; rules of other programs may be in the way",
			questions[scan->question].argv[0], command_why(reason, sizeof(reason), status, output));
	scan->question++;
	ask_next(scan);
}

/* Only a rule that names a map ("@name") makes its elements interesting. */
static bool applies(const struct ruleset_scan *scan, const struct question *question)
{
	if (question == &questions[MAPS])
		return strstr(answer_of(scan, RULES), "\"@");
	return !question->tables || is_in_use(question->tables);
}

/* Ask the next question that applies to this host. A program that is missing is skipped. */
static void ask_next(struct ruleset_scan *scan)
{
	struct command_setup setup = {.timeout_ms = TIMEOUT_MS, .on_exit = on_question_answered, .owner = scan};

	for (; scan->question < QUESTION_COUNT; scan->question++) {
		const struct question *question = &questions[scan->question];

		setup.argv = question->argv;
		if (applies(scan, question) && command_start(&scan->command, scan->begin.loop, &setup, NULL) == 0)
			return;
	}
	finish_scan(scan);
}

static void on_scan_begin(uv_timer_t *timer)
{
	ask_next(timer->data);
}

int ruleset_scan_start(struct ruleset_scan **ret, uv_loop_t *loop,
	void (*on_read)(void *owner, const struct ruleset_texts *texts), void *owner, struct err *err)
{
	struct ruleset_scan *scan = calloc(1, sizeof(*scan));

	if (!scan)
		return err_system(err, -ENOMEM, "firewall");
	scan->on_read = on_read;
	scan->owner = owner;
	scan->begin.data = scan;
	uv_timer_init(loop, &scan->begin);
	uv_timer_start(&scan->begin, on_scan_begin, 0, 0);
	*ret = scan;
	return 0;
}
