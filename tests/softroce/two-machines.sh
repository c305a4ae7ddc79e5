# In each of two guests, $rank 0 and 1: a replay of two processes, prefill in one machine, decode in
# the other. Both rails of the scenario go through the one network device.
ip addr add "192.168.90.$((rank + 1))/24" dev eth0
ip link set eth0 mtu 9000 up
rdma link add rxe0 type rxe netdev eth0
export KVHAUL_SECRET=thisrunandnoother16
until ping -c 1 -W 1 "192.168.90.$((2 - rank))" > /dev/null; do sleep 1; done
kvhaul replay -t /trace.csv -n 4 -s /scenario.yaml -b verbs --nics rxe0,rxe0,rxe0,rxe0 \
  --rendezvous 192.168.90.1:40123 --rank "$rank" --ranks 2 -o /out/run || exit
((rank == 0)) || exit 0
grep -q '"checked_transfers": 4' /out/run/summary.json || { echo "not 4 checksums compared"; exit 1; }
[[ $(grep -c ,completed, /out/run/requests.csv) == 4 ]] || { echo "not 4 requests completed"; exit 1; }
