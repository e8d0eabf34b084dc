//! How long quarantines keep what is in them, whether or not anybody looks.
//!
//! Owns the reconciler that lets go what is past the bounds, and the logs whose mapping was deleted only in part.

use std::time::Duration;

use base::Kinded;
use log::StreamKind;

use super::super::{Mappings, config};
use crate::FlowError;

/// How often it looks.
const PERIOD: Duration = Duration::from_secs(3_600);

impl Mappings {
    /// Looks at the start and then on a period.
    pub(in crate::mapping) async fn keep_quarantines(self) {
        let (clock, stopping) = (&self.inner.ports.consumers.env.clock, self.inner.group.stopping());
        loop {
            if let Err(error) = self.keep_all().await {
                tracing::warn!(%error, "the quarantines of mappings cannot be shortened now");
            }
            tokio::select! {
                () = clock.sleep(PERIOD) => {}
                () = stopping.cancelled() => return,
            }
        }
    }

    async fn keep_all(&self) -> Result<(), FlowError> {
        let ports = &self.inner.ports;
        for stream in ports.consumers.log.all_streams(StreamKind::Quarantine) {
            let (scope, id) = (&stream.key.scope, &stream.key.name);
            let kept = match config::stored(&*ports.state, scope, id)? {
                Some(_) => self.quarantine(scope, id).list().await.map(drop),
                // Nobody would ever let it go.
                None => match ports.consumers.log.delete_stream(&stream.key).await {
                    Err(error) if error.kind() != base::ErrorKind::NotFound => Err(error.into()),
                    _ => Ok(()),
                },
            };
            if let Err(error) = kept {
                tracing::warn!(mapping = id, %error, "a quarantine cannot be shortened now");
            }
        }
        Ok(())
    }
}
