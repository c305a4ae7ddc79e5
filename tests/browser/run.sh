#!/usr/bin/env bash
# run.sh KVHAUL SOURCE_DIR WORK_DIR: opens reports of real runs in Debian's Chromium and checks them.
# Screenshots go into WORK_DIR. Exit 77: a package is missing; where scripts/test has installed them
# (KVHAUL_PACKAGES_INSTALLED) that is a failure.
set -euo pipefail
program=$1 source=$2 work=$3

# In the form that scripts/test looks for.
missing() {
  printf 'browser: Skipped\n%s is missing (Debian: %s)\n\n' "$1" "$2"
  [[ -z ${KVHAUL_PACKAGES_INSTALLED:-} ]] || exit 1
  exit 77
}

# Debian's Python, which alone sees Debian's modules: another may come first in PATH.
python=/usr/bin/python3
export KVHAUL_CHROMIUM=${KVHAUL_CHROMIUM:-/usr/bin/chromium}
export KVHAUL_CHROMEDRIVER=${KVHAUL_CHROMEDRIVER:-/usr/bin/chromedriver}
[[ -x $KVHAUL_CHROMIUM ]] || missing "$KVHAUL_CHROMIUM" chromium
[[ -x $KVHAUL_CHROMEDRIVER ]] || missing "$KVHAUL_CHROMEDRIVER" chromium-driver
[[ -x $python ]] || missing "$python" python3-selenium
"$python" -c 'import selenium' 2> /dev/null || missing "Selenium for $python" python3-selenium

mkdir -p "$work"
cd "$work"
KVHAUL_PROGRAM=$program KVHAUL_SOURCE=$source PYTHONDONTWRITEBYTECODE=1 \
  exec "$python" "$source/tests/browser/report_test.py" --verbose
