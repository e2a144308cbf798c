# wg-easy in a container on the VPS, and a home LAN 192.168.40.0/24 behind two NATs.  Shared by the stories that need it.
#
#     pi 192.168.40.130 ─┬─ router ── carrier ── internet ── vps 203.0.113.10: the hub
#     nas 192.168.40.20 ─┘                                    └── 172.18.0.2: container, wg0 10.9.0.1
#
# wg-easy is imitated: its file's format and the order of its commands, line 14.  WG_EASY=DIR runs the real one with the
# node of PATH: in DIR are server.js and node_modules (line 14), or server/index.mjs as built (line 15).
# The script that sources this sets $dir, and $program so that the hub finds $dir/bin/docker.
# shellcheck shell=bash disable=SC2154

mkdir -p "$dir/easy" "$dir/bin"
declare -A is_enabled=() address_of=() title_of=() given=() id_of=() # by the name that a client had when it was added

easy_world() {
	world_internet
	world_home
	local name
	for name in router:1 pi:130 nas:20; do
		ip -n "${name%:*}" address flush dev "$([[ $name == router* ]] && echo lan || echo eth0)"
		address "${name%:*}" "$([[ $name == router* ]] && echo lan || echo eth0)" "192.168.40.${name#*:}/24"
	done
	gateway pi 192.168.40.1
	gateway nas 192.168.40.1
	forwards vps
	at vps nft -f - <<-'RULES'
		table ip docker {
			chain output { type nat hook output priority -100; ip daddr 127.0.0.1 udp dport 51820 dnat to 172.18.0.2:51820; }
			chain postrouting { type nat hook postrouting priority 100; oifname "easy0" masquerade; }
		}
	RULES
}

# A container is a process with a network and an /etc/wireguard of its own; docker's port on 127.0.0.1 leads to it.
container_start() {
	# shellcheck disable=SC2016
	start easy vps unshare --net --mount bash -c '
		mount --bind "$1" /etc/wireguard
		until ip address add 172.18.0.2/24 dev eth0 2>/dev/null; do sleep 0.02; done
		ip link set lo up && ip link set eth0 up && ip route add default via 172.18.0.1
		echo 1 >/proc/sys/net/ipv4/ip_forward
		shift && exec "$@"' bash "$dir/easy" "${easy_program[@]}"
	until [[ $(readlink "/proc/${pid_of[easy]}/ns/net") != "$(readlink "/proc/$$/ns/net")" &&
		$(readlink "/proc/${pid_of[easy]}/ns/net") != "$(at vps readlink /proc/self/ns/net)" ]]; do nap 0.02; done
	ip link add easy0 netns vps type veth peer name eth0 netns "${pid_of[easy]}"
	address vps easy0 172.18.0.1/24
	ip -n vps link set easy0 up
	at vps sysctl -q -w net.ipv4.conf.easy0.route_localnet=1
	soon 10 "the container is there" in_easy ip route get 203.0.113.10
	echo "${pid_of[easy]}" >"$dir/pid"
}
container_stop() {
	rm "$dir/pid"
	stop easy KILL
	ip -n vps link del easy0 2>/dev/null || true
}
in_easy() { nsenter --target "${pid_of[easy]}" --net --mount "$@"; }
cat >"$dir/bin/docker" <<-DOCKER
	#!/bin/sh
	[ "\$*" = "inspect -f {{.State.Pid}} wg-easy" ] || exit 64
	[ -e $dir/pid ] || { echo "Error: No such object: wg-easy" >&2; exit 1; }
	cat $dir/pid
DOCKER
chmod +x "$dir/bin/docker"

# --- The real one ------------------------------------------------------------------------------------------------------

# Both lines answer at 51821.  A client is added, its file is read as the page's visitor downloads it.
easy_curl() { in_easy curl -sSf --max-time 60 -H 'Content-Type: application/json' "$@"; }
easy_read_download() { # NAME
	awk '$1 == "PrivateKey" { print $3 }' "$dir/$1.download" >"$dir/$1.key"
	awk '$1 == "PresharedKey" { print $3 }' "$dir/$1.download" >"$dir/$1.psk"
	wg pubkey <"$dir/$1.key" >"$dir/$1.pub"
	address_of[$1]=$(awk '$1 == "Address" { sub("[/,].*", "", $3); print $3 }' "$dir/$1.download")
}
easy_real() {
	easy_add() {
		api POST '' -d "{\"name\":\"$1\",\"expiresAt\":null}" >/dev/null
		id_of[$1]=$(api GET '' | jq -er ".[] | select(.name == \"$1\").id")
		api GET "/${id_of[$1]}/configuration" >"$dir/$1.download"
		easy_read_download "$1"
	}
	easy_disable() { api POST "/${id_of[$1]}/disable" >/dev/null; }
	easy_enable() { api POST "/${id_of[$1]}/enable" >/dev/null; }
	easy_delete() { api DELETE "/${id_of[$1]}" >/dev/null; }
	easy_key() { in_easy wg show wg0 public-key; }
	# Its own end takes the device down; as a program in the container it is started anew by docker.
	easy_restart() {
		container_stop
		container_start
		easy_start
	}
}
easy_real_14() {
	easy_program=(env WG_HOST=$hub_address WG_DEFAULT_ADDRESS=10.9.0.x WG_PERSISTENT_KEEPALIVE=25 WG_ALLOWED_IPS=10.9.0.0/24
		DEBUG=Server,WireGuard node "$WG_EASY/server.js")
	api() { easy_curl -X "$1" "http://127.0.0.1:51821/api/wireguard/client$2" "${@:3}"; }
	easy_start() { soon 60 "wg-easy answers" api GET ''; }
	easy_rename() { api PUT "/${id_of[$1]}/name" -d "{\"name\":\"$2\"}" >/dev/null; }
	easy_move() { api PUT "/${id_of[$1]}/address" -d "{\"address\":\"$2\"}" >/dev/null && address_of[$1]=$2; }
}
# A person sets it up, logs in, and is known by a cookie from then on.
easy_real_15() {
	easy_program=(env -C "$WG_EASY" PORT=51821 HOST=0.0.0.0 INSECURE=true INIT_ENABLED=false DEBUG=Server,WireGuard,CMD
		node server/index.mjs)
	page() { easy_curl -b "$dir/cookies" -c "$dir/cookies" -X "$1" "http://127.0.0.1:51821/api/$2" "${@:3}"; }
	api() { page "$1" "client$2" "${@:3}"; }
	# It answers before it has brought its device up, and rewrites that once more.
	has_started() {
		in_easy curl -sS --max-time 60 http://127.0.0.1:51821/api/session &&
			[[ $(grep -oE 'Starting WireGuard|Cron Job started' "$dir/easy.log" | tail -n 1) == Cron* ]]
	}
	easy_start() {
		soon 90 "wg-easy has started" has_started
		[[ ! -e $dir/cookies ]] || return 0
		local user='"username":"admin","password":"a-long-password"'
		page POST setup/2 -d "{$user,\"confirmPassword\":\"a-long-password\"}" >/dev/null
		page POST setup/4 -d "{\"host\":\"$hub_address\",\"port\":51820}" >/dev/null
		page POST auth/password -d "{$user,\"remember\":true}" >/dev/null
		page POST admin/interface/cidr -d '{"ipv4Cidr":"10.9.0.0/24","ipv6Cidr":"fd09::/112"}' >/dev/null
		page POST admin/interface/restart >/dev/null
	}
	# Or by the page's own button.
	easy_restart() {
		((RANDOM % 2)) && page POST admin/interface/restart >/dev/null && return
		container_stop
		container_start
		easy_start
	}
	easy_update() { api GET "/${id_of[$1]}" | jq "$2" | api POST "/${id_of[$1]}" -d @- >/dev/null; } # NAME CHANGE
	easy_rename() { easy_update "$1" ".name = \"$2\""; }
	easy_move() { easy_update "$1" ".ipv4Address = \"$2\"" && address_of[$1]=$2; }
}

# --- The imitation -----------------------------------------------------------------------------------------------------

easy_imitation() {
	easy_program=(sleep infinity) added=0
	easy_write() { # its __saveConfig()
		local name
		(
			umask 077
			exec >"$dir/easy/wg0.conf"
			printf '\n# Note: Do not edit this file directly.\n# Your changes will be overwritten!\n\n# Server\n[Interface]\n'
			printf 'PrivateKey = %s\nAddress = 10.9.0.1/24\nListenPort = 51820\n' "$(<"$dir/easy.key")"
			printf 'PreUp = \nPostUp =  iptables -A FORWARD -i wg0 -j ACCEPT; iptables -A FORWARD -o wg0 -j ACCEPT; \n'
			printf 'PreDown = \nPostDown =  iptables -D FORWARD -i wg0 -j ACCEPT; iptables -D FORWARD -o wg0 -j ACCEPT; \n'
			for name in "${!is_enabled[@]}"; do
				((is_enabled[$name])) || continue
				printf '\n\n# Client: %s (%s)\n[Peer]\nPublicKey = %s\nPresharedKey = %s\nAllowedIPs = %s' "${title_of[$name]:-$name}" \
					3f8b9d52-5a0f-4d38-8a35-4b2a3a6ba2d6 "$(<"$dir/$name.pub")" "$(<"$dir/$name.psk")" "${address_of[$name]}/32${given[$name]-}"
			done
			echo
		)
	}
	easy_sync() { in_easy bash -c 'wg syncconf wg0 <(wg-quick strip wg0)'; }
	easy_save() { easy_write && easy_sync; }
	easy_start() {
		keys easy
		easy_write
		in_easy wg-quick down wg0 2>/dev/null || true
		in_easy wg-quick up wg0 >/dev/null 2>&1
		easy_sync
	}
	easy_add() {
		keys "$1"
		(umask 077 && wg genpsk >"$dir/$1.psk")
		is_enabled[$1]=1
		address_of[$1]=10.9.0.$((++added + 1))
		easy_save
	}
	easy_disable() { is_enabled[$1]=0 && easy_save; }
	easy_enable() { is_enabled[$1]=1 && easy_save; }
	easy_delete() { unset "is_enabled[$1]" && easy_save; }
	easy_rename() { title_of[$1]=$2 && easy_save; }
	easy_move() { address_of[$1]=$2 && easy_save; }
	easy_restart() { easy_start; }
	easy_key() { cat "$dir/easy.pub"; }
}

if [[ ! ${WG_EASY-} ]]; then
	easy_imitation
else
	easy_real
	if [[ -e $WG_EASY/server.js ]]; then easy_real_14; else easy_real_15; fi
fi
