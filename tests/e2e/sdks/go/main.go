// The script of this folder's README in Go: main STREAM. What it sees goes out as lines of JSON.
// Nothing is configured but what `tidegate env` exports: the SDK's own defaults are what is tested.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"math/big"
	"os"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/kinesis"
	"github.com/aws/aws-sdk-go-v2/service/kinesis/types"
)

// fields is what a line says beside its step.
type fields map[string]any

// script talks to one stream.
type script struct {
	context.Context
	kinesis *kinesis.Client
	stream  *string
	lines   sync.Mutex
}

func (s *script) say(step string, what fields) {
	s.lines.Lock()
	defer s.lines.Unlock()
	line := fields{"step": step}
	for name, value := range what {
		line[name] = value
	}
	check(json.NewEncoder(os.Stdout).Encode(line))
}

func (s *script) sayRecord(step, shard, sequence, key string, data []byte) {
	s.say(step, fields{"shard": shard, "sequence": sequence, "key": key, "data": data})
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func must[T any](value T, err error) T {
	check(err)
	return value
}

// until asks until the answer is true.
func until(condition func() bool) {
	for deadline := time.Now().Add(30 * time.Second); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			log.Fatal("the server does not come to it")
		}
	}
}

func (s *script) summary() *types.StreamDescriptionSummary {
	return must(s.kinesis.DescribeStreamSummary(s, &kinesis.DescribeStreamSummaryInput{StreamName: s.stream})).StreamDescriptionSummary
}

func (s *script) active() bool {
	return s.summary().StreamStatus == types.StreamStatusActive
}

func (s *script) shards() []types.Shard {
	return must(s.kinesis.ListShards(s, &kinesis.ListShardsInput{StreamName: s.stream})).Shards
}

func ids(children []types.ChildShard) []string {
	found := []string{}
	for _, child := range children {
		found = append(found, *child.ShardId)
	}
	return found
}

func (s *script) putOne(key string, data []byte) {
	done := must(s.kinesis.PutRecord(s, &kinesis.PutRecordInput{StreamName: s.stream, PartitionKey: &key, Data: data}))
	s.sayRecord("put", *done.ShardId, *done.SequenceNumber, key, data)
}

func (s *script) put(phase int) {
	records := make([]types.PutRecordsRequestEntry, 100)
	for n := range records {
		records[n].PartitionKey = aws.String(fmt.Sprintf("schlüssel-%d", n))
		records[n].Data = fmt.Appendf(nil, "%d:%d", phase, n)
	}
	answer := must(s.kinesis.PutRecords(s, &kinesis.PutRecordsInput{StreamName: s.stream, Records: records}))
	if *answer.FailedRecordCount != 0 {
		log.Fatalf("%d records failed", *answer.FailedRecordCount)
	}
	for n, done := range answer.Records {
		s.sayRecord("put", *done.ShardId, *done.SequenceNumber, *records[n].PartitionKey, records[n].Data)
	}
}

// subscribe says what is pushed, up to the shard's end. It returns when the subscription stands; the channel is closed
// at its end.
func (s *script) subscribe(consumer, shard *string) <-chan struct{} {
	pushed := must(s.kinesis.SubscribeToShard(s, &kinesis.SubscribeToShardInput{
		ConsumerARN: consumer, ShardId: shard,
		StartingPosition: &types.StartingPosition{Type: types.ShardIteratorTypeLatest},
	})).GetStream()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer pushed.Close()
		children := []string{}
		for event := range pushed.Events() {
			event := event.(*types.SubscribeToShardEventStreamMemberSubscribeToShardEvent).Value
			for _, r := range event.Records {
				s.sayRecord("pushed", *shard, *r.SequenceNumber, *r.PartitionKey, r.Data)
			}
			children = append(children, ids(event.ChildShards)...)
		}
		check(pushed.Err())
		s.say("pushed-end", fields{"shard": shard, "children": children})
	}()
	return ended
}

func (s *script) read(shard *string) {
	iterator := must(s.kinesis.GetShardIterator(s, &kinesis.GetShardIteratorInput{
		StreamName: s.stream, ShardId: shard, ShardIteratorType: types.ShardIteratorTypeTrimHorizon,
	})).ShardIterator
	for iterator != nil {
		answer := must(s.kinesis.GetRecords(s, &kinesis.GetRecordsInput{ShardIterator: iterator}))
		for _, r := range answer.Records {
			s.sayRecord("read", *shard, *r.SequenceNumber, *r.PartitionKey, r.Data)
		}
		iterator = answer.NextShardIterator
		if iterator == nil {
			s.say("closed", fields{"shard": shard, "children": ids(answer.ChildShards)})
		} else if len(answer.Records) == 0 && *answer.MillisBehindLatest == 0 {
			return
		}
	}
}

// typed is an error of the service's model.
type typed interface {
	error
	ErrorCode() string
	ErrorMessage() string
}

func refused[T typed](s *script, call string, err error) {
	var expected T
	if !errors.As(err, &expected) {
		log.Fatalf("%s: %v", call, err)
	}
	s.say("refused", fields{"call": call, "type": expected.ErrorCode(), "message": expected.ErrorMessage()})
}

func (s *script) run() {
	must(s.kinesis.CreateStream(s, &kinesis.CreateStreamInput{StreamName: s.stream, ShardCount: aws.Int32(2)}))
	until(s.active)
	arn, shards := s.summary().StreamARN, s.shards()
	s.say("created", fields{"arn": arn, "shards": []*string{shards[0].ShardId, shards[1].ShardId}})

	consumer := must(s.kinesis.RegisterStreamConsumer(s, &kinesis.RegisterStreamConsumerInput{
		StreamARN: arn, ConsumerName: aws.String("pushed-to"),
	})).Consumer.ConsumerARN
	until(func() bool {
		answer := must(s.kinesis.DescribeStreamConsumer(s, &kinesis.DescribeStreamConsumerInput{ConsumerARN: consumer}))
		return answer.ConsumerDescription.ConsumerStatus == types.ConsumerStatusActive
	})
	parent := shards[0]
	ended := s.subscribe(consumer, parent.ShardId)

	every := make([]byte, 256)
	for n := range every {
		every[n] = byte(n)
	}
	s.putOne("bytes", every)
	s.put(1)
	start, _ := new(big.Int).SetString(*parent.HashKeyRange.StartingHashKey, 10)
	end, _ := new(big.Int).SetString(*parent.HashKeyRange.EndingHashKey, 10)
	middle := start.Add(start, end).Rsh(start, 1).Add(start, big.NewInt(1))
	must(s.kinesis.SplitShard(s, &kinesis.SplitShardInput{
		StreamName: s.stream, ShardToSplit: parent.ShardId, NewStartingHashKey: aws.String(middle.String()),
	}))
	until(s.active)
	s.put(2)
	<-ended

	for _, shard := range s.shards() {
		if shard.ParentShardId != nil {
			s.say("child", fields{"shard": shard.ShardId, "parent": shard.ParentShardId})
		}
		s.read(shard.ShardId)
	}
	s.refusals()
	must(s.kinesis.DeregisterStreamConsumer(s, &kinesis.DeregisterStreamConsumerInput{ConsumerARN: consumer}))
	must(s.kinesis.DeleteStream(s, &kinesis.DeleteStreamInput{StreamName: s.stream, EnforceConsumerDeletion: aws.Bool(true)}))
	s.say("done", nil)
}

func (s *script) refusals() {
	_, err := s.kinesis.DescribeStreamSummary(s, &kinesis.DescribeStreamSummaryInput{StreamName: aws.String(*s.stream + "-absent")})
	refused[*types.ResourceNotFoundException](s, "describe-absent", err)
	_, err = s.kinesis.CreateStream(s, &kinesis.CreateStreamInput{StreamName: s.stream, ShardCount: aws.Int32(1)})
	refused[*types.ResourceInUseException](s, "create-again", err)
	_, err = s.kinesis.GetRecords(s, &kinesis.GetRecordsInput{ShardIterator: aws.String("nonsense")})
	refused[*types.InvalidArgumentException](s, "read-nonsense", err)
}

func main() {
	settings := must(config.LoadDefaultConfig(context.Background()))
	s := &script{Context: context.Background(), kinesis: kinesis.NewFromConfig(settings), stream: &os.Args[1]}
	s.run()
}
