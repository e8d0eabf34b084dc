"""`tidegate stream`, as a person and as a script call it."""

import json
import os
import pty
import select
import signal
import subprocess
import threading
from datetime import datetime, timezone

import pytest
from conftest import ACCOUNT, BIN, REGION, create_stream, read_stream, wait_for


@pytest.fixture
def stream(server):
    """Runs `tidegate stream …` to its end: (exit status, standard output, standard error)."""
    def run(*args, stdin=b"", env=None):
        done = subprocess.run([BIN, "stream", *args], env=server.client_env() | (env or {}), input=stdin,
                              capture_output=True, timeout=60)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    return run


def lines(text):
    return [json.loads(line) for line in text.splitlines()]


class Tail:
    """A `tidegate stream tail -f`, with the lines that it has printed so far."""

    def __init__(self, server, *args):
        self.process = subprocess.Popen([BIN, "stream", "tail", *args], env=server.client_env(),
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.lines, self.errors = [], []
        self.threads = [threading.Thread(target=collect, daemon=True) for collect in (self.read_lines, self.read_errors)]
        for thread in self.threads:
            thread.start()

    def read_lines(self):
        for line in self.process.stdout:
            self.lines.append(json.loads(line))

    def read_errors(self):
        for line in self.process.stderr:
            self.errors.append(line.decode())

    def said(self):
        return "".join(list(self.errors))

    def data(self):
        return [line["data"] for line in list(self.lines)]

    def interrupt(self):
        """Ctrl-C: (exit status, standard error)."""
        self.process.send_signal(signal.SIGINT)
        for thread in self.threads:
            thread.join(20)
        return self.process.wait(20), self.said()


@pytest.fixture
def follow(server):
    tails = []

    def start(*args):
        tails.append(Tail(server, *args))
        return tails[-1]

    yield start
    for tail in tails:
        tail.process.kill()
        tail.process.wait()


def on_a_terminal(server, *args):
    """What a command prints when its output is a terminal."""
    ours, its = pty.openpty()
    process = subprocess.Popen([BIN, "stream", *args], env=server.client_env(), stdin=subprocess.DEVNULL, stdout=its,
                               stderr=its)
    os.close(its)
    text = b""
    while select.select([ours], [], [], 30)[0]:
        try:
            text += os.read(ours, 65536)
        except OSError:
            break
    os.close(ours)
    assert process.wait(30) == 0, text
    return text.decode().replace("\r\n", "\n")


def test_put_arguments_and_tail_them(server, stream, unique):
    create_stream(server, unique, 2)
    status, out, err = stream("put", unique, "hello", "wörld", "--key", "k")
    [summary] = lines(out)
    assert (status, err) == (0, "") and summary["records"] == 2 and summary["skipped"] == 0
    [shard] = summary["shards"]
    status, out, err = stream("tail", unique)
    first, second = lines(out)
    assert (status, err) == (0, "")
    assert (first["data"], first["key"], first["shard"]) == ("hello", "k", shard)
    assert second["data"] == "wörld" and second["sequence"] == summary["last_sequence"] > first["sequence"]
    arrived = datetime.fromisoformat(first["arrival"].replace("Z", "+00:00"))
    assert abs((datetime.now(timezone.utc) - arrived).total_seconds()) < 60


def test_put_many_lines_over_all_shards(server, stream, unique):
    create_stream(server, unique, 4)
    text = "".join(f"line {n}\n\n" for n in range(5_000)).encode()
    status, out, err = stream("put", unique, stdin=text)
    [summary] = lines(out)
    assert (status, err, summary["records"]) == (0, "", 5_000) and len(summary["shards"]) == 4
    stored = [r["Data"].decode() for records in read_stream(server, unique).values() for r in records]
    assert sorted(stored) == sorted(f"line {n}" for n in range(5_000))
    status, out, _ = stream("tail", unique)
    printed = lines(out)
    assert status == 0 and sorted(line["data"] for line in printed) == sorted(stored)
    assert [line["arrival"] for line in printed] == sorted(line["arrival"] for line in printed)
    status, out, _ = stream("tail", unique, "--limit", "7")
    assert (status, lines(out)) == (0, printed[:7])


def test_put_a_file_by_lines_and_whole(server, stream, unique, tmp_path):
    create_stream(server, unique)
    file = tmp_path / "records"
    file.write_bytes(b"one\r\ntwo\n\xff\x00\x1b")
    assert stream("put", unique, "--file", str(file), "--key", "k")[0] == 0
    assert stream("put", unique, "--file", str(file), "--whole")[0] == 0
    assert stream("put", unique, "--file", "-", stdin=b"three")[0] == 0
    [records] = read_stream(server, unique).values()
    assert [r["Data"] for r in records] == [b"one", b"two", b"\xff\x00\x1b", file.read_bytes(), b"three"]
    status, out, err = stream("put", unique, "--file", str(tmp_path / "absent"))
    assert status == 2 and f"{tmp_path}/absent cannot be opened" in err


def test_put_leaves_out_what_is_too_large_and_says_so(server, stream, unique):
    create_stream(server, unique)
    status, out, err = stream("put", unique, stdin=b"a\n" + b"x" * (1 << 20) + b"\nb\n")
    [summary] = lines(out)
    assert status == 1 and (summary["records"], summary["skipped"]) == (2, 1)
    assert err.startswith("tidegate stream put: line 2 has more than the 1,048,576 bytes") and err.count("\n") == 1
    [records] = read_stream(server, unique).values()
    assert [r["Data"] for r in records] == [b"a", b"b"]


def test_put_hands_on_what_comes_slowly(server, follow, unique):
    create_stream(server, unique)
    tail = follow(unique, "-f", "--from", "trim-horizon")
    put = subprocess.Popen([BIN, "stream", "put", unique], env=server.client_env(), stdin=subprocess.PIPE,
                           stdout=subprocess.PIPE)
    for n in range(3):
        put.stdin.write(f"{n}\n".encode())
        put.stdin.flush()
        wait_for(lambda: tail.data() == [str(n) for n in range(n + 1)], 20, f"record {n}")
    put.stdin.close()
    assert put.wait(20) == 0


def test_tail_follows_over_a_split_and_a_merge(server, stream, follow, unique):
    create_stream(server, unique)
    assert stream("put", unique, "before")[0] == 0
    everything, new = follow(unique, "-f", "--from", "trim-horizon"), follow(unique, "-f")

    def both_follow():
        """Whether the one that begins at the latest record stands there: it has seen one that was put since."""
        assert stream("put", unique, "ready")[0] == 0
        return new.lines

    wait_for(both_follow, 30, "a record that the later of the two sees")

    status, out, err = stream("split", unique, "0")
    [split] = lines(out)
    assert (status, err) == (0, "") and split["closed"] == ["shardId-000000000000"]
    children = split["opened"]
    assert children == ["shardId-000000000001", "shardId-000000000002"]
    assert stream("put", unique, stdin="".join(f"split {n}\n" for n in range(100)).encode())[0] == 0

    status, out, err = stream("merge", unique, "1", "shardId-000000000002")
    [merged] = lines(out)
    assert (status, err) == (0, "") and (merged["closed"], merged["opened"]) == (children, ["shardId-000000000003"])
    assert stream("put", unique, "--key", "k", "after", "the end")[0] == 0

    expected = sorted([f"split {n}" for n in range(100)] + ["after", "the end"])
    def told(tail):
        return [data for data in tail.data() if data != "ready"]

    wait_for(lambda: len(told(everything)) >= 103 and len(told(new)) >= 102, 30, "all records")
    assert told(everything)[0] == "before" and sorted(told(everything)[1:]) == expected and sorted(told(new)) == expected
    for tail in (everything, new):
        assert tail.data()[-2:] == ["after", "the end"], "the merged shard's come after all of its parents'"
        assert tail.interrupt() == (0, "")
    status, out, _ = stream("tail", unique)
    assert status == 0 and lines(out) == everything.lines

    status, out, _ = stream("tail", unique, "--shard", "1")
    assert status == 0 and {line["shard"] for line in lines(out)} == {"shardId-000000000001"}


def test_tail_from_a_time(server, stream, unique):
    create_stream(server, unique)
    stream("put", unique, "old")
    [old] = lines(stream("tail", unique)[1])

    def later():
        stream("put", unique, "new")
        return [line for line in lines(stream("tail", unique)[1]) if line["arrival"] > old["arrival"]]

    new = wait_for(later, 10, "another millisecond")[0]
    status, out, _ = stream("tail", unique, "--from", new["arrival"])
    assert status == 0 and lines(out)[0] == new
    assert lines(stream("tail", unique, "--from", "1h")[1])[0] == old
    status, _, err = stream("tail", unique, "--from", "yesterday")
    assert status == 2 and "such as 2026-11-23T07:00:00Z" in err
    status, _, err = stream("tail", unique, "--from", "latest")
    assert status == 2 and "add -f" in err


def test_tail_on_a_terminal_is_text_that_cannot_steer_it(server, unique):
    create_stream(server, unique)
    data = "größe \x1b]0;owned\x07\x1b[2J\u202e".encode() + b"\xff\n"
    server.client("kinesis").put_record(StreamName=unique, PartitionKey="k\x1b", Data=data)
    text = on_a_terminal(server, "tail", unique)
    assert "\x1b" not in text and text.count("\n") == 1
    assert text.endswith("shardId-000000000000 k\\x1b größe \\x1b]0;owned\\x07\\x1b[2J\\u{202e}\\xff\\n\n")
    assert json.loads(on_a_terminal(server, "tail", unique, "--json"))["key"] == "k\x1b"


def test_a_closed_pipe_is_no_error(server, stream, unique):
    create_stream(server, unique)
    assert stream("put", unique, stdin=b"x" * 100 + b"\n" + b"y\n" * 50_000)[0] == 0
    tail = subprocess.Popen([BIN, "stream", "tail", unique], env=server.client_env(), stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE)
    assert tail.stdout.readline()
    tail.stdout.close()
    assert tail.wait(30) == 0 and tail.stderr.read() == b""


def test_tail_goes_on_after_a_restart_of_the_server(new_server, follow):
    server = new_server().start()
    create_stream(server, "kept", 2)
    tail = Tail(server, "kept", "-f", "--from", "trim-horizon")
    kinesis = server.client("kinesis", retries=3)
    try:
        for n in range(10):
            kinesis.put_record(StreamName="kept", PartitionKey=str(n), Data=f"{n}".encode())
        wait_for(lambda: len(tail.lines) == 10, 20, "the records before")
        server.kill()
        wait_for(lambda: "waiting for it" in tail.said(), 20, "the loss")
        server.start()
        for n in range(10, 20):
            kinesis.put_record(StreamName="kept", PartitionKey=str(n), Data=f"{n}".encode())
        wait_for(lambda: len(tail.lines) >= 20, 30, "the records after")
        status, err = tail.interrupt()
        assert status == 0 and "the server is back" in err and err.count("waiting for it") == 1
        assert sorted(map(int, tail.data())) == list(range(20))
    finally:
        tail.process.kill()
        tail.process.wait()


def test_ls_and_describe(server, stream, unique):
    arn = create_stream(server, unique, 2)
    kinesis = server.client("kinesis")
    kinesis.add_tags_to_stream(StreamName=unique, Tags={"team": "blue"})
    kinesis.register_stream_consumer(StreamARN=arn, ConsumerName="app")
    [listed] = [line for line in lines(stream("ls")[1]) if line["name"] == unique]
    assert (listed["arn"], listed["status"], listed["mode"]) == (arn, "ACTIVE", "provisioned")
    assert f"\n{unique} " in on_a_terminal(server, "ls")

    assert stream("split", unique, "1", "--at", str(2**128 - 2))[0] == 0
    for address in (unique, arn):
        status, out, _ = stream("describe", address)
        [found] = lines(out)
        assert status == 0 and (found["arn"], found["tags"]) == (arn, {"team": "blue"})
        assert [c["name"] for c in found["consumers"]] == ["app"]
        assert [(s["id"][-1], s["open"], [p[-1] for p in s["parents"]]) for s in found["shards"]] == [
            ("0", True, []), ("1", False, []), ("2", True, ["1"]), ("3", True, ["1"])]
        assert found["shards"][3]["starting_hash_key"] == str(2**128 - 2)
        assert found["encryption_key"] is None and found["retention_hours"] == 24
    text = on_a_terminal(server, "describe", unique)
    assert "  tags           team=blue\n" in text and "shardId-000000000001  closed  50.0 %" in text

    kinesis.start_stream_encryption(StreamName=unique, EncryptionType="KMS", KeyId="alias/aws/kinesis")
    assert "on disk, under alias/aws/kinesis" in on_a_terminal(server, "describe", unique)


def test_mistakes_are_named_with_what_to_do(server, stream, unique):
    create_stream(server, unique, 2)

    def mistake(*args, env=None):
        status, out, err = stream(*args, env=env)
        assert (status, out) == (2, ""), (status, out)
        return err

    assert mistake("tail", "absent") == (
        f"tidegate stream tail: Stream absent under account {ACCOUNT} not found; "
        f"`tidegate stream ls` lists the streams of {REGION} (AWS_REGION) (ResourceNotFoundException)\n")
    for command in (["put", "absent", "x"], ["describe", "absent"], ["split", "absent", "0"], ["merge", "absent", "0", "1"]):
        assert f"`tidegate stream ls` lists the streams of {REGION} (AWS_REGION)" in mistake(*command)
    assert "has no shardId-000000000007; open are shardId-000000000000, shardId-000000000001" in mistake("split", unique, "7")
    assert "1 does not split shardId-000000000000: --at must be more than 0 + 1 and less than" in mistake("split", unique, "0", "--at", "1")
    assert "are no neighbours; next to shardId-000000000000 lie: shardId-000000000001" in mistake("merge", unique, "0", "0")
    assert stream("split", unique, "0")[0] == 0
    assert "is closed; shardId-000000000002, shardId-000000000003 took over" in mistake("split", unique, "0")
    assert "is not a shard such as" in mistake("split", unique, "first")
    assert 'eval "$(tidegate env)"' in mistake("ls", env={"AWS_ENDPOINT_URL": ""})
    assert "does `tidegate serve` run there?" in mistake("ls", env={"AWS_ENDPOINT_URL": "http://127.0.0.1:1"})


def test_help_teaches(stream):
    for command in ("put", "tail", "ls", "describe", "split", "merge"):
        status, out, _ = stream(command, "--help")
        assert status == 0 and f"tidegate stream {command}" in out and "Examples:" in out
