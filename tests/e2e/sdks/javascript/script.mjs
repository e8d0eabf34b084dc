// The script of this folder's README in JavaScript: node script.mjs STREAM. What it sees goes out as lines of JSON.
// Nothing is configured but what `tidegate env` exports: the SDK's own defaults are what is tested.

import {
  CreateStreamCommand, DeleteStreamCommand, DeregisterStreamConsumerCommand, DescribeStreamConsumerCommand,
  DescribeStreamSummaryCommand, GetRecordsCommand, GetShardIteratorCommand, InvalidArgumentException, KinesisClient,
  ListShardsCommand, PutRecordCommand, PutRecordsCommand, RegisterStreamConsumerCommand, ResourceInUseException,
  ResourceNotFoundException, SplitShardCommand, SubscribeToShardCommand,
} from "@aws-sdk/client-kinesis";

const kinesis = new KinesisClient();
const [stream] = process.argv.slice(2);

const say = (step, what = {}) => console.log(JSON.stringify({ step, ...what }));
const sayRecord = (step, shard, { SequenceNumber, PartitionKey, Data }) =>
  say(step, { shard, sequence: SequenceNumber, key: PartitionKey, data: Buffer.from(Data).toString("base64") });

/** Asks until the answer is true. */
async function until(condition) {
  const deadline = Date.now() + 30_000;
  while (!(await condition())) {
    if (Date.now() > deadline) throw new Error("the server does not come to it");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const summary = async () =>
  (await kinesis.send(new DescribeStreamSummaryCommand({ StreamName: stream }))).StreamDescriptionSummary;
const active = async () => (await summary()).StreamStatus === "ACTIVE";
const listShards = async () => (await kinesis.send(new ListShardsCommand({ StreamName: stream }))).Shards;

async function put(phase) {
  const Records = Array.from({ length: 100 }, (_, n) => (
    { PartitionKey: `schlüssel-${n}`, Data: Buffer.from(`${phase}:${n}`) }));
  const answer = await kinesis.send(new PutRecordsCommand({ StreamName: stream, Records }));
  if (answer.FailedRecordCount !== 0) throw new Error(JSON.stringify(answer));
  Records.forEach((record, n) => sayRecord("put", answer.Records[n].ShardId, { ...record, ...answer.Records[n] }));
}

/** Says what is pushed, up to the shard's end. The outer promise is kept when the subscription stands. */
async function subscribe(ConsumerARN, shard) {
  const pushed = await kinesis.send(
    new SubscribeToShardCommand({ ConsumerARN, ShardId: shard, StartingPosition: { Type: "LATEST" } }));
  const listen = async () => {
    const children = [];
    for await (const { SubscribeToShardEvent: event } of pushed.EventStream) {
      event.Records.forEach((record) => sayRecord("pushed", shard, record));
      children.push(...(event.ChildShards ?? []).map((child) => child.ShardId));
    }
    say("pushed-end", { shard, children });
  };
  return { ended: listen() };
}

async function read(shard) {
  let { ShardIterator } = await kinesis.send(
    new GetShardIteratorCommand({ StreamName: stream, ShardId: shard, ShardIteratorType: "TRIM_HORIZON" }));
  while (ShardIterator) {
    const answer = await kinesis.send(new GetRecordsCommand({ ShardIterator }));
    answer.Records.forEach((record) => sayRecord("read", shard, record));
    ShardIterator = answer.NextShardIterator;
    if (!ShardIterator) say("closed", { shard, children: (answer.ChildShards ?? []).map((child) => child.ShardId) });
    else if (answer.Records.length === 0 && answer.MillisBehindLatest === 0) return;
  }
}

async function refused(call, Expected, command) {
  try {
    await kinesis.send(command);
  } catch (error) {
    if (!(error instanceof Expected)) throw error;
    say("refused", { call, type: error.name, message: error.message });
  }
}

await kinesis.send(new CreateStreamCommand({ StreamName: stream, ShardCount: 2 }));
await until(active);
const arn = (await summary()).StreamARN;
const shards = await listShards();
say("created", { arn, shards: shards.map((shard) => shard.ShardId) });

const { Consumer: { ConsumerARN } } = await kinesis.send(
  new RegisterStreamConsumerCommand({ StreamARN: arn, ConsumerName: "pushed-to" }));
await until(async () => {
  const { ConsumerDescription } = await kinesis.send(new DescribeStreamConsumerCommand({ ConsumerARN }));
  return ConsumerDescription.ConsumerStatus === "ACTIVE";
});
const parent = shards[0].ShardId;
const subscription = await subscribe(ConsumerARN, parent);

const record = { PartitionKey: "bytes", Data: Uint8Array.from({ length: 256 }, (_, n) => n) };
const done = await kinesis.send(new PutRecordCommand({ StreamName: stream, ...record }));
sayRecord("put", done.ShardId, { ...record, ...done });
await put(1);
const { StartingHashKey, EndingHashKey } = shards[0].HashKeyRange;
const middle = (BigInt(StartingHashKey) + BigInt(EndingHashKey)) / 2n + 1n;
await kinesis.send(
  new SplitShardCommand({ StreamName: stream, ShardToSplit: parent, NewStartingHashKey: middle.toString() }));
await until(active);
await put(2);
await subscription.ended;

for (const shard of await listShards()) {
  if (shard.ParentShardId) say("child", { shard: shard.ShardId, parent: shard.ParentShardId });
  await read(shard.ShardId);
}

await refused("describe-absent", ResourceNotFoundException,
  new DescribeStreamSummaryCommand({ StreamName: `${stream}-absent` }));
await refused("create-again", ResourceInUseException, new CreateStreamCommand({ StreamName: stream, ShardCount: 1 }));
await refused("read-nonsense", InvalidArgumentException, new GetRecordsCommand({ ShardIterator: "nonsense" }));
await kinesis.send(new DeregisterStreamConsumerCommand({ ConsumerARN }));
await kinesis.send(new DeleteStreamCommand({ StreamName: stream, EnforceConsumerDeletion: true }));
kinesis.destroy();
say("done");
