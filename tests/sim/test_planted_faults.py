"""Every way we know to break a kernel, planted on purpose: the simulator must say what is wrong.

A fault stands in the table with the build and schedule that catch it and the words it must be
reported in. The same kernels without the fault must give the right answer in every schedule and
every build, without a word.

    plain     an ordinary run              late      asynchronous work as late as allowed
    reverse   the last thread first        address   AddressSanitizer and UBSan
    race      the race detector

"wrong answer" means that nothing but the comparison with the reference sees it.
"""

import os
import re
import subprocess

import pytest
from sim import harness

pytestmark = [
    pytest.mark.skipif(bool(harness.missing()), reason=harness.missing()),
    pytest.mark.skipif(harness.VARIANT != "plain", reason="chooses its variants itself"),
]

MODES = {  # name: variant, order, timing
    "plain": ("plain", "ascending", "now"),
    "reverse": ("plain", "descending", "now"),
    "late": ("plain", "ascending", "late"),
    "address": ("address", "ascending", "now"),
    "race": ("race", "ascending", "now"),
}

BLOCK = [
    ("shared_write_past_end", "plain", r'byte 256 of "tile" was written, which has 256 bytes'),
    ("shared_write_past_end", "address", r"use-after-poison"),
    ("shared_read_past_end", "plain", r"wrong answer"),
    ("shared_read_past_end", "address", r"faults_block.cu:\d+.*index 64 out of bounds"),
    ("global_read_past_end", "address", r"heap-buffer-overflow[\s\S]*READ of size 4"),
    ("global_write_past_end", "address", r"heap-buffer-overflow[\s\S]*WRITE of size 4"),
    ("no_barrier_before_read", "plain", r"wrong answer"),
    ("no_barrier_before_read", "race", r'data race in shared memory, byte \d+ of "tile"'),
    ("no_barrier_before_overwrite", "race", r'data race in shared memory, byte \d+ of "tile"'),
    (
        "divergent_barrier",
        "plain",
        r"divergent __syncthreads .* waits in __syncthreads .* at faults",
    ),
    (
        "skipped_barrier",
        "plain",
        r"deadlock[\s\S]*24 .*have returned[\s\S]*40 .*wait in __syncthreads",
    ),
    ("shuffle_in_a_branch", "plain", r"deadlock[\s\S]*20 thread\(s\) wait in __shfl_xor_sync"),
    ("lane_not_in_mask", "plain", r"lane 16 is not in its own mask 0x0000ffff"),
    ("shuffle_from_absent_lane", "plain", r"reads lane 31, which does not take part"),
    ("no_syncwarp", "race", r'data race in shared memory, byte \d+ of "tile"'),
    ("uninitialised_shared", "plain", r"wrong answer"),
    ("misaligned_vector_load", "address", r"misaligned address .* requires 16 byte alignment"),
    ("int32_overflow", "address", r"signed integer overflow: 31000 \* 70000"),
    ("named_barrier_count", "reverse", r"divergent bar.sync \(32 threads\).*\(64 threads\)"),
    (
        "blocks_write_one_place",
        "race",
        r"data race in global memory: write .* write by another block",
    ),
    ("no_threadfence", "race", r"data race in global memory: read .* write by another block"),
    ("poll_without_end", "plain", r"livelock[\s\S]*last seen at faults_block.cu:\d+"),
    ("failed_assert", "plain", r"assert\(.*\) failed; block \(0,0,0\), thread \(50,0,0\)"),
    ("too_much_static_shared", "plain", r"expected at most 49152 bytes, got 49156"),
    ("too_much_dynamic_shared", "plain", r"expected at most 232448 bytes, got 232464"),
    ("too_many_threads", "plain", r"expected 1 to 1024 threads.*got \(1025, 1, 1\)"),
    ("cp_async_not_waited", "late", r"wrong answer"),
    ("cp_async_not_waited", "race", r"data race in shared memory.* asynchronous operation"),
    ("cp_async_without_barrier", "race", r"data race in shared memory"),
    ("cp_async_misaligned", "plain", r"cp.async.cg: expected a shared address aligned to 16 bytes"),
    ("ldmatrix_misaligned", "plain", r"ldmatrix.x1: expected a shared address aligned to 16 bytes"),
    ("misaligned_atomic", "plain", r"atomicAdd: expected an address aligned to 4 bytes"),
]

SM90 = [
    ("init_not_fenced", "plain", r"not visible to the async proxy; expected fence.mbarrier_init"),
    ("init_without_barrier", "reverse", r"the mbarrier at 0x\w+ was not initialised before"),
    ("init_without_barrier", "race", r"data race in shared memory, byte \d+ of \"(full|empty)\""),
    (
        "wrong_parity",
        "plain",
        r"deadlock[\s\S]*mbarrier.try_wait.*for parity \d: it is in phase \d",
    ),
    ("no_expect_tx", "late", r"a TMA load was still in flight when its block ended"),
    ("too_many_bytes", "plain", r"deadlock[\s\S]*0 of 1 arrivals and 8192 bytes missing"),
    (
        "box_misaligned",
        "plain",
        r"expected a shared address aligned to 128 bytes, got 0x\w+ \(64 beyond\)",
    ),
    ("swizzle_mismatch", "plain", r"wrong answer"),
    ("wrong_stride", "plain", r"wrong answer"),
    ("descriptor_outside", "plain", r'byte 16384 of "ring" which has 16384'),
    ("released_early", "race", r'data race in shared memory, byte \d+ of "ring": write .* read'),
    ("never_released", "plain", r"deadlock[\s\S]*1 thread\(s\) wait in mbarrier.try_wait"),
    ("released_twice", "late", r"more arrivals than the 1 this phase of the mbarrier expects"),
    ("released_twice", "race", r'data race in shared memory, byte \d+ of "ring"'),
    ("read_before_wait", "late", r"wrong answer"),
    (
        "written_before_wait",
        "late",
        r"accumulator 3 of thread \d+ .* was written while wgmma was in flight",
    ),
    ("no_wgmma_fence", "plain", r"expected wgmma.fence since the accumulators were last touched"),
    ("mbarrier_overwritten", "plain", r"was overwritten by ordinary stores"),
    ("no_store_fence", "race", r'missing fence.proxy.async for shared memory, byte \d+ of "sC"'),
    ("store_not_waited", "plain", r"returned while a copy out of shared memory was in flight"),
    ("store_source_reused", "late", r"wrong answer"),
    ("store_source_reused", "race", r'data race in shared memory, byte 1300 of "sC"'),
    ("no_data_wait", "race", r'data race in shared memory, byte \d+ of "ring"'),
    ("no_proxy_fence", "race", r'missing fence.proxy.async for shared memory, byte \d+ of "tile"'),
    ("exit_under_multicast", "late", r"block 1 of the cluster has exited before its box arrived"),
    (
        "multicast_outside_cluster",
        "plain",
        r"multicast mask 0x4 names block 2, expected one of the cluster's 2",
    ),
    ("tap_too_far", "plain", r"expected offsets below 256 in 2 dimensions, got 256"),
    ("read_after_peer_exit", "plain", r"ld.shared::cluster: block 0 of the cluster has exited"),
    ("no_cluster_barrier", "race", r'data race in shared memory, byte 0 of "value"'),
    ("wait_without_arrive", "plain", r"barrier.cluster.wait: the thread has not arrived"),
    ("part_of_a_warpgroup", "plain", r"deadlock[\s\S]*96 thread\(s\) wait in wgmma.fence"),
    ("box_too_wide", "plain", r"box\[0\]: expected at most the swizzle's 128 bytes, got 256"),
    (
        "pitch_of_9_elements",
        "plain",
        r"strides\[0\]: expected a multiple of 16 below 2\^40, got 18",
    ),
]

FAULTS = [("faults_block", *row) for row in BLOCK] + [("faults_sm90", *row) for row in SM90]


def run(program, variant, *arguments):
    done = subprocess.run(
        [harness.program(program, variant), *arguments],
        capture_output=True, text=True, timeout=300,
        env=os.environ | {"ASAN_OPTIONS": "detect_leaks=0"},
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize(("program", "fault", "mode", "words"), FAULTS, ids=lambda v: str(v)[:30])
def test_is_caught(program, fault, mode, words):
    variant, order, timing = MODES[mode]
    code, text = run(program, variant, fault, "faulty", order, timing, "1")
    assert code != 0, f"nothing was noticed: {text}"
    assert re.search(words, text), text


@pytest.mark.parametrize("program", ["faults_block", "faults_sm90"])
@pytest.mark.parametrize(("order", "timing"), harness.SCHEDULES)
def test_clean_is_silent(program, order, timing):
    code, text = run(program, "plain", "all", "clean", order, timing, "5")
    assert code == 0, text


@pytest.mark.parametrize("program", ["faults_block", "faults_sm90"])
@pytest.mark.parametrize("variant", ["address", "race"])
@pytest.mark.parametrize(("order", "timing"), [("ascending", "now"), ("random", "random")])
def test_clean_is_silent_under(program, variant, order, timing):
    code, text = run(program, variant, "all", "clean", order, timing, "5")
    assert code == 0, text
