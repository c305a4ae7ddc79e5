#!/usr/bin/env bash
# single_gpu.sh BUILD OUT [TRACE]: on a machine with a GPU, checks the CUDA backend and measures it.
# BUILD: a build folder with kvhaul, tests and benchmarks (preset release or portable). Into OUT: the
# log of every step, the calibrated scenarios, run directories and event logs. TRACE: Azure's
# conversations of 2023 (AzureLLMInferenceTrace_conv.csv), else the sample chat-200 takes their place.
# About four minutes. Exit 1 when a step failed; the others are done all the same.
set -uo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
if (($# < 2 || $# > 3)); then
  echo "single_gpu.sh: expected BUILD OUT [TRACE]" >&2
  exit 2
fi
build=$(cd "$1" && pwd) || exit 2
mkdir -p "$2" && out=$(cd "$2" && pwd) || exit 2
trace=${3:-} failed=0
kvhaul=$build/kvhaul

step() { # NAME COMMAND...: its output goes to the terminal and into OUT/NAME.log
  local name=$1
  shift
  printf '\n== %s: %s\n' "$name" "$*"
  timeout 180 "$@" 2>&1 | tee "$out/$name.log" || { echo "FAILED: $name"; failed=1; }
}

sanitizer=$(command -v compute-sanitizer || echo /usr/local/cuda/bin/compute-sanitizer)
on_gpu=(--gtest_brief=1 --gtest_filter='*Cuda*')
step topo "$kvhaul" topo
step conformance "$build/tests/conformance_tests" "${on_gpu[@]}"
step cuda-tests "$build/tests/cuda_tests" --gtest_brief=1
if [[ -x $sanitizer ]]; then
  # What moves bytes with kernels of our own; copies by the driver are not the sanitizer's business.
  step memcheck "$sanitizer" --tool memcheck --error-exitcode 1 \
    "$build/tests/conformance_tests" --gtest_brief=1 \
    --gtest_filter='*Moves*/CudaStaged:*Moves*/CudaLoadStore*:*PayloadCallsAgree/CudaCopy'
  step memcheck-kernels "$sanitizer" --tool memcheck --error-exitcode 1 \
    "$build/tests/cuda_tests" --gtest_brief=1 --gtest_filter='CudaKernels*'
  step racecheck "$sanitizer" --tool racecheck --error-exitcode 1 \
    "$build/tests/conformance_tests" --gtest_brief=1 --gtest_filter='*Moves*/CudaLoadStore*'
  step racecheck-kernels "$sanitizer" --tool racecheck --error-exitcode 1 \
    "$build/tests/cuda_tests" --gtest_brief=1 --gtest_filter='CudaKernels*'
else
  echo "compute-sanitizer is not here: memcheck and racecheck left out"
fi
step bench "$build/bench/gpu_bench" 7

load=(-t "$root/traces/samples/chat-200.csv" --speedup 60)
scattered_load=(-t "$root/traces/samples/chat-200.csv" --speedup 200)
if [[ -n $trace ]]; then
  load=(-t "$trace" -n 2000 --speedup 12)
  scattered_load=(-t "$trace" -n 1000 --speedup 150)
fi
step calibrate "$kvhaul" calibrate -s h200-one-gpu -b cuda --gather all -o "$out/one-gpu.yaml" --force
for run in 1 2; do
  step "replay-$run" "$kvhaul" replay "${load[@]}" -s "$out/one-gpu.yaml" -b cuda \
    -o "$out/gpu-$run" --force --record "$out/gpu-$run.log"
done
step simulated "$kvhaul" replay "${load[@]}" -s "$out/one-gpu.yaml" -b emulated -o "$out/sim" --force
for run in 1 2; do step "compare-$run" "$kvhaul" compare "$out/gpu-$run" "$out/sim"; done
step verify "$kvhaul" verify "$out/gpu-1.log"

step calibrate-scattered "$kvhaul" calibrate -s h200-scattered -b cuda --gather all \
  -o "$out/scattered.yaml" --force
sed 's/scattered: true/scattered: false/' "$out/scattered.yaml" > "$out/contiguous.yaml"
for scenario in scattered contiguous; do
  step "replay-$scenario" "$kvhaul" replay "${scattered_load[@]}" -s "$out/$scenario.yaml" -b cuda \
    -o "$out/$scenario" --force
done
step compare-scattered "$kvhaul" compare "$out/contiguous" "$out/scattered"
exit $failed
