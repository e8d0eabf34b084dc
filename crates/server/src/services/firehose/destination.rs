//! Search destinations: the two forms of the API, which differ in their names, as one.

use base::{Arn, BucketName};
use flow::delivery::{BackupMode, Destination, DomainFamily, IndexRotation};
use wire::firehose::*;
use wire::{ServiceError, only};

use super::{SERVICE, arn, invalid, role};

/// A delivery stream has one destination, and this is its id.
pub(super) const ID: &str = "destinationId-000000000001";
/// Defaults of the service ("CreateDeliveryStream", Firehose API Reference): seconds, megabytes, seconds.
const BUFFER_SECS: u32 = 300;
const BUFFER_MB: u32 = 5;
const RETRY_SECS: u32 = 300;

/// Options that are executed, or accepted only where they ask for what is done anyway.
const KNOWN: [&str; 12] = [
    "RoleARN",
    "DomainARN",
    "IndexName",
    "IndexRotationPeriod",
    "TypeName",
    "BufferingHints",
    "RetryOptions",
    "S3BackupMode",
    "S3Configuration",
    "ProcessingConfiguration",
    "CloudWatchLoggingOptions",
    "DocumentIdOptions",
];

fn not_available(what: &str) -> ServiceError {
    invalid(format!("{what} is not available in this version of Tidegate"))
}

fn number(value: Option<i32>, default: u32, what: &str) -> Result<u32, ServiceError> {
    let negative = |_| invalid(format!("{what} cannot be negative"));
    value.map_or(Ok(default), |value| u32::try_from(value).map_err(negative))
}

fn rotation(text: Option<&str>) -> Result<IndexRotation, ServiceError> {
    Ok(match text {
        None => IndexRotation::default(),
        Some("NoRotation") => IndexRotation::NoRotation,
        Some("OneHour") => IndexRotation::OneHour,
        Some("OneDay") => IndexRotation::OneDay,
        Some("OneWeek") => IndexRotation::OneWeek,
        Some("OneMonth") => IndexRotation::OneMonth,
        Some(other) => return Err(invalid(format!("IndexRotationPeriod '{other}' is not valid"))),
    })
}

fn shown_rotation(rotation: IndexRotation) -> &'static str {
    match rotation {
        IndexRotation::NoRotation => "NoRotation",
        IndexRotation::OneHour => "OneHour",
        IndexRotation::OneDay => "OneDay",
        IndexRotation::OneWeek => "OneWeek",
        IndexRotation::OneMonth => "OneMonth",
    }
}

fn backup(text: Option<&str>) -> Result<BackupMode, ServiceError> {
    Ok(match text {
        None | Some("FailedDocumentsOnly") => BackupMode::FailedDocumentsOnly,
        Some("AllDocuments") => BackupMode::AllDocuments,
        Some(other) => return Err(invalid(format!("S3BackupMode '{other}' is not valid"))),
    })
}

fn shown_backup(mode: BackupMode) -> &'static str {
    match mode {
        BackupMode::FailedDocumentsOnly => "FailedDocumentsOnly",
        BackupMode::AllDocuments => "AllDocuments",
    }
}

/// Where the backup goes, after refusing what is not done there.
fn bucket(config: &S3DestinationConfiguration) -> Result<(BucketName, Arn), ServiceError> {
    only(
        SERVICE,
        config,
        &["RoleARN", "BucketARN", "Prefix", "ErrorOutputPrefix", "CompressionFormat", "EncryptionConfiguration"],
    )?;
    if config.compression_format.as_deref().is_some_and(|format| format != "UNCOMPRESSED") {
        return Err(not_available("compression of the backup"));
    }
    if config.encryption_configuration.as_ref().is_some_and(|e| e.kms_encryption_config.is_some()) {
        return Err(not_available("encryption of the backup with a KMS key"));
    }
    let bucket = arn(&config.bucket_arn)?;
    let not_a_bucket = || invalid(format!("{bucket} is not the ARN of a bucket"));
    if bucket.service() != "s3" {
        return Err(not_a_bucket());
    }
    Ok((bucket.resource().parse().map_err(|_| not_a_bucket())?, role(&config.role_arn)?))
}

/// Refuses what asks for something that is not done.
fn refuse_others(
    type_name: Option<&str>,
    processing: Option<&ProcessingConfiguration>,
    logging: Option<&CloudWatchLoggingOptions>,
    ids: Option<&DocumentIdOptions>,
) -> Result<(), ServiceError> {
    if type_name.is_some_and(|name| !name.is_empty()) {
        return Err(invalid("TypeName must be empty: the domain's version of the API has no mapping types"));
    }
    let has_processors =
        |config: &ProcessingConfiguration| config.processors.as_ref().is_some_and(|processors| !processors.is_empty());
    if processing.is_some_and(|c| c.enabled == Some(true) || (c.enabled.is_none() && has_processors(c))) {
        return Err(not_available("ProcessingConfiguration"));
    }
    if logging.is_some_and(|options| options.enabled == Some(true)) {
        return Err(not_available("CloudWatchLoggingOptions"));
    }
    if ids.is_some_and(|options| options.default_document_id_format != "FIREHOSE_DEFAULT") {
        return Err(not_available("a DefaultDocumentIdFormat other than FIREHOSE_DEFAULT"));
    }
    Ok(())
}

/// Both forms have the same members; only their types' names differ.
macro_rules! read {
    ($function:ident, $type:ident, $family:ident) => {
        /// Reads this form of a destination.
        pub(super) fn $function(config: $type) -> Result<Destination, ServiceError> {
            only(SERVICE, &config, &KNOWN)?;
            refuse_others(
                config.type_name.as_deref(),
                config.processing_configuration.as_ref(),
                config.cloud_watch_logging_options.as_ref(),
                config.document_id_options.as_ref(),
            )?;
            let hints = config.buffering_hints.unwrap_or_default();
            let retry = config.retry_options.unwrap_or_default();
            let domain = config.domain_arn.as_deref().ok_or_else(|| invalid("DomainARN is needed"))?;
            let (bucket, bucket_role) = bucket(&config.s3_configuration)?;
            Ok(Destination {
                family: DomainFamily::$family,
                domain: arn(domain)?,
                index: config.index_name.parse().map_err(|e: base::InvalidId| invalid(e.to_string()))?,
                rotation: rotation(config.index_rotation_period.as_deref())?,
                buffer_secs: number(hints.interval_in_seconds, BUFFER_SECS, "IntervalInSeconds")?,
                buffer_mb: number(hints.size_in_mbs, BUFFER_MB, "SizeInMBs")?,
                retry_secs: number(retry.duration_in_seconds, RETRY_SECS, "DurationInSeconds")?,
                backup: backup(config.s3_backup_mode.as_deref())?,
                bucket,
                prefix: config.s3_configuration.prefix.unwrap_or_default(),
                error_prefix: config.s3_configuration.error_output_prefix,
                role: role(&config.role_arn)?,
                bucket_role,
            })
        }
    };
}

read!(of_opensearch, AmazonopensearchserviceDestinationConfiguration, OpenSearch);
read!(of_elasticsearch, ElasticsearchDestinationConfiguration, Elasticsearch);

fn described_bucket(to: &Destination) -> S3DestinationDescription {
    S3DestinationDescription {
        role_arn: to.bucket_role.to_string(),
        bucket_arn: format!("arn:aws:s3:::{}", to.bucket),
        prefix: (!to.prefix.is_empty()).then(|| to.prefix.clone()),
        error_output_prefix: to.error_prefix.clone(),
        compression_format: "UNCOMPRESSED".to_owned(),
        encryption_configuration: EncryptionConfiguration {
            no_encryption_config: Some("NoEncryption".to_owned()),
            ..Default::default()
        },
        ..Default::default()
    }
}

macro_rules! described {
    ($type:ident, $hints:ident, $retry:ident, $to:ident) => {
        Some($type {
            role_arn: Some($to.role.to_string()),
            domain_arn: Some($to.domain.to_string()),
            index_name: Some($to.index.to_string()),
            index_rotation_period: Some(shown_rotation($to.rotation).to_owned()),
            buffering_hints: Some($hints {
                interval_in_seconds: i32::try_from($to.buffer_secs).ok(),
                size_in_mbs: i32::try_from($to.buffer_mb).ok(),
            }),
            retry_options: Some($retry { duration_in_seconds: i32::try_from($to.retry_secs).ok() }),
            s3_backup_mode: Some(shown_backup($to.backup).to_owned()),
            s3_destination_description: Some(described_bucket($to)),
            ..Default::default()
        })
    };
}

/// Shows a destination in the form that it was created with.
pub(super) fn describe(to: &Destination) -> DestinationDescription {
    let mut shown = DestinationDescription { destination_id: ID.to_owned(), ..Default::default() };
    match to.family {
        DomainFamily::OpenSearch => {
            shown.amazonopensearchservice_destination_description = described!(
                AmazonopensearchserviceDestinationDescription,
                AmazonopensearchserviceBufferingHints,
                AmazonopensearchserviceRetryOptions,
                to
            );
        }
        DomainFamily::Elasticsearch => {
            shown.elasticsearch_destination_description = described!(
                ElasticsearchDestinationDescription,
                ElasticsearchBufferingHints,
                ElasticsearchRetryOptions,
                to
            );
        }
    }
    shown
}
