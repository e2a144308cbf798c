/* Hooks that name another WireGuard device than the tunnel's: lines as people have them, found or passed over. */
#include "common/wireguard/wg_hook.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char office[] = "office";

/* As the host says: what is called so, and "office", which has a file of wg-quick's. */
static bool is_other(const void *owner, const char *name)
{
		return wg_hook_is_usual_name(name) || strcmp(name, owner) == 0;
}

/* @device "hub" is ours. @expected: the name that is found, NULL for none. */
static void check(const char *hook, const char *expected)
{
	char name[WG_HOOK_NAME_MAX] = "";
	bool found = wg_hook_find_other(hook, "hub", is_other, office, name);

	if (found != (expected != NULL) || (found && expected && strcmp(name, expected) != 0))
		fail_msg("%s: found '%s', expected '%s'", hook, name, expected ? expected : "");
}

static void names_of_other_devices_are_found(void **state)
{
	static const char *const wg0[] = {
		"iptables -A FORWARD -i wg0 -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
		"iptables -A FORWARD -i %i -j ACCEPT; iptables -A FORWARD -o wg0 -j ACCEPT",
		"/usr/sbin/ip6tables-legacy -w -A FORWARD ! -i wg0 -j DROP",
		"iptables -A FORWARD -iwg0 -j ACCEPT",
		"$IPT -A FORWARD -o wg0 -j ACCEPT",
		"sudo iptables -D FORWARD --in-interface wg0 -j ACCEPT",
		"iptables -A FORWARD --out-interface=wg0 -j ACCEPT",
		"nft add rule ip nat POSTROUTING oifname \"wg0\" masquerade",
		"nft 'add rule inet filter forward iifname != wg0 accept; add rule inet filter x tcp dport 1'",
		"nft add rule inet filter forward iifname { eth0, wg0 } oifname eth0 accept",
		"nft add rule inet filter forward iifname {\"wg0\"} accept",
		"nft add rule inet f c meta iif wg0 counter",
		"{ iptables -A FORWARD -i wg0 -j ACCEPT; }",
		"ip route add 10.2.0.0/16 dev wg0 table 100",
		"ip rule add iif wg0 lookup 200",
		"ip link set wg0 mtu 1380 && true",
		"ip -br link set dev wg0 up",
		"tc qdisc add dev wg0 root fq",
		"sysctl -w net.ipv4.conf.wg0.forwarding=1",
		"sysctl -q net/ipv6/conf/wg0/forwarding=1",
		"echo 1 > /proc/sys/net/ipv4/conf/wg0/proxy_arp",
		"[ -d /sys/class/net/wg0 ] && logger up",
		"resolvectl dns wg0 10.0.0.1; resolvectl domain wg0 '~.'",
		"resolvectl domain wg0 \"~example.org\"",
		"printf 'nameserver 10.0.0.1' | resolvconf -a tun.wg0 -m 0 -x",
		"resolvconf -d wg0.inet -f",
		"wg set wg0 private-key /etc/wireguard/key",
		"/usr/bin/wg syncconf wg0 <(wg-quick strip wg0)",
		"bash -c \"wg show wg0 endpoints\"",
		"ufw route allow in on wg0 out on eth0",
		"firewall-cmd --zone=trusted --add-interface=wg0",
		"ping -c1 -I wg0 10.0.0.1",
		"ifconfig wg0 mtu 1380",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(wg0) / sizeof(*wg0); i++)
		check(wg0[i], "wg0");
	check("iptables -A FORWARD -i wg+ -j ACCEPT", "wg+");
	check("nft add rule inet f c iifname \"wg*\" accept", "wg*");
	check("iptables -A FORWARD -i wg-office -j ACCEPT", "wg-office");
	check("iptables -A FORWARD -i office -j ACCEPT", "office");
	check("true; iptables -A FORWARD -i eth0 -o wg12 -j ACCEPT", "wg12");
}

static void everything_else_is_passed_over(void **state)
{
	static const char *const hooks[] = {
		"",
		"iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE",
		"iptables -A FORWARD -i hub -j ACCEPT",
		"iptables -A FORWARD -i hu+ -j ACCEPT",
		"iptables -A FORWARD -i %i -o wg1 -j ACCEPT; iptables -A FORWARD -i wg1 -o %i -j ACCEPT",
		"iptables -A FORWARD -i lo -o docker0 -j ACCEPT; iptables -A FORWARD -i br-4f1 -o ens3",
		"iptables -I wg-in 1 -s 10.0.0.0/8 -j wg0; iptables -A wg0 -j wg-out; iptables -N wg1",
		"nft add table inet wg0; nft add chain inet wg0 wg1; nft flush chain inet wg0 wg1",
		"ip link del wg0 || true",
		"ip link delete dev wg0 2>/dev/null",
		"wg-quick down wg0; systemctl stop wg-quick@wg0",
		"ssh -i wg-key -o BatchMode=yes backup@wg0 up",
		"logger wg0 is replaced; echo wg0 > /run/wg0; grep -i wg0 /etc/hosts",
		"wg set %i private-key /etc/wireguard/wg0.key",
		"wg set hub peer abc endpoint wg0:51820",
		"/etc/wireguard/wg0-up.sh %i wg0",
		"sysctl -w net.ipv4.conf.all.forwarding=1 net.ipv4.conf.%i.rp_filter=0 net.ipv6.conf.wlan0.mtu=1",
		"resolvectl dns %i 10.0.0.1; resolvectl flush-caches; resolvconf -u",
		"ip route add default via 10.0.0.1 dev tun0; ip route add 10.0.0.0/8 dev wgate",
		"ip link set dev hub.100 up; tcpdump -i",
		"-i", "iifname", "dev", "iifname {", "';;|&(){}\\", "resolvectl dns", "wg", "wg show",
	};
	char lengthy[2000];

	(void)state;
	for (size_t i = 0; i < sizeof(hooks) / sizeof(*hooks); i++)
		check(hooks[i], NULL);
	memset(lengthy, 'x', sizeof(lengthy) - 1);
	memcpy(lengthy, "iptables -i wg0", 15); /* and more of that word */
	lengthy[sizeof(lengthy) - 1] = '\0';
	check(lengthy, NULL);
}

/* A device of ours whose name looks like WireGuard's is no other one; "wg0" is not "wg01", nor "wg0.5" another. */
static void own_name_is_no_other(void **state)
{
	char name[WG_HOOK_NAME_MAX];

	(void)state;
	assert_false(wg_hook_find_other("iptables -i wg0; ip link set wg0.5 up; iptables -o wg+", "wg0", is_other,
		office, name));
	assert_true(wg_hook_find_other("iptables -i wg01", "wg0", is_other, office, name));
	assert_string_equal(name, "wg01");
}

static void usual_names_are_told(void **state)
{
	static const char *const usual[] = {"wg0", "wg123", "wg-home", "wg0-mullvad", "wg_x", "wg+", "wg*", "wg1+"};
	static const char *const others[] = {"", "w", "wg", "wgate", "wg-", "wg0x", "eth0", "lo", "wlan0", "awg0"};

	(void)state;
	for (size_t i = 0; i < sizeof(usual) / sizeof(*usual); i++)
		assert_true(wg_hook_is_usual_name(usual[i]));
	for (size_t i = 0; i < sizeof(others) / sizeof(*others); i++)
		assert_false(wg_hook_is_usual_name(others[i]));
}

/* @expected: "4" and "6" for what is opened, "+4" and "+6" for what is switched on, in this order. */
static void check_forwarding(const char *text, const char *expected)
{
	struct wg_hook_forwarding forwarding = {0};
	char said[16];

	wg_hook_read_forwarding(text, &forwarding);
	snprintf(said, sizeof(said), "%s%s%s%s", forwarding.opens[0] ? "4" : "", forwarding.opens[1] ? "6" : "",
		forwarding.switches[0] ? "+4" : "", forwarding.switches[1] ? "+6" : "");
	if (strcmp(said, expected) != 0)
		fail_msg("%s: '%s', expected '%s'", text, said, expected);
}

/* As people have them; a rule that drops, one that goes, and other chains open nothing. */
static void forwarding_is_read(void **state)
{
	static const char *const cases[][2] = {
		{"iptables -A FORWARD -i %i -j ACCEPT; iptables -t nat -A POSTROUTING -o eth0 -j MASQUERADE", "4"},
		{"sysctl -w net.ipv4.ip_forward=1; iptables -A FORWARD -i %i -j ACCEPT", "4+4"},
		{"iptables -t nat -I POSTROUTING -s 10.10.0.0/24 -o eth0 -j SNAT --to-source 203.0.113.9", "4"},
		{"ip6tables -A FORWARD -i %i -j ACCEPT", "6"},
		{"/usr/sbin/ip6tables-legacy -w -A FORWARD -i %i -j ACCEPT", "6"},
		{"iptables -A ufw-user-forward -i %i -j ACCEPT", "4"},
		{"$IPT -A FORWARD -i %i -j ACCEPT", "4"},
		{"nft add rule inet filter forward iifname %i accept", "4"},
		{"nft 'add rule ip6 filter forward iifname \"%i\" accept'", "6"},
		{"nft add rule ip nat postrouting oifname eth0 masquerade", "4"},
		{"ufw route allow in on %i out on eth0", "4"},
		{"firewall-cmd --zone=public --add-masquerade", "4"},
		{"firewall-cmd --direct --add-rule ipv4 filter FORWARD 0 -i %i -j ACCEPT", ""},
		{"#!/bin/sh\nset -e\niptables -A FORWARD -i wg0 -j ACCEPT\necho 1 >/proc/sys/net/ipv4/ip_forward\n", "4+4"},
		{"sysctl -q net.ipv4.conf.all.forwarding=1 net.ipv6.conf.all.forwarding=1", "+4+6"},
		{"echo 1 > /proc/sys/net/ipv6/conf/all/forwarding", "+6"},
		{"(sleep 5; sysctl -w net.ipv6.conf.default.forwarding=1) &", "+6"},
		{"iptables -D FORWARD -i %i -j ACCEPT", ""},
		{"iptables -A FORWARD -i %i -o %i -j REJECT", ""},
		{"iptables -A INPUT -i %i -j ACCEPT", ""},
		{"iptables -t nat -A PREROUTING -i eth0 -p tcp --dport 80 -j DNAT --to 10.10.0.2", ""},
		{"ufw allow 443/tcp", ""},
		{"ip route add 10.0.0.0/8 dev %i", ""},
		{"echo forward accept", ""},
		{"", ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++)
		check_forwarding(cases[i][0], cases[i][1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(names_of_other_devices_are_found),
		cmocka_unit_test(forwarding_is_read),
		cmocka_unit_test(everything_else_is_passed_over),
		cmocka_unit_test(own_name_is_no_other),
		cmocka_unit_test(usual_names_are_told),
	};

	return cmocka_run_group_tests_name("wg_hook", tests, NULL, NULL);
}
