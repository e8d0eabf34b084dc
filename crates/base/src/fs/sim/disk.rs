//! The disk: files by number, the names that lead to them, and the room that is left.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};

use super::content::Content;
use super::fault::{Fault, Faults};
use super::names::{Name, Names, NodeId, ROOT};
use crate::fs::DirEntry;
use crate::{OpenMode, Rng, SeededRng};

/// A file or folder.
#[derive(Debug)]
pub(super) enum Node {
    File(FileNode),
    Dir,
}

/// A file.
#[derive(Debug)]
pub(super) struct FileNode {
    pub content: Content,
    pub mode: u32,
    pub handles: u32,
    named: bool,
}

/// Everything behind the mutex.
#[derive(Debug)]
pub(super) struct Disk {
    pub faults: Faults,
    pub rng: SeededRng,
    pub lying_sync: bool,
    pub capacity: Option<u64>,
    /// Grows with every power cut and kill; handles of an earlier boot are of no use.
    pub boot: u64,
    pub locks: BTreeSet<NodeId>,
    names: Names,
    nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
}

impl Disk {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            faults: Faults::default(),
            rng: SeededRng::new(seed),
            lying_sync: false,
            capacity: None,
            boot: 0,
            locks: BTreeSet::new(),
            names: Names::default(),
            nodes: BTreeMap::from([(ROOT, Node::Dir)]),
            next_node: ROOT + 1,
        }
    }

    pub(super) fn cut(&mut self) {
        self.names.cut(&self.rng);
        let reachable = self.names.reachable();
        self.names.retain(&reachable);
        self.nodes.retain(|id, _| reachable.contains(id));
        for node in self.nodes.values_mut() {
            if let Node::File(file) = node {
                file.content.cut(&self.rng);
                file.named = true;
            }
        }
        self.end_boot();
    }

    /// The process is gone: its handles and locks are, the page cache is not.
    pub(super) fn end_boot(&mut self) {
        self.boot += 1;
        self.locks.clear();
        self.faults.restart();
        for node in self.nodes.values_mut() {
            if let Node::File(file) = node {
                file.handles = 0;
            }
        }
    }

    pub(super) fn file(&mut self, id: NodeId) -> io::Result<&mut FileNode> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn file_and_rng(&mut self, id: NodeId) -> io::Result<(&mut FileNode, &SeededRng)> {
        match self.nodes.get_mut(&id) {
            Some(Node::File(file)) => Ok((file, &self.rng)),
            _ => Err(io::ErrorKind::NotFound.into()),
        }
    }

    /// Bytes that still fit.
    fn room(&self) -> u64 {
        let Some(capacity) = self.capacity else { return u64::MAX };
        let used: u64 = self
            .nodes
            .values()
            .map(|node| match node {
                Node::File(file) if file.named || file.handles > 0 => file.content.len() as u64,
                _ => 0,
            })
            .sum();
        capacity.saturating_sub(used)
    }

    /// Writes as much of `data` as fits, and of that a part when the call is to fall short.
    pub(super) fn write(&mut self, id: NodeId, data: &[u8], offset: u64, fault: Option<Fault>) -> io::Result<usize> {
        if data.is_empty() {
            return Ok(0);
        }
        let offset = usize::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = offset.checked_add(data.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        let room = self.room();
        let len = self.file(id)?.content.len();
        let over = (end.saturating_sub(len) as u64).saturating_sub(room) as usize;
        let mut taken = data.len().saturating_sub(over);
        if taken == 0 {
            return Err(Fault::Enospc.error());
        }
        if matches!(fault, Some(Fault::Short | Fault::Torn)) {
            taken = (1 + self.rng.below(taken as u64) as usize).min(taken.saturating_sub(1).max(1));
        }
        self.file(id)?.content.write(&data[..taken], offset);
        if fault == Some(Fault::Torn) { Err(Fault::Torn.error()) } else { Ok(taken) }
    }

    pub(super) fn set_len(&mut self, id: NodeId, len: u64) -> io::Result<()> {
        let room = self.room();
        let content = &mut self.file(id)?.content;
        if len.saturating_sub(content.len() as u64) > room {
            return Err(Fault::Enospc.error());
        }
        content.set_len(usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?);
        Ok(())
    }

    // ---- Names ----

    /// The node at a path. Relative paths start at the root.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        parts(path)?.into_iter().try_fold(ROOT, |folder, part| {
            self.names.get(&(folder, part)).ok_or_else(|| io::ErrorKind::NotFound.into())
        })
    }

    /// The folder and name of a path, whether or not something is there.
    fn name(&self, path: &Path) -> io::Result<Name> {
        let mut parts = parts(path)?;
        let last = parts.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let mut folder = ROOT;
        for part in parts {
            folder = self.names.get(&(folder, part)).ok_or(io::ErrorKind::NotFound)?;
        }
        self.expect_dir(folder)?;
        Ok((folder, last))
    }

    fn expect_dir(&self, id: NodeId) -> io::Result<()> {
        match self.nodes.get(&id) {
            Some(Node::Dir) => Ok(()),
            Some(Node::File(_)) => Err(io::ErrorKind::NotADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn add(&mut self, name: Name, node: Node) -> NodeId {
        let id = self.next_node;
        self.next_node += 1;
        self.nodes.insert(id, node);
        self.names.change(vec![(name, Some(id))]);
        id
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<NodeId> {
        let name = self.name(path)?;
        let id = match (self.names.get(&name), mode) {
            (Some(_), OpenMode::CreateNew) => return Err(io::ErrorKind::AlreadyExists.into()),
            (Some(id), _) => id,
            (None, OpenMode::Read | OpenMode::ReadWrite) => return Err(io::ErrorKind::NotFound.into()),
            (None, OpenMode::Create | OpenMode::CreateNew) => {
                let file = FileNode { content: Content::default(), mode: 0o600, handles: 0, named: true };
                self.add(name, Node::File(file))
            }
        };
        self.file(id)?.handles += 1;
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (self.name(from)?, self.name(to)?);
        let id = self.names.get(&from).ok_or(io::ErrorKind::NotFound)?;
        if from == to {
            return Ok(());
        }
        if let Some(replaced) = self.names.get(&to) {
            // Only a file replaces, and only a file: nothing here renames over a folder.
            self.file(id)?;
            self.file(replaced)?.named = false;
        }
        self.names.change(vec![(from, None), (to, Some(id))]);
        Ok(())
    }

    pub(super) fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let name = self.name(path)?;
        let id = self.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
        self.file(id)?.named = false;
        self.names.change(vec![(name, None)]);
        Ok(())
    }

    pub(super) fn create_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let mut folder = ROOT;
        for part in parts(path)? {
            let name = (folder, part);
            folder = match self.names.get(&name) {
                Some(id) => id,
                None => self.add(name, Node::Dir),
            };
            self.expect_dir(folder)?;
        }
        Ok(())
    }

    pub(super) fn remove_dir_all(&mut self, path: &Path) -> io::Result<()> {
        let name = self.name(path)?;
        let id = self.names.get(&name).ok_or(io::ErrorKind::NotFound)?;
        self.expect_dir(id)?;
        self.remove_tree(id);
        self.names.change(vec![(name, None)]);
        Ok(())
    }

    fn remove_tree(&mut self, folder: NodeId) {
        let inside: Vec<_> = self.names.list(folder).map(|(name, id)| (name.to_owned(), id)).collect();
        for (name, id) in inside {
            match self.nodes.get_mut(&id) {
                Some(Node::File(file)) => file.named = false,
                _ => self.remove_tree(id),
            }
            self.names.change(vec![((folder, name), None)]);
        }
    }

    pub(super) fn read_dir(&self, path: &Path) -> io::Result<Vec<DirEntry>> {
        let id = self.find(path)?;
        self.expect_dir(id)?;
        let entry = |(name, id): (&str, NodeId)| DirEntry {
            name: name.to_owned(),
            is_dir: matches!(self.nodes.get(&id), Some(Node::Dir)),
        };
        Ok(self.names.list(id).map(entry).collect())
    }

    pub(super) fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let id = self.find(path)?;
        self.expect_dir(id)?;
        if !self.lying_sync {
            self.names.sync(id);
        }
        Ok(())
    }
}

fn parts(path: &Path) -> io::Result<Vec<String>> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
            Component::ParentDir => _ = parts.pop(),
            Component::Normal(part) => parts.push(part.to_str().ok_or(io::ErrorKind::InvalidFilename)?.to_owned()),
        }
    }
    Ok(parts)
}
