# Helpers for peer drivers (sourced). README.md describes the commands and the environment.
set -eu

in_client() { ip netns exec "$CLIENT_NS" "$@"; }
in_server() { ip netns exec "$SERVER_NS" "$@"; }

# daemon SIDE NAMESPACE COMMAND...: start in the background, keep pid and log
daemon() {
	side=$1 netns=$2
	shift 2
	setsid ip netns exec "$netns" "$@" </dev/null >"$STATE/$side.log" 2>&1 &
	echo $! >"$STATE/$side.pid"
}

# until_ok COMMAND...: retry for 10 seconds, or $PATIENCE
until_ok() {
	for _ in $(seq $((${PATIENCE:-10} * 20))); do
		if "$@" >/dev/null 2>&1; then return 0; fi
		sleep 0.05
	done
	echo "gave up: $*" >&2
	return 1
}

pids() {
	for side in client server; do
		if [ -f "$STATE/$side.pid" ]; then echo "$side=$(cat "$STATE/$side.pid")"; fi
	done
}

stop_daemons() {
	for side in client server; do
		if [ -f "$STATE/$side.pid" ]; then
			kill "$(cat "$STATE/$side.pid")" 2>/dev/null || true
		fi
	done
}

main() {
	case $1 in
	check) check ;;
	setup-server) setup_server ;;
	setup-client) setup_client ;;
	addresses) echo "${INNER_CLIENT} ${INNER_SERVER}" ;;
	pids) pids ;;
	hook) hook ;;
	teardown) stop_daemons ;;
	*) echo "unknown command: $1" >&2; exit 2 ;;
	esac
}

hook() { :; }

# need PROGRAM COMMAND...: exit status 3, and how to install it, if a program is missing
need() {
	program=$1
	shift
	command -v "$program" >/dev/null || absent "$program is missing: $*"
}

absent() {
	echo "$*" >&2
	exit 3
}
