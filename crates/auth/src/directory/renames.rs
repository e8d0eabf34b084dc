//! Other names and paths for users and groups. A role and a policy keep theirs.

use super::{Change, Class, Directory, DirectoryError, EntityName, EntityPath, Kind};

impl Directory {
    /// Gives a user or a group another name, another path, or both. What is attached stays, and a group keeps its users.
    pub fn rename(
        &self,
        class: Class,
        name: &EntityName,
        new_name: Option<EntityName>,
        new_path: Option<EntityPath>,
    ) -> Result<Vec<Change>, DirectoryError> {
        let mut entity = self.copy(class, name)?;
        if class == Class::Role {
            let message = format!("the role {name} cannot be renamed: make another one");
            return Err(DirectoryError::Validation(message));
        }
        let (old, old_key) = (entity.name.clone(), entity.name.key());
        entity.name = new_name.unwrap_or(entity.name);
        entity.path = new_path.unwrap_or(entity.path);
        let new_key = entity.name.key();
        if new_key == old_key {
            return Ok(vec![Change::Put(entity)]);
        }
        if self.has(class, &entity.name) {
            let message = format!("{} with name {} already exists.", class.title(), entity.name);
            return Err(DirectoryError::EntityAlreadyExists(message));
        }
        let mut changes = vec![Change::Remove(class, old.clone()), Change::Put(entity)];
        if class == Class::Group {
            for member in self.members(&old) {
                let mut member = self.copy(Class::User, &member.name)?;
                if let Kind::User { groups, .. } = &mut member.kind {
                    groups.remove(&old_key);
                    groups.insert(new_key.clone());
                }
                changes.push(Change::Put(member));
            }
        }
        Ok(changes)
    }
}
