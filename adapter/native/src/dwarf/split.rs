//! Split debug information: a skeleton unit in the program names a `.dwo` file with the rest, which may lie packed with others
//! in a `.dwp` file beside the program (DWARF 5 section 7.3, and the GNU extension to DWARF 4 that came before it).

use std::cell::OnceCell;
use std::iter;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use gimli::DwoId;

use super::elf::Elf;
use super::provided::Outcome;
use super::separate::{PATH_VARIABLE, named_directories, under};
use super::{Slice, Unit, text};

/// The part of a unit that is not in the program.
pub struct SplitUnit {
    /// Its sections, with those of the program that it refers to.
    pub dwarf: Rc<gimli::Dwarf<Slice>>,
    /// The unit.
    pub unit: Rc<Unit>,
}

/// Where the parts of one program are looked for.
pub struct SplitFiles {
    /// The program, seen from here.
    beside: PathBuf,
    /// What `/` is for the program.
    root: PathBuf,
    /// The one file with all of it, in memory and in place of those on the disk.
    given: Option<&'static [u8]>,
    /// A package that was brought from elsewhere.
    provided: Option<Outcome>,
    packages: OnceCell<Vec<Result<Package, String>>>,
}

struct Package {
    name: String,
    units: gimli::DwarfPackage<Slice>,
}

impl SplitFiles {
    /// Looks at nothing yet.
    #[must_use]
    pub fn of(beside: &Path, root: &Path, provided: Option<&Outcome>) -> Self {
        Self {
            beside: beside.to_owned(),
            root: root.to_owned(),
            given: None,
            provided: provided.cloned(),
            packages: OnceCell::new(),
        }
    }

    /// The same with one file that is in memory, a `.dwp` or a `.dwo`: nothing is looked for on the disk.
    #[must_use]
    pub fn with(self, given: Option<&'static [u8]>) -> Self {
        Self { given, ..self }
    }

    /// The rest of a skeleton unit, or the sentence that says why there is none. `None` when the unit is whole.
    #[must_use]
    pub fn load(&self, parent: &gimli::Dwarf<Slice>, skeleton: &Unit) -> Option<Result<SplitUnit, String>> {
        let id = skeleton.dwo_id?;
        let name = skeleton.dwo_name().ok().flatten()?;
        let name = parent.attr_string(skeleton, name).map_or("", text);
        Some(self.find(parent, skeleton, id, name))
    }

    fn find(
        &self,
        parent: &gimli::Dwarf<Slice>,
        skeleton: &Unit,
        id: DwoId,
        name: &str,
    ) -> Result<SplitUnit, String> {
        let mut reasons = Vec::new();
        for package in self.packages() {
            match package {
                Ok(package) => match package.units.find_cu(id, parent) {
                    Ok(Some(dwarf)) => return whole(dwarf, skeleton, id, &package.name),
                    Ok(None) => reasons.push(format!("{} is of another build", package.name)),
                    Err(error) => reasons.push(format!("{} is damaged ({error})", package.name)),
                },
                Err(reason) => reasons.push(reason.clone()),
            }
        }
        let on_disk = if self.given.is_some() { Vec::new() } else { self.candidates(skeleton, name) };
        let files = on_disk.into_iter().filter(|candidate| candidate.is_file()).map(|candidate| {
            let shown = candidate.display().to_string();
            (Elf::open(&candidate, &shown), shown)
        });
        let given = self.given.map(|data| (Elf::parse(data, name), name.to_owned()));
        for (file, shown) in files.chain(given) {
            let opened = file.map_err(|error| error.to_string()).and_then(|file| {
                let mut dwarf = file.split_dwarf().map_err(|error| error.to_string())?;
                dwarf.make_dwo(parent);
                whole(dwarf, skeleton, id, &shown)
            });
            match opened {
                Ok(found) => return Ok(found),
                Err(reason) => reasons.push(reason),
            }
        }
        if reasons.is_empty() {
            let package = self.package_path();
            reasons.push(format!(
                "neither {name} nor {} is there, and no folder of {PATH_VARIABLE} has one of them",
                package.display()
            ));
        }
        if let Some(Err(reason)) = &self.provided {
            reasons.push(reason.clone());
        }
        Err(reasons.join("; "))
    }

    fn package_path(&self) -> PathBuf {
        let mut name = self.beside.clone().into_os_string();
        name.push(".dwp");
        PathBuf::from(name)
    }

    /// The `.dwp` files that there are: beside the program, in the folders that the user has named, and one from elsewhere.
    fn packages(&self) -> &[Result<Package, String>] {
        self.packages.get_or_init(|| {
            let beside = self.package_path();
            if let Some(data) = self.given {
                let name = beside.display().to_string();
                let file = Elf::parse(data, &name).ok().filter(Elf::is_package);
                return file.map(|file| package(&file, name)).into_iter().collect();
            }
            let name = beside.file_name().unwrap_or_default().to_owned();
            let named = named_directories().into_iter().map(|directory| directory.join(&name));
            let provided = self.provided.iter().flatten().cloned();
            let paths = iter::once(beside).chain(named).chain(provided);
            let open = |path: PathBuf| {
                let name = path.display().to_string();
                let file = Elf::open(&path, &name).map_err(|error| error.to_string())?;
                package(&file, name)
            };
            paths.filter(|path| path.is_file()).map(open).collect()
        })
    }

    /// Where the compiler has put the file; beside the program, which may have been moved with its files; and in the folders that the
    /// user has named, by its name or by the compiler's path below them.
    fn candidates(&self, skeleton: &Unit, name: &str) -> Vec<PathBuf> {
        let compiled_in = skeleton.comp_dir.map_or("", text);
        let path = Path::new(compiled_in).join(name);
        let file_name = path.file_name().unwrap_or_default();
        let folder = self.beside.parent().unwrap_or(Path::new("/"));
        let mut candidates = vec![under(&self.root, &path)];
        let named = named_directories().into_iter();
        let named = named.flat_map(|directory| [directory.join(file_name), under(&directory, &path)]);
        for near in [folder.join(file_name), folder.join("deps").join(file_name)].into_iter().chain(named) {
            if !candidates.contains(&near) {
                candidates.push(near);
            }
        }
        candidates
    }
}

/// The units of a `.dwp` file.
fn package(file: &Elf, name: String) -> Result<Package, String> {
    let units = file.package().map_err(|error| format!("{name} is damaged ({error})"))?;
    match file.damage() {
        Some(damage) => Err(format!("{name} is damaged: {damage}")),
        None => Ok(Package { name, units }),
    }
}

/// The unit with the id that the skeleton wants, ready to be read.
fn whole(dwarf: gimli::Dwarf<Slice>, skeleton: &Unit, id: DwoId, name: &str) -> Result<SplitUnit, String> {
    let damaged = |error: gimli::Error| format!("{name} is damaged ({error})");
    let mut headers = dwarf.units();
    while let Some(header) = headers.next().map_err(damaged)? {
        let mut unit = dwarf.unit(header).map_err(damaged)?;
        if unit.dwo_id == Some(id) {
            unit.copy_relocated_attributes(skeleton);
            return Ok(SplitUnit { dwarf: Rc::new(dwarf), unit: Rc::new(unit) });
        }
    }
    Err(format!("{name} is of another build"))
}
