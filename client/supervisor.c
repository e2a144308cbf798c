/* The client's supervisor.
 *
 * Happy path: the local UDP port, the settings, and then supervise_run(): a worker that is handed both, and marked TCP
 * sockets when it asks for them. Fails at set-up with one line and exit code 1.
 */
#include "client/supervisor.h"

#include "client/settings_build.h"
#include "common/base/log.h"
#include "common/process/socket_tune.h"
#include "common/process/supervise.h"
#include "common/wireguard/wg_device.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINK_USER_TIMEOUT_MS 10000 /* unacknowledged bytes: the path is dead, a new connection may find another */

struct supervisor {
	const struct client_config *config;
	struct supervise *supervise;
	int listen_fd;
	int settings_fd; /* the sealed memory file, for every worker again */
	uint16_t listen_port;
	bool is_mark_refusal_told;
};

/* --- link sockets --- */

/* The mark of the WireGuard device whose endpoint we are, or what the file says. Return: 0: none. */
static uint32_t find_mark(const struct supervisor *s)
{
	char device[IFNAMSIZ];
	struct err err = {""};
	uint32_t mark = 0;

	switch (s->config->fwmark_kind) {
	case CLIENT_FWMARK_OFF:
		return 0;
	case CLIENT_FWMARK_NUMBER:
		return s->config->fwmark;
	case CLIENT_FWMARK_AUTO:
		break;
	}
	switch (wg_device_find_mark(s->listen_port, device, &mark, &err)) {
	case 1:
		log_debug("link", "mark 0x%x of %s", mark, device);
		return mark;
	case 0:
		return 0;
	default:
		log_debug("link", "looking for the mark of a WireGuard device: %s", err.text);
		return 0;
	}
}

static void set_mark(struct supervisor *s, int fd)
{
	uint32_t mark = find_mark(s);

	if (mark == 0 || setsockopt(fd, SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) == 0 || s->is_mark_refusal_told)
		return;
	s->is_mark_refusal_told = true;
	log_warning("link",
		"mark 0x%x: %s; needs root or CAP_NET_ADMIN, with AllowedIPs = 0.0.0.0/0 the tunnel would loop", mark,
		strerror(errno));
}

/* Return: descriptor or a negative errno. */
static int open_link(struct supervisor *s, uint32_t family)
{
	int fd;

	if (family != AF_INET && family != AF_INET6)
		return -EINVAL;
	fd = socket((int)family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return -errno;
	socket_tune_tcp(fd, s->config->congestion_control, LINK_USER_TIMEOUT_MS);
	set_mark(s, fd);
	return fd;
}

static void on_message(void *owner, struct channel *channel, enum channel_kind kind, const void *payload)
{
	const struct channel_link *wanted = payload;
	struct channel_reply reply;
	int fd;

	if (kind != CHANNEL_LINK_WANTED)
		return;
	fd = open_link(owner, wanted->family);
	reply = (struct channel_reply){.ticket = wanted->ticket, .error = fd < 0 ? fd : 0};
	channel_send(channel, CHANNEL_LINK_SOCKET, &reply, sizeof(reply), fd);
	if (fd >= 0)
		close(fd);
}

/* --- what the worker is given --- */

static int hand_down(void *owner, struct channel *channel, struct err *err)
{
	const struct channel_index index = {.index = 0};
	struct supervisor *s = owner;
	int rc;

	lseek(s->settings_fd, 0, SEEK_SET); /* the worker before has read it */
	rc = channel_send(channel, CHANNEL_SETTINGS, NULL, 0, s->settings_fd);
	if (rc == 0)
		rc = channel_send(channel, CHANNEL_LISTENER, &index, sizeof(index), s->listen_fd);
	return rc < 0 ? err_system(err, rc, "handing the local port to the worker") : 0;
}

static void on_ready(void *owner)
{
	const struct supervisor *s = owner;

	log_info("link", "listening on %s, on the way to %s", s->config->listen_text, s->config->servers[0].url);
}

/* --- the local UDP port --- */

static const char *listen_remedy(char *buf, size_t size, int code, uint16_t port)
{
	switch (code) {
	case -EADDRINUSE:
		snprintf(buf, size, "stop the other program (ss -lunp 'sport = :%u') or choose another port", port);
		break;
	case -EADDRNOTAVAIL:
		snprintf(buf, size, "give an address of this host (ip address), or 127.0.0.1:%u", port);
		break;
	case -EACCES:
	case -EPERM:
		snprintf(buf, size,
			"a port under 1024 needs root or CAP_NET_BIND_SERVICE; choose a higher one otherwise");
		break;
	default:
		snprintf(buf, size, "choose another address");
	}
	return buf;
}

static int bind_listen(int fd, const struct addr *addr)
{
	const int on = 1;

	if (addr->sa.sa_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0)
		return -errno;
	socket_tune_udp(fd);
	return bind(fd, &addr->sa, addr_len(addr)) < 0 ? -errno : 0;
}

static int open_listen(struct supervisor *s, struct err *err)
{
	const struct client_config *config = s->config;
	char remedy[160];
	int rc;

	s->listen_fd = socket(config->listen.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	rc = s->listen_fd < 0 ? -errno : bind_listen(s->listen_fd, &config->listen);
	if (rc < 0)
		return err_set(err, rc, "%s: Listen: %s: %s; %s", config->path ? config->path : config->name,
			config->listen_text, strerror(-rc),
			listen_remedy(remedy, sizeof(remedy), rc, addr_port(&config->listen)));
	s->listen_port = addr_port(&config->listen);
	if (!addr_is_loopback(&config->listen))
		log_warning("config",
			"Listen: %s is no loopback address: whoever reaches it can send through this tunnel",
			config->listen_text);
	return 0;
}

/* --- set-up --- */

int client_supervisor_run(const struct client_config *config, const struct supervisor_options *options)
{
	static const struct supervise_program program = {
		.hand_down = hand_down, .on_message = on_message, .on_ready = on_ready};
	const struct supervise_plan plan = {.name = config->name,
		.role = "client",
		.area = "link",
		.worker_title = "towpath-client: worker",
		.runtime_dir = options->runtime_dir,
		.ready_state = "connecting",
		.netns_fd = -1,
		.flows_when_linked = true,
		.up_fd = -1};
	struct supervisor s = {.config = config, .listen_fd = -1, .settings_fd = -1};
	struct err err = {""};
	int exit_code = 1;

	if (open_listen(&s, &err) == 0)
		s.settings_fd = client_settings_build(config, &err);
	if (s.settings_fd < 0)
		log_error("config", "%s", err.text);
	else
		exit_code = supervise_run(&plan, &program, &s, &s.supervise);
	if (s.listen_fd >= 0)
		close(s.listen_fd);
	if (s.settings_fd >= 0)
		close(s.settings_fd);
	return exit_code;
}
