/* Our side of wg_sync_differential: configure a device from a file, or bring it from one file to another.
 *
 * Usage: wg_device_apply DEVICE FILE [BEFORE]
 */
#include "tests/unit/wg_device_bed.h"

int main(int argc, char **argv)
{
	struct wg_config config, before = {0};
	struct wg_device_setup plan, plan_before = {0};
	struct err err = {""};
	int rc;

	if (argc < 3)
		return 2;
	read_plan(argv[2], &config, &plan);
	if (argc > 3) {
		read_plan(argv[3], &before, &plan_before);
		rc = wg_device_sync(argv[1], &plan, &before, &err);
	} else {
		rc = wg_device_configure(argv[1], &plan, &err);
	}
	plan_done(&before, &plan_before);
	plan_done(&config, &plan);
	if (rc < 0)
		fprintf(stderr, "%s\n", err.text);
	return rc < 0;
}
