//! Things with numbers; the number of a thing that is gone is used again.

/// Things by number.
#[derive(Debug)]
pub(super) struct Slab<T> {
    slots: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// One more than the greatest number in use.
    pub fn bound(&self) -> usize {
        self.slots.len()
    }

    pub fn add(&mut self, thing: T) -> u32 {
        if let Some(id) = self.free.pop() {
            self.slots[id as usize] = Some(thing);
            return id;
        }
        self.slots.push(Some(thing));
        // Memory ends long before numbers do.
        u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
    }

    #[inline]
    pub fn get(&self, id: u32) -> Option<&T> {
        self.slots.get(id as usize)?.as_ref()
    }

    pub fn get_mut(&mut self, id: u32) -> Option<&mut T> {
        self.slots.get_mut(id as usize)?.as_mut()
    }

    pub fn remove(&mut self, id: u32) -> Option<T> {
        let thing = self.slots.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(thing)
    }
}
