from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.metrics import MetricUnit
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType, process_partial_response
from aws_lambda_powertools.utilities.data_classes.kinesis_stream_event import KinesisStreamRecord

processor = BatchProcessor(event_type=EventType.KinesisDataStreams)
logger = Logger(service="intake")
metrics = Metrics(namespace="Tidegate", service="intake")
tracer = Tracer(service="intake")


@tracer.capture_method
def take(record: KinesisStreamRecord):
    finding = record.kinesis.data_as_json()
    tracer.put_annotation("kind", finding["kind"])
    if finding["kind"] == "poison":
        raise ValueError("cannot be read")
    logger.info("taken", extra={"number": finding["number"]})
    metrics.add_metric(name="Taken", unit=MetricUnit.Count, value=1)


@metrics.log_metrics(capture_cold_start_metric=True)
@logger.inject_lambda_context(log_event=False)
@tracer.capture_lambda_handler
def handler(event, context):
    return process_partial_response(event=event, record_handler=take, processor=processor, context=context)
