"""kill -9 at random moments while events flow: nothing acknowledged is lost, nothing is there twice, order holds.

TIDEGATE_TEST_PIPELINE_KILLS says how often (`make soak`: 200); TIDEGATE_TEST_SEED repeats the choices of a run, not its timing.
"""

import os
import threading
import time

import crash
from conftest import Told, wait_for
from pipeline import Pipeline

KILLS = int(os.environ.get("TIDEGATE_TEST_PIPELINE_KILLS", "20"))
RECORDS_BEFORE_KILL = 1_000
SHARDS = 3


def test_kill_9_loses_nothing_and_doubles_nothing(new_server, webhook):
    rng, seed = crash.seeded()
    # Small segments, so that kills meet their rotation.
    server = new_server(env={"TIDEGATE_LOG_SEGMENT_BYTES": str(1 << 20)}).start()
    seen = Told(server, "crash")
    pipeline = Pipeline(server, webhook, name="crash", shards=SHARDS, pattern={"source": [crash.SOURCE]},
                        code=seen.source + crash.FUNCTION,
                        partition_key_path="$.detail.producer")
    ledger, gate = crash.Ledger(), threading.Event()
    producers = [crash.Producer(f"k{n}", server, ledger, gate, stream=pipeline.name) for n in range(3)]
    producers += [crash.Producer(f"e{n}", server, ledger, gate, batch=10) for n in range(2)]
    moments = crash.Moments(server, webhook, ledger, seen, rng)
    restarts, in_commit = [], 0
    for producer in producers:
        producer.start()

    try:
        for _ in range(KILLS):
            before, unknown = ledger.count(), len(ledger.unknown)
            gate.set()
            wait_for(lambda: ledger.count() >= before + RECORDS_BEFORE_KILL or server.process.poll() is not None, 60,
                     f"{RECORDS_BEFORE_KILL} acknowledged records ({ledger.errors})")
            moments.wait()
            assert server.process.poll() is None, f"the server ended by itself:\n{server.log()[-4000:]}"
            server.kill()
            gate.clear()
            wait_for(lambda: all(p.idle.is_set() for p in producers), 60, "the producers' pause")
            in_commit += len(ledger.unknown) > unknown
            started = time.monotonic()
            server.start()
            restarts.append(time.monotonic() - started)
        # One more round without a kill: all still works, and what the bus still held is through when this is.
        before = {producer: producer.counter for producer in producers}
        gate.set()
        wait_for(lambda: all(p.counter >= before[p] + 3 * p.batch for p in producers), 60, "a round after the last kill")
    finally:
        gate.clear()
        for producer in producers:
            producer.stopping = True
        for producer in producers:
            producer.join(30)

    verify(server, pipeline, webhook, ledger, producers, seen)
    moments_hit = ", ".join(f"{kind} {count}" for kind, count in sorted(moments.hit.items()))
    print(f"\nseed {seed}: {KILLS} kills ({moments_hit}; {in_commit} with calls under way), "
          f"{len(ledger.acknowledged)} acknowledged, {len(ledger.unknown)} unknown, {len(ledger.refused)} refused, "
          f"{len(webhook.texts())} alerts for {len(set(webhook.texts()))} events, "
          f"restart {min(restarts):.2f} to {max(restarts):.2f} s, errors {dict(ledger.errors)}")
    assert in_commit >= KILLS // 10, "the kills hardly met a call under way"
    assert server.stop() == 0, server.log()[-4000:]
    errors = [line for line in server.log().splitlines() if "panicked" in line or '"level":"ERROR"' in line]
    assert not errors, f"{len(errors)} errors in the server's log, such as {errors[:3]}"


def verify(server, pipeline, webhook, ledger, producers, seen):
    """The stream against the ledger, then index, function and alerts against the stream."""
    def shards_with_all():
        shards = crash.stream_records(server, pipeline.name)
        found = {identity for records in shards.values() for _, identity in records}
        return shards if ledger.acknowledged <= found else None

    shards = wait_or(shards_with_all, lambda: crash.stream_records(server, pipeline.name), "the stream")
    assert crash.stream_faults(ledger, shards) == []
    on_stream = {identity for records in shards.values() for _, identity in records}

    wait_or(lambda: pipeline.count() >= len(on_stream), None, "the index")
    faults = crash.index_faults(shards, crash.indexed(pipeline, producers))
    assert faults == [] and pipeline.count() == len(on_stream)

    def function_is_through():
        return crash.function_faults(shards, crash.function_lines(seen)) == []

    wait_or(function_is_through, None, "the function")
    assert crash.function_faults(shards, crash.function_lines(seen)) == []

    expected = {f"{producer} {counter}" for producer, counter in on_stream if counter % crash.ALERT_EVERY == 0}
    wait_or(lambda: expected <= set(webhook.texts()), None, "the alerts")
    missing = expected - set(webhook.texts())
    assert not missing, f"{len(missing)} alerts never came, such as {sorted(missing)[:5]}"


def wait_or(condition, otherwise, what):
    """Waits long; without success the checks that follow say better than a time-out what is missing."""
    try:
        return wait_for(condition, 60 + KILLS, what)
    except AssertionError:
        return otherwise() if otherwise else None


def test_the_verdict_can_fail():
    ledger = crash.Ledger()
    ledger.note("acknowledged", [("a", 1), ("a", 2), ("b", 1)])
    ledger.note("unknown", [("a", 3)])
    ledger.note("refused", [("a", 4)])
    good = {"s1": [("01", ("a", 1)), ("03", ("a", 2)), ("05", ("a", 3))], "s2": [("02", ("b", 1))]}
    assert crash.stream_faults(ledger, good) == []
    bad = {
        "are lost": {"s1": good["s1"]},
        "more than once": {**good, "s2": [("02", ("b", 1)), ("06", ("a", 3))]},
        "were refused": {**good, "s2": [("02", ("b", 1)), ("06", ("a", 4))]},
        "do not grow": {**good, "s1": [good["s1"][n] for n in (0, 2, 1)]},
        "comes after": {**good, "s1": [("01", ("a", 2)), ("03", ("a", 1)), ("05", ("a", 3))]},
    }
    for fault, shards in bad.items():
        assert any(fault in found for found in crash.stream_faults(ledger, shards)), fault

    documents = [identity for records in good.values() for _, identity in records]
    assert crash.index_faults(good, documents) == []
    for fault, found in (("missing", documents[1:]), ("in the index only", documents + [("c", 1)]), ("more than once", documents * 2)):
        assert any(fault in text for text in crash.index_faults(good, found)), fault

    lines = [("s1", "01"), ("s2", "02"), ("s1", "01"), ("s1", "03"), ("s1", "03"), ("s1", "05")]
    assert crash.function_faults(good, lines) == []
    for fault, found in (("0 of 1 records of s2", [line for line in lines if line[0] == "s1"]),
                         ("before record", [lines[0], lines[5]]), ("not in the stream", [("s1", "99")])):
        assert any(fault in text for text in crash.function_faults(good, found)), fault
