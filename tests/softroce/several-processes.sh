# In the guest: four processes make one replay over four RDMA devices, met through a file and started
# by mpirun; then what must not work, and what others do when one of them is killed. /out keeps the
# runs and their logs, which are verified outside.
. /leaf.sh
make_leaf 4
devices=rxn0,rxn1,rxn2,rxn3
failures=0
fail() {
  echo "FAILED: $*"
  failures=$((failures + 1))
}

declare -a pids codes
# Starts four; what stands in one of these arrays for a process differs there.
declare -a scenario nics meet secret
start() { # NAME OPTIONS...
  local name=$1 rank
  shift
  for rank in 0 1 2 3; do
    kvhaul replay -t /trace.csv -b verbs -s "${scenario[rank]:-/four-nodes.yaml}" \
      --nics "${nics[rank]:-$devices}" --rendezvous "${meet[rank]:-/tmp/meet}" \
      ${secret[rank]:+--secret "${secret[rank]}"} --rank "$rank" --ranks 4 -o "/out/$name" \
      --record "/out/$name.log" "$@" > "/tmp/$name.$rank" 2>&1 &
    pids[rank]=$!
  done
}
finish() { # NAME
  local rank
  for rank in 0 1 2 3; do
    wait "${pids[$rank]}"
    codes[rank]=$?
    echo "-- $1, process $rank: exit ${codes[$rank]}"
    cat "/tmp/$1.$rank"
  done
}
expect() { # NAME CODE RANK TEXT: that it ended so, and said so
  [[ ${codes[$3]} == "$2" ]] || fail "$1, process $3: exit ${codes[$3]}, expected $2"
  grep -q -- "$4" "/tmp/$1.$3" || fail "$1, process $3 does not say: $4"
}
whole() { # NAME
  [[ $(grep -c ,completed, "/out/$1/requests.csv") == 12 ]] || fail "$1: not 12 requests completed"
  grep -q '"checked_transfers": 84' "/out/$1/summary.json" || fail "$1: not 84 checksums compared"
  grep -q '"transfer_failed": 0' "/out/$1/summary.json" || fail "$1: failed requests"
  [[ -e /out/$1/UNFINISHED ]] && fail "$1: not finished"
}

# What n0 sends with traffic class 104 goes into a class of its own, where it is counted.
tc qdisc replace dev n0 root handle 1: prio
tc filter add dev n0 parent 1: protocol ip u32 match ip tos 104 0xff flowid 1:3
for direction in push pull; do
  start "$direction" -n 12 --speedup 4 --direction "$direction" \
    --service-level 1 --traffic-class 104 --lost-after 20
  finish "$direction"
  whole "$direction"
  for rank in 0 1 2 3; do
    [[ ${codes[$rank]} == 0 ]] || fail "$direction, process $rank: exit ${codes[$rank]}"
  done
done

grep -q "service level 1, traffic class 104" /out/push/run.yaml || fail "run.yaml without the traffic class"
sent=$(tc -s class show dev n0 classid 1:3 | awk '/Sent/ { print $2; exit }')
echo "-- n0 has sent $sent bytes with traffic class 104"
((sent > 1000000)) || fail "n0 has hardly sent anything with the traffic class"

if [[ -x /usr/bin/mpirun ]]; then
  export OMPI_MCA_btl=self,vader OMPI_MCA_pml=ob1 OMPI_MCA_plm=isolated
  export OMPI_MCA_btl_vader_single_copy_mechanism=none
  PATH=$PATH:/usr/bin mpirun --allow-run-as-root --oversubscribe --bind-to none -np 4 \
    kvhaul replay -t /trace.csv -b verbs -s /four-nodes.yaml --nics "$devices" \
    -n 12 --speedup 4 -o /out/mpi --record /out/mpi.log || fail "mpirun: exit $?"
  whole mpi
else
  echo "-- no mpirun here, or kvhaul was built without it"
fi

# ---- What must not work ----------------------------------------------------------------------

sed 's/chunk_tokens: 1024/chunk_tokens: 512/' /four-nodes.yaml > /tmp/other.yaml
scenario=([2]=/tmp/other.yaml)
start other
finish other
for rank in 0 1 2 3; do
  expect other 2 $rank "process 2 has another scenario than process 0"
done

scenario=() nics=([1]=rxn0,rxn9,rxn2,rxn3)
start device
finish device
for rank in 0 2 3; do
  expect device 3 $rank "process 1: .*rxn9"
done

export KVHAUL_SECRET=0123456789abcdef0123456789abcdef
wrong=fedcba9876543210fedcba9876543210
(umask 077 && echo $wrong > /tmp/wrong)
nics=() secret=([3]=/tmp/wrong)
for rank in 0 1 2 3; do meet[rank]=127.0.0.1:40123; done
start secret --join-within 10
finish secret
expect secret 2 3 "does not know the secret of this run"
for rank in 0 1 2; do
  expect secret 2 $rank "process 3 did not come within 10 s; somebody who does not know the secret"
done
grep -q -e $KVHAUL_SECRET -e $wrong /tmp/secret.* && fail "a secret in the output"

(umask 077 && printf 'kvhaul-rendezvous 2\nhost guest\naddr' > /tmp/cut)
secret=() meet=([1]=/tmp/cut)
start cut --join-within 10
finish cut
expect cut 2 1 "/tmp/cut:3: expected"
for rank in 0 2 3; do
  expect cut 2 $rank "process 1 did not come within 10 s"
done

# ---- One is killed ---------------------------------------------------------------------------

meet=()
for victim in 3 1; do
  name=killed$victim
  start $name -n 12 --speedup 0.8
  # Until bytes move: process 0 has said how many channels there are.
  for ((i = 0; i < 600; ++i)); do grep -q " channels" "/tmp/$name.0" && break; sleep 0.1; done
  sleep 3
  kill -9 "${pids[$victim]}"
  finish $name
  for rank in 0 1 2 3; do
    [[ $rank == "$victim" ]] ||
      expect $name 1 $rank "process $victim was lost"
  done
  [[ $(grep -c . "/out/$name/requests.csv") == 13 ]] || fail "$name: not a row for each request"
  # Its requests are prefilled again by the others: the last column counts that.
  grep -q ,transfer_failed, "/out/$name/requests.csv" && fail "$name: a request was lost"
  grep -q ',[1-9]$' "/out/$name/requests.csv" || fail "$name: no request was prefilled again"
  grep -q "lost: true" "/out/$name/run.yaml" || fail "$name: run.yaml does not say who was lost"
done

echo "$failures failures"
((failures == 0))
