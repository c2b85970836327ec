# Adding up what a run printed. Sourced, by tests/run too.
# shellcheck shell=bash

# Whoever says FAILED for a runner that broke off begins a new line: its last one may have no end.
#
# totals FILE: "N passed, N failed", from libtest's own totals (its lines may be broken by what a
# test's child processes print, its totals are not) and the lines of tests that are not libtest's.
totals() {
    awk '
        /^test result:/ { passed += $4; failed += $6 }
        /^test (host|lab|system|bench)::.* \.\.\. ok$/ { passed++ }
        /^test (host|lab|system|bench)::.* \.\.\. FAILED$/ { failed++ }
        END { printf "%d passed, %d failed\n", passed, failed }
    ' "$1"
}

# failures FILE: what failed and what it said of it, so that a reader of the end alone knows.
failures() {
    awk '
        /^test (host|lab|system|bench)::.* \.\.\. FAILED$/ { print; detail = 1; next }
        detail && /^    / { print; next }
        { detail = 0 }
        /^---- .* ----$/ { inside = 1; lines = 0 }
        /^failures:$/ || /^test result:/ { inside = 0 }
        inside && lines++ < 30
    ' "$1"
}

# all_passed TOTALS: true when something passed and nothing failed.
all_passed() { [[ $1 =~ ^[1-9][0-9]*\ passed,\ 0\ failed$ ]]; }
