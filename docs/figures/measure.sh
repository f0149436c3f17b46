#!/usr/bin/env bash
# Measures this machine with all benches, and writes each figure beside its goal: README.md, with plots (*.svg) and what the
# benches said (*.json).
#
#   docs/figures/measure.sh                     the figures: 15 minutes or so, on a machine that does nothing else
#   VMS=500 OUT=/tmp/f docs/figures/measure.sh  a quick check that all of it works
#
# VMS is how many VMs there are at once (10000), OUT where it all goes (this directory). Needs cargo, python3, /dev/kvm; Go
# and Debian's Python 3.11 for their programs.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
vms=${VMS:-10000}
out=${OUT:-$here}
[[ $vms =~ ^[1-9][0-9]*$ ]] || { echo "VMS is a number of VMs, not $vms" >&2; exit 1; }
mkdir -p "$out"
out=$(cd "$out" && pwd)

(cd "$root" && cargo build --release --locked --package denali)
denali=${CARGO_TARGET_DIR:-$root/target}/release/denali

# A gibibyte for ten thousand, and as much for each where there are fewer.
memory=$((vms * 1024 / 10000 + 1))MiB
[[ $vms == 10000 ]] && memory=1GiB
some=$((vms < 1000 ? vms : 1000))
rounds=(--rounds 60)
[[ $vms -lt 10000 ]] && rounds=(--rounds 11)

# bench NAME ARGUMENTS: what the bench says, as NAME.json. Whole or not there.
bench() {
    local name=$1 what=$2
    shift 2
    echo "measuring: $name (denali bench $what $*)" >&2
    "$denali" bench "$what" --json "$@" >"$out/$name.json.new"
    mv "$out/$name.json.new" "$out/$name.json"
}

# Before the benches add to it.
load=$(cut -d' ' -f1 /proc/loadavg)

bench vm vm --plot "$out/vm.svg"
bench start start
bench job job --plot "$out/job.svg"
bench cpu cpu ${rounds[@]+"${rounds[@]}"} --plot "$out/cpu.svg"
bench scale scale --vms "$vms" --plot "$out/scale.svg"
bench memory scale --vms "$vms" --memory "$memory" --plot "$out/memory.svg"
bench idle scale --vms "$some" --idle
bench sweep scale --vms "$some" --sweep --plot "$out/sweep.svg"
bench paper paper --plot "$out/paper.svg"
bench syscall syscall --rounds 15
# Programs in other languages, where they are. A VM has one CPU, so the host's process gets one.
nbody=$(mktemp -d)
trap 'rm -rf "$nbody"' EXIT
programs=()
if command -v go >/dev/null; then
    CGO_ENABLED=0 go build -o "$nbody/go" "$root/samples/nbody/nbody.go"
    bench program-go program --rounds 7 --native "taskset -c 0 $nbody/go" "$nbody/go" 5000000 4
    programs+=(go)
fi
python=/usr/bin/python3.11
if [[ -x $python ]]; then
    "$python" "$root/samples/python/pack.py" -o "$nbody/python.denali" --denali "$denali" \
        --files "$root/samples/nbody/nbody.py" --argument=-I --argument=/nbody.py >&2
    bench program-python program --rounds 7 --native "taskset -c 0 $python -I $root/samples/nbody/nbody.py" \
        "$nbody/python.denali" 600000
    programs+=(python)
fi

commit=$(git -C "$root" describe --always --dirty 2>/dev/null || echo unknown)
python3 "$here/table.py" "$out" "$vms" "$some" "$load" "$commit" "$(date -u +%F)" ${programs[@]+"${programs[@]}"} >"$out/README.md.new"
mv "$out/README.md.new" "$out/README.md"
echo "written: $out/README.md" >&2
