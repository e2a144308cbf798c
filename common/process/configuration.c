/* See configuration.h.
 *
 * Happy path of a reload: configuration_read() makes a new one beside those in use, the supervisor builds everything
 * from it that can fail, configuration_use() puts it in place and frees what it replaces. Fails before that: the new
 * one is released, and nothing has changed.
 */
#include "common/process/configuration.h"

#include <stdlib.h>

static void free_config(const struct configuration *c, void *config)
{
	if (config)
		c->type->done(config);
	free(config);
}

const void *configuration_in_use(const struct configuration *c)
{
	return c->reloaded ? c->reloaded : c->first;
}

int configuration_read(const struct configuration *c, void **ret, struct err *err)
{
	struct ini_report report = {0};
	int rc;

	*ret = calloc(1, c->type->size);
	if (!*ret)
		return err_system(err, -ENOMEM, "configuration");
	rc = c->type->read(c->context, *ret, &report, err);
	if (rc < 0) {
		rc = ini_report_join(&report, CONFIGURATION_IS_WRONG, err);
		free_config(c, *ret);
		*ret = NULL;
	}
	ini_report_done(&report);
	return rc;
}

void configuration_use(struct configuration *c, void *config, bool is_of_device)
{
	void *old = c->reloaded, *old_of_device = c->of_device;

	c->reloaded = config;
	if (is_of_device)
		c->of_device = config;
	/* Both roles may have been one struct's: free it once, and only if it has lost both. */
	if (old != c->of_device)
		free_config(c, old);
	if (old_of_device != old && old_of_device != c->of_device)
		free_config(c, old_of_device);
}

void configuration_release(const struct configuration *c, void *config)
{
	if (config != c->reloaded)
		free_config(c, config);
}

void configuration_done(struct configuration *c)
{
	configuration_use(c, NULL, true);
}
