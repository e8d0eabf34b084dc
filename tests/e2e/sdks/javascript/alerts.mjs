// Topics, queues and the bus in JavaScript: node alerts.mjs NAME. What it sees goes out as lines of JSON. Nothing is
// configured but what `tidegate env` exports. Messages are verified by the public `sns-validator`, which fetches the
// certificate over TLS from the one host that it is told.

import {
  DeleteRuleCommand, EventBridgeClient, PutEventsCommand, PutRuleCommand, PutTargetsCommand, RemoveTargetsCommand,
} from "@aws-sdk/client-eventbridge";
import {
  CreateTopicCommand, DeleteTopicCommand, InvalidParameterException, PublishBatchCommand, PublishCommand, SNSClient,
  SetTopicAttributesCommand, SubscribeCommand,
} from "@aws-sdk/client-sns";
import {
  CreateQueueCommand, DeleteMessageCommand, DeleteQueueCommand, GetQueueAttributesCommand, ReceiveMessageCommand, SetQueueAttributesCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import MessageValidator from "sns-validator";

const [sns, sqs, events] = [new SNSClient(), new SQSClient(), new EventBridgeClient()];
const [name] = process.argv.slice(2);
const host = new URL(process.env.AWS_ENDPOINT_URL).host;
const validator = new MessageValidator(new RegExp(`^${host.replaceAll(".", "\\.")}$`), "utf8");

const say = (step, what = {}) => console.log(JSON.stringify({ step, ...what }));
const verified = (message) =>
  new Promise((resolve, reject) => validator.validate(message, (error, done) => (error ? reject(error) : resolve(done))));

const { TopicArn } = await sns.send(new CreateTopicCommand({ Name: name }));
const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: name }));
const { Attributes: { QueueArn } } =
  await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] }));
const { SubscriptionArn } =
  await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sqs", Endpoint: QueueArn, ReturnSubscriptionArn: true }));
// Whoever delivers by itself is let in by the policy of what it delivers to.
const letIn = (service, action, resource, source) => JSON.stringify({ Version: "2012-10-17", Statement: [{
  Effect: "Allow", Principal: { Service: `${service}.amazonaws.com` }, Action: action, Resource: resource,
  Condition: { ArnEquals: { "aws:SourceArn": source } } }] });
await sqs.send(new SetQueueAttributesCommand({
  QueueUrl, Attributes: { Policy: letIn("sns", "sqs:SendMessage", QueueArn, TopicArn) } }));
say("made", { topic: TopicArn, subscription: SubscriptionArn });

/** The next notification, verified; then a forged one, which must not be. */
async function next(step) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl, WaitTimeSeconds: 5 }));
    if (Messages.length === 0 && Date.now() < deadline) continue;
    const [{ Body, ReceiptHandle }] = Messages;
    await sqs.send(new DeleteMessageCommand({ QueueUrl, ReceiptHandle }));
    const { Message, SignatureVersion, Subject } = await verified(JSON.parse(Body));
    const forged = await verified({ ...JSON.parse(Body), Message: "forged" }).then(() => true, () => false);
    return say(step, { message: Message, version: SignatureVersion, subject: Subject ?? null, forged });
  }
}

await sns.send(new PublishCommand({ TopicArn, Message: "größer\nals eine Zeile", Subject: "s" }));
await next("published");
await sns.send(new SetTopicAttributesCommand({ TopicArn, AttributeName: "SignatureVersion", AttributeValue: "2" }));
const batch = await sns.send(new PublishBatchCommand({ TopicArn, PublishBatchRequestEntries: [
  { Id: "good", Message: "batch" }, { Id: "bad", Message: "" }] }));
say("batch", { good: batch.Successful.map(({ Id }) => Id), bad: batch.Failed.map(({ Id, Code }) => [Id, Code]) });
await next("batched");

const { RuleArn } =
  await events.send(new PutRuleCommand({ Name: name, EventPattern: JSON.stringify({ source: [name] }) }));
await sns.send(new SetTopicAttributesCommand({
  TopicArn, AttributeName: "Policy", AttributeValue: letIn("events", "sns:Publish", TopicArn, RuleArn) }));
await events.send(new PutTargetsCommand({ Rule: name, Targets: [{ Id: "t", Arn: TopicArn, InputPath: "$.detail" }] }));
await events.send(new PutEventsCommand({ Entries: [{ Source: name, DetailType: "d", Detail: JSON.stringify({ n: 1 }) }] }));
await next("ruled");

try {
  await sns.send(new SubscribeCommand({ TopicArn, Protocol: "sms", Endpoint: "+491" }));
} catch (error) {
  say("refused", { type: error.name, known: error instanceof InvalidParameterException });
}

await events.send(new RemoveTargetsCommand({ Rule: name, Ids: ["t"] }));
await events.send(new DeleteRuleCommand({ Name: name }));
await sns.send(new DeleteTopicCommand({ TopicArn }));
await sqs.send(new DeleteQueueCommand({ QueueUrl }));
say("done");
