//! The file: formats, damage, growth.

use std::path::Path;
use std::sync::Arc;

use base::fs::sim::SimFs;
use base::{Batch, ErrorKind, Fs, Kinded, OpenMode, StateStore};
use state::OpenError;

use crate::bed::{LEFT, RIGHT, marks, open};

const PATH: &str = "/data/state.redb";

fn length(fs: &SimFs) -> u64 {
    fs.open(Path::new(PATH), OpenMode::Read).unwrap().len().unwrap()
}

/// Rewrites the format number as a later version would.
fn write_format(bytes: Vec<u8>, format: u32) -> Vec<u8> {
    #[derive(Debug)]
    struct Shared(Arc<redb::backends::InMemoryBackend>);
    impl redb::StorageBackend for Shared {
        fn len(&self) -> std::io::Result<u64> {
            self.0.len()
        }
        fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
            self.0.read(offset, out)
        }
        fn set_len(&self, len: u64) -> std::io::Result<()> {
            self.0.set_len(len)
        }
        fn sync_data(&self) -> std::io::Result<()> {
            self.0.sync_data()
        }
        fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
            self.0.write(offset, data)
        }
    }
    use redb::StorageBackend as _;
    let memory = Arc::new(redb::backends::InMemoryBackend::new());
    memory.set_len(bytes.len() as u64).unwrap();
    memory.write(0, &bytes).unwrap();
    let database = redb::Database::builder().create_with_backend(Shared(Arc::clone(&memory))).unwrap();
    let transaction = database.begin_write().unwrap();
    let table = redb::TableDefinition::<&str, u32>::new("_format");
    transaction.open_table(table).unwrap().insert("version", format).unwrap();
    transaction.commit().unwrap();
    database.close().unwrap();
    let mut out = vec![0; memory.len().unwrap() as usize];
    memory.read(0, &mut out).unwrap();
    out
}

#[tokio::test]
async fn a_newer_format_is_refused_by_name() {
    let fs = SimFs::new(1);
    open(&fs).await.unwrap().close().await;
    let newer = write_format(fs.read(Path::new(PATH)).unwrap(), 2);
    fs.write_atomic(Path::new(PATH), &newer, 0o600).unwrap();
    let error = open(&fs).await.err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 2, known: 1, .. }), "{error}");
    assert_eq!(error.kind(), ErrorKind::Invalid);
    assert!(matches!(open(&fs).await, Err(OpenError::Newer { .. })), "being refused changes nothing");
}

#[tokio::test]
async fn a_file_of_another_kind_is_refused() {
    let fs = SimFs::new(2);
    fs.create_dir_all(Path::new("/data")).unwrap();
    for content in [vec![0; 10_000], b"hello".to_vec(), vec![]] {
        fs.write_atomic(Path::new(PATH), &content, 0o600).unwrap();
        let error = open(&fs).await.err().unwrap();
        assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
    }
}

#[tokio::test]
async fn damage_is_found_at_open() {
    let fs = SimFs::new(3);
    let store = open(&fs).await.unwrap();
    let value = vec![b'x'; 3_000];
    for key in 0..100u32 {
        store.commit(Batch::new().put(LEFT, key.to_be_bytes(), value.clone())).await.unwrap();
    }
    store.close().await;
    let mut bytes = fs.read(Path::new(PATH)).unwrap();
    let good = bytes.clone();
    // Values of old commits are in free pages too: damage every copy.
    for at in 4_096..bytes.len() {
        if good[at] == b'x' && at % 512 == 7 {
            bytes[at] = b'y';
        }
    }
    fs.write_atomic(Path::new(PATH), &bytes, 0o600).unwrap();
    let error = open(&fs).await.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
}

#[tokio::test]
async fn a_file_that_is_mostly_empty_is_compacted_at_open() {
    let fs = SimFs::new(4);
    let store = open(&fs).await.unwrap();
    let mut fill = Batch::new();
    for key in 0..300u32 {
        fill = fill.put(LEFT, key.to_be_bytes(), vec![1; 100_000]);
    }
    store.commit(fill).await.unwrap();
    store.commit(Batch::new().put(RIGHT, "kept", "here")).await.unwrap();
    store.close().await;
    let full = length(&fs);
    let store = open(&fs).await.unwrap();
    let empty = (0..300u32).fold(Batch::new(), |batch, key| batch.delete(LEFT, key.to_be_bytes()));
    store.commit(empty).await.unwrap();
    store.close().await;
    let store = open(&fs).await.unwrap();
    assert!(length(&fs) < full / 10, "{} of {full} bytes left", length(&fs));
    assert_eq!(store.get(RIGHT, b"kept").unwrap(), Some(b"here".to_vec()));
}

#[tokio::test]
async fn an_interrupted_creation_is_begun_anew() {
    let fs = SimFs::new(5);
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.write_atomic(Path::new("/data/state.redb.new"), b"half", 0o600).unwrap();
    let store = open(&fs).await.unwrap();
    store.commit(Batch::new().put(LEFT, "a", "b")).await.unwrap();
    assert_eq!(fs.read_dir(Path::new("/data")).unwrap().len(), 1);
}

/// Every format that was ever released is read for ever. The file was written by the first version.
#[tokio::test]
async fn the_first_format_is_still_read() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/format-1.redb");
    let fs = SimFs::new(6);
    fs.create_dir_all(Path::new("/data")).unwrap();
    fs.write_atomic(Path::new(PATH), &base::RealFs.read(&fixture).unwrap(), 0o600).unwrap();
    let store = open(&fs).await.unwrap();
    assert_eq!(marks(&store), Ok(3));
}
