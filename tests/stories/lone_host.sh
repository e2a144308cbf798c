# A host that brings up a tunnel's device without the tunnel, by tests/loop/host_driver, to compare the host before and
# after.  Sourced after lib.sh.
#
#     lan 192.168.1.130, fd77::2 ── uplink        a router at 192.168.1.1 and fd77::1; a resolver kept by a resolvconf of ours
# shellcheck shell=bash disable=SC2154

driver=$bin/tests/loop/host_driver
private_key=yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk=
# shellcheck disable=SC2034 # used by the script that sources this
peer_key=xTIBA5rboUvnH4htodjb6e697QjLERt1NAB4mZqp8Dg=
export ASAN_OPTIONS=$ASAN_OPTIONS:verify_asan_link_order=0 # kill_at is loaded before it

# It keeps each interface's lines in a file, and all of them in resolv.conf, below $RESOLVER.
mkdir "$dir/bin"
cat >"$dir/bin/resolvconf" <<-'RESOLVCONF'
	#!/bin/bash
	set -eu
	if [[ -e $RESOLVER/is_broken && $1 == -a ]]; then echo "no lock" >&2 && exit 1; fi
	case $1 in
	-a) cat >"$RESOLVER/new" && mv "$RESOLVER/new" "$RESOLVER/$2.interface" ;;
	-d) rm -f "$RESOLVER/$2.interface" ;;
	esac
	cat /dev/null "$RESOLVER"/*.interface 2>/dev/null >"$RESOLVER/resolv.new" || true
	mv "$RESOLVER/resolv.new" "$RESOLVER/resolv.conf"
RESOLVCONF
chmod +x "$dir/bin/resolvconf"
export PATH=$dir/bin:$PATH

lone_host() { # NAME
	host "$1"
	ip -n "$1" link add lan type veth peer name uplink
	ip -n "$1" link set lan up
	ip -n "$1" link set uplink up
	address "$1" lan 192.168.1.130/24 fd77::2/64
	gateway "$1" 192.168.1.1 fd77::1
	at "$1" sysctl -q -w net.ipv6.conf.uplink.forwarding=1 net.ipv6.conf.lan.accept_ra=1
	mkdir -p "$dir/$1/state" "$dir/$1/resolver"
	echo 'nameserver 192.168.1.1' >"$dir/$1/resolver/lan.interface"
	RESOLVER=$dir/$1/resolver "$dir/bin/resolvconf" -d nothing
}

# A file of [Interface] with a key, then standard input, which may go on with other sections.
lone_file() { # HOST NAME
	(umask 077 && { printf '[Interface]\nPrivateKey = %s\n' $private_key && cat; } >"$dir/$1/$2.conf")
}

# Few programs: each takes its time in the test kernel.  Left out are the traces of a module that the kernel has loaded
# meanwhile (connection tracking or a congestion control, which Debian's kernel loads at the first use).
snapshot() { # HOST, which it runs on
	printf 'link show\naddress show\nroute show table all\nrule show\n' >"$dir/$1/batch"
	ip -4 -batch "$dir/$1/batch" | grep -v valid_lft
	ip -6 -batch "$dir/$1/batch" | grep -v valid_lft
	nft list ruleset
	# Without the neighbours' parameters: they take most of the time, and nothing of ours writes them.
	grep -rs --exclude-dir=neigh --exclude-dir=netfilter '' /proc/sys/net |
		grep -vE '_count:|nf_conntrack_max:|tcp_(available|allowed)_congestion_control:'
	cat "$dir/$1/resolver/resolv.conf"
	find "$dir/$1/state" -name undo -exec cat {} +
}

inside() { # HOST FUNCTION ARGUMENTS…
	local name=$1
	shift
	at "$name" bash -c '"$@"' bash "$@"
}
export dir bin driver
export -f snapshot
