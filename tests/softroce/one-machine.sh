# In the guest: the backend contract over one rail and two, push and pull, data byte by byte; then all
# that the verbs backend's own tests need devices for: rails and processes that are lost in the middle
# of traffic, staging.
. /rails.sh
make_rails 2
found=$(ls /sys/class/infiniband | wc -l)
[[ $found == 4 ]] || { echo "expected 4 RDMA devices, found $found"; exit 1; }

all_run() { # PROGRAM FILTER: a test that skips here has not been run anywhere
  "$1" --gtest_filter="$2" --gtest_brief=1 --gtest_color=no | tee /tmp/log
  ((PIPESTATUS[0] == 0)) || exit 1
  grep -q '^\[  PASSED  \] [1-9]' /tmp/log && ! grep -q '^\[  SKIPPED' /tmp/log ||
    { echo "$1: tests were skipped, or there were none"; exit 1; }
}
all_run conformance_tests '*Verbs*-*Apart*'
all_run verbs_tests '*'
