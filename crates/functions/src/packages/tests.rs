use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};

use base::{RealFs, SystemClock, SystemRng};
use zip::write::SimpleFileOptions;

use super::*;

/// Packages in a folder that goes with them.
struct House(Env, PathBuf, Packages);

impl House {
    fn new() -> Self {
        let env = Env { clock: Arc::new(SystemClock::new()), rng: Arc::new(SystemRng), fs: Arc::new(RealFs) };
        let dir = std::env::temp_dir().join(format!("tidegate-packages-{:016x}", env.rng.u64()));
        let packages = Packages::new(&env, &dir);
        Self(env, dir, packages)
    }

    fn files(&self) -> Vec<String> {
        let home = self.2.home(&scope(), "f");
        self.0.fs.read_dir(&home).unwrap().into_iter().map(|entry| entry.name).collect()
    }
}

impl Drop for House {
    fn drop(&mut self) {
        if let Err(error) = self.0.fs.remove_dir_all(&self.1) {
            println!("{} stays: {error}", self.1.display());
        }
    }
}

fn scope() -> Scope {
    Scope { account: "000000000000".parse().unwrap(), region: "eu-central-1".parse().unwrap() }
}

fn archive() -> Bytes {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    writer.start_file("app.py", SimpleFileOptions::default()).unwrap();
    writer.write_all(b"x").unwrap();
    writer.finish().unwrap().into_inner().into()
}

#[tokio::test]
async fn what_was_held_and_is_needed_since_stays_although_the_sweep_had_begun() {
    let house = House::new();
    let code = code_of(&archive()).unwrap();
    let held = house.2.store(&scope(), "f", &code, archive()).await.unwrap();
    // Whoever holds it makes it needed and lets go, while the sweep already knows that it is not needed.
    let (held, asked, needs) = (Mutex::new(Some(held)), AtomicUsize::new(0), code.clone());
    let needed = move || match asked.fetch_add(1, Ordering::Relaxed) {
        0 => {
            drop(held.lock().unwrap().take());
            Vec::new()
        }
        _ => vec![needs.clone()],
    };
    house.2.sweep(&scope(), "f", needed).await.unwrap();
    assert_eq!(house.files().len(), 2, "the archive and its folder");
    house.2.sweep(&scope(), "f", Vec::new).await.unwrap();
    assert_eq!(house.files(), Vec::<String>::new());
}

#[tokio::test]
async fn what_is_kept_is_not_swept() {
    let house = House::new();
    let code = code_of(&archive()).unwrap();
    drop(house.2.store(&scope(), "f", &code, archive()).await.unwrap());
    let kept = house.2.keep(&scope(), "f", &code);
    house.2.sweep(&scope(), "f", Vec::new).await.unwrap();
    assert_eq!(house.files().len(), 2);
    drop(kept);
    house.2.sweep(&scope(), "f", Vec::new).await.unwrap();
    assert_eq!(house.files(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_archive_may_come_many_times_at_once() {
    let house = House::new();
    let code = code_of(&archive()).unwrap();
    for _ in 0..20 {
        let all = (0..16).map(|_| {
            let (packages, code) = (house.2.clone(), code.clone());
            tokio::spawn(async move { packages.store(&scope(), "f", &code, archive()).await.map(drop) })
        });
        for stored in all.collect::<Vec<_>>() {
            stored.await.unwrap().unwrap();
        }
        assert_eq!(house.files().len(), 2, "{:?}", house.files());
        house.2.sweep(&scope(), "f", Vec::new).await.unwrap();
    }
}

#[test]
fn what_is_unpacked_together_shares_one_limit() {
    let house = House::new();
    house.0.fs.create_dir_all(&house.1).unwrap();
    let unpack = |left| package::unpack(&*house.0.fs, &archive(), &house.1, package::Over::Layers, left);
    assert_eq!(unpack(3).unwrap(), 2);
    assert_eq!(unpack(1).unwrap(), 0);
    assert!(matches!(unpack(0), Err(PackageError::TooLarge { .. })));
}
