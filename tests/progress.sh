# Shared by deploy/demo, tests/run and tests/kernel/build: run something that may take long, and show that it goes on.
#
# Happy path: progress_run "building" ninja -C build   →   on a terminal one line that counts seconds and is wiped at
# the end; elsewhere nothing for the first five seconds, then a line every fifteen.  The command's output goes into a
# file. Fails: with the command's status; progress_run shows the file's last lines, progress_try leaves it to the
# caller. The caller's exit trap calls progress_stop().
# shellcheck shell=bash

PROGRESS_TTY=${PROGRESS_TTY-} # "1": a terminal reads our output; the test kernel's guests are told by the environment
[[ -t 1 ]] && PROGRESS_TTY=1
export PROGRESS_TTY
PROGRESS_PID='' # leader of the process group that runs now
PROGRESS_LOG=''

# Show one moving line: "  text … 12 s".
progress_tick() { # TEXT SECONDS
	if [[ $PROGRESS_TTY ]]; then
		printf '\r\e[K  %s … %d s' "$1" "$2"
	elif (($2 == 5 || ($2 > 0 && $2 % 15 == 0))); then
		printf '  %s … %d s\n' "$1" "$2"
	fi
}

progress_wipe() { [[ $PROGRESS_TTY ]] && printf '\r\e[K'; return 0; }

# Wait for our child PID and count seconds meanwhile.  Return: its exit status.
progress_wait() { # TEXT PID
	local text=$1 pid=$2 began=$SECONDS shown=0
	while kill -0 "$pid" 2>/dev/null; do
		sleep 0.1
		if ((SECONDS - began > shown)); then
			shown=$((SECONDS - began))
			progress_tick "$text" "$shown"
		fi
	done
	((shown > 0)) && progress_wipe
	wait "$pid"
}

# A process group of its own, so that progress_stop() reaches whatever the command started.  Its output: $PROGRESS_LOG.
progress_try() { # TEXT COMMAND…
	local text=$1 status=0
	shift
	[[ $PROGRESS_LOG ]] && rm -f "$PROGRESS_LOG"
	PROGRESS_LOG=$(mktemp "${TMPDIR:-/tmp}/progress.XXXXXX") || return 1
	set -m
	"$@" >"$PROGRESS_LOG" 2>&1 </dev/null &
	PROGRESS_PID=$!
	set +m
	progress_wait "$text" "$PROGRESS_PID" || status=$?
	PROGRESS_PID=''
	return "$status"
}

progress_run() { # TEXT COMMAND…
	local status=0
	progress_try "$@" || status=$?
	if ((status)); then
		printf '%s: failed with status %d; the end of its output:\n' "$1" "$status" >&2
		tail -n 30 "$PROGRESS_LOG" | sed 's/^/    /' >&2
	fi
	return "$status"
}

# For the caller's exit trap: end the command that runs.
progress_stop() {
	[[ ! $PROGRESS_PID ]] || { kill -TERM -- "-$PROGRESS_PID" && wait "$PROGRESS_PID"; } 2>/dev/null || true
	[[ ! $PROGRESS_LOG ]] || rm -f "$PROGRESS_LOG"
	PROGRESS_PID='' PROGRESS_LOG=''
}
