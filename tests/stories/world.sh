# The networks of scenario A, as functions to be put together, and what runs on them.  Shared by the stories and the
# demo.
#
#     laptop ── cafe ──┐                    ┌── router ─┬─ pi    192.168.1.130, WireGuard, gateway of the tunnel
#     198.51.100.77    ├── internet ── carrier          └─ nas   192.168.1.20, knows of neither
#     vps 203.0.113.10 ┘        └── visitor 192.0.2.50
#
# The script that sources this sets $dir, a folder of its own, and $bin, where towpath-server and towpath-client are.
# shellcheck shell=bash disable=SC2154

export hub_address=203.0.113.10 hub_address6=2001:db8:1::10

# --- The lines ---------------------------------------------------------------------------------------------------------

world_internet() {
	host internet vps
	cable internet vps vps eth0
	address internet vps 203.0.113.1/24 2001:db8:1::1/64
	address vps eth0 $hub_address/24 $hub_address6/64
	gateway vps 203.0.113.1 2001:db8:1::1
	forwards internet
}

# The hostile network, as yet without its rules.
world_cafe() {
	host cafe
	cable internet cafe cafe eth0
	address internet cafe 198.18.2.1/30 2001:db8:f2::1/64
	address cafe eth0 198.18.2.2/30 2001:db8:f2::2/64
	gateway cafe 198.18.2.1 2001:db8:f2::1
	ip -n internet route add 198.51.100.0/24 via 198.18.2.2
	ip -n internet route add 2001:db8:2::/64 via 2001:db8:f2::2
	ip -n cafe link add lan type bridge
	ip -n cafe link set lan up
	address cafe lan 198.51.100.1/24 2001:db8:2::1/64
	forwards cafe
}

# A guest of the café: laptop is 77, another one another number.
world_guest() { # NAME NUMBER
	host "$1"
	cable cafe "$1" "$1" eth0
	ip -n cafe link set "$1" master lan
	address "$1" eth0 "198.51.100.$2/24" "2001:db8:2::$2/64"
	gateway "$1" 198.51.100.1 2001:db8:2::1
}

cafe_rules() { # the forward chain's rules, on standard input
	at cafe nft -f - <<-RULES
	table inet cafe
	delete table inet cafe
	table inet cafe {
		counter dropped { }
		counter other { }
		chain forward {
			type filter hook forward priority filter; policy accept;
			$(cat)
		}
	}
	RULES
}

# Packets that pass and are not TCP 443 are counted, too.
cafe_drops_udp() {
	cafe_rules <<-'RULES'
	meta l4proto udp counter name dropped drop
	tcp dport 443 accept
	tcp sport 443 accept
	counter name other
	RULES
}
cafe_passes_only_443() {
	cafe_rules <<-'RULES'
	tcp dport 443 accept
	tcp sport 443 ct state established accept
	icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept
	counter name dropped drop
	RULES
}
cafe_counted() { # dropped or other
	at cafe nft -j list counter inet cafe "$1" | jq '.nftables[] | .counter? | .packets // empty'
}

world_home() {
	host carrier router pi nas
	cable internet isp carrier eth0
	address internet isp 198.18.1.1/30
	address carrier eth0 198.18.1.2/30
	gateway carrier 198.18.1.1
	cable carrier home router wan
	address carrier home 100.64.0.1/10
	address router wan 100.64.7.7/10
	gateway router 100.64.0.1
	ip -n router link add lan type bridge
	ip -n router link set lan up
	address router lan 192.168.1.1/24
	local name
	for name in pi nas; do
		cable router "$name" "$name" eth0
		ip -n router link set "$name" master lan
	done
	address pi eth0 192.168.1.130/24
	address nas eth0 192.168.1.20/24
	gateway pi 192.168.1.1
	gateway nas 192.168.1.1
	forwards carrier router
	nat carrier eth0
	nat router wan
}

# A NAT as carriers have it: only hosts inside may begin a connection, and a packet without an entry is dropped.
nat() { # HOST DEVICE
	at "$1" nft -f - <<-RULES
	table ip nat {
		chain postrouting {
			type nat hook postrouting priority srcnat;
			oifname "$2" masquerade
		}
		chain forward {
			type filter hook forward priority filter;
			ct state invalid drop
			iifname "$2" ct state new drop
		}
	}
	RULES
	at "$1" sysctl -q -w net.netfilter.nf_conntrack_tcp_loose=0
}

world_visitor() {
	host visitor
	cable internet visitor visitor eth0
	address internet visitor 192.0.2.1/24
	address visitor eth0 192.0.2.50/24
	gateway visitor 192.0.2.1
}

# --- WireGuard, set by hand --------------------------------------------------------------------------------------------

keys() { # NAME…
	local name
	for name; do
		[[ -e $dir/$name.pub ]] && continue
		(umask 077 && wg genkey >"$dir/$name.key" && wg pubkey <"$dir/$name.key" >"$dir/$name.pub")
		(umask 077 && head -c 24 /dev/urandom | base64 | tr '+/' '-_' >"$dir/$name.token")
	done
}

# A device wg0 with a key and addresses; port 51820 on the hub only.
wg_device() { # HOST PORT ADDRESS/LENGTH…
	local where=$1 port=$2
	shift 2
	ip -n "$where" link add wg0 mtu 1420 type wireguard
	at "$where" wg set wg0 listen-port "$port" private-key "$dir/$where.key"
	address "$where" wg0 "$@"
	ip -n "$where" link set wg0 up
}

hub_wireguard() {
	keys vps
	wg_device vps 51820 10.10.0.1/24 fd10::1/64
	forwards vps
}

hub_peer() { # NAME ALLOWED-IPS
	keys "$1"
	at vps wg set wg0 peer "$(<"$dir/$1.pub")" allowed-ips "$2"
}

# The other side's hub is the local port of towpath-client.
to_hub() { # HOST ALLOWED-IPS [ENDPOINT]
	at "$1" wg set wg0 peer "$(<"$dir/vps.pub")" endpoint "${3:-127.0.0.1:51820}" allowed-ips "$2"
}

laptop_wireguard() {
	hub_peer laptop 10.10.0.3/32,fd10::3/128
	wg_device laptop 0 10.10.0.3/24 fd10::3/64
	to_hub laptop 10.10.0.0/24,192.168.1.0/24,fd10::/64
	ip -n laptop route add 192.168.1.0/24 dev wg0
}

pi_wireguard() {
	hub_peer pi 10.10.0.2/32,192.168.1.0/24
	ip -n vps route replace 192.168.1.0/24 dev wg0
	wg_device pi 0 10.10.0.2/24
	to_hub pi 10.10.0.0/24
	at pi wg set wg0 peer "$(<"$dir/vps.pub")" persistent-keepalive 25
	forwards pi
	at pi nft -f - <<-'RULES'
	table ip tunnel
	delete table ip tunnel
	table ip tunnel {
		chain postrouting {
			type nat hook postrouting priority srcnat;
			iifname "wg0" oifname "eth0" masquerade
		}
	}
	RULES
}

wg_handshake_done() { # HOST
	local at
	at=$(at "$1" wg show wg0 latest-handshakes | cut -f 2)
	[[ $at ]] && ((at > 0))
}

# --- Towpath -----------------------------------------------------------------------------------------------------------

# The three folders a program uses, each host its own.
folders() { # HOST
	mkdir -p "$dir/$1"/{etc,run,state}
	places=(--config-dir "$dir/$1/etc" --runtime-dir "$dir/$1/run" --state-dir "$dir/$1/state")
}

# hub.conf: a [Server] with more lines from standard input, and a [Peer] with name and token for each client.
hub_config() { # CLIENT…
	folders vps
	local name
	(
		umask 077
		{
			printf '[Server]\nTarget = 127.0.0.1:51820\n'
			cat
			for name; do
				keys "$name"
				printf '\n[Peer]\nName = %s\nToken = %s\n' "$name" "$(<"$dir/$name.token")"
			done
		} >"$dir/vps/etc/hub.conf"
	)
}

# The words under which it runs; a story that checks memory puts valgrind here.
program=()

hub_start() {
	folders vps
	start hub vps "${program[@]}" "$bin/server/towpath-server" run hub --verbose "${places[@]}"
}

tcp_443_listens() { at "$1" ss -Hltn 'sport = :443' | grep -q .; } # HOST
# Its pin is in the log by then, too.
hub_listens() { tcp_443_listens vps && log_says hub 'listening'; }
hub_pin() { grep -om 1 'sha256//[A-Za-z0-9+/=]*' "$dir/hub.log"; }

# home.conf of a client: server, token, and more lines from standard input (Pin, as a rule).
client_config() { # HOST URL
	folders "$1"
	keys "$1"
	(
		umask 077
		{
			printf '[Client]\nServer = %s\nToken = %s\n' "$2" "$(<"$dir/$1.token")"
			cat
		} >"$dir/$1/etc/home.conf"
	)
}

client_start() { # HOST
	folders "$1"
	start "$1" "$1" "${program[@]}" "$bin/client/towpath-client" run home --verbose "${places[@]}"
}

client_listens() { at "$1" ss -Hlun 'sport = :51820' | grep -q 127.0.0.1; } # HOST

client_status() { # HOST [OPTION…]
	folders "$1"
	local where=$1
	shift
	at "$where" "$bin/client/towpath-client" status home "${places[@]}" "$@"
}

server_status() { # [OPTION…]
	folders vps
	at vps "$bin/server/towpath-server" status hub "${places[@]}" "$@"
}

worker_of() { pgrep -P "${pid_of[$1]}" | head -n 1; } # LABEL

# --- WireGuard, brought up by Towpath ------------------------------------------------------------------------------------

# A tunnel's file from standard input.  In it, {key HOST}, {pub HOST} and {token HOST} stand for what keys() made.
tunnel_file() { # HOST NAME
	folders "$1"
	(umask 077 && fill_in_keys >"$dir/$1/etc/$2.conf")
}
fill_in_keys() {
	local text what name
	text=$(cat)
	while [[ $text =~ \{(key|pub|token)\ ([a-z]+)\} ]]; do
		what=${BASH_REMATCH[1]} name=${BASH_REMATCH[2]}
		keys "$name"
		text=${text//"{$what $name}"/"$(<"$dir/$name.$what")"}
	done
	printf '%s\n' "$text"
}

# The hub of scenarios A, C and H: Pi with the home LAN, laptop.  Further sections from standard input.
our_hub_file() {
	{
		cat <<-'CONF'
		[Server]

		[Interface]
		PrivateKey = {key vps}
		Address = 10.10.0.1/24, fd10::1/64

		[Peer]
		Name = pi
		Token = {token pi}
		PublicKey = {pub pi}
		AllowedIPs = 10.10.0.2/32, fd10::2/128, 192.168.1.0/24

		[Peer]
		Name = laptop
		Token = {token laptop}
		PublicKey = {pub laptop}
		AllowedIPs = 10.10.0.3/32, fd10::3/128
		CONF
		cat
	} | tunnel_file vps hub
}

our_pi_file() { # URL
	{
		printf '[Client]\nServer = %s\nPin = %s\n' "$1" "$(hub_pin)"
		cat <<-'CONF'
		Token = {token pi}

		[Interface]
		PrivateKey = {key pi}
		Address = 10.10.0.2/24, fd10::2/64

		[Peer]
		PublicKey = {pub vps}
		AllowedIPs = 10.10.0.0/24, fd10::/64
		PersistentKeepalive = 25

		[Gateway]
		Lan = 192.168.1.0/24
		CONF
	} | tunnel_file pi home
}

our_laptop_file() { # URL ALLOWED-IPS      further lines of [Interface] from standard input
	{
		printf '[Client]\nServer = %s\nPin = %s\n' "$1" "$(hub_pin)"
		cat <<-'CONF'
		Token = {token laptop}

		[Interface]
		PrivateKey = {key laptop}
		Address = 10.10.0.3/24, fd10::3/64
		CONF
		cat
		printf '\n[Peer]\nPublicKey = {pub vps}\nAllowedIPs = %s\n' "$2"
	} | tunnel_file laptop home
}

# `up` and `down` as typed.
tunnel_up() { # HOST [OPTION…]
	local where=$1
	shift
	folders "$where"
	at "$where" "$bin/client/towpath-client" up home "${places[@]}" "$@"
}
tunnel_down() { # HOST
	folders "$1"
	at "$1" "$bin/client/towpath-client" down home "${places[@]}"
}

# Print the state of a host's network, to compare before and after.  Left out are counters, times, link-local addresses,
# which come a second late, and the traces of a module that the kernel has loaded meanwhile (connection tracking or a
# congestion control, which Debian's kernel loads at the first use).
host_state() { # HOST
	host_state_all "$1" | grep -v fe80::
}
host_state_all() { # HOST
	local family
	at "$1" ip -o link show | sed -E 's/^[0-9]+: //; s/ (qlen|state) [^ ]+//g'
	at "$1" ip -o address show | sed -E 's/(valid|preferred)_lft [^ ]+//g'
	for family in -4 -6; do
		at "$1" ip $family rule show
		at "$1" ip $family route show table all | sed -E 's/ expires [^ ]+//' | sort
	done
	at "$1" nft -s list ruleset
	at "$1" iptables-save | sed 's/^#.*//; s/\[[0-9:]*\]//'
	at "$1" ip6tables-save | sed 's/^#.*//; s/\[[0-9:]*\]//'
	at "$1" sysctl -a 2>/dev/null | grep -E '^net\.' | grep -vE 'netfilter\.|nf_conntrack_|\.gc_|route\.(gc|min_)|random|inode-nr|stable_secret|mtu_expires|tcp_(available|allowed)_congestion_control'
}
