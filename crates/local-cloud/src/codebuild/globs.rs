//! Selects files of a build by the patterns of a buildspec: `**/*`, `dir/*`, `dir/**/*` and names.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Component, Path, PathBuf};

use super::interrupt::Interrupt;
use crate::api::{ApiError, ApiResult};
use crate::beneath::{Directory, WalkEntry};

mod pattern;

use pattern::{Pattern, Progress, is_pattern};

/// Maximum number of patterns of a list; each is compared with each file.
const MAX_PATTERNS: usize = 1000;

/// Maximum length of all patterns together, in bytes, with the base directories before them.
const MAX_TEXT: usize = 1 << 20;

/// Maximum number of links that are named.
const MAX_NAMED: usize = 20;

/// The directories of a build: where they are below its root, and under which paths its programs see them.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    /// The root as the programs of the build see it.
    pub(super) root: PathBuf,
}

/// The directory of the primary source below the root.
pub(super) const SOURCE: &str = "src";
/// HOME below the root.
pub(super) const HOME: &str = "home";
/// /tmp below the root.
pub(super) const TEMPORARY: &str = "tmp";

impl Layout {
    /// A path of a buildspec as a path below the root; `None` if it leads elsewhere. Relative paths begin at the
    /// source directory.
    pub(super) fn place(&self, path: &str) -> Option<PathBuf> {
        let text = path
            .strip_prefix("~/")
            .map(|rest| format!("{}/{HOME}/{rest}", self.root.display()));
        let path = PathBuf::from(text.as_deref().unwrap_or(path));
        let below = if path.is_absolute() {
            let root = self.root.as_path();
            let known = [
                (root, ""),
                (Path::new("/root"), HOME),
                (Path::new("/tmp"), TEMPORARY),
            ];
            let found = known.iter().find_map(|(from, to)| {
                let rest = path.strip_prefix(from).ok()?;
                Some(Path::new(to).join(rest))
            });
            found?
        } else {
            Path::new(SOURCE).join(&path)
        };
        let mut plain = PathBuf::new();
        for part in below.components() {
            match part {
                Component::Normal(name) => plain.push(name),
                Component::CurDir => {}
                // `src/..` is the root, which holds the server's own files.
                Component::ParentDir if plain.components().count() > 1 => {
                    plain.pop();
                }
                _ => return None,
            }
        }
        let own = plain.components().next()?.as_os_str();
        (own != super::driver::CONTROL).then_some(plain)
    }
}

/// True for a directory of the build itself directly below its root: what is elsewhere is the server's.
fn is_area(name: &OsStr) -> bool {
    let name = name.as_encoded_bytes();
    let is_source = |name: &[u8]| name.starts_with(SOURCE.as_bytes()) && name.get(3) == Some(&b'-');
    [SOURCE, HOME, TEMPORARY]
        .iter()
        .any(|own| own.as_bytes() == name)
        || is_source(name)
}

/// True for a path below the root that is inside of a directory of the build, and not that directory.
pub(super) fn is_inside(path: &Path) -> bool {
    let mut names = path.components();
    let first = names.next();
    first.is_some_and(|first| is_area(first.as_os_str())) && names.next().is_some()
}

/// A file that was selected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Selected {
    /// Below the root.
    pub(super) path: PathBuf,
    /// The target of a symbolic link.
    pub(super) link: Option<PathBuf>,
    /// Size in bytes when it was selected.
    pub(super) size: u64,
}

/// Files by their names in the output, and what was not selected.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Selection {
    pub(super) files: BTreeMap<PathBuf, Selected>,
    /// The patterns that selected nothing.
    pub(super) unmatched: Vec<String>,
    /// The symbolic links that match and are not selected; the first of them.
    pub(super) links: Vec<PathBuf>,
    /// Their number.
    pub(super) link_count: usize,
}

/// Which files to select.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules<'a> {
    pub(super) files: &'a [String],
    pub(super) base_directory: Option<&'a str>,
    pub(super) exclude: &'a [String],
    pub(super) discard_paths: bool,
    /// True to select symbolic links.
    pub(super) links: bool,
}

/// A pattern below a base directory.
#[derive(Debug)]
struct Target {
    /// The number of the pattern.
    number: usize,
    base: PathBuf,
    /// The directory above the first part with a wildcard.
    above: PathBuf,
    /// The path without wildcards.
    place: PathBuf,
    pattern: Pattern,
}

/// Selects files below the root of a build. A name that occurs twice after `discard-paths` is that of the last file.
pub(super) fn select(
    root: &Directory,
    layout: &Layout,
    rules: &Rules<'_>,
    interrupt: &Interrupt,
) -> ApiResult<Selection> {
    if rules.files.len() > MAX_PATTERNS || rules.exclude.len() > MAX_PATTERNS {
        let message = format!("more than {MAX_PATTERNS} patterns of files");
        return Err(ApiError::validation(message));
    }
    let mut left = MAX_TEXT;
    let mut weigh = |text: &str| match left.checked_sub(text.len()) {
        Some(rest) => {
            left = rest;
            Ok(())
        }
        None => Err(ApiError::validation(format!(
            "the patterns of files have more than {MAX_TEXT} bytes"
        ))),
    };
    let mut exclude = Vec::new();
    for text in rules.exclude {
        weigh(text)?;
        exclude.push(Pattern::new(text.trim_start_matches("./"))?);
    }
    let bases = bases(root, layout, rules.base_directory.unwrap_or("."), interrupt)?;
    let mut targets = Vec::new();
    for (number, text) in rules.files.iter().enumerate() {
        for base in &bases {
            if let Some(target) = target(layout, base, (number, text))? {
                weigh(&target.place.to_string_lossy())?;
                targets.push(target);
            }
        }
    }
    let found = RefCell::new(Found {
        rules,
        exclude,
        files: BTreeMap::new(),
        matched: vec![false; rules.files.len()],
        selection: Selection::default(),
    });
    // A name without wildcards is opened directly: what is next to it does not matter.
    let (named, patterns): (Vec<Target>, Vec<Target>) = targets
        .into_iter()
        .partition(|target| target.pattern.is_name());
    for target in &named {
        interrupt.check()?;
        if is_inside(&target.place)
            && let Some(entry) = root.entry(&target.place)?
        {
            found.borrow_mut().add(target, &target.place, &entry);
        }
    }
    walk(root, &patterns, &found, interrupt)?;
    let found = found.into_inner();
    let mut selection = found.selection;
    let files = found.files.into_iter();
    selection.files = files
        .map(|(name, (_, selected))| (name, selected))
        .collect();
    let all = rules.files.iter().zip(found.matched);
    selection.unmatched = all
        .filter(|(_, has_matched)| !has_matched)
        .map(|(text, _)| text.clone())
        .collect();
    Ok(selection)
}

/// Visits once what the patterns can match.
fn walk(
    root: &Directory,
    targets: &[Target],
    found: &RefCell<Found<'_, '_>>,
    interrupt: &Interrupt,
) -> ApiResult<()> {
    if targets.is_empty() {
        return Ok(());
    }
    let mut start = Progress::default();
    for (number, target) in targets.iter().enumerate() {
        target.pattern.begin(number, &mut start);
    }
    // How far each pattern has matched, for each directory from the root to the current one.
    let mut stack = vec![start];
    let matched: RefCell<Vec<usize>> = RefCell::default();
    let wanted = |path: &Path, is_directory: bool| {
        interrupt.check()?;
        let depth = path.components().count();
        stack.truncate(depth);
        let (Some(before), Some(name)) = (stack.last(), path.file_name()) else {
            return Ok(false);
        };
        let name = name.to_string_lossy();
        let mut after = Progress::default();
        for &(number, position) in before {
            let pattern = &targets[number].pattern;
            pattern.advance(number, position, &name, &mut after);
        }
        if is_directory {
            let enters = !after.is_empty() && (depth > 1 || is_area(path.as_os_str()));
            stack.push(after);
            return Ok(enters);
        }
        let ended = after
            .iter()
            .filter(|(number, position)| targets[*number].pattern.ends(*position));
        let mut matched = matched.borrow_mut();
        *matched = ended.map(|(number, _)| *number).collect();
        Ok::<_, ApiError>(!matched.is_empty() && is_inside(path))
    };
    root.walk_where(wanted, |path, entry| {
        for number in matched.borrow_mut().drain(..) {
            found.borrow_mut().add(&targets[number], path, &entry);
        }
        Ok(())
    })
}

/// What was found.
struct Found<'a, 'b> {
    rules: &'a Rules<'b>,
    exclude: Vec<Pattern>,
    /// The files, each with the number of its pattern.
    files: BTreeMap<PathBuf, (usize, Selected)>,
    /// For each pattern, whether it has matched something.
    matched: Vec<bool>,
    selection: Selection,
}

impl Found<'_, '_> {
    /// Adds something that a pattern matches, unless it is a directory or excluded.
    fn add(&mut self, target: &Target, path: &Path, entry: &WalkEntry) {
        let relative = path
            .strip_prefix(&target.base)
            .or_else(|_| path.strip_prefix(&target.above));
        let relative = relative.unwrap_or(path).to_owned();
        if self
            .exclude
            .iter()
            .any(|pattern| pattern.matches(&relative))
        {
            return;
        }
        let (link, size) = match entry {
            WalkEntry::Directory(_) => return,
            WalkEntry::File(_, metadata) => (None, metadata.len()),
            WalkEntry::Link(to) if self.rules.links => (Some(to.clone()), 0),
            WalkEntry::Link(_) => {
                self.selection.link_count += 1;
                if self.selection.links.len() < MAX_NAMED {
                    self.selection.links.push(path.to_owned());
                }
                return;
            }
        };
        self.matched[target.number] = true;
        let name = if self.rules.discard_paths {
            relative.file_name().map(PathBuf::from).unwrap_or_default()
        } else {
            relative
        };
        let selected = Selected {
            path: path.to_owned(),
            link,
            size,
        };
        // Files are found in the order of their paths, not of the patterns.
        let is_later = |(number, _): &(usize, Selected)| *number <= target.number;
        if self.files.get(&name).is_none_or(is_later) {
            self.files.insert(name, (target.number, selected));
        }
    }
}

/// The base directories, below the root.
fn bases(
    root: &Directory,
    layout: &Layout,
    text: &str,
    interrupt: &Interrupt,
) -> ApiResult<Vec<PathBuf>> {
    let Some(place) = layout.place(text.trim_end_matches('/')) else {
        return Ok(Vec::new());
    };
    if !is_pattern(text) {
        return Ok(vec![place]);
    }
    // A pattern names top-level directories only.
    let parent = place.parent().unwrap_or(Path::new(SOURCE));
    let pattern = Pattern::new(&place.file_name().unwrap_or_default().to_string_lossy())?;
    let Some(directory) = root.subdirectory(parent)? else {
        return Ok(Vec::new());
    };
    let mut found = Vec::new();
    let wanted = |path: &Path, is_directory: bool| {
        interrupt.check()?;
        if is_directory && path.components().count() == 1 && pattern.matches(path) {
            found.push(parent.join(path));
        }
        Ok::<_, ApiError>(false)
    };
    directory.walk_where(wanted, |_, _| Ok(()))?;
    Ok(found)
}

/// A pattern below a base directory; `None` if it leads elsewhere.
fn target(
    layout: &Layout,
    base: &Path,
    (number, text): (usize, &str),
) -> ApiResult<Option<Target>> {
    // An absolute path, or one of HOME, is not below the base directory.
    let is_elsewhere = text.starts_with('/') || text.starts_with("~/");
    let text = text.trim_end_matches('/');
    let place = if is_elsewhere {
        layout.place(text)
    } else {
        // The base directory is a name, whatever signs it has.
        let base = pattern::escaped(&base.to_string_lossy());
        let shown = layout.root.join(base).join(text);
        layout.place(&shown.to_string_lossy())
    };
    let Some(place) = place else {
        return Ok(None);
    };
    let start: PathBuf = place
        .components()
        .take_while(|part| !is_pattern(&part.as_os_str().to_string_lossy()))
        .collect();
    let above = if start == place {
        start.parent().unwrap_or(Path::new("")).to_owned()
    } else {
        start
    };
    Ok(Some(Target {
        number,
        base: base.to_owned(),
        above,
        pattern: Pattern::new(&place.to_string_lossy())?,
        place,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> (tempfile::TempDir, Directory, Layout) {
        let at = tempfile::tempdir().unwrap();
        for path in [
            "src/my-build1/my-file1.txt",
            "src/my-build2/my-file2.txt",
            "src/my-build2/my-subdirectory/my-file3.txt",
            "src/.hidden",
            "src/top.txt",
            "home/.m2/repo/a.jar",
            "tmp/out.bin",
            "control/driver.sh",
        ] {
            let file = at.path().join(path);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, path).unwrap();
        }
        std::os::unix::fs::symlink("top.txt", at.path().join("src/link.txt")).unwrap();
        std::os::unix::fs::symlink("/etc", at.path().join("src/etc")).unwrap();
        let root = Directory::open(at.path(), "/codebuild").unwrap();
        let layout = Layout {
            root: "/opt/codebuild".into(),
        };
        (at, root, layout)
    }

    fn names(files: &[&str], rules: Rules<'_>) -> Vec<String> {
        let (_at, root, layout) = tree();
        let files: Vec<String> = files.iter().map(|&text| text.to_owned()).collect();
        let rules = Rules {
            files: &files,
            ..rules
        };
        let found = select(&root, &layout, &rules, &Interrupt::default()).unwrap();
        found
            .files
            .keys()
            .map(|name| name.display().to_string())
            .collect()
    }

    #[test]
    fn the_examples_of_the_user_guide() {
        let base = |base_directory| Rules {
            base_directory: Some(base_directory),
            ..Rules::default()
        };
        assert_eq!(
            names(&["*/my-file3.txt"], base("my-build2")),
            ["my-subdirectory/my-file3.txt"]
        );
        let flat = Rules {
            discard_paths: true,
            ..base("my-build*")
        };
        assert_eq!(
            names(&["**/*"], flat),
            ["my-file1.txt", "my-file2.txt", "my-file3.txt"]
        );
    }

    #[test]
    fn patterns_select_files() {
        let all = ".hidden my-build1/my-file1.txt my-build2/my-file2.txt my-build2/my-subdirectory/my-file3.txt top.txt";
        for (pattern, expected) in [
            ("**/*", all),
            ("*", ".hidden top.txt"),
            ("./top.txt", "top.txt"),
            ("my-build2/*", "my-build2/my-file2.txt"),
            (
                "my-build2/**/*",
                "my-build2/my-file2.txt my-build2/my-subdirectory/my-file3.txt",
            ),
            (
                "**/my-file[13].txt",
                "my-build1/my-file1.txt my-build2/my-subdirectory/my-file3.txt",
            ),
            ("my-build1", ""),
            ("absent.txt", ""),
            ("etc/passwd", ""),
            ("etc/**/*", ""),
            ("../control/*", ""),
            ("../home/**/*", ""),
            ("/etc/passwd", ""),
            ("/opt/codebuild/src/top.txt", "top.txt"),
            ("/opt/codebuild/control/driver.sh", ""),
            ("/tmp/out.bin", "out.bin"),
            ("/root/.m2/**/*", "repo/a.jar"),
            ("~/.m2/**/*", "repo/a.jar"),
        ] {
            let result = std::panic::catch_unwind(|| names(&[pattern], Rules::default()));
            let found = result.unwrap_or_default().join(" ");
            assert_eq!(found, expected, "{pattern}");
        }
    }

    #[test]
    fn links_and_excluded_files() {
        let exclude = ["**/my-file3.txt".to_owned(), "my-build1/**".to_owned()];
        let rules = Rules {
            exclude: &exclude,
            links: true,
            ..Rules::default()
        };
        assert_eq!(
            names(&["**/*"], rules),
            [
                ".hidden",
                "etc",
                "link.txt",
                "my-build2/my-file2.txt",
                "top.txt"
            ]
        );
    }

    #[test]
    fn no_pattern_reaches_what_is_the_servers() {
        let (at, root, layout) = tree();
        std::fs::create_dir(at.path().join("other")).unwrap();
        std::fs::write(at.path().join("other/x"), "x").unwrap();
        std::fs::write(at.path().join("top"), "x").unwrap();
        std::os::unix::fs::symlink("/etc", at.path().join("src-link")).unwrap();
        let files = [
            "/opt/codebuild/**/*",
            "/opt/codebuild/c*/**",
            "/opt/codebuild/*/x",
            "/opt/codebuild/*",
            "/opt/codebuild/[c]ontrol/driver.sh",
            "/opt/codebuild/src-link",
            "/tmp",
        ]
        .map(str::to_owned);
        for links in [true, false] {
            let rules = Rules {
                files: &files,
                links,
                ..Rules::default()
            };
            let found = select(&root, &layout, &rules, &Interrupt::default()).unwrap();
            let mut paths = found.files.values().map(|file| &file.path);
            assert!(!found.files.is_empty());
            assert!(paths.all(|path| is_inside(path) && !path.starts_with("control")));
        }
    }

    #[test]
    fn what_no_pattern_names_can_be_anything() {
        let (at, root, layout) = tree();
        let fifo = at.path().join("src/fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR,
            0,
        )
        .unwrap();
        let select = |files: &[&str]| {
            let files: Vec<String> = files.iter().map(|&text| text.to_owned()).collect();
            let rules = Rules {
                files: &files,
                ..Rules::default()
            };
            select(&root, &layout, &rules, &Interrupt::default())
        };
        let found = select(&["*.txt", "top.txt", "*/my-file1.txt"]).unwrap();
        assert_eq!(found.files.len(), 2);
        assert_eq!(found.unmatched, Vec::<String>::new());
        assert_eq!(found.links, [PathBuf::from("src/link.txt")]);
        for file in ["fifo", "*"] {
            let error = select(&[file]).unwrap_err();
            assert!(error.message.contains("is a FIFO"), "{error}");
        }
    }

    #[test]
    fn a_stopped_build_selects_nothing_more() {
        let (_at, root, layout) = tree();
        let interrupt = Interrupt::default();
        interrupt.set();
        let files = ["**/*".to_owned()];
        let rules = Rules {
            files: &files,
            ..Rules::default()
        };
        assert!(select(&root, &layout, &rules, &interrupt).is_err());
    }

    #[test]
    fn patterns_without_files_are_named() {
        let (_at, root, layout) = tree();
        let files = ["top.txt".to_owned(), "imagedefinitions.json".to_owned()];
        let rules = Rules {
            files: &files,
            ..Rules::default()
        };
        let found = select(&root, &layout, &rules, &Interrupt::default()).unwrap();
        assert_eq!(found.unmatched, ["imagedefinitions.json"]);
        assert_eq!(
            found.files[Path::new("top.txt")].path,
            Path::new("src/top.txt")
        );
    }
}
