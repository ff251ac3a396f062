//! The file that the head's memory lies in.

use std::{
    fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

/// What is known of the file itself.
const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const STATE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("state");
/// Changes with what the entries mean: 2 since submitted jobs are among them.
const VERSION: u8 = 2;
const FILE: &str = "head.redb";

/// Why the head's memory is of no use.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another head has it open.
    #[error(
        "the state in {0} is in use by another head; end that one first, or give this one another folder with --state"
    )]
    InUse(PathBuf),
    /// Written by another release.
    #[error(
        "the state in {path} has version {found}, and this release reads version {VERSION}; use the release that wrote it, or remove the folder to start anew"
    )]
    Version {
        /// The folder.
        path: PathBuf,
        /// What was found.
        found: u8,
    },
    /// It cannot be read or written.
    #[error(
        "the head's state in {path} cannot be used: {cause}. Remove the folder to start a cluster that remembers nothing"
    )]
    Unusable {
        /// The folder.
        path: PathBuf,
        /// What went wrong.
        cause: String,
    },
}

/// The head's memory.
pub(crate) struct Store {
    database: Database,
    folder: PathBuf,
}

/// What a head wrote down before.
pub(crate) struct Saved {
    pub cluster_id: String,
    pub entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Store {
    /// Opens the memory, or makes it for the cluster of this id.
    pub fn open(folder: &Path, cluster_id: &str) -> Result<(Self, Option<Saved>), StoreError> {
        let unusable = |error: &dyn std::fmt::Display| StoreError::Unusable {
            path: folder.to_owned(),
            cause: error.to_string(),
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unusable(&error))?;
        let database = Database::create(folder.join(FILE)).map_err(|error| match error {
            redb::DatabaseError::DatabaseAlreadyOpen => StoreError::InUse(folder.to_owned()),
            other => unusable(&other),
        })?;
        let store = Self { database, folder: folder.to_owned() };
        let saved = store.read().map_err(|error| unusable(&error))?;
        match saved {
            Some((version, _)) if version != VERSION => {
                Err(StoreError::Version { path: folder.to_owned(), found: version })
            }
            Some((_, saved)) => Ok((store, Some(saved))),
            None => {
                store.initialize(cluster_id).map_err(|error| unusable(&error))?;
                Ok((store, None))
            }
        }
    }

    fn read(&self) -> Result<Option<(u8, Saved)>, redb::Error> {
        let transaction = self.database.begin_read()?;
        let meta = match transaction.open_table(META) {
            Ok(meta) => meta,
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let version = meta.get("version")?.and_then(|value| value.value().first().copied()).unwrap_or(0);
        let cluster_id =
            meta.get("cluster")?.map(|value| String::from_utf8_lossy(value.value()).into_owned());
        let state = transaction.open_table(STATE)?;
        let mut entries = Vec::new();
        for entry in state.iter()? {
            let (key, value) = entry?;
            entries.push((key.value().to_vec(), value.value().to_vec()));
        }
        Ok(Some((version, Saved { cluster_id: cluster_id.unwrap_or_default(), entries })))
    }

    fn initialize(&self, cluster_id: &str) -> Result<(), redb::Error> {
        let transaction = self.database.begin_write()?;
        {
            let mut meta = transaction.open_table(META)?;
            meta.insert("version", &[VERSION][..])?;
            meta.insert("cluster", cluster_id.as_bytes())?;
            transaction.open_table(STATE)?;
        }
        Ok(transaction.commit()?)
    }

    /// Writes changes; they are on the disk when this returns.
    pub fn write<'a>(
        &self,
        changes: impl IntoIterator<Item = (&'a Vec<u8>, &'a Option<Vec<u8>>)>,
    ) -> Result<(), StoreError> {
        let written = move || -> Result<(), redb::Error> {
            let transaction = self.database.begin_write()?;
            {
                let mut state = transaction.open_table(STATE)?;
                for (key, value) in changes {
                    match value {
                        Some(value) => state.insert(&key[..], &value[..])?,
                        None => state.remove(&key[..])?,
                    };
                }
            }
            Ok(transaction.commit()?)
        };
        written()
            .map_err(|error| StoreError::Unusable { path: self.folder.clone(), cause: error.to_string() })
    }

    /// The cluster has ended: nothing of it is to be found again.
    pub fn remove(self) {
        let Self { database, folder } = self;
        drop(database);
        let removed = fs::remove_file(folder.join(FILE)).and_then(|()| fs::remove_dir(&folder));
        match removed {
            Err(error) if error.kind() != io::ErrorKind::DirectoryNotEmpty => {
                tracing::warn!(%error, folder = %folder.display(), "the state of the ended cluster could not be removed");
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_there_for_the_next_head_and_only_one_may_have_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("state");
        let (store, saved) = Store::open(&path, "one").unwrap();
        assert!(saved.is_none());
        assert!(matches!(Store::open(&path, "two"), Err(StoreError::InUse(_))));
        let keys = [b"a1".to_vec(), b"a2".to_vec()];
        store.write([(&keys[0], &Some(b"x".to_vec())), (&keys[1], &Some(b"y".to_vec()))]).unwrap();
        store.write([(&keys[0], &None)]).unwrap();
        drop(store);
        let (store, saved) = Store::open(&path, "two").unwrap();
        let saved = saved.unwrap();
        assert_eq!(
            (saved.cluster_id, saved.entries),
            ("one".to_owned(), vec![(b"a2".to_vec(), b"y".to_vec())])
        );
        store.remove();
        assert!(!path.exists());
    }

    #[test]
    fn a_damaged_file_is_refused_with_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILE), b"this is no database at all").unwrap();
        let error = Store::open(folder.path(), "one").err().unwrap().to_string();
        assert!(
            error.contains(&folder.path().display().to_string()) && error.contains("Remove the folder"),
            "{error}"
        );
    }
}
