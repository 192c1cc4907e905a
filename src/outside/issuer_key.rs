//! The key of the embedded issuer, in the file `issuer-key.der` of the data folder.

use std::error::Error;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use rustix::io::Errno;

use super::data_folder;
use crate::auth::{Issuer, IssuerKeyError};
use crate::base::Redacted;

/// PKCS #8 in DER.
const FILE_NAME: &str = "issuer-key.der";

/// An RSA key of 16384 bits takes 9 KiB.
const FILE_BYTES_MAX: u64 = 16_384;

/// Why there is no issuer. Names the file, never what is in it.
#[derive(Debug)]
pub enum IssuerKeyFileError {
    Unreadable {
        path: PathBuf,
        cause: io::Error,
    },
    Unwritable {
        path: PathBuf,
        cause: io::Error,
    },
    /// Neither overwritten nor passed over: everybody's tokens hang on it.
    Unusable {
        path: PathBuf,
        cause: IssuerKeyError,
    },
}

/// The issuer `name` with the key that is in the data folder. At first need the folder and the key
/// are made, which takes a good part of a second. Blocks.
pub fn load_or_create_issuer(data_dir: &Path, name: &str) -> Result<Issuer, IssuerKeyFileError> {
    let path = data_dir.join(FILE_NAME);
    if let Some(issuer) = load(&path, name)? {
        return Ok(issuer);
    }
    let (issuer, der) = Issuer::generate(name);
    match create(data_dir, &path, &der) {
        Ok(()) => Ok(issuer),
        Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
            // Another server on the same folder was faster, and its key is the one that counts.
            load(&path, name)?.ok_or(IssuerKeyFileError::Unwritable { path, cause })
        }
        Err(cause) => Err(IssuerKeyFileError::Unwritable { path, cause }),
    }
}

fn load(path: &Path, name: &str) -> Result<Option<Issuer>, IssuerKeyFileError> {
    let unreadable = |cause| IssuerKeyFileError::Unreadable { path: path.to_owned(), cause };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        Err(cause) => return Err(unreadable(cause)),
    };
    // Mounted secrets often come with such a mode, so it is no reason not to start.
    if data_folder::is_open_to_others(&file.metadata().map_err(unreadable)?) {
        tracing::warn!(path = %path.display(), "others may read the issuer's private key; its mode should be 0600");
    }
    let mut der = Vec::new();
    file.take(FILE_BYTES_MAX).read_to_end(&mut der).map_err(unreadable)?;
    let issuer = Issuer::from_der(&Redacted::new(der), name);
    issuer.map(Some).map_err(|cause| IssuerKeyFileError::Unusable { path: path.to_owned(), cause })
}

/// A key is in its place whole or not at all, also when the power goes.
fn create(data_dir: &Path, path: &Path, der: &Redacted<Vec<u8>>) -> io::Result<()> {
    data_folder::make(data_dir)?;
    let unfinished = data_dir.join(format!("{FILE_NAME}.{}", std::process::id()));
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create_new(true).mode(data_folder::FILE_MODE).open(&unfinished)?;
        file.write_all(der.expose())?;
        file.sync_all()?;
        put_in_place(&unfinished, path)
    })();
    if written.is_err() {
        // The reason counts, and what is left over is removed before the next attempt.
        let _ = fs::remove_file(&unfinished);
    }
    written?;
    data_folder::sync(data_dir)
}

/// Never over a key that is there.
fn put_in_place(from: &Path, to: &Path) -> io::Result<()> {
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that cannot tell, such as NFS.
        Err(Errno::INVAL | Errno::NOSYS) => fs::rename(from, to),
        other => Ok(other?),
    }
}

impl fmt::Display for IssuerKeyFileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IssuerKeyFileError::Unreadable { path, cause } => {
                write!(f, "the issuer's key {} cannot be read: {cause}", path.display())
            }
            IssuerKeyFileError::Unwritable { path, cause } => {
                write!(f, "the issuer's key {} cannot be made: {cause}", path.display())
            }
            IssuerKeyFileError::Unusable { path, cause } => {
                write!(f, "the issuer's key {} {cause}", path.display())
            }
        }
    }
}

impl Error for IssuerKeyFileError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            IssuerKeyFileError::Unreadable { cause, .. } | IssuerKeyFileError::Unwritable { cause, .. } => {
                Some(cause)
            }
            IssuerKeyFileError::Unusable { cause, .. } => Some(cause),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn the_key_is_made_once_for_the_owner_alone_and_found_again() {
        let folder = tempfile::tempdir().unwrap();
        let data_dir = folder.path().join("a/data");
        let made = load_or_create_issuer(&data_dir, "sigmux").unwrap();
        assert_eq!(mode(&data_dir), 0o700);
        assert_eq!(mode(&data_dir.join(FILE_NAME)), 0o600);
        assert_eq!(fs::read_dir(&data_dir).unwrap().count(), 1, "nothing unfinished is left");
        let found = load_or_create_issuer(&data_dir, "sigmux").unwrap();
        assert_eq!(made.jwks_json(), found.jwks_json());
    }

    #[test]
    fn a_damaged_key_is_named_and_left_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::write(&path, "not a key").unwrap();
        let error = load_or_create_issuer(folder.path(), "sigmux").unwrap_err();
        assert!(matches!(error, IssuerKeyFileError::Unusable { .. }), "{error}");
        assert!(error.to_string().contains(path.to_str().unwrap()), "{error}");
        assert_eq!(fs::read(&path).unwrap(), b"not a key");
    }

    #[test]
    fn a_key_that_others_may_read_still_serves() {
        let folder = tempfile::tempdir().unwrap();
        let made = load_or_create_issuer(folder.path(), "sigmux").unwrap();
        let path = folder.path().join(FILE_NAME);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(data_folder::is_open_to_others(&fs::metadata(&path).unwrap()));
        assert_eq!(made.jwks_json(), load_or_create_issuer(folder.path(), "sigmux").unwrap().jwks_json());
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_an_error_with_the_path() {
        let folder = tempfile::tempdir().unwrap();
        let in_the_way = folder.path().join("in-the-way");
        fs::write(&in_the_way, "").unwrap();
        let error = load_or_create_issuer(&in_the_way, "sigmux").unwrap_err();
        assert!(error.to_string().contains("in-the-way/issuer-key.der"), "{error}");
    }

    #[test]
    fn of_two_servers_that_make_the_key_at_once_the_first_one_wins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE_NAME);
        let (first, der) = Issuer::generate("sigmux");
        create(folder.path(), &path, &der).unwrap();
        let (_, late) = Issuer::generate("sigmux");
        assert_eq!(create(folder.path(), &path, &late).unwrap_err().kind(), ErrorKind::AlreadyExists);
        let found = load_or_create_issuer(folder.path(), "sigmux").unwrap();
        assert_eq!(found.jwks_json(), first.jwks_json());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_a_crash_left_behind_is_no_obstacle() {
        let folder = tempfile::tempdir().unwrap();
        let unfinished = folder.path().join(format!("{FILE_NAME}.{}", std::process::id()));
        fs::write(&unfinished, "half a key").unwrap();
        load_or_create_issuer(folder.path(), "sigmux").unwrap();
        assert!(!unfinished.exists());
    }
}
