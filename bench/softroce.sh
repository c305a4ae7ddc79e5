#!/usr/bin/env bash
# softroce.sh BUILD OUT: measures the verbs backend over Soft-RoCE, in one emulated machine and one
# boot, beside perftest and UCX (Debian: perftest, ucx-utils), calibrates it, and compares replays over
# it with their simulation. BUILD: a build folder with kvhaul, tests and benchmarks. Into OUT: every
# line of every measurement. About a quarter of an hour on two processors that do nothing else. All rates
# are in MiB/s.
set -euo pipefail
root=$(cd "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/.." && pwd)
if (($# != 2)); then
  echo "softroce.sh: expected BUILD OUT" >&2
  exit 2
fi
build=$(cd "$1" && pwd)
mkdir -p "$2"
out=$(cd "$2" && pwd)
rm -rf "$out"/{rates,rails,lost,calibrated}.txt "$out"/calibrated.yaml "$out"/{real,again,sim}
for program in ib_write_bw ucx_perftest; do
  command -v $program > /dev/null || { echo "softroce.sh: $program is not here" >&2; exit 3; }
done
files=("$build/bench/verbs_bench" "$build/tests/verbs_tests" "$build/kvhaul"
  "$(command -v ib_write_bw)" "$(command -v ucx_perftest)"
  "$root/scenarios/softroce-two-rails.yaml:/scenario.yaml" "$root/traces/samples/chat-200.csv:/trace.csv")
for plugin in /usr/lib/x86_64-linux-gnu/ucx/*.so*; do files+=("$plugin:$plugin"); done
"$root/tests/softroce/guest" -t 1200 -m 3072 -o "$out" "$root/bench/softroce_guest.sh" "${files[@]}"

# By name (the first COLUMNS-1 words of a line): median, least and most of each number.
summary() { # FILE NAME_WORDS COLUMN UNIT
  echo "                                      median    least     most   $4"
  awk -v words="$2" -v column="$3" '
    { name = $1; for (i = 2; i <= words; ++i) name = name " " $i
      if (!(name in count)) names[++n] = name
      value[name, ++count[name]] = $column }
    END {
      for (k = 1; k <= n; ++k) {
        name = names[k]; c = count[name]
        for (i = 1; i <= c; ++i) {
          v = value[name, i] + 0
          for (j = i - 1; j > 0 && sorted[j] > v; --j) sorted[j + 1] = sorted[j]
          sorted[j + 1] = v
        }
        middle = c % 2 ? sorted[(c + 1) / 2] : (sorted[c / 2] + sorted[c / 2 + 1]) / 2
        printf "%-36s %8.2f %8.2f %8.2f   n=%d\n", name, middle, sorted[1], sorted[c], c
      }
    }' "$1"
}
echo "== one rail: TOOL, KiB a message"
summary "$out/rates.txt" 2 3 "MiB/s"
summary "$out/rates.txt" 2 4 "processor s/GiB of the sender's process"
summary "$out/rates.txt" 2 5 "processor s/GiB of the machine"
echo "== rails of 80 Mb/s (9.54 MiB/s with all headers), and_a_half: the second has 40 Mb/s"
summary "$out/rails.txt" 1 3 "MiB/s"
summary "$out/rails.txt" 1 5 "share of the first rail"
echo "== lost rails and processes"
cat "$out/lost.txt"
echo "== real runs and simulation"
"$build/kvhaul" replay -t "$root/traces/samples/chat-200.csv" -n 30 --speedup 0.15 \
  -s "$out/calibrated.yaml" -b simgrid -o "$out/sim" -q
for run in real again; do "$build/kvhaul" compare "$out/$run" "$out/sim"; done
