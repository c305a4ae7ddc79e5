#!/usr/bin/env bash
# run.sh KVHAUL SOURCE_DIR WORK_DIR: opens reports of real runs in Chromium and checks them. What the
# test needs from npm goes into WORK_DIR, and so do its screenshots. Exit 77: something is missing.
set -euo pipefail
program=$1 source=$2 work=$3

# In the form that scripts/test looks for.
skip() {
  printf 'browser: Skipped\n%s\n\n' "$1"
  exit 77
}

browser=${KVHAUL_CHROMIUM:-/usr/bin/chromium}
[[ -x $browser ]] || skip "no browser: $browser is missing (Debian: chromium)"
command -v node > /dev/null || skip "node is missing (Debian: nodejs)"
mkdir -p "$work"
cp "$source"/tests/browser/{package.json,package-lock.json,report_test.mjs} "$work"
cd "$work"
if ! cmp --silent package-lock.json installed-lock.json; then
  command -v npm > /dev/null || skip "npm is missing (Debian: npm)"
  npm ci --ignore-scripts --no-audit --no-fund --fetch-retries=1 --fetch-timeout=30000 > npm.log 2>&1 ||
    skip "playwright-core could not be installed: $(grep -m1 'npm ERR!' npm.log || tail -n1 npm.log)"
  cp package-lock.json installed-lock.json
fi
KVHAUL_PROGRAM=$program KVHAUL_SOURCE=$source KVHAUL_CHROMIUM=$browser exec node --test report_test.mjs
