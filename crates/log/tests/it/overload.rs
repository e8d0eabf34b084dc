//! Ten times more than the disk takes: what waits is bounded, the rest is told to come again, and nothing is lost.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use base::fs::DirEntry;
use base::fs::sim::SimFs;
use base::{Env, ErrorKind, File, Fs, Kinded, OpenMode, SeededRng, SystemClock};
use tidegate_log::{Append, Log, LogConfig};

use crate::world::*;

/// A disk whose syncs of content wait while it is stalled.
#[derive(Clone)]
struct Stalling {
    disk: SimFs,
    stalled: Arc<(Mutex<bool>, Condvar)>,
}

impl Stalling {
    fn stall(&self, stalled: bool) {
        *self.stalled.0.lock().unwrap() = stalled;
        self.stalled.1.notify_all();
    }
}

struct StallingFile {
    file: Arc<dyn File>,
    stalled: Arc<(Mutex<bool>, Condvar)>,
}

impl File for StallingFile {
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> io::Result<usize> {
        self.file.write_at(buf, offset)
    }

    fn sync_data(&self) -> io::Result<()> {
        drop(self.stalled.1.wait_while(self.stalled.0.lock().unwrap(), |stalled| *stalled).unwrap());
        self.file.sync_data()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }
}

impl Fs for Stalling {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn File>> {
        let (file, stalled) = (self.disk.open(path, mode)?, Arc::clone(&self.stalled));
        Ok(Arc::new(StallingFile { file, stalled }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.create_dir_all(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.disk.remove_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        self.disk.read_dir(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        self.disk.sync_dir(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn set_mode(&self, path: &Path, mode: u32) -> io::Result<()> {
        self.disk.set_mode(path, mode)
    }

    fn mode(&self, path: &Path) -> io::Result<u32> {
        Fs::mode(&self.disk, path)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn Send + Sync>> {
        self.disk.lock(path)
    }
}

const QUEUE: usize = 200_000;
const GROUP: usize = 50_000;
const RECORD: usize = 1_000;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_times_the_queue_is_throttled_while_the_disk_stalls_and_what_waits_is_bounded() {
    let fs = Stalling { disk: SimFs::new(1), stalled: Arc::default() };
    let (clock, rng) = (Arc::new(SystemClock::new()), Arc::new(SeededRng::new(1)));
    let env = Env { clock, rng, fs: Arc::new(fs.clone()) };
    let config = LogConfig { queue_bytes: QUEUE, group_bytes: GROUP, ..LogConfig::default() };
    let log = Log::open(&env, "/journal".as_ref(), config).await.unwrap();
    let slot = stream(&log, "s", 1).await.shards[0].slot;
    for round in 0..3 {
        fs.stall(true);
        let (mut tasks, mut throttled) = (tokio::task::JoinSet::new(), 0);
        for n in 0..10 * QUEUE / RECORD {
            let (log, data) = (log.clone(), format!("{round}/{n:0900}"));
            tasks.spawn(async move { log.append(Append { producer: None, records: vec![record(slot, data)] }).await });
        }
        // What is not taken is refused at once: only what waits for the disk is still under way.
        let waiting = |tasks: &tokio::task::JoinSet<_>| tasks.len() * (RECORD - 100);
        while waiting(&tasks) > QUEUE + 2 * GROUP {
            let next = tokio::time::timeout(Duration::from_secs(60), tasks.join_next());
            let result = next.await.expect("more waits than the queue may hold").unwrap().unwrap();
            let error = result.expect_err("nothing is acknowledged while the disk stalls");
            assert_eq!(error.kind(), ErrorKind::Throttled);
            throttled += 1;
        }
        fs.stall(false);
        let mut done = 0;
        while let Some(result) = tasks.join_next().await {
            match result.unwrap() {
                Ok(placed) => done += placed.len(),
                Err(error) => {
                    assert_eq!(error.kind(), ErrorKind::Throttled);
                    throttled += 1;
                }
            }
        }
        assert_eq!(done + throttled, 10 * QUEUE / RECORD);
        assert!(done >= QUEUE / 2 / RECORD, "the queue was of use: {done}");
        let found =
            read_all(&log, slot).await.iter().filter(|r| r.data.starts_with(format!("{round}/").as_bytes())).count();
        assert_eq!(found, done, "what was acknowledged is there, what was refused is not");
    }
    put(&log, slot, "goes on").await;
}
