/* Changes that programs make, and look for: the resolver, our table of nftables, a rule in another table's FORWARD.
 *
 * One program at a time, beside the loop; host_run() has it.
 */
#include "common/host/host_internal.h"

#include "common/net/firewall.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char *const nft_feed[] = {"nft", "-f", "-", NULL};

static void run_shell(
	struct host *host, const char *line, void (*on_done)(struct host *host, int status, const char *output))
{
	const char *const argv[] = {"sh", "-c", line, NULL};

	host_run(host, argv, NULL, on_done);
}

void settle_make(struct host *host, const struct change *change,
	void (*on_made)(struct host *host, int status, const char *output))
{
	if (change->kind == CHANGE_FIREWALL)
		host_run(host, nft_feed, change->firewall, on_made);
	else
		run_shell(host, change->kind == CHANGE_DNS ? change->dns.set : change->forward.insert, on_made);
}

void settle_list_table(struct host *host, void (*on_listed)(struct host *host, int status, const char *output))
{
	const char *const argv[] = {"nft", "list", "table", "inet", host->plan.table, NULL};

	host_run(host, argv, NULL, on_listed);
}

void settle_look(struct host *host, const struct change *change,
	void (*on_looked)(struct host *host, int status, const char *output))
{
	if (change->kind == CHANGE_FIREWALL)
		settle_list_table(host, on_looked);
	else
		run_shell(host, change->forward.check, on_looked);
}
