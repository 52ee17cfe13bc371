//! Which directory, and who may use it.

use std::path::{Component, Path, PathBuf};

use lockcore::{Error, ErrorKind, LockUrl, Result, UrlOption};

/// The options of URLs.
pub const OPTIONS: [UrlOption; 2] = [
    UrlOption::new(
        "shared",
        "false",
        "accept a directory that other users may write, and trust all who may: `install -d -m 2770 -g GROUP DIR` makes one",
    ),
    UrlOption::new("trust_filesystem", "false", "accept a file system that is not known to be local"),
];

/// Which directory, and who may use it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileOptions {
    root: PathBuf,
    shared: bool,
    trust_filesystem: bool,
}

impl FileOptions {
    /// The locks in this directory, for this user. It is made when missing, for nobody else.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) if it is not an absolute path.
    pub fn new(root: impl AsRef<Path>) -> Result<Self> {
        let root = root.as_ref();
        let mut parts = root.components();
        let absolute = parts.next() == Some(Component::RootDir);
        let down = parts.clone().count() > 0 && parts.all(|part| matches!(part, Component::Normal(_)));
        if !(absolute && down) || root.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(invalid(format!(
                "{root:?} is not the path of a directory such as /var/lib/app/locks"
            )));
        }
        // Collected anew, it has no slash at the end: that would follow a symbolic link.
        Ok(Self { root: root.components().collect(), shared: false, trust_filesystem: false })
    }

    /// The options of a URL such as `file:///var/lib/app/locks?shared=true`.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for anything that cannot be meant.
    pub fn from_url(url: &LockUrl) -> Result<Self> {
        let options = url.options(&OPTIONS)?;
        let shared = options.flag("shared")?;
        let trust_filesystem = options.flag("trust_filesystem")?;
        if !url.hosts().is_empty() || url.credentials().is_some() {
            return Err(invalid(format!(
                "{url} names a host or a user, expected file:///path/of/a/directory"
            )));
        }
        Ok(Self { shared, trust_filesystem, ..Self::new(url.path())? })
    }

    /// Accepts a directory that others may write, which has to be there. What is made in it is for those who may write it,
    /// whatever the umask and the group of its maker are. For a group `app`: `install -d -m 2770 -g app /var/lib/app/locks`.
    ///
    /// All who may write it are trusted, and its owner: each of them can take locks away from others, and keep them. A
    /// sticky bit makes this worse, because then nobody can remove what the dead processes of others left.
    #[must_use]
    pub fn with_shared(mut self, shared: bool) -> Self {
        self.shared = shared;
        self
    }

    /// Accepts a directory on a file system that is not known to be local, whose locks (`flock`) nevertheless bind all
    /// who use the directory.
    #[must_use]
    pub fn with_trust_filesystem(mut self, trust: bool) -> Self {
        self.trust_filesystem = trust;
        self
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn shared(&self) -> bool {
        self.shared
    }

    pub(crate) fn trusts_filesystem(&self) -> bool {
        self.trust_filesystem
    }
}

fn invalid(message: String) -> Error {
    Error::new(ErrorKind::InvalidConfig, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<FileOptions> {
        FileOptions::from_url(&url.parse()?)
    }

    #[test]
    fn valid() {
        let private = FileOptions::new("/a/b c").unwrap();
        assert_eq!(parse("file:///a/b%20c").unwrap(), private);
        assert_eq!(parse("file:///a//b%20c/").unwrap().root().as_os_str(), "/a/b c");
        assert_eq!(parse("file:///a/b%20c?shared=true").unwrap(), private.clone().with_shared(true));
        assert_eq!(
            parse("file:///a/b%20c?trust_filesystem=true").unwrap(),
            private.with_trust_filesystem(true)
        );
    }

    #[test]
    fn invalid() {
        for (url, reason) in [
            ("file://", "path of a directory"),
            ("file:///", "path of a directory"),
            ("file:///a/../b", "path of a directory"),
            ("file:///a%00b", "path of a directory"),
            ("file://host/a", "names a host"),
            ("file://me@/a", "names a host or a user"),
            ("file:///a?shared=yes", "option shared=\"yes\" is not one of true, false"),
            ("file:///a?mode=0700", "valid options: shared, trust_filesystem, require"),
        ] {
            let error = parse(url).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidConfig, "{url}");
            assert!(error.to_string().contains(reason), "{url}: {error}");
        }
        assert!(FileOptions::new("relative/path").is_err());
    }

    #[test]
    fn every_option_that_is_declared_is_read() {
        let plain = parse("file:///a").unwrap();
        for UrlOption { name, .. } in OPTIONS {
            let given = parse(&format!("file:///a?{name}=nonsense"));
            assert!(given.map_or(true, |given| given != plain), "{name}");
        }
    }
}
