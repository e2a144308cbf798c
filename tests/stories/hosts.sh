# Hosts are network namespaces, cables are veth pairs.  Shared by the stories and by deploy/demo.
#
# Happy path: bed_run LIMIT SCRIPT… runs the script again where kernel WireGuard is: in namespaces of this machine, or
# in the test kernel.  Everything it makes there (processes, namespaces, mounts, files below $TMPDIR) ends with it,
# however it ends: a process namespace, or the whole kernel, goes away.
# Fails: 77 without WireGuard and without a test kernel; 124 at the time limit.
# The script that sources this sets $dir, a folder of its own.
# shellcheck shell=bash disable=SC2154

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)

# --- Where: the bed ----------------------------------------------------------------------------------------------------

# How this machine becomes a bed: as root by plain namespaces; otherwise by a user namespace, if our user may have one
# with more than one user in it (a worker becomes another user).
bed_namespaces=(unshare --net --mount --pid --fork --kill-child --mount-proc)
((EUID)) && bed_namespaces+=(--user --map-root-user --map-auto)

bed_inside() { [[ ${IN_TEST_KERNEL-}${IN_TEST_NETNS-} ]]; }
bed_is_here() { "${bed_namespaces[@]}" ip link add wgprobe type wireguard 2>/dev/null; }

# Inside there must be WireGuard: a bed without it is a failure, not a skip.
bed_check() {
	ip link add wgprobe type wireguard && ip link del wgprobe && return
	echo "no kernel WireGuard in here" >&2
	return 1
}

bed_pid=''
bed_stop() {
	[[ ! $bed_pid ]] || { kill -TERM "$bed_pid" && wait "$bed_pid"; } 2>/dev/null || true
	bed_pid=''
}

# Run COMMAND in a bed, at most LIMIT seconds.  The caller's exit trap calls bed_stop().  Return: the command's status.
# bed_kernel=1: in the test kernel only, for a command that changes a thing that namespaces share, such as the clock.
# bed_cpus, bed_memory: processors and memory of the test kernel (default: 1 and 1G).
bed_run() { # LIMIT COMMAND…
	local limit=$1
	shift
	if [[ ! ${bed_kernel-} ]] && bed_is_here; then
		# shellcheck disable=SC2016
		IN_TEST_NETNS=1 timeout --kill-after 1 "$limit" setpriv --pdeathsig KILL "${bed_namespaces[@]}" bash -c '
			mount -t tmpfs run /run && mkdir -m 1777 /run/tmp && mkdir /run/netns /run/lock && ip link set lo up &&
				TMPDIR=/run/tmp "$@"
			exit $?' bash "$@" &
	else
		"$top/tests/kernel/run" --timeout "$limit" --cpus "${bed_cpus:-1}" --memory "${bed_memory:-1G}" -- "$@" &
	fi
	bed_pid=$!
	local status=0
	wait "$bed_pid" || status=$?
	bed_pid=''
	return "$status"
}

# --- Hosts and cables --------------------------------------------------------------------------------------------------

host() { # NAME…
	local name
	for name; do
		ip netns add "$name" && ip -n "$name" link set lo up
	done
}

at() { ip netns exec "$@"; } # HOST COMMAND…

cable() { # HOST DEVICE HOST DEVICE
	ip link add "$2" netns "$1" type veth peer name "$4" netns "$3"
	ip -n "$1" link set "$2" up
	ip -n "$3" link set "$4" up
}

address() { # HOST DEVICE ADDRESS/LENGTH…
	local host=$1 device=$2 one nodad
	shift 2
	for one; do
		nodad=''
		[[ $one == *:* ]] && nodad=nodad # no wait until an IPv6 address may be used
		ip -n "$host" address add "$one" dev "$device" $nodad
	done
}

gateway() { # HOST ADDRESS…
	local host=$1 one
	shift
	for one; do ip -n "$host" route add default via "$one"; done
}

forwards() { # HOST…
	local name
	for name; do
		at "$name" sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
	done
}

# A line that takes its time: half of a round trip of MS each way.  Bundles would count as one packet, so there are
# none.
slow_line() { # HOST DEVICE MS
	ip -n "$1" link set "$2" gso_max_segs 1
	at "$1" tc qdisc replace dev "$2" root netem delay "$(($3 / 2))ms" limit 10000
}

# --- Programs ----------------------------------------------------------------------------------------------------------

declare -A pid_of # by label

# Start COMMAND on HOST in the background.  Its output, with the time before each line, goes to $dir/LABEL.log.
start() { # LABEL HOST COMMAND…
	local label=$1 where=$2 log
	shift 2
	exec {log}> >(stamp >>"$dir/$label.log")
	# Not by at(): a function in the background would be a shell around the program, with the program's signals.
	ip netns exec "$where" "$@" </dev/null >&"$log" 2>&1 {log}>&- &
	pid_of[$label]=$!
	exec {log}>&-
}

stamp() {
	local line
	while IFS= read -r line; do printf '%s %s\n' "$EPOCHREALTIME" "$line"; done
}

runs() { kill -0 "${pid_of[$1]}" 2>/dev/null; } # LABEL

# End it and wait for it.  Return: its exit status; 0 where it is killed, as asked.
stop() { # LABEL [KILL]
	local pid=${pid_of[$1]} status=0
	unset "pid_of[$1]"
	kill "-${2:-TERM}" "$pid" 2>/dev/null
	wait "$pid" 2>/dev/null || status=$?
	[[ ${2-} ]] || return "$status"
}

log_says() { grep -qiE -- "$2" "$dir/$1.log"; } # LABEL PATTERN
