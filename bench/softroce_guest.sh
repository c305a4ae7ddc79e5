# In the guest of tests/softroce, started by bench/softroce.sh: what the verbs backend makes of RDMA
# rails. Every measurement leaves a line in /out.
. /rails.sh
make_rails 2
both=rxa0,rxa1,rxb0,rxb1
rounds=5

busy_s() { # of all processors, since the guest was started
  awk '/^cpu / { print ($2 + $3 + $4 + $7 + $8) / 100 }' /proc/stat
}
TIMEFORMAT='%U %S'

# Runs a sender; leaves its output in /tmp/client, and what it cost in processor_s, of its process, and
# machine_s, of all, with what the kernel and the other end did. All senders run on the processor that
# takes the acknowledgements, the other one has what arrives (rails.sh): where the kernel happened to
# put a sender made more difference than which one it was.
costed() {
  local before used
  before=$(busy_s)
  used=$({ time taskset 1 "$@" > /tmp/client 2>&1; } 2>&1)
  processor_s="$(awk -v t="$used" 'BEGIN { split(t, s, " "); print s[1] + s[2] }')"
  machine_s=$(awk -v a="$before" -v b="$(busy_s)" 'BEGIN { print b - a }')
}
row() { # TOOL KIB MIB_PER_S MIB
  awk -v tool="$1" -v kib="$2" -v rate="$3" -v mib="$4" -v own="$processor_s" -v all="$machine_s" \
    'BEGIN { printf "%s %d %.2f %.2f %.2f\n", tool, kib, rate, own * 1024 / mib, all * 1024 / mib }' |
    tee -a /out/rates.txt
}

# What a run gives depends on how it happened to start: whether one processor sends while the other
# receives, or one does both. So runs are short, and there are many.
mib=48 seconds=0.7 depth=16
export UCX_IB_GID_INDEX=1
perftest() { # NAME KIB MESSAGES_A_COMPLETION
  local args=(-x 1 -F -q 1 -t $depth -Q "$3" -s $(($2 * 1024)) -n $((mib * 1024 / $2)))
  ib_write_bw -d rxb0 "${args[@]}" > /tmp/server 2>&1 &
  sleep 0.7
  costed ib_write_bw -d rxa0 "${args[@]}" 127.0.0.1
  wait
  row "$1" "$2" "$(awk '/^ [0-9]/ { print $4 }' /tmp/client)" $mib
}
# ucx_perftest gives the server the client's device: both ends are on rxa0, whose packets the kernel
# hands back without their crossing the rail. kvhaul_loopback does the same.
ucx() { # KIB
  local args=(-x rc_verbs -t put_bw -D zcopy -O $depth -s $(($1 * 1024)) -n $((mib * 1024 / $1)) -w 4 -f)
  ucx_perftest -d rxa0:1 "${args[@]}" > /tmp/server 2>&1 &
  sleep 0.7
  costed ucx_perftest 127.0.0.1 -d rxa0:1 "${args[@]}"
  wait
  row ucx_loopback "$1" "$(awk 'NF == 8 && $1 + 0 > 0 { print $6 }' /tmp/client)" $mib
}
ours() { # NAME MODE NICS BUFFERS KIB
  costed verbs_bench "$2" "$3" "$5" $depth $seconds "$4"
  row "$1" "$5" $(awk '{ print $2, $4 }' /tmp/client)
}
rails() { # NAME NICS COUNT POLICY
  echo "$1 $(verbs_bench rails "$2" "$3" 10 "$4" 4)" | tee -a /out/rails.txt
}

echo "== one rail, unshaped: TOOL KIB MiB/s, processor s/GiB of the sender's process and of the machine"
# Processor time has the start of each program in it.
# As perftest and UCX do it: never asleep, one buffer.
for ((round = 0; round < 25; ++round)); do
  for kib in 64 1024; do
    perftest ib_write_bw $kib $depth
    ours kvhaul poll rxa0,rxb0 1 $kib
    ucx $kib
    ours kvhaul_loopback poll rxa0,rxa0 1 $kib
    ((round % 5 == 0)) || continue
    # A completion for each message, as kvhaul has for such sizes; a buffer for each; asleep.
    perftest ib_write_bw_each $kib 1
    ours kvhaul_apart poll rxa0,rxb0 $depth $kib
    ours kvhaul_asleep rate rxa0,rxb0 1 $kib
  done
done

echo "== two rails, 80 Mb/s each, then one of them 40 Mb/s"
for ((round = 0; round < rounds; ++round)); do
  shape 0 80mbit
  shape 1 80mbit
  rails one rxa0,rxb0 1 least_finish
  rails two $both 2 least_finish
  rails two_round_robin $both 2 round_robin
  shape 1 40mbit
  rails half_alone rxa1,rxb1 1 least_finish
  rails and_a_half $both 2 least_finish
  rails and_a_half_round_robin $both 2 round_robin
done

echo "== a rail is lost; a process is killed"
for ((round = 0; round < rounds; ++round)); do
  verbs_tests --gtest_filter='*LostPath*' --gtest_color=no | grep ' ms after' | tee -a /out/lost.txt
done
verbs_tests --gtest_filter='*LostProcess*' --gtest_color=no | grep ' ms after' | tee -a /out/lost.txt

echo "== two rails, 40 Mb/s each: calibrated, then a trace replayed, twice"
shape 0 40mbit 32k
shape 1 40mbit 32k
kvhaul calibrate -s /scenario.yaml -b verbs --nics $both --segment '8 MiB' -o /out/calibrated.yaml |
  tee /out/calibrated.txt
for run in real again; do
  kvhaul replay -t /trace.csv -n 30 --speedup 0.15 -s /out/calibrated.yaml -b verbs --nics $both -o /out/$run
done
