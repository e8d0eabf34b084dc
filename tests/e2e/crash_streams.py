"""What the kill test of streams is made of: lean producers, readers that follow the lineage, changes of the streams
under load, and the verdict.

A record says who put it and as which: (producer, counter), and a producer never uses a counter twice. It puts one call
after the other, so that its records of one partition key have an order that every reader must see. Ledgers are arrays
indexed by counter, because there are millions.
"""

import base64
import hashlib
import hmac
import http.client
import json
import random
import threading
import time
from array import array
from collections import Counter

from conftest import ACCESS_KEY, REGION, SECRET_KEY

BATCH = 500
# A producer's counters go round over so many partition keys.
KEYS = 7
NONE, REFUSED, UNKNOWN, DONE = range(4)
# Error codes and broken connections after which nobody knows what was done.
BROKEN = (OSError, http.client.HTTPException)


class Refused(Exception):
    """The server said that it did nothing."""


class Lost(Exception):
    """Nobody knows what the server did."""


class Lean:
    """One connection that signs and sends JSON, and little else."""

    def __init__(self, port):
        self.port, self.connection, self.key = port, None, None

    def signature(self, when, text):
        if not self.key or self.key[0] != when[:8]:
            key = f"AWS4{SECRET_KEY}".encode()
            for part in (when[:8], REGION, "kinesis", "aws4_request"):
                key = hmac.digest(key, part.encode(), "sha256")
            self.key = (when[:8], key)
        return hmac.digest(self.key[1], text.encode(), "sha256").hex()

    def call(self, operation, body):
        """The answer of one operation, decoded."""
        body = body if isinstance(body, bytes) else json.dumps(body).encode()
        when, target = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()), f"Kinesis_20131202.{operation}"
        host, names = f"127.0.0.1:{self.port}", "content-type;host;x-amz-date;x-amz-target"
        canonical = (f"POST\n/\n\ncontent-type:application/x-amz-json-1.1\nhost:{host}\nx-amz-date:{when}\n"
                     f"x-amz-target:{target}\n\n{names}\n{hashlib.sha256(body).hexdigest()}")
        scope = f"{when[:8]}/{REGION}/kinesis/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{when}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Date": when, "X-Amz-Target": target,
                   "Authorization": f"AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, "
                                    f"Signature={self.signature(when, text)}"}
        try:
            if self.connection is None:
                self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
                self.connection.connect()
        except OSError as error:
            self.connection = None
            raise Refused("nobody listens") from error
        try:
            self.connection.request("POST", "/", body, headers)
            answer = self.connection.getresponse()
            content = answer.read()
        except BROKEN as error:
            self.connection.close()
            self.connection = None
            raise Lost(type(error).__name__) from error
        decoded = json.loads(content) if content else {}
        if answer.status == 200:
            return decoded
        code = str(decoded.get("__type", answer.status)).rpartition("#")[2]
        if answer.status < 500:
            raise Refused(code)
        raise Lost(f"{code}: {decoded.get('message')}")


def place(shard, number):
    """A record's place in 64 bits."""
    return hash((shard, number)) & 0xFFFF_FFFF_FFFF_FFFF


class Producer(threading.Thread):
    """Puts batches of small records, one after the other, while the server is up. Keeps the ledger of its records."""

    def __init__(self, number, stream, server, up):
        super().__init__(name=f"producer {number}", daemon=True)
        self.number, self.stream, self.port, self.up = number, stream, server.port, up
        self.outcome, self.placed = bytearray(), array("Q")
        self.acknowledged, self.calls, self.lost_calls, self.stopping = 0, 0, 0, False
        self.errors = Counter()

    def body(self, first):
        records = ",".join(
            f'{{"Data":"{base64.b64encode(b"%d %d" % (self.number, n)).decode()}","PartitionKey":"{self.number}-{n % KEYS}"}}'
            for n in range(first, first + BATCH))
        return f'{{"StreamName":"{self.stream}","Records":[{records}]}}'.encode()

    def run(self):
        client = Lean(self.port)
        while not self.stopping:
            if not self.up.wait(0.1):
                continue
            first = len(self.outcome)
            body = self.body(first)
            # Unknown until answered, for whoever looks meanwhile.
            self.outcome += bytes([UNKNOWN]) * BATCH
            self.placed.extend([0] * BATCH)
            self.calls += 1
            try:
                answer = client.call("PutRecords", body)
            except Refused as error:
                self.outcome[first:] = bytes([REFUSED]) * BATCH
                self.errors[str(error)] += 1
                continue
            except Lost as error:
                self.lost_calls += 1
                self.errors[str(error)] += 1
                continue
            for n, record in enumerate(answer["Records"], first):
                if "ErrorCode" in record:
                    self.outcome[n] = REFUSED
                    self.errors[record["ErrorCode"]] += 1
                else:
                    self.placed[n] = place(record["ShardId"], record["SequenceNumber"])
                    self.outcome[n] = DONE
                    self.acknowledged += 1


class Reader(threading.Thread):
    """Reads one stream as a consumer does: each shard from its beginning, children once their parents have ended."""

    def __init__(self, stream, server, up, producers):
        super().__init__(name=f"reader of {stream}", daemon=True)
        self.stream, self.port, self.up = stream, server.port, up
        self.seen = {p.number: bytearray() for p in producers}
        self.found = {p.number: array("Q") for p in producers}
        # The last counter of every (producer, partition key), the last sequence number of every shard.
        self.last, self.numbers, self.ended, self.parents = {}, {}, set(), {}
        self.iterators, self.faults, self.total, self.idle_rounds, self.stopping = {}, [], 0, 0, False

    def fault(self, text):
        if len(self.faults) < 20:
            self.faults.append(f"{self.stream}: {text}")

    def run(self):
        client, pause = Lean(self.port), threading.Event()
        while not self.stopping and not self.faults:
            if not self.up.wait(0.1):
                continue
            try:
                before = self.total + len(self.ended)
                self.round(client)
            except Lost:
                continue
            except Refused as error:
                if str(error) != "nobody listens":
                    self.fault(f"a read was refused: {error}")
                continue
            quiet = self.total + len(self.ended) == before
            self.idle_rounds = self.idle_rounds + 1 if quiet else 0
            if quiet:
                pause.wait(0.01)

    def round(self, client):
        if not self.parents:
            for shard in list_shards(client, self.stream):
                self.parents[shard["ShardId"]] = parents(shard)
        for shard, of in list(self.parents.items()):
            if shard not in self.ended and all(p in self.ended for p in of):
                self.read(client, shard)

    def read(self, client, shard):
        if shard not in self.iterators:
            start = {"ShardIteratorType": "TRIM_HORIZON"}
            if shard in self.numbers:
                start = {"ShardIteratorType": "AFTER_SEQUENCE_NUMBER", "StartingSequenceNumber": self.numbers[shard]}
            request = {"StreamName": self.stream, "ShardId": shard} | start
            self.iterators[shard] = client.call("GetShardIterator", request)["ShardIterator"]
        try:
            answer = client.call("GetRecords", {"ShardIterator": self.iterators[shard], "Limit": 10_000})
        except Refused as error:
            if str(error) != "ExpiredIteratorException":
                raise
            del self.iterators[shard]
            return
        self.take(shard, answer["Records"])
        following = answer.get("NextShardIterator")
        if following:
            self.iterators[shard] = following
            return
        self.ended.add(shard)
        del self.iterators[shard]
        if not answer.get("ChildShards"):
            self.fault(f"{shard} has ended without children")
        for child in answer.get("ChildShards", []):
            self.parents[child["ShardId"]] = child["ParentShards"]

    def take(self, shard, records):
        number = self.numbers.get(shard) or max((self.numbers.get(p, "") for p in self.parents[shard]), default="")
        for record in records:
            if record["SequenceNumber"] <= number:
                return self.fault(f"sequence number {record['SequenceNumber']} of {shard} comes after {number}")
            number = record["SequenceNumber"]
            producer, counter = map(int, base64.b64decode(record["Data"]).split())
            seen, found, key = self.seen[producer], self.found[producer], (producer, counter % KEYS)
            if counter <= self.last.get(key, -1):
                return self.fault(f"record {counter} of producer {producer} comes after {self.last[key]} on {shard}")
            self.last[key] = counter
            if counter >= len(seen):
                more = counter + 50_000 - len(seen)
                seen.extend(bytes(more))
                found.extend([0] * more)
            seen[counter] += 1
            found[counter] = place(shard, number)
        if records:
            self.numbers[shard] = number
            self.total += len(records)


def parents(shard):
    return [shard[p] for p in ("ParentShardId", "AdjacentParentShardId") if p in shard]


def list_shards(client, stream):
    shards, answer = [], client.call("ListShards", {"StreamName": stream})
    shards += answer["Shards"]
    while answer.get("NextToken"):
        answer = client.call("ListShards", {"NextToken": answer["NextToken"]})
        shards += answer["Shards"]
    return shards


def is_open(shard):
    return "EndingSequenceNumber" not in shard["SequenceNumberRange"]


def hash_range(shard):
    return int(shard["HashKeyRange"]["StartingHashKey"]), int(shard["HashKeyRange"]["EndingHashKey"])


class Changer(threading.Thread):
    """Splits, merges, scales, encrypts and retains, on all streams in turn, while the server is up."""

    MOST_OPEN = 6

    def __init__(self, streams, server, up, rng):
        super().__init__(name="changer", daemon=True)
        self.streams, self.port, self.up, self.rng = streams, server.port, up, rng
        self.granted, self.refused, self.lost = Counter(), Counter(), Counter()
        # Shards that are closed for certain; what a stream's retention and encryption may be, several when nobody knows.
        self.closed = {s: set() for s in streams}
        self.hours, self.encrypted = {s: {24} for s in streams}, {s: {False} for s in streams}
        self.stopping, self.pause = False, threading.Event()

    def tried(self, operations):
        """Whether each was granted at least once."""
        return all(self.granted[operation] for operation in operations)

    def run(self):
        client = Lean(self.port)
        while not self.stopping:
            if not self.up.wait(0.1):
                continue
            stream = self.rng.choice(self.streams)
            try:
                self.change(client, stream)
            except (Lost, Refused):
                # Of the questions that lead to a change, not of the change itself.
                pass
            self.pause.wait(self.rng.random() * 0.08)

    def change(self, client, stream):
        kind = self.rng.choice(("reshard", "reshard", "reshard", "scale", "encrypt", "retain"))
        if kind in ("reshard", "scale"):
            return self.reshard(client, stream, kind)
        if kind == "encrypt":
            on = self.rng.random() < 0.5
            operation = "StartStreamEncryption" if on else "StopStreamEncryption"
            request = {"EncryptionType": "KMS", "KeyId": "alias/aws/kinesis"}
            return self.settle(client, stream, operation, request, self.encrypted, on)
        hours, now = self.rng.randint(24, 8_760), max(self.hours[stream])
        operation = "IncreaseStreamRetentionPeriod" if hours > now else "DecreaseStreamRetentionPeriod"
        return self.settle(client, stream, operation, {"RetentionPeriodHours": hours}, self.hours, hours)

    def ask(self, client, stream, operation, request):
        """How an operation ended."""
        try:
            client.call(operation, {"StreamName": stream} | request)
        except Refused as error:
            self.refused[f"{operation} {error}"] += 1
            return REFUSED
        except Lost as error:
            self.lost[f"{operation} {error}"] += 1
            return UNKNOWN
        self.granted[operation] += 1
        return DONE

    def settle(self, client, stream, operation, request, known, value):
        outcome = self.ask(client, stream, operation, request)
        if outcome == DONE:
            known[stream] = {value}
        elif outcome == UNKNOWN:
            known[stream] = known[stream] | {value}

    def reshard(self, client, stream, kind):
        shards = sorted((s for s in list_shards(client, stream) if is_open(s)), key=hash_range)
        if kind == "scale":
            count = self.rng.randint(max(1, (len(shards) + 1) // 2), min(self.MOST_OPEN, 2 * len(shards)))
            outcome = self.ask(client, stream, "UpdateShardCount", {"TargetShardCount": count, "ScalingType": "UNIFORM_SCALING"})
            # Which shards are closed by it is the server's choice.
            return outcome
        at = self.rng.randrange(len(shards))
        low, high = hash_range(shards[at])
        if at + 1 < len(shards) and (len(shards) >= self.MOST_OPEN or high - low < 1_000 or self.rng.random() < 0.4):
            pair = [shards[at]["ShardId"], shards[at + 1]["ShardId"]]
            if self.ask(client, stream, "MergeShards", {"ShardToMerge": pair[0], "AdjacentShardToMerge": pair[1]}) == DONE:
                self.closed[stream].update(pair)
        elif high - low >= 1_000:
            request = {"ShardToSplit": shards[at]["ShardId"], "NewStartingHashKey": str(self.rng.randint(low + 1, high))}
            if self.ask(client, stream, "SplitShard", request) == DONE:
                self.closed[stream].add(shards[at]["ShardId"])


def record_faults(producer, reader):
    """What is wrong with one producer's records as a reader saw them. Compares arrays whole where all is well."""
    faults, seen, found = list(reader.faults), reader.seen[producer.number], reader.found[producer.number]
    length = len(producer.outcome)
    strange = [n for n in range(length, len(seen)) if seen[n]]
    if strange:
        faults.append(f"{len(strange)} records are there that nobody sent, such as {strange[:5]}")
    wrong = Counter()
    for at in range(0, length, BATCH):
        outcome, times = producer.outcome[at:at + BATCH], seen[at:at + BATCH].ljust(BATCH, b"\0")
        if outcome.count(DONE) == len(outcome) == times.count(1) and producer.placed[at:at + BATCH] == found[at:at + BATCH]:
            continue
        for n in range(at, min(at + BATCH, length)):
            there = times[n - at]
            if there > 1:
                wrong["are there more than once", n] += 1
            elif outcome[n - at] == DONE and not there:
                wrong["are acknowledged and lost", n] += 1
            elif outcome[n - at] == DONE and producer.placed[n] != found[n]:
                wrong["are elsewhere than acknowledged", n] += 1
            elif outcome[n - at] == REFUSED and there:
                wrong["are there though they were refused", n] += 1
    for what in sorted({what for what, _ in wrong}):
        numbers = [n for w, n in wrong if w == what]
        faults.append(f"{len(numbers)} records of producer {producer.number} {what}, such as {numbers[:5]}")
    return faults


def lineage_faults(shards, closed):
    """What is wrong with a stream's shards: the open ones tile the hash space, none is missing, what was closed stays so."""
    faults, by_id, following = [], {s["ShardId"]: s for s in shards}, 0
    for low, high in sorted(hash_range(s) for s in shards if is_open(s)):
        if low != following:
            faults.append(f"an open shard begins at {low} where {following} was due")
        following = high + 1
    if following != 1 << 128:
        faults.append(f"the open shards end at {following - 1}")
    for shard in closed:
        if shard not in by_id or is_open(by_id[shard]):
            faults.append(f"{shard} was closed for certain and is not")
    followed = {p for s in shards for p in parents(s)}
    faults += [f"{s['ShardId']} is closed without a child" for s in shards if not is_open(s) and s["ShardId"] not in followed]
    faults += [f"{p} is unknown though it has a child" for p in followed if p not in by_id]
    return faults


def seen_all(producers, reader):
    """Whether a reader has seen as many records as were acknowledged at least, and has found nothing new for a while."""
    acknowledged = sum(p.acknowledged for p in producers)
    return bool(reader.faults) or (reader.total >= acknowledged and reader.idle_rounds > 20)
