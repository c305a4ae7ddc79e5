# In each of two guests, $rank 0 and 1: the backend contract with one node in each, over one rail and
# two, push and pull, data byte by byte; then a replay of two processes, prefill in one machine, decode
# in the other.
for rail in 0 1; do
  ip addr add "192.168.9$rail.$((rank + 1))/24" dev eth$rail
  ip link set eth$rail mtu 9000 up
  rdma link add rxe$rail type rxe netdev eth$rail
  until ping -c 1 -W 1 "192.168.9$rail.$((2 - rank))" > /dev/null; do sleep 1; done
done
if ((rank == 1)); then
  far_side 40200 || exit
else
  KVHAUL_FAR_SIDE=192.168.90.2:40200 conformance_tests --gtest_filter='*VerbsApart*' \
    --gtest_brief=1 --gtest_color=no | tee /tmp/log
  ((PIPESTATUS[0] == 0)) || exit 1
  grep -q '^\[  PASSED  \] [1-9]' /tmp/log && ! grep -q '^\[  SKIPPED' /tmp/log ||
    { echo "conformance_tests: tests were skipped, or there were none"; exit 1; }
fi

export KVHAUL_SECRET=thisrunandnoother16thisrunandnoother16
kvhaul replay -t /trace.csv -n 4 -s /scenario.yaml -b verbs --nics rxe0,rxe1,rxe0,rxe1 \
  --rendezvous 192.168.90.1:40123 --rank "$rank" --ranks 2 -o /out/run || exit
((rank == 0)) || exit 0
grep -q '"checked_transfers": 4' /out/run/summary.json || { echo "not 4 checksums compared"; exit 1; }
[[ $(grep -c ,completed, /out/run/requests.csv) == 4 ]] || { echo "not 4 requests completed"; exit 1; }
