#!/usr/bin/env bash
# A day with a GPU, in 25 minutes: build, test, sanitize, measure, time.
#
#   bench/gpu_day.sh OUT            all stages, in order of importance
#   bench/gpu_day.sh OUT STAGE...   those alone: build peaks tests kernels steps sanitize fallback
#                                   compiled probe table
#
# For a machine with a GPU, nvcc, PyTorch, CuPy and no package index. Each stage has a cap of time
# and leaves what it has when that is over; one that ended well is not run again (remove its line
# from OUT/stages.tsv to do so). Without a GPU its stages say "no GPU", and the build is real.
#
#   OUT/rows.jsonl    a line for each row of a bench     OUT/log.txt     what the stages printed
#   OUT/train.jsonl   whole training steps               OUT/table.txt   one screen, printed last
#   OUT/peaks.json    the device's measured limits       OUT/report/     the page, with its plots
#
#   GPU_DAY_PYTHON   the interpreter (python3)
#   GPU_DAY_BUILD    keep: take the modules that are there; fresh (default): build what has changed
#   GPU_DAY_CAP      seconds for any stage, in place of its own
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
touch "$state" "$log"

all="build peaks tests kernels steps sanitize fallback compiled probe table"
declare -A caps=([build]=300 [peaks]=40 [tests]=150 [kernels]=420 [steps]=180 [sanitize]=160
  [fallback]=60 [compiled]=120 [probe]=30 [table]=40) # 25 minutes in all, with the build cold

has_gpu() { nvidia-smi -L 2>/dev/null | grep -q GPU; }

# Ends a stage that needs a GPU where there is none: 77 is "skipped".
need_gpu() { has_gpu || { echo "no GPU"; exit 77; }; }

# ---- stages ------------------------------------------------------------------------------------

# A wheel, without isolation and without an index; its modules are put beside the sources.
stage_build() {
  if [ "${GPU_DAY_BUILD:-fresh}" = keep ]; then
    "$python" -c "import pynn; print('kept:', pynn.__file__)"
    return
  fi
  local capability # the machine's own architecture alone, where it has one: half the time
  capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1)
  [ -n "$capability" ] && export CUDAARCHS=${CUDAARCHS:-${capability/./}-real}
  rm -rf "$work/wheel"
  PYNN_SIM=off "$python" -m pip wheel . --no-build-isolation --no-deps --no-index --quiet \
    -w "$work/wheel" -C build-dir="$work/build" || return 1
  "$python" - "$work"/wheel/*.whl <<'PYTHON'
import sys, zipfile
with zipfile.ZipFile(sys.argv[1]) as wheel:
    modules = [n for n in wheel.namelist() if n.startswith("pynn/_") and n.endswith(".so")]
    for name in modules:
        wheel.extract(name)
print("built:", ", ".join(modules) or "no native module")
PYTHON
  "$python" -c "from pynn import backend; m = backend.kernel_module('cuda'); print(m and m.build_info())"
}

stage_peaks() {
  need_gpu
  "$python" -m bench peaks --device cuda --json "$out/peaks.json"
}

# Every kernel against its reference, then the tests that are marked for a GPU.
stage_tests() {
  need_gpu
  "$python" -c "from pynn.check import run; raise SystemExit(run((), device='cuda'))"
  local checked=$?
  "$python" -m pytest -q -m gpu -p no:cacheprovider
  local tested=$?
  [ $tested = 5 ] && tested=0 # none is marked
  return $((checked | tested))
}

# The families in order of importance, 16 bits before 32: a cap cuts off the least, and the next run
# goes on there.
stage_kernels() {
  need_gpu
  local result=0 family
  for family in linear conv attention norm softmax optim activation embedding pool reduce dropout arithmetic; do
    [ -f "bench/$family.py" ] || continue
    "$python" -m bench "$family" --dtype bfloat16 --resume --json "$out/rows.jsonl" || result=1
  done
  for family in linear softmax norm optim activation; do
    "$python" -m bench "$family" --dtype float32 --resume --json "$out/rows.jsonl" || result=1
  done
  return $result
}

stage_steps() {
  need_gpu
  "$python" -m bench train --device cuda --json "$out/train.jsonl"
}

stage_sanitize() {
  need_gpu
  local tool result=0 ours=()
  command -v compute-sanitizer >/dev/null || { echo "no compute-sanitizer"; return 1; }
  compute-sanitizer --help 2>&1 | grep -q -- --kernel-regex && ours=(--kernel-regex kns=pynn)
  for tool in memcheck racecheck initcheck synccheck; do
    echo "compute-sanitizer $tool"
    timeout 39 compute-sanitizer --tool $tool --target-processes all --error-exitcode 9 \
      "${ours[@]}" "$python" -m bench.small_shapes || result=1
  done
  return $result
}

# The tests again as on a machine without a compiler: a copy of the tree, without pynn._cuda.
stage_fallback() {
  need_gpu
  rm -rf "$work/fallback"
  mkdir -p "$work/fallback"
  cp -r pynn bench tests pyproject.toml "$work/fallback/"
  rm -f "$work"/fallback/pynn/_cuda*.so
  cd "$work/fallback" && export PYTHONPATH=$PWD
  "$python" -m bench.small_shapes --reference || return 1
  "$python" -m pytest -q -m gpu -p no:cacheprovider
  local tested=$?
  [ $tested = 5 ] || return $tested
}

# torch.compile takes seconds for each case, so it gets a stage of its own.
stage_compiled() {
  need_gpu
  "$python" -m bench softmax norm activation --dtype bfloat16 --peer compile --seconds 0.05 \
    --json "$out/rows.jsonl"
}

stage_probe() {
  need_gpu
  "$python" -m bench.probe
}

stage_table() {
  [ -s "$out/rows.jsonl" ] && "$python" -m bench report "$out/rows.jsonl" --out "$out/report"
  "$python" -m bench.day_table "$out" | tee "$out/table.txt"
}

# ---- one after another ----------------------------------------------------------------------------

if [ "${1:-}" = --inside ]; then # in a process of its own, so that `timeout` ends all of it
  "stage_$2"
  exit
fi

stages=${*:-$all}
failed=0
for stage in $stages; do
  case " $all " in
    *" $stage "*) ;;
    *) echo "[gpu_day] stage: expected one of $all, got $stage" >&2; exit 2 ;;
  esac
done
for stage in $stages; do
  if [ "$stage" != table ] && grep -q "^$stage	done" "$state"; then
    echo "$stage: done before"
    continue
  fi
  start=$SECONDS
  cap=${GPU_DAY_CAP:-${caps[$stage]}}
  printf '\n==== %s, at most %s s\n' "$stage" "$cap" >>"$log"
  timeout --kill-after=10 "$cap" bash "bench/gpu_day.sh" "$out" --inside "$stage" 2>&1 |
    tee -a "$log" | tail -n 45
  case ${PIPESTATUS[0]} in
    0) result="done" ;;
    77) result="no GPU" ;;
    124 | 137) result="out of time" ;;
    *) result="failed"; failed=1 ;;
  esac
  sed -i "/^$stage	/d" "$state"
  printf '%s\t%s\t%s\n' "$stage" "$result" $((SECONDS - start)) >>"$state"
  echo "$stage: $result, $((SECONDS - start)) s"
done
exit $failed
