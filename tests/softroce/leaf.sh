# Sourced by scripts in the guest: more than two devices, each reaching all others.

# One leaf: COUNT devices rxn0, rxn1, ... whose packets meet in a bridge, each reaching all others.
make_leaf() { # COUNT
  local i k setting
  echo 0 > /proc/sys/net/ipv4/conf/all/rp_filter
  ip link add leaf type bridge
  ip link set leaf mtu 9000 up
  for ((i = 0; i < $1; ++i)); do
    ip link add "n$i" type veth peer name "leaf$i"
    ip link set "leaf$i" mtu 9000 master leaf up
    ip link set "n$i" mtu 9000 up
    for setting in rp_filter=0 accept_local=1 arp_ignore=1 arp_announce=2; do
      echo "${setting#*=}" > "/proc/sys/net/ipv4/conf/n$i/${setting%=*}"
    done
    ip addr add "192.168.80.$((i + 1))/24" dev "n$i"
  done
  for ((i = 0; i < $1; ++i)); do
    for ((k = 0; k < $1; ++k)); do
      ((i == k)) || ip neigh replace "192.168.80.$((k + 1))" \
        lladdr "$(cat "/sys/class/net/n$k/address")" dev "n$i" nud permanent
    done
    rdma link add "rxn$i" type rxe netdev "n$i"
  done
}
