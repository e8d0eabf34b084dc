//! Plausible CloudTrail records.
