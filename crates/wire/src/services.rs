//! The generated services, a module each: types, `shapes`, trait, `dispatch` and `SERVICE`.

include!(concat!(env!("OUT_DIR"), "/services.rs"));

macro_rules! service {
    ($(#[$doc:meta])* $name:ident, $file:literal) => {
        $(#[$doc])*
        #[allow(missing_docs, clippy::all, unused_imports, reason = "generated: what documents it is the model")]
        #[rustfmt::skip]
        pub mod $name {
            include!(concat!(env!("OUT_DIR"), "/", $file));
        }
    };
}

service!(
    /// AWS CloudTrail.
    cloudtrail, "cloudtrail.rs"
);
service!(
    /// Amazon EventBridge.
    events, "events.rs"
);
service!(
    /// Amazon Data Firehose.
    firehose, "firehose.rs"
);
service!(
    /// AWS Identity and Access Management.
    iam, "iam.rs"
);
service!(
    /// Amazon Kinesis Data Streams.
    kinesis, "kinesis.rs"
);
service!(
    /// AWS Lambda.
    lambda, "lambda.rs"
);
service!(
    /// Amazon EventBridge Scheduler.
    scheduler, "scheduler.rs"
);
service!(
    /// Amazon Simple Notification Service.
    sns, "sns.rs"
);
service!(
    /// Amazon Simple Queue Service.
    sqs, "sqs.rs"
);
service!(
    /// AWS Security Token Service.
    sts, "sts.rs"
);
