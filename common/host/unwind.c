/* Undo a list (unwind.h).
 *
 * Happy path: the newest entry is undone, dropped from the list, and the next one follows. Devices, rules and
 * parameters are undone at once, by netlink and /proc. A firewall table, a rule in another table and the resolver need
 * a program, beside the loop; its exit starts the next entry. An entry that fails is logged and set aside, and stays in
 * the file: the next start or `down` tries it again, UNDO_TRIES_MAX times in all.
 */
#include "common/host/unwind.h"

#include "common/base/log.h"
#include "common/host/claim_undo.h"
#include "common/net/firewall.h"
#include "common/net/link.h"
#include "common/net/netfilter.h"
#include "common/net/netlink.h"
#include "common/net/sysctl.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COMMAND_TIMEOUT_MS 10000

/* Kernel WireGuard sets all.send_redirects to 0 when a device comes up. The value is put back when the last such device
 * is gone, because the kernel would clear it again for the next one. Where /proc/sys is read-only it cannot be put
 * back, and was not changed by us either. */
#define SEND_REDIRECTS "net/ipv4/conf/all/send_redirects"

static void unwind_step(struct unwind *unwind);

static const char *entry_text(char *buf, size_t size, const struct undo_entry *entry)
{
	switch (entry->kind) {
	case UNDO_SYSCTL:
		snprintf(buf, size, "%s", entry->path);
		break;
	case UNDO_DEVICE:
		snprintf(buf, size, "device %s", entry->device);
		break;
	case UNDO_RULE:
		snprintf(buf, size, "rule %u (table %u)", entry->rule.priority, entry->rule.table);
		break;
	case UNDO_FIREWALL:
		snprintf(buf, size, "nftables table %s", entry->text);
		break;
	case UNDO_COMMAND:
		snprintf(buf, size, "%s", entry->text);
		break;
	case UNDO_CLAIM_IP:
	case UNDO_CLAIM_ROUTE:
		claim_undo_text(buf, size, entry);
		break;
	case UNDO_SERVICE:
		snprintf(buf, size, "connections of a published service");
		break;
	}
	return buf;
}

/* --- one entry --- */

/* Return: 1, 0, or a negative errno. */
static int has_wireguard_device(struct netlink *netlink, struct err *err)
{
	struct net_link *links;
	size_t count;
	int rc = net_link_list(netlink, &links, &count, err), found = 0;

	if (rc < 0)
		return rc;
	for (size_t i = 0; i < count; i++)
		found |= strcmp(links[i].kind, "wireguard") == 0;
	free(links);
	return found;
}

/* Another program has switched on IPv4 forwarding for all devices meanwhile, as Docker does at its start: then ours is
 * its, too. */
static bool is_taken_over(const struct undo_entry *entry)
{
	const char *last = strrchr(entry->path, '/');
	char all[SYSCTL_VALUE_MAX];

	return strncmp(entry->path, "net/ipv4/conf/", strlen("net/ipv4/conf/")) == 0 &&
	       strcmp(last, "/forwarding") == 0 && sysctl_read("net/ipv4/conf/default/forwarding", all, NULL) == 0 &&
	       strcmp(all, "1") == 0;
}

static int put_back(struct netlink *netlink, const struct undo_entry *entry, struct err *err)
{
	char now[SYSCTL_VALUE_MAX];
	int rc = sysctl_read(entry->path, now, err);

	if (rc == -ENOENT)
		return 0;
	if (rc == 0 && strcmp(entry->path, SEND_REDIRECTS) == 0)
		rc = has_wireguard_device(netlink, err);
	if (rc != 0)
		return rc > 0 ? 0 : rc;
	if (strcmp(now, entry->new_value) != 0 || strcmp(now, entry->old_value) == 0 || is_taken_over(entry))
		return 0;
	rc = sysctl_set(entry->path, entry->old_value, err);
	if (sysctl_is_denied(rc) && strcmp(entry->path, SEND_REDIRECTS) == 0) {
		log_info("config", "%s stays %s, as kernel WireGuard has set it: %s", entry->path, now, strerror(-rc));
		return 0;
	}
	return rc == -ENOENT ? 0 : rc;
}

/* By now another program's device may have the name, and ours may have been renamed. The index is still ours: it was
 * drawn at random. */
static int delete_device(struct netlink *netlink, const struct undo_entry *entry, struct err *err)
{
	struct net_link link;
	int rc = net_link_get(netlink, entry->index, &link, err);

	if (rc == -ENODEV)
		return 0;
	if (rc < 0)
		return rc;
	if (strcmp(link.kind, "wireguard") != 0)
		return 0;
	return net_link_delete(netlink, link.index, err);
}

/* A kernel without a list of connections has none that we could end. */
static int end_connections(const struct service *service, struct err *err)
{
	int rc = netfilter_end(service, err);

	return rc == -EINVAL ? 0 : rc;
}

static int undo_at_once(const struct undo_entry *entry, struct err *err)
{
	struct netlink netlink;
	int rc;

	if (entry->kind == UNDO_CLAIM_IP || entry->kind == UNDO_CLAIM_ROUTE)
		return claim_undo(entry, err);
	rc = netlink_open(&netlink, -1, err);
	if (rc < 0)
		return rc;
	if (entry->kind == UNDO_SYSCTL)
		rc = put_back(&netlink, entry, err);
	else if (entry->kind == UNDO_DEVICE)
		rc = delete_device(&netlink, entry, err);
	else if (entry->kind == UNDO_SERVICE)
		rc = end_connections(&entry->service, err);
	else
		rc = net_rule_delete(&netlink, &entry->rule, err);
	netlink_close(&netlink);
	return rc;
}

static void settle(struct unwind *unwind, int rc, const char *reason)
{
	const struct undo_entry *entry = undo_newest(unwind->undo, unwind->at);
	struct err err = {""};
	char text[UNDO_TEXT_MAX + 32];

	if (rc == 0) {
		unwind->undone++;
		if (undo_drop(unwind->undo, unwind->at, &err) < 0)
			log_warning("config", "%s", err.text);
		return;
	}
	unwind->failed++;
	entry_text(text, sizeof(text), entry);
	if (undo_set_aside(unwind->undo, unwind->at))
		log_error("config", "%s: cannot be undone: %s; given up", text, reason);
	else
		log_warning("config", "%s: cannot be undone: %s; the next start or `down` tries again", text, reason);
}

/* --- by programs --- */

static void on_exit_of(void *owner, int status, const char *output)
{
	struct unwind *unwind = owner;
	char reason[COMMAND_WHY_MAX];

	unwind->command = NULL;
	settle(unwind, status, command_why(reason, sizeof(reason), status, output));
	unwind_step(unwind);
}

static int start_program(struct unwind *unwind, const struct undo_entry *entry, struct err *err)
{
	const char *const shell[] = {"sh", "-c", entry->text, NULL}, *const nft[] = {"nft", "-f", "-", NULL};
	bool is_firewall = entry->kind == UNDO_FIREWALL;
	char *input = is_firewall ? firewall_format_removal(entry->text) : NULL;
	struct command_setup setup = {.argv = is_firewall ? nft : shell,
		.input = input,
		.input_len = input ? strlen(input) : 0,
		.timeout_ms = COMMAND_TIMEOUT_MS,
		.on_exit = on_exit_of,
		.owner = unwind};
	int rc = command_start(&unwind->command, unwind->loop, &setup, err);

	free(input);
	return rc;
}

/* --- one after the other --- */

/* Return: 1: undone, or handed over to another tunnel; 0: a program was started and will answer; or a negative
 * errno. */
static int undo_entry_now(struct unwind *unwind, struct err *err)
{
	const struct undo_entry *entry = undo_newest(unwind->undo, unwind->at);
	int rc;

	if (entry->kind == UNDO_FIREWALL || entry->kind == UNDO_COMMAND)
		return start_program(unwind, entry, err);
	if (entry->kind == UNDO_SYSCTL) {
		rc = undo_hand_over(unwind->undo, err);
		if (rc != 0)
			return rc;
	}
	rc = undo_at_once(entry, err);
	if (rc == 0)
		settle(unwind, 0, "");
	return rc < 0 ? rc : 1;
}

static bool has_before(const struct undo *undo, size_t at, enum undo_kind kind)
{
	const struct undo_entry *entry;

	while ((entry = undo_newest(undo, ++at)))
		if (entry->kind == kind)
			return true;
	return false;
}

/* True if it waits for an older entry: send_redirects that another tunnel has handed over to us, until our own device is
 * gone; the connections of a service, until our table is. */
static bool has_to_wait(const struct undo *undo, size_t at, const struct undo_entry *entry)
{
	if (entry->kind == UNDO_SYSCTL && strcmp(entry->path, SEND_REDIRECTS) == 0)
		return has_before(undo, at, UNDO_DEVICE);
	return entry->kind == UNDO_SERVICE && has_before(undo, at, UNDO_FIREWALL);
}

/* Choose the newest entry that has not to wait. Return: false if no entry is left. */
static bool pick(struct unwind *unwind)
{
	const struct undo_entry *entry;

	for (unwind->at = 0; (entry = undo_newest(unwind->undo, unwind->at)); unwind->at++)
		if (!has_to_wait(unwind->undo, unwind->at, entry))
			return true;
	return false;
}

static void unwind_step(struct unwind *unwind)
{
	int rc = 1;

	while (rc != 0) {
		struct err err = {""};

		undo_lock(unwind->undo);
		rc = undo_refresh(unwind->undo, &err);
		if (rc < 0 || !pick(unwind)) {
			undo_unlock(unwind->undo);
			if (rc < 0)
				log_warning("config", "%s", err.text);
			unwind->failed += rc < 0;
			unwind->on_done(unwind->owner);
			return;
		}
		rc = undo_entry_now(unwind, &err);
		if (rc < 0)
			settle(unwind, rc, err.text);
		undo_unlock(unwind->undo);
	}
}

void unwind_start(struct unwind *unwind, uv_loop_t *loop, struct undo *undo, void (*on_done)(void *owner), void *owner)
{
	*unwind = (struct unwind){.loop = loop, .undo = undo, .on_done = on_done, .owner = owner};
	unwind_step(unwind);
}

void unwind_stop(struct unwind *unwind)
{
	command_close(unwind->command);
	unwind->command = NULL;
}
