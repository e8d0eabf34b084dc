"""kill -9 under load while streams are split, merged, scaled, encrypted and retained: of everything acknowledged
nothing is lost, nothing is there twice, and every reader sees each producer's order along the lineage.

TIDEGATE_KILLS says how often (`make soak`: 1000), TIDEGATE_TEST_KILL_RECORDS how many records are acknowledged between two
kills; TIDEGATE_TEST_SEED repeats the choices of a run, not its timing.
"""

import os
import threading
import time
from array import array

import crash
import crash_streams as streams
from conftest import create_stream, wait_for
from crash_streams import BATCH, DONE, REFUSED, UNKNOWN

KILLS = int(os.environ.get("TIDEGATE_KILLS", "15"))
RECORDS = int(os.environ.get("TIDEGATE_TEST_KILL_RECORDS", "10000"))
NAMES = ("first", "second", "third")
PRODUCERS = 4


def test_kill_9_under_load_loses_doubles_and_reorders_nothing(new_server):
    rng, seed = crash.seeded()
    # Small segments, so that kills meet their rotation.
    server = new_server(env={"TIDEGATE_LOG_SEGMENT_BYTES": str(4 << 20)}).start()
    for name in NAMES:
        create_stream(server, name, 2)
    up = threading.Event()
    up.set()
    producers = [streams.Producer(n, NAMES[n % len(NAMES)], server, up) for n in range(PRODUCERS)]
    readers = [reader_of(name, server, up, producers) for name in NAMES]
    changer = streams.Changer(NAMES, server, up, rng)
    threads = [*producers, *readers, changer]
    for thread in threads:
        thread.start()
    started, restarts, in_call = time.monotonic(), [], 0
    try:
        # A few more than asked for, should chance have left out an operation: how many changes fit between two kills is
        # the machine's affair.
        while len(restarts) < KILLS or (KILLS >= 10 and not changer.tried(OPERATIONS) and len(restarts) < KILLS + 200):
            in_call += kill_under_load(server, up, producers, readers, rng, restarts)
        for thread in [*producers, changer]:
            thread.stopping = True
        for thread in [*producers, changer]:
            thread.join(60)
        took = time.monotonic() - started
        for reader in readers:
            wait_or_verdict(reader, producers)
        faults = verdict(server, producers, readers, changer)
        # Once more from the beginning, after a clean stop: what was there before the first kill still is.
        up.clear()
        assert server.stop() == 0, server.log()[-4000:]
        server.start()
        up.set()
        again = [reader_of(name, server, up, producers) for name in NAMES]
        for reader in again:
            reader.start()
        for reader in again:
            wait_or_verdict(reader, producers)
        faults += verdict(server, producers, again, changer)
    finally:
        up.set()
        for thread in threads:
            thread.stopping = True
    report(seed, producers, changer, restarts, in_call, took)
    assert faults == []
    assert in_call >= KILLS // 4, "the kills hardly met a call under way"
    assert KILLS < 10 or changer.tried(OPERATIONS), f"not everything was tried: {changer.refused}"
    assert server.stop() == 0, server.log()[-4000:]
    errors = [line for line in server.log().splitlines() if "panicked" in line or '"level":"ERROR"' in line]
    assert not errors, f"{len(errors)} errors in the server's log, such as {errors[:3]}"


OPERATIONS = ("SplitShard", "MergeShards", "UpdateShardCount", "StartStreamEncryption", "StopStreamEncryption",
              "IncreaseStreamRetentionPeriod", "DecreaseStreamRetentionPeriod")


def reader_of(name, server, up, producers):
    return streams.Reader(name, server, up, [p for p in producers if p.stream == name])


def kill_under_load(server, up, producers, readers, rng, restarts):
    """One round; whether a call was under way when the server was killed."""
    def acknowledged():
        return sum(p.acknowledged for p in producers)

    before = acknowledged()
    wait_for(lambda: acknowledged() >= before + RECORDS or server.process.poll() is not None or any(r.faults for r in readers),
             120, f"{RECORDS} acknowledged records ({[dict(p.errors) for p in producers]})")
    assert not any(r.faults for r in readers), [r.faults for r in readers]
    threading.Event().wait(rng.choice([0, 0, 0.002, 0.03]) * rng.random())
    assert server.process.poll() is None, f"the server ended by itself:\n{server.log()[-4000:]}"
    lost = sum(p.lost_calls for p in producers)
    server.kill()
    up.clear()
    started = time.monotonic()
    server.start()
    restarts.append(time.monotonic() - started)
    up.set()
    # A producer finds out that its call is lost at its next step at the latest.
    calls = [p.calls for p in producers]
    wait_for(lambda: all(p.calls > n for p, n in zip(producers, calls)), 60, "the producers' next calls")
    return sum(p.lost_calls for p in producers) > lost


def wait_or_verdict(reader, producers):
    """Waits long; without success the verdict says better than a time-out what is missing."""
    own = [p for p in producers if p.stream == reader.stream]
    try:
        wait_for(lambda: streams.seen_all(own, reader), 60 + KILLS, f"all of {reader.stream}")
    except AssertionError:
        pass


def verdict(server, producers, readers, changer):
    faults, client = [], streams.Lean(server.port)
    for reader in readers:
        reader.stopping = True
        reader.join(60)
        for producer in producers:
            if producer.stream == reader.stream:
                faults += streams.record_faults(producer, reader)
        shards = streams.list_shards(client, reader.stream)
        faults += streams.lineage_faults(shards, changer.closed[reader.stream])
        unread = {s["ShardId"] for s in shards} - reader.parents.keys()
        faults += [f"{reader.stream}: no parent led to {sorted(unread)[:5]}"] if unread else []
        summary = client.call("DescribeStreamSummary", {"StreamName": reader.stream})["StreamDescriptionSummary"]
        if summary["RetentionPeriodHours"] not in changer.hours[reader.stream]:
            faults.append(f"{reader.stream} keeps {summary['RetentionPeriodHours']} hours, not {changer.hours[reader.stream]}")
        if (summary.get("EncryptionType") == "KMS") not in changer.encrypted[reader.stream]:
            faults.append(f"{reader.stream} is encrypted or not, against {changer.encrypted[reader.stream]}")
    return faults


def report(seed, producers, changer, restarts, in_call, took):
    outcomes = {name: sum(p.outcome.count(value) for p in producers)
                for name, value in (("acknowledged", DONE), ("unknown", UNKNOWN), ("refused", REFUSED))}
    errors = sum((p.errors for p in producers), start=type(producers[0].errors)())
    print(f"\nseed {seed}: {len(restarts)} kills ({in_call} with calls under way) in {took:.0f} s, {outcomes}, errors {dict(errors)}, "
          f"restart {min(restarts):.2f} to {max(restarts):.2f} s\n"
          f"changes granted {dict(changer.granted)}, refused {dict(changer.refused)}, unknown {dict(changer.lost)}")


def test_the_verdict_can_fail():
    producer, reader = streams.Producer(0, "s", FakeServer, None), None
    producer.outcome = bytearray([DONE] * 4 + [UNKNOWN, UNKNOWN, REFUSED] + [DONE] * (BATCH - 7))
    producer.placed = array("Q", [streams.place("a", f"{n:03}") if o == DONE else 0 for n, o in enumerate(producer.outcome)])
    there = [n for n, outcome in enumerate(producer.outcome) if outcome == DONE or n == 4]

    def faults_of(numbers, shard="a", shift=0):
        reader = streams.Reader("s", FakeServer, None, [producer])
        reader.parents = {shard: []}
        reader.take(shard, [{"SequenceNumber": f"{n + shift:03}", "Data": streams.base64.b64encode(f"0 {m}".encode())}
                            for n, m in numbers])
        return streams.record_faults(producer, reader)

    assert faults_of([(n, n) for n in there]) == []
    cases = {"acknowledged and lost": [(n, n) for n in there[1:]], "though they were refused": [(n, n) for n in sorted([*there, 6])],
             "nobody sent": [(n, n) for n in [*there, BATCH]], "comes after": [(n, n) for n in [1, 0, *there[2:]]],
             "of producer 0 comes after": [(0, 1), (7, 1)]}
    for fault, numbers in cases.items():
        assert any(fault in text for text in faults_of(numbers)), fault
    assert any("elsewhere" in text for text in faults_of([(n, n) for n in there], shard="b"))
    assert any("elsewhere" in text for text in faults_of([(n, n) for n in there], shift=1))
    doubled = streams.Reader("s", FakeServer, None, [producer])
    doubled.parents = {"a": []}
    for _ in range(2):
        doubled.take("a", [{"SequenceNumber": f"{n:03}", "Data": streams.base64.b64encode(f"0 {n}".encode())} for n in there])
        doubled.numbers, doubled.last = {}, {}
    assert any("more than once" in text for text in streams.record_faults(producer, doubled))

    top = (1 << 128) - 1

    def shard(name, low, high, closed=False, parent=None):
        numbers = {"StartingSequenceNumber": "1"} | ({"EndingSequenceNumber": "2"} if closed else {})
        return {"ShardId": name, "HashKeyRange": {"StartingHashKey": str(low), "EndingHashKey": str(high)},
                "SequenceNumberRange": numbers} | ({"ParentShardId": parent} if parent else {})

    good = [shard("a", 0, top, closed=True), shard("b", 0, 9, parent="a"), shard("c", 10, top, parent="a")]
    assert streams.lineage_faults(good, {"a"}) == []
    for fault, shards, closed in (("where 0 was due", [good[0], good[2]], {"a"}), ("end at", good[:2], {"a"}), ("is not", good, {"b"}),
                                  ("without a child", [shard("a", 0, top, closed=True), shard("z", 0, top)], ()), ("is unknown", good[1:], ())):
        assert any(fault in text for text in streams.lineage_faults(shards, closed)), fault


class FakeServer:
    port = 0
