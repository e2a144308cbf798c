/* See wg_hook.h.
 *
 * Happy path: the text is cut into words and simple commands, without regard for quotes, so that what nft and sh -c get
 * in quotes is looked through as well. A word is the name of a device by the one or two words before it, or by what it
 * begins with. The first other name of a command is kept until the command is over, because our own may follow.
 *
 *     iptables -A FORWARD -i  wg0  -j ACCEPT ; ip link set dev wg0 mtu 1380
 *                    before_▲  ▲_word         ▲_the command is over
 */
#include "common/wireguard/wg_hook.h"

#include <stdio.h>
#include <string.h>

#define WORD_MAX 256 /* a longer one is cut, and no name */

/* One simple command, as far as it was read. */
struct reading {
	char word[WORD_MAX], before[WORD_MAX], before_that[WORD_MAX];
	bool is_tables;		      /* iptables or a variable, perhaps for it: -i and -o stand for a device */
	bool is_set;		      /* between the braces of nft: each word is a name */
	bool has_own;		      /* our device is named as well */
	char other[WG_HOOK_NAME_MAX]; /* "": none so far */
};

bool wg_hook_is_usual_name(const char *name)
{
	const char *rest = name + 2;
	size_t digits;

	if (strncmp(name, "wg", 2) != 0)
		return false;
	digits = strspn(rest, "0123456789");
	rest += digits;
	if (*rest == '\0')
		return digits > 0;
	return strcmp(rest, "+") == 0 || strcmp(rest, "*") == 0 || (strchr("-_", *rest) && rest[1]);
}

static bool is_one_of(const char *word, const char *const *words)
{
	while (*words && strcmp(word, *words) != 0)
		words++;
	return *words != NULL;
}

/* Also with its folder. */
static bool is_program(const char *word, const char *name)
{
	const char *slash = strrchr(word, '/');

	return strcmp(slash ? slash + 1 : word, name) == 0;
}

static const char *const always[] = {"iifname", "oifname", "iif", "oif", "--in-interface", "--out-interface", NULL};

/* Is a device wanted behind the last two words? */
static bool wants_device(const struct reading *reading)
{
	static const char *const deletes[] = {"del", "delete", NULL};
	const char *before = reading->before, *before_that = reading->before_that;

	if (is_one_of(before, always))
		return true;
	if (strcmp(before, "-i") == 0 || strcmp(before, "-o") == 0)
		return reading->is_tables;
	if (strcmp(before, "-I") == 0) /* ping's; a chain of iptables */
		return !reading->is_tables;
	if (strcmp(before, "dev") == 0) /* `ip link del dev wg0` clears another tunnel away on purpose */
		return !is_one_of(before_that, deletes);
	if (strcmp(before_that, "link") == 0)
		return !is_one_of(before, deletes);
	if (strcmp(before, "on") == 0) /* ufw's */
		return strcmp(before_that, "in") == 0 || strcmp(before_that, "out") == 0;
	if (is_program(before_that, "resolvconf"))
		return strcmp(before, "-a") == 0 || strcmp(before, "-d") == 0;
	return is_program(before, "ifconfig") ||
	       (*before != '-' && (is_program(before_that, "wg") || is_program(before_that, "resolvectl")));
}

/* Where the name of a device begins in the word, NULL where it has none. */
static const char *find_name(const struct reading *reading)
{
	static const char *const heads[] = {"ipv4/conf/", "ipv6/conf/", "ipv4.conf.", "ipv6.conf.", "ipv4/neigh/",
		"ipv6/neigh/", "ipv4.neigh.", "ipv6.neigh.", "/class/net/", "interface=", "tun."};
	const char *word = reading->word, *at;

	for (size_t i = 0; i < sizeof(heads) / sizeof(*heads); i++)
		if ((at = strstr(word, heads[i])))
			return at + strlen(heads[i]);
	if (reading->is_tables && (strncmp(word, "-i", 2) == 0 || strncmp(word, "-o", 2) == 0) && word[2])
		return word + 2;
	return wants_device(reading) ? word : NULL;
}

/* %i stands for our device; "hub.inet" is a record of it in resolvconf; "hu+" of iptables and "hu*" of nft match it. */
static bool is_own(const char *name, const char *device)
{
	size_t len = strlen(device), star = strcspn(name, "+*");

	return strstr(name, "%i") || (strncmp(name, device, len) == 0 && strchr("./=@:", name[len])) ||
	       (name[star] && strncmp(name, device, star) == 0);
}

/* Cut the next word off *text; the one before moves on, but not at a "!" in between, and not in a set of nft's. Return:
 * false at the end of a command, with *text behind what ends it. */
static bool next_word(const char **text, struct reading *reading)
{
	static const char *const between[] = {"!", "!=", "==", NULL};
	const char *begin = *text + strspn(*text, " \t'\"\\,{}");
	size_t len = strcspn(begin, " \t'\"\\,{};|&()`\n");

	if (!is_one_of(reading->word, between) && !reading->is_set) {
		memcpy(reading->before_that, reading->before, WORD_MAX);
		memcpy(reading->before, reading->word, WORD_MAX);
	}
	for (const char *at = *text; at < begin; at++)
		reading->is_set = *at == '{' ? is_one_of(reading->before, always) : reading->is_set && *at != '}';
	*text = begin + len + (len == 0 && *begin);
	snprintf(reading->word, WORD_MAX, "%.*s", (int)len, begin);
	reading->is_tables |= strstr(reading->word, "tables") || *reading->word == '$';
	return len > 0;
}

bool wg_hook_find_other(const char *hook, const char *device, bool (*is_other)(const void *owner, const char *name),
	const void *owner, char ret_name[WG_HOOK_NAME_MAX])
{
	while (*hook) {
		struct reading reading = {0};

		while (next_word(&hook, &reading)) {
			const char *found = find_name(&reading);
			char name[WG_HOOK_NAME_MAX];

			if (!found)
				continue;
			snprintf(name, sizeof(name), "%.*s", (int)strcspn(found, "./=@:"), found);
			if (is_own(found, device))
				reading.has_own = true;
			else if (!reading.other[0] && *name && is_other(owner, name))
				memcpy(reading.other, name, sizeof(name));
		}
		if (reading.other[0] && !reading.has_own) {
			memcpy(ret_name, reading.other, sizeof(reading.other));
			return true;
		}
	}
	return false;
}

/* "net.ipv4.ip_forward=1", "/proc/sys/net/ipv6/conf/all/forwarding" */
static void read_switch(const char *word, struct wg_hook_forwarding *ret)
{
	bool is_forwarding = strstr(word, "forwarding") != NULL;

	ret->switches[0] |= strstr(word, "ip_forward") || (is_forwarding && strstr(word, "ipv4"));
	ret->switches[1] |= is_forwarding && strstr(word, "ipv6");
}

void wg_hook_read_forwarding(const char *text, struct wg_hook_forwarding *ret)
{
	static const char *const places[] = {"FORWARD", "POSTROUTING", "forward", "postrouting", "route"};
	static const char *const deletes[] = {"-D", "--delete", "delete", NULL};
	static const char *const verdicts[] = {
		"ACCEPT", "MASQUERADE", "SNAT", "accept", "masquerade", "snat", "allow", NULL};

	while (*text) {
		struct reading reading = {0};
		bool is_filter = false, is_ipv6 = false, is_deleted = false, has_place = false, has_verdict = false;

		while (next_word(&text, &reading)) {
			const char *word = reading.word;

			read_switch(word, ret);
			is_filter |= reading.is_tables || is_program(word, "nft") || is_program(word, "ufw");
			is_ipv6 |= strstr(word, "ip6tables") || strcmp(word, "ip6") == 0;
			is_deleted |= is_one_of(word, deletes);
			for (size_t i = 0; i < sizeof(places) / sizeof(*places); i++)
				has_place |= strstr(word, places[i]) != NULL;
			has_verdict |= is_one_of(word, verdicts);
			has_place |= strcmp(word, "--add-masquerade") == 0;
			ret->opens[0] |= strcmp(word, "--add-masquerade") == 0 || strcmp(word, "--add-forward") == 0;
		}
		if (is_filter && has_place && has_verdict && !is_deleted)
			ret->opens[is_ipv6] = true;
	}
}
