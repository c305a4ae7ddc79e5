#!/usr/bin/env bash
# multi_gpu.sh BUILD OUT [TRACE]: on a machine with several GPUs, checks the routes between them and
# measures them. BUILD: a build folder with kvhaul, tests and benchmarks; where it has no kvhaul, it is
# configured with the preset of its name (release, portable) and built. Into OUT: the log of every
# step, calibrated scenarios, run directories, and the short table that is printed last. TRACE: Azure's
# conversations of 2023 (AzureLLMInferenceTrace_conv.csv), else the sample chat-200 takes their place.
# Below eight minutes. With one GPU the same steps run between two places in its memory, where they
# can. Exit 1 when a step failed; the others are done all the same.
set -uo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
if (($# < 2 || $# > 3)); then
  echo "multi_gpu.sh: expected BUILD OUT [TRACE]" >&2
  exit 2
fi
trace=${3:-} failed=0
mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 2
if [[ ! -x $1/kvhaul ]]; then
  cmake -S "$root" --preset "$(basename "$1")" -B "$1" > "$out/build.log" 2>&1 &&
    cmake --build "$1" --parallel \
      --target kvhaul conformance_tests cuda_tests multi_gpu_bench >> "$out/build.log" 2>&1 ||
    { echo "multi_gpu.sh: no build in $1: $(grep -m1 -i error "$out/build.log")" >&2; exit 3; }
fi
build=$(cd "$1" && pwd) || exit 2
kvhaul=$build/kvhaul

step() { # NAME COMMAND...: its output goes to the terminal and into OUT/NAME.log
  local name=$1 start=$SECONDS
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  timeout 200 "$@" 2>&1 | tee "$out/$name.log" || { echo "FAILED: $name"; failed=1; }
  echo "($name: $((SECONDS - start)) s)"
}

step topo "$kvhaul" topo
gpus=$(nvidia-smi --list-gpus 2> /dev/null | grep -c '^GPU ')
echo "$gpus GPUs"
step conformance "$build/tests/conformance_tests" --gtest_brief=1 --gtest_filter='*CudaPair*'
step bench "$build/bench/multi_gpu_bench" 5

# From the first half of the GPUs to the second.
half=$((gpus / 2)) devices=()
((half > 0)) || { half=1 devices=(--devices 0,0); }
((half <= 4)) || half=4
names() { # FIRST COUNT
  local list=()
  for ((i = $1; i < $1 + $2; ++i)); do list+=("node0/gpu$i"); done
  local IFS=,
  echo "${list[*]}"
}
load=(-t "$root/traces/samples/chat-200.csv" --speedup 20)
[[ -z $trace ]] || load=(-t "$trace" -n 500 --speedup $((4 * half)))
runs=()
for kind in nvlink_copy nvlink_load_store pcie_staged; do
  sed -e "s/order: .*/order: [$kind]/" -e "s/count: 2\$/count: $((2 * half))/" \
    -e "s|gpus: \[node0/gpu0\]|gpus: [$(names 0 $half)]|" \
    -e "s|gpus: \[node0/gpu1\]|gpus: [$(names $half $half)]|" \
    "$root/scenarios/h100-two-gpus.yaml" > "$out/$kind-before.yaml"
  ((gpus > 1)) || sed -i 's/kv_memory: .*/kv_memory: 24 GB/' "$out/$kind-before.yaml"
  step "calibrate-$kind" "$kvhaul" calibrate -s "$out/$kind-before.yaml" -b cuda "${devices[@]}" \
    --gather all -o "$out/$kind.yaml" --force
  # Other guests of the host use the same PCIe and memory: how steady bare copies are is measured
  # before and after each replay that goes that way.
  rounds=1
  [[ $kind != pcie_staged ]] || rounds=3
  for ((round = 1; round <= rounds; ++round)); do
    run=$kind
    ((rounds == 1)) || { run=$kind-$round; step "steady-$round" "$build/bench/multi_gpu_bench" steady; }
    runs+=("$run")
    step "replay-$run" "$kvhaul" replay "${load[@]}" -s "$out/$kind.yaml" -b cuda "${devices[@]}" \
      -o "$out/gpu-$run" --force --record "$out/$run.log"
    step "simulated-$run" "$kvhaul" replay "${load[@]}" -s "$out/$kind.yaml" -b emulated \
      --time virtual -o "$out/sim-$run" --force
    step "compare-$run" "$kvhaul" compare "$out/gpu-$run" "$out/sim-$run"
    step "verify-$run" "$kvhaul" verify "$out/$run.log"
  done
  ((rounds == 1)) || step "steady-$round" "$build/bench/multi_gpu_bench" steady
done

{
  printf '\n== multi_gpu.sh: %s GPUs, %s s\n' "$gpus" "$SECONDS"
  grep -h -E '^\[  (PASSED|FAILED|SKIPPED) ' "$out/conformance.log" | head -n 3
  sed -n '/^== in short/,$ p' "$out/bench.log" | tail -n +2
  echo "  the simulation's error against the replay on these GPUs:"
  for run in "${runs[@]}"; do
    printf '  %-18s duration %s; %s\n' "$run" \
      "$(grep -m1 -E '^ +duration ' "$out/compare-$run.log" |
        awk '{print "median " $2 ", p95 " $3}')" \
      "$(grep -o 'makespan.*' "$out/compare-$run.log")"
  done
  echo "  bare copies through host memory, before, between and after the staged replays:"
  sed 's/^/    /' "$out"/steady-*.log
} | tee "$out/short.txt"
exit $failed
