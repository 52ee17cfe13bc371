//! One token in a file.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use lockcore::FencingToken;

/// The token in this file; `None` if there is no file.
pub(super) fn read(path: &Path) -> io::Result<Option<FencingToken>> {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    match text.trim_end().parse() {
        Ok(token) => Ok(Some(FencingToken::new(token))),
        Err(_) => {
            let message = format!("{} holds no fencing token, but {text:?}", path.display());
            Err(io::Error::new(ErrorKind::InvalidData, message))
        }
    }
}

/// Puts the token in the place of what the file held: all of it or nothing, also if the machine stops meanwhile.
pub(super) fn write(path: &Path, token: FencingToken) -> io::Result<()> {
    let new = beside(path);
    let mut file = File::create(&new)?;
    writeln!(file, "{token}")?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
    File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
}

fn beside(path: &Path) -> PathBuf {
    let mut name: OsString = path.as_os_str().to_owned();
    name.push(".new");
    name.into()
}
