//! A table whose keys notice reuse.

/// Values in numbered slots. A slot's generation rises when it is emptied, so a key to a former
/// value finds nothing. Free slots are reused in the order last freed, first used: their memory
/// is warm.
#[derive(Debug)]
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

#[derive(Debug)]
struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Slab { slots: Vec::new(), free: Vec::new() }
    }
}

impl<T> Slab<T> {
    /// Slot and generation that the next [`Slab::insert`] will use.
    pub fn next_key(&self) -> (u32, u32) {
        match self.free.last() {
            Some(&slot) => (slot, self.slots[slot as usize].generation),
            None => (self.slots.len() as u32, 0),
        }
    }

    pub fn insert(&mut self, value: T) -> (u32, u32) {
        let key = self.next_key();
        match self.free.pop() {
            Some(slot) => self.slots[slot as usize].value = Some(value),
            None => self.slots.push(Slot { generation: 0, value: Some(value) }),
        }
        key
    }

    pub fn get(&self, slot: u32, generation: u32) -> Option<&T> {
        let found = self.slots.get(slot as usize)?;
        if found.generation == generation { found.value.as_ref() } else { None }
    }

    pub fn get_mut(&mut self, slot: u32, generation: u32) -> Option<&mut T> {
        let found = self.slots.get_mut(slot as usize)?;
        if found.generation == generation { found.value.as_mut() } else { None }
    }

    pub fn remove(&mut self, slot: u32, generation: u32) -> Option<T> {
        let found = self.slots.get_mut(slot as usize)?;
        if found.generation != generation {
            return None;
        }
        let value = found.value.take()?;
        found.generation = found.generation.wrapping_add(1);
        self.free.push(slot);
        Some(value)
    }

    /// The value in a slot of which the caller knows that its present tenant is meant.
    pub fn at_mut(&mut self, slot: u32) -> Option<(u32, &mut T)> {
        let found = self.slots.get_mut(slot as usize)?;
        let generation = found.generation;
        found.value.as_mut().map(|value| (generation, value))
    }

    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Every value with its slot and generation, in the order of slots.
    pub fn iter(&self) -> impl Iterator<Item = (u32, u32, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, s)| s.value.as_ref().map(|value| (slot as u32, s.generation, value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_to_a_former_tenant_finds_nobody() {
        let mut slab = Slab::default();
        let (slot, generation) = slab.insert("old");
        assert_eq!(slab.remove(slot, generation), Some("old"));
        assert_eq!(slab.next_key(), (slot, generation + 1));
        let (again, next) = slab.insert("new");
        assert_eq!((again, next), (slot, generation + 1));
        assert_eq!(slab.get(slot, generation), None);
        assert_eq!(slab.remove(slot, generation), None);
        assert_eq!(slab.get(slot, next), Some(&"new"));
        assert_eq!(slab.len(), 1);
    }
}
