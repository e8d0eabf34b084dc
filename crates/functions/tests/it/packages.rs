//! Archives that are refused, each by what is wrong with it, and that nothing of them stays.

use base::{ErrorKind, Kinded};
use bytes::Bytes;
use functions::FunctionError;
use zip::write::SimpleFileOptions;

use crate::support::{Room, zip};

async fn refused(room: &Room, archive: Bytes) -> String {
    let error: FunctionError = room.create("bad", "python3.12", "app.handler", archive, |_| {}).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Invalid, "{error}");
    let home = room.dir.join("000000000000/eu-central-1/bad");
    if room.env.fs.exists(&home).unwrap() {
        assert_eq!(room.env.fs.read_dir(&home).unwrap(), [], "leftovers after: {error}");
    }
    assert!(!room.env.fs.exists(&room.dir.join("evil.py")).unwrap());
    error.to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_out_are_refused() {
    let room = Room::new().await;
    for (name, why) in [
        ("../evil.py", "leads out of the package by '..'"),
        ("a/../../evil.py", "leads out of the package by '..'"),
        ("/evil.py", "has an absolute path"),
        ("a\\..\\evil.py", "has a backslash"),
        ("a//b.py", "has an empty folder name"),
    ] {
        let message = refused(&room, zip(&[("app.py", b"", 0o644), (name, b"x", 0o644)])).await;
        assert!(message.starts_with("Could not unzip uploaded file"), "{message}");
        assert!(message.contains(name) && message.contains(why), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn links_and_devices_are_refused() {
    let room = Room::new().await;
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let link = writer.finish().unwrap().into_inner();
    let message = refused(&room, link.clone().into()).await;
    assert!(message.contains("'link'") && message.contains("links and devices are refused"), "{message}");
    // The same entry called a character device: the mode's upper bits in the central directory.
    let mut device = link;
    let at = device.windows(4).position(|w| w == b"PK\x01\x02").unwrap() + 41;
    device[at] = 0o020_644u32.to_le_bytes()[1];
    let message = refused(&room, device.into()).await;
    assert!(message.contains("links and devices are refused"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bombs_are_refused_while_they_inflate() {
    let room = Room::new().await;
    let bomb = zip(&[("app.py", b"", 0o644), ("bomb", &vec![0; 32 << 20], 0o644)]);
    assert!(bomb.len() < 1 << 20);
    let message = refused(&room, bomb).await;
    assert!(message.contains("'bomb'") && message.contains("inflates far beyond"), "{message}");
    // The headers lie about the size; what is inflated is what counts.
    let honest = zip(&[("bomb", &vec![0; 32 << 20], 0o644)]);
    let mut lying = honest.to_vec();
    for (signature, offset) in [(b"PK\x03\x04", 22), (b"PK\x01\x02", 24)] {
        let at = lying.windows(4).position(|w| w == signature).unwrap() + offset;
        lying[at..at + 4].copy_from_slice(&10u32.to_le_bytes());
    }
    let message = refused(&room, lying.into()).await;
    assert!(message.contains("bomb"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn more_than_250_mb_are_refused() {
    let room = Room::new().await;
    // Each entry is small enough not to look like a bomb; together they are too much.
    let one = zip(&[("part", &vec![7; 15 << 20], 0o644)]);
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    for n in 0..17 {
        let mut source = zip::ZipArchive::new(std::io::Cursor::new(one.as_ref())).unwrap();
        writer.raw_copy_file_rename(source.by_index(0).unwrap(), format!("part{n:02}").as_str()).unwrap();
    }
    let message = refused(&room, writer.finish().unwrap().into_inner().into()).await;
    assert!(message.contains("Unzipped size must be smaller than 262144000 bytes"), "{message}");
    assert!(message.contains("'part16'"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn folders_without_end_are_refused() {
    let room = Room::new().await;
    let names: Vec<String> = (0..140).map(|n| format!("{n}/{}f", "a/".repeat(500))).collect();
    let entries: Vec<(&str, &[u8], u32)> = names.iter().map(|name| (name.as_str(), &b""[..], 0o644)).collect();
    let archive = zip(&entries);
    assert!(archive.len() < 1 << 20, "{}", archive.len());
    let message = refused(&room, archive).await;
    assert!(message.contains("beyond 65,535 files and folders"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_zip_or_damaged_is_refused() {
    let room = Room::new().await;
    refused(&room, Bytes::from_static(b"not a zip")).await;
    refused(&room, Bytes::new()).await;
    refused(&room, zip(&[])).await;
    let mut damaged = zip(&[("app.py", &b"def handler(e, c): pass\n".repeat(100), 0o644)]).to_vec();
    damaged[40] ^= 0xff;
    let message = refused(&room, damaged.into()).await;
    assert!(message.contains("app.py"), "{message}");
    let whole = zip(&[("app.py", b"x", 0o644)]);
    refused(&room, whole.slice(..whole.len() / 2)).await;
    let message = refused(&room, vec![0; (50 << 20) + 1].into()).await;
    assert!(message.contains("must be smaller than 52428800 bytes"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_entries_at_one_place_are_refused() {
    let room = Room::new().await;
    let message = refused(&room, zip(&[("a", b"x", 0o644), ("./a", b"y", 0o644)])).await;
    assert!(message.contains("same path"), "{message}");
    let message = refused(&room, zip(&[("a", b"x", 0o644), ("a/b", b"y", 0o644)])).await;
    assert!(message.contains("below another entry"), "{message}");
    // The very same name twice: made by renaming an entry in place.
    let mut twice = zip(&[("one.py", b"1", 0o644), ("two.py", b"2", 0o644)]).to_vec();
    while let Some(at) = twice.windows(6).position(|w| w == b"two.py") {
        twice[at..at + 6].copy_from_slice(b"one.py");
    }
    let message = refused(&room, twice.into()).await;
    assert!(message.contains("same name"), "{message}");
}

#[tokio::test(flavor = "multi_thread")]
async fn modes_keep_their_executable_bit_and_nothing_else() {
    let room = Room::new().await;
    let source =
        b"import os\ndef handler(e, c):\n    return [oct(os.stat(f).st_mode) for f in ('tool', 'data', 'deep/er')]\n";
    let archive =
        zip(&[("app.py", source, 0o600), ("tool", b"", 0o4711), ("data", b"", 0o666), ("deep/er", b"", 0o777)]);
    room.create("modes", "python3.12", "app.handler", archive, |_| {}).await.unwrap();
    let modes = room.call("modes", "{}").await.payload;
    assert_eq!(modes, r#"["0o100755", "0o100644", "0o100755"]"#);
}
