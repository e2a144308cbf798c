/* See join.h.
 *
 * Happy path: read the invitation, look whether its networks fit into this host, and write the file without a device. Its
 * first connection proves that the hub is there and brings the networks that lie behind it now, which may be more than
 * when it was invited; nothing is used up by that. If these fit, too, make a key, write the whole file, and run `up`, whose
 * connection tells the hub the public key. `up` returns when WireGuard's handshake with the hub is done, and that
 * only happens for the machine whose key the hub has taken.
 *
 *     [Client] only ──up, networks, stop──▶ [Client], [Interface], [Peer] ──up──▶ joined
 *
 * While it waits, the tunnel's own status is asked: a hub that refuses the invitation says so in a word, and then there is
 * nothing to wait for. After any failure the file, and the state folder if it was not there before, go again. A join that
 * was killed leaves its file, which says so in a line: the same link takes it up, with the same key, because the hub may
 * know that already.
 */
#include "client/join.h"

#include "common/base/base64.h"
#include "common/base/clock.h"
#include "common/base/file.h"
#include "common/base/folder.h"
#include "common/base/invitation.h"
#include "common/base/log.h"
#include "common/base/secret.h"
#include "common/command_line/systemd_unit.h"
#include "common/command_line/tunnel_ref.h"
#include "common/net/route.h"
#include "common/tunnel/tls.h"
#include "common/wireguard/tunnel_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define ASK_AGAIN_MS 200
#define STOPS_WITHIN_MS 30000
#define FILE_MAX 65536
#define UNFINISHED "# towpath-client join has not come to its end; the same link takes it up again.\n"
#define REFUSAL "the invitation is " /* see attempt.c */

struct join {
	const struct options *options;
	struct invitation invitation;
	char name[TUNNEL_FILE_NAME_MAX + 1];
	char path[PATH_MAX];
	char state_folder[PATH_MAX];
	bool had_state; /* the state folder was there */
	bool has_file;	/* of a join by the same invitation that was killed */
	bool has_key;	/* in that file */
	bool is_refused; /* the hub does not take this invitation */
	struct tunnel_ref tunnel;
};

static bool goes_up(const struct join *join)
{
	return !options_find(join->options, "no-up");
}

static int fail(const struct err *err)
{
	log_error("config", "%s", err->text);
	return EXIT_FAILED;
}

/* --- the invitation --- */

/* "-": the first line of standard input, which no list of processes shows. */
static int read_link(const struct options *options, char text[INVITATION_TEXT_MAX])
{
	bool is_stdin = strcmp(options->tunnel_word, "-") == 0;

	text[0] = '\0';
	if (!is_stdin && strlen(options->tunnel_word) < INVITATION_TEXT_MAX)
		strcpy(text, options->tunnel_word);
	else if (is_stdin && !fgets(text, INVITATION_TEXT_MAX, stdin))
		text[0] = '\0';
	text[strcspn(text, "\r\n")] = '\0';
	return text[0] ? 0 : -EINVAL;
}

/* Return: -1 to go on, or the exit code. */
static int take_invitation(struct join *join)
{
	char text[INVITATION_TEXT_MAX];
	const char *why = "damaged: it is empty, or too long";
	int rc = read_link(join->options, text);

	if (rc == 0)
		rc = invitation_parse(text, &join->invitation, &why);
	secret_wipe(text, sizeof(text));
	if (rc < 0) {
		log_error("config", "the invitation is %s", why);
		return EXIT_FAILED;
	}
	if (join->invitation.until_s >= clock_wall_s())
		return -1;
	log_error("config", "the invitation is expired; on the hub, 'towpath-server add --again %s' makes another",
		join->invitation.client);
	return EXIT_FAILED;
}

/* --- this host --- */

/* A file that is there is a killed join's, or is not ours. Return: -1 to go on, or the exit code. */
static int look_at_file(struct join *join)
{
	char line[sizeof(join->invitation.token) + 16], *text = NULL;

	if (access(join->path, F_OK) < 0)
		return -1;
	snprintf(line, sizeof(line), "\nToken = %s\n", join->invitation.token);
	if (file_read_text(join->path, FILE_MAX, &text, NULL) == 0) {
		join->has_file = strstr(text, line) && strstr(text, UNFINISHED);
		join->has_key = strstr(text, "\nPrivateKey = ");
	}
	secret_free(text);
	secret_wipe(line, sizeof(line));
	if (join->has_file)
		return -1;
	log_error("config", "%s: is there already; 'towpath-client join LINK NAME' takes another name", join->path);
	return EXIT_FAILED;
}

/* Two at once under one name would take each other's file up: the second waits until the first has ended, and the kernel
 * lets go of the folder then. */
static void lock_folder(const struct join *join)
{
	char path[PATH_MAX];
	struct err err = {""};
	int fd;

	if (folder_ensure_parent(join->path, "--config-dir", &err) < 0)
		return; /* writing says why */
	memcpy(path, join->path, sizeof(path));
	fd = open(dirname(path), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd >= 0)
		flock(fd, LOCK_EX);
}

/* Return: -1 to go on, or the exit code. */
static int take_name(struct join *join)
{
	struct options options = *join->options;
	struct ini_report report = {0};
	struct err err = {""};
	int code = -1;

	options.tunnel_word = options.second_word ? options.second_word : join->invitation.hub;
	if (options_find_file(&options, join->path, &report) < 0 ||
		tunnel_file_name(join->path, join->name, &report) < 0)
		code = options_complain(&report, NULL);
	else if (tunnel_ref_set(&join->tunnel, &options, "client", join->name, join->path, &err) < 0)
		code = fail(&err);
	ini_report_done(&report);
	if (code >= 0)
		return code;
	snprintf(join->state_folder, sizeof(join->state_folder), "%s/%s", options.state_dir, join->name);
	join->had_state = access(join->state_folder, F_OK) == 0;
	lock_folder(join);
	return look_at_file(join);
}

/* A network that is here and there cannot be reached through the tunnel. @wanted: from the hub. Return: -1 to go on, or
 * the exit code. */
static int check_network(const struct join *join, const struct prefix *wanted, const struct prefix *networks, int count)
{
	char ours[PREFIX_TEXT_MAX], theirs[PREFIX_TEXT_MAX];
	struct prefix network = prefix_network(wanted);
	bool is_hubs = false;
	int i = 0;

	while (i < count && !prefix_contains(&network, &networks[i]) && !prefix_contains(&networks[i], &network))
		i++;
	if (i == count || network.bits == 0)
		return -1;
	prefix_format(theirs, sizeof(theirs), &network);
	prefix_format(ours, sizeof(ours), &networks[i]);
	for (size_t j = 0; j < join->invitation.address_count; j++)
		is_hubs |= prefix_equal(&network, &join->invitation.addresses[j]);
	if (is_hubs) {
		log_error("config",
			"the hub's network %s overlaps with %s, which this host is in; expected another one: make the hub anew by "
			"'towpath-server init --network', or change the network here",
			theirs, ours);
		return EXIT_FAILED;
	}
	if (!goes_up(join)) {
		log_warning("config",
			"%s, behind the hub, overlaps with %s, which this host is in; take 'AllowedIPs = %s' out of %s, "
			"or bring the tunnel up in another network only",
			theirs, ours, theirs, join->path);
		return -1;
	}
	log_error("config",
		"%s, behind the hub, overlaps with %s, which this host is in; join from another network, or with --no-up, and take "
		"'AllowedIPs = %s' out of %s then",
		theirs, ours, theirs, join->path);
	return EXIT_FAILED;
}

/* Return: -1 to go on, or the exit code. */
static int check_networks(const struct join *join)
{
	const struct invitation *invitation = &join->invitation;
	struct netlink netlink = {0};
	struct prefix *networks = NULL;
	struct err err = {""};
	int count = netlink_open(&netlink, -1, &err), code = -1;

	if (count == 0)
		count = net_route_list_networks(&netlink, 0, &networks, &err);
	for (size_t i = 0; i < invitation->address_count && code < 0; i++)
		code = check_network(join, &invitation->addresses[i], networks, count);
	for (size_t i = 0; i < invitation->allowed_count && code < 0; i++)
		code = check_network(join, &invitation->allowed[i], networks, count);
	netlink_close(&netlink);
	free(networks);
	return count < 0 ? fail(&err) : code;
}

/* --- the file --- */

static void put_prefixes(FILE *out, const char *key, const struct prefix *prefixes, size_t count)
{
	char text[PREFIX_TEXT_MAX];

	for (size_t i = 0; i < count; i++)
		fprintf(out, "%s = %s\n", key, prefix_format(text, sizeof(text), &prefixes[i]));
}

/* A port for datagrams that nobody will send. Return: 0 where none can be had. */
static uint16_t find_port(void)
{
	struct addr addr = {.in4 = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)}};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(addr.in4);

	if (fd >= 0 && (bind(fd, &addr.sa, len) < 0 || getsockname(fd, &addr.sa, &len) < 0))
		addr_set_port(&addr, 0);
	if (fd >= 0)
		close(fd);
	return addr_port(&addr);
}

/* @key: NULL: without a device. */
static void put_file(FILE *out, const struct join *join, const char *key)
{
	const struct invitation *invitation = &join->invitation;
	char hub_key[BASE64_LEN(INVITATION_KEY_LEN) + 1], pin[TLS_PIN_TEXT_MAX];

	fprintf(out, "# %s, a client of the hub %s, made by towpath-client join. towpath.conf(5) tells all keys.\n",
		invitation->client, invitation->hub);
	if (!key || goes_up(join))
		fprintf(out, UNFINISHED);
	fprintf(out, "[Client]\nServer = wss://%s\nToken = %s\n", invitation->server, invitation->token);
	if (invitation->has_pin)
		fprintf(out, "Pin = %s\n", tls_pin_format(pin, invitation->pin));
	if (!key) {
		fprintf(out, "Listen = 127.0.0.1:%u\n", find_port());
		return;
	}
	base64_encode(
		hub_key, sizeof(hub_key), invitation->public_key, sizeof(invitation->public_key), BASE64_STANDARD);
	fprintf(out, "\n[Interface]\nPrivateKey = %s\n", key);
	put_prefixes(out, "Address", invitation->addresses, invitation->address_count);
	fprintf(out, "\n[Peer]\nPublicKey = %s\n", hub_key);
	put_prefixes(out, "AllowedIPs", invitation->allowed, invitation->allowed_count);
	if (invitation->lan_count > 0)
		fprintf(out, "\n[Gateway]\n");
	put_prefixes(out, "Lan", invitation->lans, invitation->lan_count);
}

/* @key: NULL: without a device. Return: -1 to go on, or the exit code. */
static int write_file(struct join *join, const char *key)
{
	struct err err = {""};
	char *text = NULL;
	size_t len = 0;
	int rc = folder_ensure_parent(join->path, "--config-dir", &err);
	FILE *out = rc == 0 ? open_memstream(&text, &len) : NULL;

	if (out) {
		put_file(out, join, key);
		fclose(out);
	}
	if (rc == 0 && !text)
		rc = err_system(&err, -ENOMEM, "%s", join->path);
	if (rc == 0)
		rc = join->has_file ? file_write_text(join->path, text, &err)
				    : file_create_text(join->path, text, &err);
	if (rc == -EACCES && geteuid() != 0)
		err_wrap(&err, rc, "only root may write there, sudo helps");
	if (text)
		secret_wipe(text, len);
	free(text);
	join->has_file |= rc == 0;
	return rc < 0 ? fail(&err) : -1;
}

static int write_whole_file(struct join *join)
{
	char key[BASE64_LEN(WG_CONFIG_KEY_LEN) + 1];
	int code = EXIT_FAILED;

	if (wg_config_draw_key(key))
		code = write_file(join, key);
	else
		log_error("config", "random numbers: none are to be had");
	secret_wipe(key, sizeof(key));
	return code;
}

/* Its files are addresses of names, which `up` has kept. */
static void remove_state(const struct join *join)
{
	DIR *dir = join->had_state ? NULL : opendir(join->state_folder);
	const struct dirent *entry;

	if (!dir)
		return;
	while ((entry = readdir(dir)))
		if (entry->d_name[0] != '.')
			unlinkat(dirfd(dir), entry->d_name, 0);
	closedir(dir);
	rmdir(join->state_folder);
}

/* --- up --- */

/* `up NAME`, by this program, with the folders that were given. @says_fd: takes what it says; -1: it speaks for itself.
 * Return: its process, or -1. */
static pid_t start_up(const struct join *join, int says_fd)
{
	const struct options *options = join->options;
	char timeout[32];
	const char *const argv[] = {"towpath-client", "up", join->path, "--config-dir", options->config_dir,
		"--runtime-dir", options->runtime_dir, "--state-dir", options->state_dir, "--timeout", timeout,
		says_fd >= 0 || options->quiet ? "--quiet" : NULL, NULL};
	char *copy[sizeof(argv) / sizeof(*argv)];
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	snprintf(timeout, sizeof(timeout), "%llums", (unsigned long long)options->timeout_ms);
	if (says_fd >= 0)
		dup2(says_fd, STDERR_FILENO);
	memcpy(copy, argv, sizeof(argv)); /* execv() wants them not const, but does not write */
	execv("/proc/self/exe", copy);
	_exit(127);
}

/* The last error of the link, where there is nothing to wait for: the invitation is refused, or the hub is not needed.
 * Return: false: it may still come up. */
static bool is_hopeless(struct join *join, char *ret, size_t size)
{
	const char *error, *refusal;
	json_t *status;

	if (tunnel_ref_ask(&join->tunnel, "status", &status, NULL) < 0)
		return false;
	error = tunnel_ref_text(json_object_get(status, "link"), "last_error");
	refusal = strstr(error, REFUSAL);
	join->is_refused |= refusal != NULL;
	snprintf(ret, size, "%s", refusal ? refusal : goes_up(join) ? "" : error);
	json_decref(status);
	return ret[0];
}

/* Wait for the end of `up`. Return: true: traffic can flow; else @why says why, unless `up` has said that itself. */
static bool await_up(struct join *join, pid_t pid, char *why, size_t size)
{
	int status = 0;
	pid_t done;

	why[0] = '\0';
	while ((done = waitpid(pid, &status, why[0] ? 0 : WNOHANG)) == 0 || (done < 0 && errno == EINTR)) {
		if (!why[0] && is_hopeless(join, why, size))
			kill(pid, SIGINT); /* it puts everything back, and ends */
		else
			usleep(ASK_AGAIN_MS * 1000);
	}
	return !why[0] && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_DONE;
}

static void tell_failure(const struct join *join, const char *why)
{
	if (join->is_refused)
		log_error("config", "%s", why);
	else if (!goes_up(join))
		log_notice("config",
			"the hub cannot be asked now (%s): the networks in AllowedIPs are those of the day of the invitation",
			*why ? why : "see above");
	else if (join->has_key)
		log_error("config",
			"%s is not up; the line above says why. The hub may have its key by now, so %s stays: once that is mended, "
			"the same link goes on with it",
			join->invitation.client, join->path);
	else
		log_error("config",
			"%s has not joined, and nothing of it is left; once what the line above says is mended, the same link works; "
			"of a hub that was set up anew, 'towpath-server add' makes another",
			join->invitation.client);
}

/* @is_quiet: what `up` says is only told where it ends by itself, without success. Return: -1 when traffic can flow, or the
 * exit code. */
static int bring_up(struct join *join, bool is_quiet)
{
	int says_fd = is_quiet ? memfd_create("says", MFD_CLOEXEC) : -1;
	pid_t pid = start_up(join, says_fd);
	char why[ERR_TEXT_MAX] = "", said[4096];
	bool is_up = pid >= 0 && await_up(join, pid, why, sizeof(why));
	ssize_t len = says_fd >= 0 && !is_up && !why[0] ? file_read_all(says_fd, said, sizeof(said)) : 0;

	if (len > 0)
		file_write_all(STDERR_FILENO, said, (size_t)len);
	if (says_fd >= 0)
		close(says_fd);
	if (pid < 0)
		log_error("config", "up: %s", strerror(errno));
	else if (!is_up)
		tell_failure(join, why);
	return is_up ? -1 : EXIT_FAILED;
}

/* Return: -1 when it does not run, or the exit code. */
static int stop(const struct join *join)
{
	struct err err = {""};
	json_t *answer;
	int rc = 0;

	if (tunnel_ref_ask(&join->tunnel, "stop", &answer, NULL) == 0)
		json_decref(answer);
	for (int ms = 0; ms < STOPS_WITHIN_MS; ms += ASK_AGAIN_MS) {
		rc = tunnel_ref_clean(&join->tunnel, join->options->state_dir, &err);
		if (rc != -EBUSY && rc != -EADDRINUSE)
			break;
		usleep(ASK_AGAIN_MS * 1000);
	}
	return rc < 0 ? fail(&err) : -1;
}

/* Take the networks of which the hub has told the tunnel that is up. Return: false: nothing new. */
static bool take_networks(struct join *join)
{
	struct invitation *invitation = &join->invitation;
	json_t *status, *network;
	size_t i, count = 0;

	if (tunnel_ref_ask(&join->tunnel, "status", &status, NULL) < 0)
		return false;
	json_array_foreach (json_object_get(status, "networks"), i, network)
		if (count < INVITATION_PREFIXES_MAX && json_is_string(network) &&
			prefix_parse(json_string_value(network), &invitation->allowed[count]) == 0)
			count++;
	json_decref(status);
	if (count == 0)
		return false;
	invitation->allowed_count = count;
	invitation_drop_lans(invitation);
	return true;
}

/* A first connection, without a device; with --no-up the hub need not be there. Return: -1 to go on, or the exit code. */
static int ask_hub(struct join *join)
{
	bool takes_all = false, is_new;
	int code = write_file(join, NULL);

	if (code >= 0)
		return code;
	code = bring_up(join, true);
	if (code >= 0)
		return goes_up(join) || join->is_refused ? code : -1;
	for (size_t i = 0; i < join->invitation.allowed_count; i++)
		takes_all |= join->invitation.allowed[i].bits == 0;
	is_new = !takes_all && take_networks(join);
	code = stop(join);
	return code < 0 && is_new ? check_networks(join) : code;
}

/* Take the line out by which another join would take it up. Where it stays, for the disk is full, that does no harm. */
static void finish_file(const struct join *join)
{
	struct err err = {""};
	char *text = NULL, *line;
	int rc = file_read_text(join->path, FILE_MAX, &text, &err);

	line = rc == 0 ? strstr(text, UNFINISHED) : NULL;
	if (line) {
		memmove(line, line + strlen(UNFINISHED), strlen(line + strlen(UNFINISHED)) + 1);
		rc = file_write_text(join->path, text, &err);
	}
	secret_free(text);
	if (rc < 0)
		log_warning(
			"config", "%s; its line 'join has not come to its end' stays, which does no harm", err.text);
}

/* By systemd from now on: what `up` has started makes room for it. */
static int enable_unit(const struct join *join)
{
	struct err err = {""};
	int code = stop(join);

	if (code >= 0)
		return code;
	return systemd_unit_enable(&join->tunnel, &err) < 0 ? fail(&err) : -1;
}

/* All but the end of it. Return: -1, or the exit code. */
static int make(struct join *join)
{
	int code = join->has_file ? stop(join) : -1;

	if (code < 0 && !join->has_key)
		code = check_networks(join);
	if (code < 0 && !join->has_key)
		code = ask_hub(join);
	if (code < 0 && !join->has_key)
		code = write_whole_file(join);
	if (code < 0)
		join->has_key = true;
	if (code < 0 && goes_up(join))
		code = bring_up(join, false);
	if (code < 0)
		finish_file(join);
	if (code < 0 && options_find(join->options, "enable"))
		code = enable_unit(join);
	return code;
}

/* The key stays once the hub may know it: nobody else can join by this invitation then. */
static int run(struct join *join)
{
	int code = take_invitation(join);

	if (code < 0)
		code = take_name(join);
	if (code >= 0)
		return code;
	code = make(join);
	if (code >= 0) {
		if (join->has_file && join->has_key && goes_up(join) && !join->is_refused)
			return code;
		if (join->has_file)
			unlink(join->path);
		remove_state(join);
		return code;
	}
	if (!join->options->quiet)
		printf("%s: %s\n", join->path,
			goes_up(join) || options_find(join->options, "enable")
				? "written, and the tunnel is up"
				: "written; the hub learns of this machine at the first 'up'");
	return EXIT_DONE;
}

int client_join(const struct options *options)
{
	struct join join = {.options = options};
	int code = run(&join);

	secret_wipe(&join.invitation, sizeof(join.invitation));
	return code;
}
