//! Folders, files and zip archives become packages.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use ignore::{
    WalkBuilder,
    gitignore::{Gitignore, GitignoreBuilder},
};
use tempfile::NamedTempFile;

use crate::{PACKAGE_BYTES_MAX, PACKAGE_FILES_MAX, unpack::Hasher};

/// Files that say what is left out, beside `.git/info/exclude`: those of git and Ray's own.
const IGNORE_FILES: [&str; 1] = [".rayignore"];
/// The time of every file, so that none of it depends on when it was made: a moment that zip archives can have too.
const FILE_TIME: u64 = 1_000_000_000;
/// Files that a message about a large package names.
const LARGEST_SHOWN: usize = 3;

/// What a package is made from.
#[derive(Debug, Clone)]
pub struct PackageSource {
    /// A folder, a file, or a `.zip` or `.whl` archive.
    pub path: PathBuf,
    /// A folder or file keeps its own name in the package: it can be imported from there.
    pub keep_name: bool,
    /// What is left out, as `.gitignore` writes it.
    pub excludes: Vec<String>,
    /// Whether `.gitignore` files count.
    pub gitignore: bool,
}

/// A package that was made, in a file that goes with this value.
#[derive(Debug)]
pub struct Package {
    /// The SHA-256 of the file, in hex.
    pub id: String,
    /// How many bytes it has.
    pub bytes: u64,
    /// The file.
    pub file: NamedTempFile,
}

/// Why a package was not made.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// There is nothing there.
    #[error("{} does not exist", .0.display())]
    Missing(PathBuf),
    /// It is neither a folder nor an archive.
    #[error("{} is neither a folder nor a .zip file", .0.display())]
    NotAFolder(PathBuf),
    /// Something in it cannot be read.
    #[error("{} cannot be read: {source}", path.display())]
    Read {
        /// What.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// A pattern is none.
    #[error("'{pattern}' in 'excludes' is no pattern: {cause}")]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        cause: String,
    },
    /// It is too large.
    #[error(
        "{} has more than {} MiB, which is the most that travels with a job; leave files out with 'excludes' or .gitignore, or put \
         them where the nodes can read them. The largest are {largest}",
        path.display(), PACKAGE_BYTES_MAX / 1024 / 1024
    )]
    TooLarge {
        /// What.
        path: PathBuf,
        /// The largest files.
        largest: String,
    },
    /// It has too many files.
    #[error("{} has more than {PACKAGE_FILES_MAX} files, which is the most that travels with a job; leave some out with 'excludes'", .0.display())]
    TooMany(PathBuf),
    /// The archive cannot be read.
    #[error("{} is no zip archive that can be read: {cause}", path.display())]
    Archive {
        /// The archive.
        path: PathBuf,
        /// What is wrong with it.
        cause: String,
    },
    /// The temporary file cannot be written.
    #[error("a package cannot be written to {}: {source}", std::env::temp_dir().display())]
    Write {
        /// What the operating system said.
        #[from]
        source: io::Error,
    },
}

/// Makes a package.
///
/// # Errors
/// When something cannot be read, or is too large to travel.
pub fn pack(source: &PackageSource) -> Result<Package, PackError> {
    let path = &source.path;
    let kind = fs::metadata(path).map_err(|_| PackError::Missing(path.clone()))?;
    let mut builder = Builder::new(path)?;
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
    if kind.is_dir() {
        add_folder(&mut builder, source)?;
    } else if extension.eq_ignore_ascii_case("zip") || extension.eq_ignore_ascii_case("whl") {
        add_archive(&mut builder, path)?;
    } else if source.keep_name && extension == "py" {
        builder.add_file(Path::new(path.file_name().unwrap_or_default()), path)?;
    } else {
        return Err(PackError::NotAFolder(path.clone()));
    }
    builder.finish()
}

fn add_folder(builder: &mut Builder<'_>, source: &PackageSource) -> Result<(), PackError> {
    let root = &source.path;
    let excludes = excludes(source)?;
    let mut walk = WalkBuilder::new(root);
    walk.standard_filters(false)
        .git_ignore(source.gitignore)
        .require_git(false)
        .follow_links(true)
        .sort_by_file_path(Ord::cmp)
        .filter_entry(move |entry| {
            let is_dir = entry.file_type().is_some_and(|kind| kind.is_dir());
            let never = entry.file_name() == ".git" || entry.file_name() == "__pycache__";
            !never && !excludes.matched(entry.path(), is_dir).is_ignore()
        });
    if source.gitignore {
        for name in IGNORE_FILES {
            walk.add_custom_ignore_filename(name);
        }
    }
    let prefix =
        if source.keep_name { root.file_name().map(PathBuf::from) } else { None }.unwrap_or_default();
    for entry in walk.build() {
        let entry = entry.map_err(|error| {
            let text = error.to_string();
            let source = error.into_io_error().unwrap_or_else(|| io::Error::other(text));
            PackError::Read { path: root.clone(), source }
        })?;
        let Ok(inside) = entry.path().strip_prefix(root) else { continue };
        let name = prefix.join(inside);
        if name.as_os_str().is_empty() {
            continue;
        }
        // Sockets, pipes and devices are of this machine.
        match entry.file_type() {
            Some(kind) if kind.is_dir() => builder.add_dir(&name)?,
            Some(kind) if kind.is_file() => builder.add_file(&name, entry.path())?,
            _ => {}
        }
    }
    Ok(())
}

/// The patterns of `excludes`, which mean what they would in a `.gitignore` of the folder.
fn excludes(source: &PackageSource) -> Result<Gitignore, PackError> {
    let mut builder = GitignoreBuilder::new(&source.path);
    for pattern in &source.excludes {
        builder
            .add_line(None, pattern)
            .map_err(|error| PackError::Pattern { pattern: pattern.clone(), cause: error.to_string() })?;
    }
    builder
        .build()
        .map_err(|error| PackError::Pattern { pattern: source.excludes.join(", "), cause: error.to_string() })
}

fn add_archive(builder: &mut Builder<'_>, path: &Path) -> Result<(), PackError> {
    let read = |source| PackError::Read { path: path.to_owned(), source };
    let damaged =
        |error: zip::result::ZipError| PackError::Archive { path: path.to_owned(), cause: error.to_string() };
    let mut archive = zip::ZipArchive::new(File::open(path).map_err(read)?).map_err(damaged)?;
    let mut names: Vec<(PathBuf, usize)> = Vec::new();
    for index in 0..archive.len() {
        let entry = archive.by_index_raw(index).map_err(damaged)?;
        let name = entry.enclosed_name().ok_or_else(|| PackError::Archive {
            path: path.to_owned(),
            cause: format!("the name '{}' leads out of it", String::from_utf8_lossy(entry.name_raw())),
        })?;
        names.push((name, index));
    }
    names.sort();
    for (name, index) in names {
        let mut entry = archive.by_index(index).map_err(damaged)?;
        if entry.is_dir() {
            builder.add_dir(&name)?;
        } else {
            let executable = entry.unix_mode().is_some_and(|mode| mode & 0o100 != 0);
            let size = entry.size();
            builder.add(&name, size, executable, &mut entry)?;
        }
    }
    Ok(())
}

/// A package while it is being written.
struct Builder<'a> {
    source: &'a Path,
    tar: tar::Builder<Hashing>,
    bytes: u64,
    files: usize,
    largest: Vec<(u64, String)>,
}

impl<'a> Builder<'a> {
    fn new(source: &'a Path) -> Result<Self, PackError> {
        let target = Hashing {
            file: NamedTempFile::with_prefix("manta-package-")?,
            hasher: Hasher::default(),
            bytes: 0,
        };
        Ok(Self { source, tar: tar::Builder::new(target), bytes: 0, files: 0, largest: Vec::new() })
    }

    fn header(&mut self, name: &Path, size: u64, mode: u32) -> Result<tar::Header, PackError> {
        self.files += 1;
        self.bytes += size;
        if self.files > PACKAGE_FILES_MAX {
            return Err(PackError::TooMany(self.source.to_owned()));
        }
        self.largest.push((size, name.display().to_string()));
        self.largest.sort_unstable_by(|a, b| b.cmp(a));
        self.largest.truncate(LARGEST_SHOWN);
        if self.bytes > PACKAGE_BYTES_MAX {
            let largest =
                self.largest.iter().map(|(size, name)| format!("{name} ({} MiB)", size / 1024 / 1024));
            let largest = largest.collect::<Vec<_>>().join(", ");
            return Err(PackError::TooLarge { path: self.source.to_owned(), largest });
        }
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(mode);
        header.set_mtime(FILE_TIME);
        Ok(header)
    }

    fn add_dir(&mut self, name: &Path) -> Result<(), PackError> {
        let mut header = self.header(name, 0, 0o755)?;
        header.set_entry_type(tar::EntryType::Directory);
        Ok(self.tar.append_data(&mut header, name, io::empty())?)
    }

    fn add_file(&mut self, name: &Path, path: &Path) -> Result<(), PackError> {
        use std::os::unix::fs::PermissionsExt;
        let read = |source| PackError::Read { path: path.to_owned(), source };
        let mut file = File::open(path).map_err(read)?;
        let data = file.metadata().map_err(read)?;
        self.add(name, data.len(), data.permissions().mode() & 0o100 != 0, &mut file)
    }

    fn add(
        &mut self,
        name: &Path,
        size: u64,
        executable: bool,
        content: &mut impl Read,
    ) -> Result<(), PackError> {
        let mut header = self.header(name, size, if executable { 0o755 } else { 0o644 })?;
        // A file that changes while it is read must not spoil the archive: it has the size that it had.
        let mut content = content.take(size).chain(io::repeat(0)).take(size);
        Ok(self.tar.append_data(&mut header, name, &mut content)?)
    }

    fn finish(self) -> Result<Package, PackError> {
        let mut target = self.tar.into_inner()?;
        target.flush()?;
        Ok(Package { id: target.hasher.finish(), bytes: target.bytes, file: target.file })
    }
}

struct Hashing {
    file: NamedTempFile,
    hasher: Hasher,
    bytes: u64,
}

impl Write for Hashing {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.file.write_all(data)?;
        self.hasher.update(data);
        self.bytes += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}
