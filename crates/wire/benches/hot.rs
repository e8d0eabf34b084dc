//! What a record costs on the hot ways through this crate, in nanoseconds. `cargo bench -p wire`, on a quiet machine.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::print_stdout, reason = "and prints what it saw")]
#![allow(clippy::unwrap_used, reason = "what it measures works")]

use std::hint::black_box;
use std::time::{Duration, Instant};

use base::{Position, Principal, Scope, SequenceNumber, ShardId, Timestamp};
use bytes::Bytes;
use http::Request;
use wire::kinesis::{GetRecordsOutput, PutRecordInput, PutRecordsInput, PutRecordsRequestEntry, Record};
use wire::sigv4::{Credential, Keys, Verifier, sign};
use wire::{Call, Encoding, kinesis, protocol};

const RECORDS: usize = 500;
const BYTES: usize = 200;
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn main() {
    let now = Timestamp::from_millis(1_795_406_706_789);
    let number = |i: usize| SequenceNumber::new(Position::new(1_000_000 + i as u64), ShardId::new(3), now);
    measure("sequence number to text", RECORDS, || {
        (0..RECORDS).map(|i| black_box(number(i)).to_string().len()).sum::<usize>()
    });
    let data = Bytes::from((0..BYTES).map(|i| (i * 131 % 251) as u8).collect::<Vec<_>>());
    let key = |i: usize| format!("partition-{i}");
    let output = GetRecordsOutput {
        millis_behind_latest: Some(0),
        records: (0..RECORDS)
            .map(|i| Record {
                approximate_arrival_timestamp: Some(now),
                data: data.clone(),
                partition_key: Some(key(i)),
                sequence_number: number(i).to_string(),
                ..Default::default()
            })
            .collect(),
        ..Default::default()
    };
    let operation = |name: &str| kinesis::SERVICE.operation(name).unwrap();
    let call = Call {
        scope: Scope { account: "000000000000".parse().unwrap(), region: "us-east-1".parse().unwrap() },
        principal: Principal::Root,
        request_id: "7d6e3fd1-0a4f-4b0f-9c43-5e8f0d5f8a11".into(),
        trace: None,
        now,
        endpoint: "http://localhost:4566".into(),
        source_ip: None,
        secure: false,
        user_agent: None,
        access_key_id: None,
        left: Default::default(),
    };
    let records = (0..RECORDS).map(|i| PutRecordsRequestEntry {
        data: data.clone(),
        partition_key: Some(key(i)),
        ..Default::default()
    });
    let input =
        PutRecordsInput { records: records.collect(), stream_name: Some("stream".into()), ..Default::default() };
    for (encoding, kind) in
        [(Encoding::Json, "application/x-amz-json-1.1"), (Encoding::Cbor, "application/x-amz-cbor-1.1")]
    {
        measure(&format!("GetRecords out, {encoding:?}"), RECORDS, || {
            protocol::write(operation("GetRecords"), encoding, &call, black_box(&output)).into_body().len()
        });
        // An input has the form of an output in this protocol.
        let body = protocol::write(operation("PutRecords"), encoding, &call, &input).into_body();
        let request = Request::post("/").header("content-type", kind).body(body).unwrap();
        measure(&format!("PutRecords in, {encoding:?}"), RECORDS, || {
            protocol::read::<PutRecordsInput>(operation("PutRecords"), black_box(&request)).unwrap().records.len()
        });
    }
    let body = protocol::write(operation("PutRecords"), Encoding::Json, &call, &input).into_body();
    measure("signature of PutRecords", RECORDS, verifying(body, now));
    let one =
        PutRecordInput { data, partition_key: Some(key(0)), stream_name: Some("stream".into()), ..Default::default() };
    let body = protocol::write(operation("PutRecord"), Encoding::Json, &call, &one).into_body();
    let request = Request::post("/").body(body.clone()).unwrap();
    measure("PutRecord in", 1, || {
        protocol::read::<PutRecordInput>(operation("PutRecord"), black_box(&request)).unwrap().data.len()
    });
    measure("signature of PutRecord", 1, verifying(body, now));
}

/// Checks a signed request as the gate does.
fn verifying(body: Bytes, now: Timestamp) -> impl FnMut() -> usize {
    let keys = Keys { access_key_id: "AKIDEXAMPLE".into(), secret_access_key: SECRET.into(), session_token: None };
    let mut request = Request::post("/")
        .header("host", "127.0.0.1:4566")
        .header("content-type", "application/x-amz-json-1.1")
        .header("x-amz-target", "Kinesis_20131202.PutRecord")
        .body(body)
        .unwrap();
    sign(&mut request, &keys, "us-east-1", "kinesis", now).unwrap();
    let verifier = Verifier::new(Duration::from_secs(300));
    let lookup = |_: &str| {
        Some(Credential { secret: SECRET.into(), session_token: None, expires: None, principal: Principal::Root })
    };
    move || verifier.verify(black_box(&request), now, lookup).unwrap().service.len()
}

const ROUNDS: usize = 400;

/// The best of many rounds: what is in the way of the others is not ours.
fn measure(what: &str, records: usize, mut run: impl FnMut() -> usize) {
    let best = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            black_box(run());
            started.elapsed()
        })
        .min()
        .unwrap_or_default();
    println!("{what:32} {:8.0} ns a record", best.as_nanos() as f64 / records as f64);
}
