package tidegate;

import java.math.BigInteger;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionException;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import java.util.function.Supplier;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import software.amazon.awssdk.core.SdkBytes;
import software.amazon.awssdk.services.kinesis.KinesisAsyncClient;
import software.amazon.awssdk.services.kinesis.model.ChildShard;
import software.amazon.awssdk.services.kinesis.model.ConsumerStatus;
import software.amazon.awssdk.services.kinesis.model.InvalidArgumentException;
import software.amazon.awssdk.services.kinesis.model.KinesisException;
import software.amazon.awssdk.services.kinesis.model.PutRecordsRequestEntry;
import software.amazon.awssdk.services.kinesis.model.ResourceInUseException;
import software.amazon.awssdk.services.kinesis.model.ResourceNotFoundException;
import software.amazon.awssdk.services.kinesis.model.Shard;
import software.amazon.awssdk.services.kinesis.model.ShardIteratorType;
import software.amazon.awssdk.services.kinesis.model.StreamDescriptionSummary;
import software.amazon.awssdk.services.kinesis.model.StreamStatus;
import software.amazon.awssdk.services.kinesis.model.SubscribeToShardResponseHandler;

/**
 * The script of this folder's README in Java: Script STREAM. What it sees goes out as lines of JSON. Nothing is
 * configured but what `tidegate env` exports: the SDK's own defaults (CBOR, HTTP/2) are what is tested.
 */
public final class Script {
    private final KinesisAsyncClient kinesis;
    private final String stream;

    private Script(KinesisAsyncClient kinesis, String stream) {
        this.kinesis = kinesis;
        this.stream = stream;
    }

    public static void main(String[] args) throws Exception {
        try (KinesisAsyncClient kinesis = KinesisAsyncClient.create()) {
            new Script(kinesis, args[0]).run();
        }
    }

    private void run() throws Exception {
        kinesis.createStream(r -> r.streamName(stream).shardCount(2)).join();
        until(this::active);
        String arn = summary().streamARN();
        List<Shard> shards = shards();
        say("created", Map.of("arn", arn, "shards", shards.stream().map(Shard::shardId).toList()));

        String consumer = kinesis.registerStreamConsumer(r -> r.streamARN(arn).consumerName("pushed-to"))
                .join().consumer().consumerARN();
        until(() -> kinesis.describeStreamConsumer(r -> r.consumerARN(consumer)).join()
                .consumerDescription().consumerStatus() == ConsumerStatus.ACTIVE);
        Shard parent = shards.get(0);
        CompletableFuture<Void> ended = subscribe(consumer, parent.shardId());

        byte[] every = new byte[256];
        IntStream.range(0, every.length).forEach(n -> every[n] = (byte) n);
        SdkBytes bytes = SdkBytes.fromByteArray(every);
        var done = kinesis.putRecord(r -> r.streamName(stream).partitionKey("bytes").data(bytes)).join();
        sayRecord("put", done.shardId(), done.sequenceNumber(), "bytes", bytes);
        put(1);
        kinesis.splitShard(r -> r.streamName(stream).shardToSplit(parent.shardId()).newStartingHashKey(middle(parent)))
                .join();
        until(this::active);
        put(2);
        ended.get(60, TimeUnit.SECONDS);

        for (Shard shard : shards()) {
            if (shard.parentShardId() != null) {
                say("child", Map.of("shard", shard.shardId(), "parent", shard.parentShardId()));
            }
            read(shard.shardId());
        }

        refused("describe-absent", ResourceNotFoundException.class,
                () -> kinesis.describeStreamSummary(r -> r.streamName(stream + "-absent")));
        refused("create-again", ResourceInUseException.class,
                () -> kinesis.createStream(r -> r.streamName(stream).shardCount(1)));
        refused("read-nonsense", InvalidArgumentException.class,
                () -> kinesis.getRecords(r -> r.shardIterator("nonsense")));
        kinesis.deregisterStreamConsumer(r -> r.consumerARN(consumer)).join();
        kinesis.deleteStream(r -> r.streamName(stream).enforceConsumerDeletion(true)).join();
        say("done", Map.of());
    }

    private void put(int phase) {
        List<PutRecordsRequestEntry> records = IntStream.range(0, 100).mapToObj(n -> PutRecordsRequestEntry.builder()
                .partitionKey("schlüssel-" + n).data(SdkBytes.fromUtf8String(phase + ":" + n)).build()).toList();
        var answer = kinesis.putRecords(r -> r.streamName(stream).records(records)).join();
        if (answer.failedRecordCount() != 0) {
            throw new IllegalStateException(answer.toString());
        }
        for (int n = 0; n < records.size(); n++) {
            var done = answer.records().get(n);
            sayRecord("put", done.shardId(), done.sequenceNumber(), records.get(n).partitionKey(), records.get(n).data());
        }
    }

    /** Says what is pushed, up to the shard's end, when the answer completes. Returns when the subscription stands. */
    private CompletableFuture<Void> subscribe(String consumer, String shard) throws Exception {
        CompletableFuture<Void> stands = new CompletableFuture<>();
        List<String> children = new ArrayList<>();
        SubscribeToShardResponseHandler handler = SubscribeToShardResponseHandler.builder()
                .onResponse(response -> stands.complete(null))
                .onError(stands::completeExceptionally)
                .subscriber(SubscribeToShardResponseHandler.Visitor.builder().onSubscribeToShardEvent(event -> {
                    event.records().forEach(record -> sayRecord(
                            "pushed", shard, record.sequenceNumber(), record.partitionKey(), record.data()));
                    children.addAll(ids(event.childShards()));
                }).build())
                .build();
        CompletableFuture<Void> ended = kinesis.subscribeToShard(r -> r.consumerARN(consumer).shardId(shard)
                .startingPosition(p -> p.type(ShardIteratorType.LATEST)), handler);
        stands.get(30, TimeUnit.SECONDS);
        return ended.thenRun(() -> say("pushed-end", Map.of("shard", shard, "children", children)));
    }

    private void read(String shard) {
        String iterator = kinesis.getShardIterator(
                r -> r.streamName(stream).shardId(shard).shardIteratorType(ShardIteratorType.TRIM_HORIZON))
                .join().shardIterator();
        while (iterator != null) {
            String place = iterator;
            var answer = kinesis.getRecords(r -> r.shardIterator(place)).join();
            answer.records().forEach(record -> sayRecord(
                    "read", shard, record.sequenceNumber(), record.partitionKey(), record.data()));
            iterator = answer.nextShardIterator();
            if (iterator == null) {
                say("closed", Map.of("shard", shard, "children", ids(answer.childShards())));
            } else if (answer.records().isEmpty() && answer.millisBehindLatest() == 0) {
                return;
            }
        }
    }

    private void refused(String call, Class<? extends KinesisException> expected, Supplier<CompletableFuture<?>> attempt) {
        try {
            attempt.get().join();
        } catch (CompletionException error) {
            KinesisException cause = expected.cast(error.getCause());
            say("refused", Map.of("call", call, "type", cause.getClass().getSimpleName(),
                    "message", cause.awsErrorDetails().errorMessage()));
        }
    }

    private StreamDescriptionSummary summary() {
        return kinesis.describeStreamSummary(r -> r.streamName(stream)).join().streamDescriptionSummary();
    }

    private boolean active() {
        return summary().streamStatus() == StreamStatus.ACTIVE;
    }

    private List<Shard> shards() {
        return kinesis.listShards(r -> r.streamName(stream)).join().shards();
    }

    private static String middle(Shard shard) {
        BigInteger start = new BigInteger(shard.hashKeyRange().startingHashKey());
        return start.add(new BigInteger(shard.hashKeyRange().endingHashKey())).shiftRight(1).add(BigInteger.ONE).toString();
    }

    private static List<String> ids(List<ChildShard> children) {
        return children.stream().map(ChildShard::shardId).toList();
    }

    /** Asks until the answer is true. */
    private static void until(BooleanSupplier condition) throws InterruptedException {
        Instant deadline = Instant.now().plus(Duration.ofSeconds(30));
        while (!condition.getAsBoolean()) {
            if (Instant.now().isAfter(deadline)) {
                throw new IllegalStateException("the server does not come to it");
            }
            Thread.sleep(50);
        }
    }

    private static void sayRecord(String step, String shard, String sequence, String key, SdkBytes data) {
        say(step, Map.of("shard", shard, "sequence", sequence, "key", key,
                "data", Base64.getEncoder().encodeToString(data.asByteArray())));
    }

    private static synchronized void say(String step, Map<String, Object> what) {
        StringBuilder line = new StringBuilder("{\"step\":" + json(step));
        what.forEach((name, value) -> line.append(',').append(json(name)).append(':').append(json(value)));
        byte[] bytes = line.append("}\n").toString().getBytes(StandardCharsets.UTF_8);
        System.out.write(bytes, 0, bytes.length);
        System.out.flush();
    }

    /** A string or a list of strings. */
    private static String json(Object value) {
        if (value instanceof List<?> values) {
            return values.stream().map(Script::json).collect(Collectors.joining(",", "[", "]"));
        }
        return '"' + value.toString().replace("\\", "\\\\").replace("\"", "\\\"") + '"';
    }
}
