#!/usr/bin/env bash
# A day with a GPU, in 25 minutes: build, test, measure, time, sanitize.
#
#   bench/gpu_day.sh OUT            all stages, in order of importance
#   bench/gpu_day.sh OUT STAGE...   those alone: build peaks tests kernels steps sanitize fallback
#                                   compiled probe table
#
# For a machine with a GPU, nvcc, PyTorch, CuPy and no package index. Each stage has a cap of time
# and leaves what it has when that is over. Start it again with the same OUT, on the same machine or
# a fresh one, and it goes on: a stage that ended well is not run again (remove its line from
# OUT/stages.tsv to do so), and those cut off go on where they were. A kernel that hangs or ruins
# the CUDA context ends one process, not the stage. Without a GPU its stages say "no GPU", and the
# build is real.
#
#   OUT/rows.jsonl    a line for each row of a bench     OUT/log.txt       what the stages printed
#   OUT/train.jsonl   whole training steps               OUT/table.txt     one screen, printed last
#   OUT/peaks.json    the device's measured limits       OUT/report.html   the page, with its plots
#
#   GPU_DAY_PYTHON    the interpreter (python3)
#   GPU_DAY_BUILD     keep: take the modules that are there; fresh (default): build what has changed
#   PYNN_COMMIT       the commit that rows name, where there is no git
#   GPU_DAY_CAP       seconds for any stage, in place of its own
#   GPU_DAY_SECONDS   for all of it (1500): the stages that come after wait for the next start
set -uo pipefail

out=${1:?"usage: bench/gpu_day.sh OUT [STAGE...]"}
shift
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "$0")/.."
python=${GPU_DAY_PYTHON:-python3}
log=$out/log.txt
state=$out/stages.tsv # stage, result, seconds
work=${TMPDIR:-/tmp}/pynn-gpu-day
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export PATH=$PATH:/usr/local/cuda/bin:/usr/local/nvidia/bin
mkdir -p "$work"
touch "$state" "$log"

all="build peaks tests kernels steps sanitize fallback compiled probe table"
declare -A caps=([build]=240 [peaks]=40 [tests]=240 [kernels]=420 [steps]=150 [sanitize]=150
  [fallback]=100 [compiled]=100 [probe]=30 [table]=30) # 25 minutes in all, with the build cold
families="linear conv attention norm softmax optim activation embedding pool reduce dropout"
families+=" arithmetic" # in order of importance; others that bench/ has come behind

# ---- what the stages share ---------------------------------------------------------------------

# Ends a stage that needs a GPU where there is none: 77 is "skipped".
need_gpu() { nvidia-smi -L 2>/dev/null | grep -q GPU || { echo "no GPU"; exit 77; }; }

# Ends a stage that needs the kernels where they were not built.
need_kernels() {
  need_gpu
  "$python" -c "from pynn import backend; raise SystemExit(backend.kernel_module('cuda') is None)" ||
    { echo "no pynn._cuda: the stage build comes first"; exit 1; }
}

# A command in a limit of its own; it ends with its stage, too.
within() {
  local seconds=$1
  shift
  timeout --kill-after=5 "$seconds" "$@" &
  wait $!
}

# python -m bench, again from the next row on where a kernel left the device unusable (code 3).
bench() {
  local code=3 starts=0
  while [ $code = 3 ] && [ $((starts += 1)) -le 8 ]; do
    within 400 "$python" -m bench "$@" --resume --json "$out/rows.jsonl"
    code=$?
  done
  return $code
}

# The tests that are marked for a GPU and match a word, four at a time where pytest-xdist is there.
gpu_tests() {
  local four=()
  "$python" -c "import xdist" 2>/dev/null && four=(-n 4)
  "$python" -m pytest -q -W default -m gpu -p no:cacheprovider "${four[@]}" tests/test_gpu.py \
    -k "$1"
}

all_families() {
  local found name
  found=$("$python" -c "from bench import run; print(*run.families())")
  for name in $families $found; do echo "$name"; done | awk '!seen[$0]++' |
    grep -Fx "$(tr ' ' '\n' <<<"$found")"
}

sources() { find csrc tools CMakeLists.txt pyproject.toml -type f -exec sha256sum {} + | sha256sum; }

# ---- stages ------------------------------------------------------------------------------------

wheel() {
  PYNN_SIM=off "$python" -m pip wheel . --no-build-isolation --no-deps --no-index --quiet \
    -w "$work/wheel" -C build-dir="$work/build"
}

# A wheel, without isolation and without an index; its modules are put beside the sources.
stage_build() {
  nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader 2>/dev/null
  if [ "${GPU_DAY_BUILD:-fresh}" = keep ]; then
    "$python" -c "import pynn; print('kept:', pynn.__file__)"
    return
  fi
  local capability # the machine's own architecture alone, where it has one: half the time
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)
  [ -n "$capability" ] && export CUDAARCHS=${CUDAARCHS:-${capability/./}-real}
  rm -rf "$work/wheel"
  wheel || { # the day is too short for the register table of a compiler that nobody has tried
    echo "once more: what ptxas complains of is reported"
    PYNN_PTXAS=report wheel
  } || return 1
  "$python" - "$work"/wheel/*.whl <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    modules = [n for n in wheel.namelist() if n.startswith("pynn/_") and n.endswith(".so")]
    for name in modules:
        wheel.extract(name)
print("built:", ", ".join(modules) or "no native module")
PYTHON
  "$python" -c "from pynn import backend; m = backend.kernel_module('cuda'); print(m and m.build_info())"
  sources >"$work/built"
}

stage_peaks() {
  need_gpu
  "$python" -m bench peaks --device cuda --json "$out/peaks.json"
}

# Every kernel against its reference; then all tests of kernels, and of the wrappers of PTX.
stage_tests() {
  need_kernels
  local family result=0 names
  "$python" -m pynn info
  names=$("$python" -c "from pynn.cases import FAMILIES; print(*FAMILIES)")
  for family in $names; do
    within 40 "$python" -m pynn check "$family" --device cuda ||
      { echo "pynn check $family: code $?"; result=1; }
  done
  gpu_tests "not by_cupy_alone" || result=1
  return $result
}

# 16 bits before 32: a cap cuts off the least, and the next start goes on there. One process for
# all, since each takes seconds to begin; one for each family where that crashes.
stage_kernels() {
  need_kernels
  local result=0 dtype family code how=(--seconds 0.1 --limit 40)
  how+=(--peer torch --peer cublaslt --peer fused --peer cudnn --peer flash)
  for dtype in bfloat16 float32; do
    # shellcheck disable=SC2046  # a list of words
    bench $(all_families) --dtype $dtype "${how[@]}"
    code=$?
    [ $code = 0 ] || result=1
    [ $code -gt 3 ] || continue
    for family in $(all_families); do
      bench "$family" --dtype $dtype "${how[@]}"
    done
  done
  return $result
}

stage_steps() {
  need_kernels
  local step result=0
  for step in gpt2 resnet50 digits-cnn digits-mlp; do
    grep -qs "\"case\": \"$step\".*\"arms\"" "$out/train.jsonl" && continue
    within 60 "$python" -m bench train "$step" --device cuda --json "$out/train.jsonl" || result=1
  done
  return $result
}

# initcheck sees each kernel that writes, the others ours alone.
stage_sanitize() {
  need_kernels
  local tool result=0 options sanitizer
  sanitizer=$(command -v compute-sanitizer) || { echo "no compute-sanitizer"; return 1; }
  for tool in memcheck racecheck synccheck initcheck; do
    options=(--tool $tool --error-exitcode 9 --report-api-errors no --print-limit 20)
    options+=(--destroy-on-device-error kernel)
    [ $tool = memcheck ] && options+=(--padding 512)
    [ $tool = racecheck ] && options+=(--racecheck-deadlock-timeout 2000)
    [ $tool != initcheck ] && options+=(--kernel-name kns=pynn)
    echo "compute-sanitizer $tool"
    # shellcheck disable=SC2046  # a list of words
    within 36 "$sanitizer" "${options[@]}" "$python" -m bench.small_shapes --launch \
      $(all_families) || { echo "$tool: code $?"; result=1; }
  done
  return $result
}

# Without pynn._cuda, as on a machine without a compiler: the references by CuPy.
stage_fallback() {
  need_gpu
  local result=0
  within 60 "$python" -m bench.small_shapes --reference || result=1
  gpu_tests "by_cupy_alone or reference" || result=1
  return $result
}

# The peers that take seconds for each case: torch.compile, and CuPy where it is the fallback.
stage_compiled() {
  need_kernels
  "$python" -m bench softmax norm activation --dtype bfloat16 --peer compile --peer cupy \
    --seconds 0.05 --limit 90 --json "$out/rows.jsonl"
}

stage_probe() {
  need_gpu
  "$python" -m bench.probe
}

stage_table() {
  [ -s "$out/rows.jsonl" ] && "$python" -m bench report "$out/rows.jsonl" --out "$work/report" &&
    cp "$work/report/index.html" "$out/report.html"
  "$python" -m bench.day_table "$out" | tee "$out/table.txt"
}

# ---- one after another ----------------------------------------------------------------------------

if [ "${1:-}" = --inside ]; then # in a process of its own, so that `timeout` ends all of it
  trap 'kill $(jobs -p) 2>/dev/null; exit 143' TERM
  "stage_$2"
  exit
fi

# Whether a stage is done, and what it left is here: a fresh machine has no build, and no peaks.
done_before() {
  grep -q "^$1	done" "$state" || return 1
  case $1 in
    build) [ "${GPU_DAY_BUILD:-fresh}" = keep ] || [ "$(sources)" = "$(cat "$work/built" 2>&1)" ] ;;
    peaks) "$python" -m bench peaks --known "$out/peaks.json" ;;
    table) false ;;
  esac
}

stages=${*:-$all}
failed=0
for stage in $stages; do
  case " $all " in
    *" $stage "*) ;;
    *) echo "[gpu_day] stage: expected one of $all, got $stage" >&2; exit 2 ;;
  esac
done
for stage in $stages; do
  if done_before "$stage"; then
    echo "$stage: done before"
    continue
  fi
  start=$SECONDS
  cap=${GPU_DAY_CAP:-${caps[$stage]}}
  left=$((${GPU_DAY_SECONDS:-1500} - SECONDS))
  if [ "$stage" != table ]; then
    left=$((left - caps[table]))
    if [ $left -lt 15 ]; then
      echo "$stage: not begun, for the time is over"
      continue
    fi
    [ "$cap" -gt $left ] && cap=$left
  fi
  printf '\n==== %s, at most %s s\n' "$stage" "$cap" >>"$log"
  timeout --kill-after=10 "$cap" bash "bench/gpu_day.sh" "$out" --inside "$stage" 2>&1 |
    tee -a "$log" | tail -n 45
  case ${PIPESTATUS[0]} in
    0) result="done" ;;
    77) result="no GPU" ;;
    124 | 137 | 143) result="out of time" ;;
    *) result="failed"; failed=1 ;;
  esac
  sed -i "/^$stage	/d" "$state"
  printf '%s\t%s\t%s\n' "$stage" "$result" $((SECONDS - start)) >>"$state"
  echo "$stage: $result, $((SECONDS - start)) s"
done
exit $failed
