//! The folder of mails that no mail server was there for.
//!
//! Layout: one file a mail, `TIME-ID.eml`, readable as text and by mail programs; TIME are milliseconds since 1970, so
//! names are in the order of time. Promises that a kept mail is durable, that the same mail is there once, and that there
//! are never more mails and bytes than the bounds below and one mail; the oldest make room, and are counted. Must not
//! know why there is no mail server.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use base::{Fs, OpenMode, Timestamp};
use flow::topic::MailError;

use crate::metrics;

/// Mails that are kept, and their bytes, at most.
const MAX_MAILS: usize = 1_000;
const MAX_BYTES: u64 = 64 << 20;

pub(super) struct Outbox {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    /// What is there, once it was looked at.
    kept: Mutex<Option<Kept>>,
}

/// The bytes of each mail.
#[derive(Default)]
struct Kept {
    mails: BTreeMap<String, u64>,
    bytes: u64,
}

impl Kept {
    fn add(&mut self, name: String, bytes: u64) {
        self.bytes += bytes;
        self.bytes -= self.mails.insert(name, bytes).unwrap_or_default();
    }

    /// The oldest, if there is more than may be.
    fn surplus(&self) -> Option<String> {
        let is_over = self.mails.len() > MAX_MAILS || (self.bytes > MAX_BYTES && self.mails.len() > 1);
        self.mails.keys().next().filter(|_| is_over).cloned()
    }
}

impl Outbox {
    pub fn new(fs: Arc<dyn Fs>, dir: PathBuf) -> Self {
        Self { fs, dir, kept: Mutex::default() }
    }

    /// Keeps a mail, in place of the same one.
    pub async fn keep(self: &Arc<Self>, at: Timestamp, id: &str, bytes: Vec<u8>) -> Result<(), MailError> {
        let name: String = id.chars().filter(|c| c.is_ascii_alphanumeric() || "-.".contains(*c)).collect();
        let (this, name) = (Arc::clone(self), format!("{:015}-{name}.eml", at.millis()));
        let kept = tokio::task::spawn_blocking(move || this.put(&name, &bytes)).await;
        let failed = |why: &dyn std::fmt::Display| MailError::Failed(format!("the mail cannot be kept: {why}"));
        kept.map_err(|e| failed(&e))?.map_err(|e| failed(&e))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut guard = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        // Looked at again after a failure.
        let mut kept = match guard.take() {
            Some(kept) => kept,
            None => self.look()?,
        };
        self.fs.write_atomic(&self.dir.join(name), bytes, 0o600)?;
        kept.add(name.to_owned(), bytes.len() as u64);
        self.make_room(&mut kept)?;
        *guard = Some(kept);
        drop(guard);
        tracing::info!(file = name, "a mail is kept in the folder mail-outbox, as no mail server is configured");
        Ok(())
    }

    fn look(&self) -> io::Result<Kept> {
        self.fs.create_dir_durable(&self.dir)?;
        let mut kept = Kept::default();
        for entry in self.fs.read_dir(&self.dir)?.into_iter().filter(|entry| !entry.is_dir) {
            let path = self.dir.join(&entry.name);
            if entry.name.ends_with(".eml") {
                kept.add(entry.name, self.fs.open(&path, OpenMode::Read)?.len()?);
            } else if entry.name.ends_with(".eml.tmp") {
                // A crash came between.
                self.fs.remove_file(&path)?;
            }
        }
        Ok(kept)
    }

    fn make_room(&self, kept: &mut Kept) -> io::Result<()> {
        let mut dropped = 0;
        while let Some(oldest) = kept.surplus() {
            match self.fs.remove_file(&self.dir.join(&oldest)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                // Somebody else may have removed it.
                gone => dropped += usize::from(gone.is_ok()),
            }
            kept.bytes -= kept.mails.remove(&oldest).unwrap_or_default();
        }
        if dropped > 0 {
            metrics::mails_dropped(dropped);
            tracing::warn!(mails = dropped, "the oldest mails left the folder mail-outbox to make room");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use base::fs::sim::SimFs;

    use super::*;

    fn outbox(fs: &SimFs) -> Arc<Outbox> {
        Arc::new(Outbox::new(Arc::new(fs.clone()), "/data/mail-outbox".into()))
    }

    fn names(fs: &SimFs) -> Vec<String> {
        fs.read_dir("/data/mail-outbox".as_ref()).unwrap().into_iter().map(|entry| entry.name).collect()
    }

    async fn keep(outbox: &Arc<Outbox>, ms: i64, id: &str, bytes: usize) {
        outbox.keep(Timestamp::from_millis(ms), id, vec![b'x'; bytes]).await.unwrap();
    }

    #[tokio::test]
    async fn the_newest_are_kept_by_number_and_bytes_across_restarts() {
        let fs = SimFs::new(1);
        fs.create_dir_durable("/data".as_ref()).unwrap();
        let first = outbox(&fs);
        for n in 0..1_005 {
            keep(&first, n, &format!("m{n}"), 10).await;
        }
        assert_eq!((names(&fs).len(), &*names(&fs)[0]), (MAX_MAILS, "000000000000005-m5.eml"));
        let again = outbox(&fs);
        keep(&again, 2_000, "large", 60 << 20).await;
        keep(&again, 2_000, "large", 60 << 20).await;
        assert_eq!(
            (names(&fs).len(), &*names(&fs)[0]),
            (MAX_MAILS, "000000000000006-m6.eml"),
            "the same is there once"
        );
        keep(&again, 2_001, "larger", 63 << 20).await;
        assert_eq!(names(&fs), ["000000000002001-larger.eml"]);
        keep(&again, 2_002, "largest", 70 << 20).await;
        assert_eq!(names(&fs), ["000000000002002-largest.eml"], "one is always there");
    }

    #[tokio::test]
    async fn what_was_taken_survives_a_power_cut_and_names_stay_in_the_folder() {
        let fs = SimFs::new(2);
        fs.create_dir_durable("/data".as_ref()).unwrap();
        keep(&outbox(&fs), 1, "../../a/b\0", 3).await;
        fs.power_cut();
        assert_eq!(names(&fs), ["000000000000001-....ab.eml"]);
        assert_eq!(fs.read("/data/mail-outbox/000000000000001-....ab.eml".as_ref()).unwrap(), b"xxx");
    }
}
