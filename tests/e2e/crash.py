"""What the kill test is made of: producers that keep a ledger, moments to kill at, and the verdict.

A record's identity is (producer, counter), and a producer never uses a counter twice. A call whose answer was lost may
have been taken or not; what it carried is `unknown` and is not sent again.
"""

import json
import os
import random
import threading
import time
from collections import Counter, defaultdict

from botocore.exceptions import BotoCoreError, ClientError, EndpointConnectionError, HTTPClientError

ALERT_EVERY = 100
SOURCE = "crash.test"
PAD = "x" * 250

# Appends what it saw with one write a batch: (shard, sequence number) a line, in the order of its calls.
FUNCTION = '''
import base64, json, os
import boto3

sns = boto3.client("sns")

def handler(event, context):
    lines = []
    for record in event["Records"]:
        detail = json.loads(base64.b64decode(record["kinesis"]["data"]))["detail"]
        if detail["alert"]:
            sns.publish(TopicArn=os.environ["TOPIC_ARN"], Message=f"{detail['producer']} {detail['counter']}")
        lines.append(record["eventID"].replace(":", " "))
    tell("\\n".join(lines))
'''


class Ledger:
    """Who was answered what. Thread-safe."""

    def __init__(self):
        self.lock = threading.Lock()
        self.acknowledged, self.unknown, self.refused = set(), set(), set()
        self.errors, self.calls = Counter(), 0

    def note(self, kind, ids, error=None):
        with self.lock:
            getattr(self, kind).update(ids)
            if error:
                self.errors[error] += 1

    def count(self):
        with self.lock:
            return len(self.acknowledged)


class Producer(threading.Thread):
    """Puts records, one call after the other, while the gate is open."""

    def __init__(self, name, server, ledger, gate, stream=None, batch=50):
        super().__init__(name=name, daemon=True)
        self.server, self.ledger, self.gate, self.stream, self.batch = server, ledger, gate, stream, batch
        self.counter, self.stopping, self.idle = 0, False, threading.Event()

    def run(self):
        client = self.server.client("kinesis" if self.stream else "events")
        while not self.stopping:
            if not self.gate.is_set():
                self.idle.set()
                self.gate.wait(0.1)
                continue
            self.idle.clear()
            counters = range(self.counter, self.counter + self.batch)
            self.counter += self.batch
            ids = [(self.name, n) for n in counters]
            self.ledger.calls += 1
            try:
                failed = self.put(client, counters)
            except EndpointConnectionError as error:
                # Nobody listened, so nobody got it.
                self.ledger.note("refused", ids, type(error).__name__)
            except ClientError as error:
                status = error.response["ResponseMetadata"]["HTTPStatusCode"]
                self.ledger.note("refused" if status < 500 else "unknown", ids, error.response["Error"]["Code"])
            except (BotoCoreError, HTTPClientError, OSError) as error:
                self.ledger.note("unknown", ids, type(error).__name__)
            else:
                self.ledger.note("acknowledged", [i for i, bad in zip(ids, failed) if not bad])
                self.ledger.note("refused", [i for i, bad in zip(ids, failed) if bad])

    def put(self, client, counters):
        """Makes the call and says which records were refused."""
        details = [{"producer": self.name, "counter": n, "alert": n % ALERT_EVERY == 0, "pad": PAD} for n in counters]
        if self.stream:
            # One partition key in three, so that a producer's records are on several shards.
            records = [{"Data": json.dumps({"detail": d}), "PartitionKey": f"{self.name}-{d['counter'] % 3}"} for d in details]
            answer = client.put_records(StreamName=self.stream, Records=records)
            return ["ErrorCode" in r for r in answer["Records"]]
        entries = [{"Source": SOURCE, "DetailType": "crash", "Detail": json.dumps(d)} for d in details]
        return ["ErrorCode" in e for e in client.put_events(Entries=entries)["Entries"]]


class Moments:
    """Waits for the moment to kill at: any, or one in which something particular happens."""

    KINDS = ("any", "any", "call", "rotation", "index", "function", "alert")

    def __init__(self, server, webhook, ledger, seen, rng):
        self.folder, self.ledger, self.seen, self.rng = server.folder, ledger, seen, rng
        self.alerted, self.pause = threading.Event(), threading.Event()
        webhook.answer = self.on_alert
        # A killed server breaks its connections off; that is no news here.
        webhook.httpd.handle_error = lambda request, address: None
        self.hit = Counter()

    def on_alert(self, headers, body):
        self.alerted.set()
        return 200

    def wait(self, timeout=4.0):
        kind = self.rng.choice(self.KINDS)
        if kind != "any":
            self.alerted.clear()
            look = {"rotation": lambda: names(self.folder / "journal"), "index": lambda: names(self.folder / "index"),
                    "function": lambda: len(self.seen.words()),
                    "alert": self.alerted.is_set, "call": lambda: self.ledger.calls}[kind]
            before, deadline = look(), time.monotonic() + timeout
            while look() == before:
                if time.monotonic() > deadline:
                    kind = "any"
                    break
                self.pause.wait(0.0005)
            # Mostly in the middle of it, sometimes a little after.
            self.pause.wait(self.rng.choice([0, 0, 0.001, 0.003, 0.01]))
        else:
            self.pause.wait(self.rng.choice([0.05, 0.4, 2.0]) * self.rng.random())
        self.hit[kind] += 1
        return kind


def names(folder):
    """Every file name below a folder; what vanishes while it is listed is left out."""
    found = set()
    for root, _, files in os.walk(folder):
        found.update(os.path.join(root, f) for f in files)
    return found


def stream_records(server, name):
    """{shard: [(sequence number, (producer, counter))]} as GetRecords gives them."""
    kinesis, shards = server.client("kinesis"), {}
    for shard in kinesis.list_shards(StreamName=name)["Shards"]:
        iterator = kinesis.get_shard_iterator(
            StreamName=name, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
        found = shards.setdefault(shard["ShardId"], [])
        while iterator:
            answer = kinesis.get_records(ShardIterator=iterator, Limit=10_000)
            for record in answer["Records"]:
                detail = json.loads(record["Data"])["detail"]
                found.append((record["SequenceNumber"], (detail["producer"], detail["counter"])))
            more = answer["Records"] or answer["MillisBehindLatest"]
            iterator = answer["NextShardIterator"] if more else None
    return shards


def indexed(pipeline, producers):
    """(producer, counter) of every document, asked for in windows below the page limit."""
    found, window = [], 5_000
    for producer in producers:
        for low in range(0, producer.counter, window):
            query = {"bool": {"filter": [{"term": {"detail.producer.keyword": producer.name}},
                                         {"range": {"detail.counter": {"gte": low, "lt": low + window}}}]}}
            answer = pipeline.server.search(pipeline.index, {"query": query, "size": 10_000, "_source": ["detail.producer", "detail.counter"]})
            found += [(h["_source"]["detail"]["producer"], h["_source"]["detail"]["counter"]) for h in answer["hits"]["hits"]]
    return found


def function_lines(seen):
    """(shard, sequence number) in the order in which the function saw them."""
    return [tuple(line.split()) for told in seen.words() for line in told.splitlines()]


def stream_faults(ledger, shards):
    """What is wrong with the stream, held against the ledger."""
    faults = []
    found = Counter(identity for records in shards.values() for _, identity in records)
    lost = ledger.acknowledged - found.keys()
    if lost:
        faults.append(f"{len(lost)} acknowledged records are lost, such as {sorted(lost)[:5]}")
    twice = [i for i, n in found.items() if n > 1]
    if twice:
        faults.append(f"{len(twice)} records are there more than once, such as {sorted(twice)[:5]}")
    strange = found.keys() - ledger.acknowledged - ledger.unknown
    if strange:
        faults.append(f"{len(strange)} records are there that were refused, such as {sorted(strange)[:5]}")
    for shard, records in shards.items():
        numbers = [number for number, _ in records]
        if numbers != sorted(set(numbers)):
            faults.append(f"sequence numbers of {shard} do not grow")
        last = defaultdict(lambda: -1)
        for _, (producer, counter) in records:
            if counter <= last[producer]:
                faults.append(f"order on {shard}: {producer} {counter} comes after {last[producer]}")
                break
            last[producer] = counter
    return faults


def index_faults(shards, documents):
    """What is wrong with the index, held against the stream."""
    expected = {identity for records in shards.values() for _, identity in records}
    found, faults = Counter(documents), []
    for what, ids in (("missing from the index", expected - found.keys()), ("in the index only", found.keys() - expected),
                      ("in the index more than once", {i for i, n in found.items() if n > 1})):
        if ids:
            faults.append(f"{len(ids)} records are {what}, such as {sorted(ids)[:5]}")
    return faults


def function_faults(shards, lines):
    """What is wrong with what the function saw: every record, each first seen in the shard's order; replays are fine."""
    faults, next_at = [], dict.fromkeys(shards, 0)
    places = {(shard, number): at for shard, records in shards.items() for at, (number, _) in enumerate(records)}
    for shard, number in lines:
        at = places.get((shard, number))
        if at is None:
            faults.append(f"the function saw {number} of {shard}, which is not in the stream")
            break
        if at > next_at[shard]:
            faults.append(f"the function saw record {at} of {shard} before record {next_at[shard]}")
            break
        next_at[shard] = max(next_at[shard], at + 1)
    return faults + [f"the function saw {next_at[s]} of {len(records)} records of {s}"
                     for s, records in shards.items() if not faults and next_at[s] < len(records)]


def seeded():
    """A generator and its seed: TIDEGATE_TEST_SEED, or a new one to print."""
    seed = int(os.environ.get("TIDEGATE_TEST_SEED") or time.time_ns() % 1_000_000)
    return random.Random(seed), seed
