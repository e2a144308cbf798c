# Every story begins with:  . "${0%/*}/lib.sh"; story "title" "$@"
#
# Happy path: story enters the bed (see hosts.sh) and comes back inside it; then the script lays out hosts and says, one
# sentence each, what must hold.  Ends with 0 when the last sentence held.
# Fails: at the first sentence that does not hold, or command that fails, with the last lines of every program's log;
# status 1.  77: no bed here.
# Environment: TOWPATH_BUILD, the build folder (default: build-asan of this tree); TOWPATH_PLAIN_BUILD, the one for
# stories without sanitizers (default: build-clang); SANITIZERS=1: only where a story cannot have them.
# shellcheck shell=bash
set -eu # a command that may fail stands in a sentence; every other must succeed
. "$(dirname "${BASH_SOURCE[0]}")/hosts.sh"
. "$(dirname "${BASH_SOURCE[0]}")/world.sh"

# For stories in which programs start by the hundred, or which last longest: in the test kernel a start takes five times
# the time with sanitizers, and a story of three minutes two.
without_sanitizers() { [[ ${SANITIZERS-} ]] || TOWPATH_BUILD=${TOWPATH_PLAIN_BUILD:-$top/build-clang}; }

story() { # TITLE
	local limit=$((3 * ${story_limit:-150})) # for a machine three times as slow; only a story that hangs reaches it
	bin=${TOWPATH_BUILD:-$top/build-asan}
	[[ $bin == /* ]] || bin=$PWD/$bin
	if [[ ! -x $bin/server/towpath-server || ! -x $bin/client/towpath-client ]]; then
		echo "no towpath-server and towpath-client in $bin; build them, or set TOWPATH_BUILD" >&2
		exit 1
	fi
	if ! bed_inside; then
		trap bed_stop EXIT
		trap 'exit 130' INT
		trap 'exit 143' TERM HUP
		bed_run "$limit" "$(realpath "$0")" && exit 0
		exit
	fi
	story_begins "$1"
}

# In the bed.
story_begins() { # TITLE
	bed_check || exit 1
	dir=$(mktemp -d) && chmod 755 "$dir" && mkfifo "$dir/never" || exit 1
	trap story_ends EXIT
	# A sanitizer's report must be seen wherever it happens, and a leak is one. The quarantine is small, as
	# user-mode Linux maps page by page, and a process with more mappings than the host allows it (vm.max_map_count,
	# 65,530: the 256 MB that are usual come to that) stands still for ever at the next page: in the midst of its
	# work, or looking for leaks.
	export ASAN_OPTIONS=detect_leaks=1:abort_on_error=0:exitcode=99:quarantine_size_mb=16
	export UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
	printf '%s\n' "$1"
}

story_failed=''
# shellcheck disable=SC2317 # called by the trap
story_ends() {
	local status=$? name
	set +e
	for name in "${!pid_of[@]}"; do stop "$name" KILL; done
	if ((status == 0)) && grep -qE 'ERROR: (Address|Leak)Sanitizer|runtime error:' "$dir"/*.log 2>/dev/null; then
		echo "  FAIL no program has a sanitizer's report"
		status=1
	fi
	if ((status)); then
		[[ $story_failed ]] || echo "  FAIL the script ended with status $status"
		story_logs
	fi
	rm -rf "$dir"
	exit "$status"
}

# shellcheck disable=SC2317
story_logs() {
	local file
	for file in "$dir"/*.log; do
		[[ -s $file ]] || continue
		printf '  --- %s\n' "${file##*/}"
		if grep -qE 'Sanitizer|runtime error:' "$file"; then head -n 120 "$file"; else tail -n 40 "$file"; fi | sed 's/^/  | /'
	done
}

say() { printf '  %s\n' "$*"; }
holds() { printf '  ok   %s\n' "$*"; }
fail() { # SENTENCE [OUTPUT]
	story_failed=1
	printf '  FAIL %s\n' "$1"
	[[ ${2-} ]] && printf '%s\n' "$2" | sed 's/^/       /'
	exit 1
}

# The sentence holds if COMMAND succeeds now.
expect() { # SENTENCE COMMAND…
	local sentence=$1
	shift
	"$@" >"$dir/output" 2>&1 || fail "$sentence" "$(<"$dir/output")"
	holds "$sentence"
}

expect_not() { # SENTENCE COMMAND…
	local sentence=$1
	shift
	! "$@" >"$dir/output" 2>&1 || fail "$sentence" "$(<"$dir/output")"
	holds "$sentence"
}

# The sentence holds if COMMAND succeeds within SECONDS, asked again and again.  On a machine that is slow, or busy at
# that moment, a second is as much longer as a program takes longer to start.
soon() { # SECONDS SENTENCE COMMAND…
	local seconds=$1 sentence=$2 began=${EPOCHREALTIME/./} took second=''
	shift 2
	until "$@" >"$dir/output" 2>&1; do
		took=$((${EPOCHREALTIME/./} - began))
		if ((took >= seconds * ${second:-1000000})); then
			[[ ! $second ]] || fail "$sentence, within $seconds s" "$(<"$dir/output")"
			second=$(second_here)
		fi
		nap 0.05
	done
	took=$((${EPOCHREALTIME/./} - began))
	holds "$sentence ($((took / 1000000)).$((took / 100000 % 10)) s)"
}

# As sleep, without a program: each takes 8 to 15 ms of processor time to start in the test kernel.
nap() { read -rt "$1" <>"$dir/never" || true; } # SECONDS

# Microseconds; at least the million.  In the test kernel on an idle machine a program takes 8 to 15 ms to start.
second_here() {
	local began=${EPOCHREALTIME/./} took
	for _ in {1..20}; do /bin/true; done
	took=$((${EPOCHREALTIME/./} - began))
	echo $((took > 200000 ? took * 5 : 1000000))
}

pings() { at "$1" ping -q -c 1 -W "${3:-1}" "$2"; } # HOST ADDRESS [SECONDS]

ends() { ! runs "$1"; } # LABEL
is_gone() { ! kill -0 "$1" 2>/dev/null; } # PID

# A command's exit status and a word of its output, as towpath-server(8) and towpath-client(8) name them.
exits() { # STATUS PATTERN COMMAND…      (STATUS may be a set: [12])
	local wanted=$1 pattern=$2 output status=0
	shift 2
	output=$("$@" 2>&1) || status=$?
	printf '%s\n' "$output" >"$dir/said"
	printf '%s\n(status %d)\n' "$output" "$status"
	# shellcheck disable=SC2053
	[[ $status == $wanted ]] && grep -qiE -- "$pattern" <<<"$output"
}

# The small world of most stories: hub and laptop, the café drops all UDP, both programs up, traffic flows.
hub_and_laptop() {
	world_internet
	world_cafe
	world_guest laptop 77
	cafe_drops_udp
	hub_wireguard
	laptop_wireguard
	hub_config laptop </dev/null
	hub_start
	soon 10 "the hub listens" hub_listens
	client_config laptop "${hub_url:-wss://$hub_address}" <<<"Pin = $(hub_pin)"
	client_start laptop
	soon 5 "the laptop's client is there" client_listens laptop
	soon 10 "the laptop pings the hub" pings laptop 10.10.0.1
}
