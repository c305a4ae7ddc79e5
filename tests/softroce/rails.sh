# Sourced by scripts in the guest: rails between two sides of one machine, and what may happen to
# them. Rail i is a veth pair a<i>, b<i> with an RDMA device at each end, rxa<i> and rxb<i>: packets
# truly cross it, so that `ip link` and `tc` act on RDMA traffic.

make_rails() { # COUNT
  local i v setting
  echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
  for ((i = 0; i < $1; ++i)); do
    ip link add "a$i" type veth peer name "b$i"
    for v in "a$i" "b$i"; do
      ip link set "$v" mtu 9000 up
      # Both addresses are this machine's own: packets between them have to be let in.
      for setting in rp_filter=0 accept_local=1 arp_ignore=1 arp_announce=2; do
        echo "${setting#*=}" > "/proc/sys/net/ipv4/conf/$v/${setting%=*}"
      done
    done
    # A flow stays on one processor: spread over two, its packets would overtake each other.
    echo 1 > "/sys/class/net/a$i/queues/rx-0/rps_cpus"
    echo 2 > "/sys/class/net/b$i/queues/rx-0/rps_cpus"
    ip addr add "192.168.7$i.1/24" dev "a$i"
    ip addr add "192.168.7$i.2/24" dev "b$i"
    tell_neighbours "$i"
    rdma link add "rxa$i" type rxe netdev "a$i"
    rdma link add "rxb$i" type rxe netdev "b$i"
  done
}

tell_neighbours() { # RAIL; again after it was down
  ip neigh replace "192.168.7$1.2" lladdr "$(cat "/sys/class/net/b$1/address")" dev "a$1" nud permanent
  ip neigh replace "192.168.7$1.1" lladdr "$(cat "/sys/class/net/a$1/address")" dev "b$1" nud permanent
}

shape() { # RAIL RATE [BURST], both ways: shape 0 160mbit
  local v
  for v in "a$1" "b$1"; do
    tc qdisc replace dev "$v" root tbf rate "$2" burst "${3:-64k}" limit 4m
  done
}

bring_up() { # RAIL
  ip link set "a$1" up
  ip link set "b$1" up
  tell_neighbours "$1"
}
