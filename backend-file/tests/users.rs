//! Several users: whom a shared directory is for. Only root can be them all; for others these tests are ignored.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};

use backend_file::{FileLocks, FileOptions};
use libtest_mimic::{Arguments, Failed, Trial};
use lockcore::queue::QueueLocks;
use lockcore::{DistributedLockExt, LockService};
use rustix::fs::Mode;
use rustix::process::{geteuid, umask};

const ROOT: &str = "BACKEND_FILE_TEST_ROOT";
/// Whose numbers no system gives to anybody.
const GROUP: u32 = 1_912_000;
const ONE: User = User { id: 1_912_001, in_group: true };
const TWO: User = User { id: 1_912_002, in_group: true };
const STRANGER: User = User { id: 1_912_003, in_group: false };

fn main() -> ExitCode {
    if let Some(root) = std::env::var_os(ROOT) {
        return as_another_user(Path::new(&root));
    }
    let tests: [(&str, fn()); 2] = [
        ("all_of_the_group_share_the_locks", all_of_the_group_share_the_locks),
        (
            "a_group_that_cannot_be_given_is_named_in_the_error",
            a_group_that_cannot_be_given_is_named_in_the_error,
        ),
    ];
    let is_root = geteuid().is_root();
    let trials = tests.map(|(name, test)| {
        let reason = if is_root { "" } else { " (it takes root to be several users)" };
        let run = move || {
            test();
            Ok::<_, Failed>(())
        };
        Trial::test(format!("{name}{reason}"), run).with_ignored_flag(!is_root)
    });
    libtest_mimic::run(&Arguments::from_args(), trials.into()).exit_code()
}

/// Not a test: what a [`User`] runs. Tries the lock, and keeps it while its input is open.
fn as_another_user(root: &Path) -> ExitCode {
    umask(Mode::RWXG | Mode::RWXO);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let options = FileOptions::new(root).unwrap().with_shared(true);
        let tried = match QueueLocks::connect(FileLocks::new(options)).await {
            Ok(locks) => locks.exclusive("x").unwrap().try_acquire().await,
            Err(error) => Err(error),
        };
        match &tried {
            Ok(guard) => println!("{}", if guard.is_some() { "holds" } else { "is too late" }),
            Err(error) => println!("{error}"),
        }
        std::io::stdin().read_line(&mut String::new()).unwrap();
    });
    ExitCode::SUCCESS
}

struct User {
    id: u32,
    in_group: bool,
}

/// A directory in which users run this program.
struct Place {
    directory: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        std::fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).unwrap();
        // Where it was built, they may have no business. Not by this process: while a file is open for writing, and be it in a
        // child that another test has just started, it cannot be executed.
        let mut copy = Command::new("cp");
        copy.arg(std::env::current_exe().unwrap()).arg(directory.path().join("program"));
        assert!(copy.status().unwrap().success());
        Self { directory }
    }

    fn shared(&self, owner: u32, mode: u32) -> PathBuf {
        let root = self.directory.path().join(format!("{owner}-{mode:o}"));
        std::fs::create_dir(&root).unwrap();
        chown(&root, Some(owner), Some(GROUP)).unwrap();
        std::fs::set_permissions(&root, PermissionsExt::from_mode(mode)).unwrap();
        root
    }

    /// What happens when this user tries the lock, and what keeps it, if so.
    fn tries(&self, user: &User, root: &Path) -> (String, Trying) {
        let mut command = Command::new("setpriv");
        let id = user.id;
        command.args([&format!("--reuid={id}"), &format!("--regid={id}")]);
        command.arg(if user.in_group { format!("--groups={GROUP}") } else { "--clear-groups".to_owned() });
        command.arg(self.directory.path().join("program")).env(ROOT, root);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let mut said = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut said).unwrap();
        (said.trim().to_owned(), Trying(child))
    }
}

struct Trying(Child);

impl Drop for Trying {
    fn drop(&mut self) {
        let _ = self.0.stdin.take().unwrap().write_all(b"\n");
        let _ = self.0.wait();
    }
}

fn all_of_the_group_share_the_locks() {
    let place = Place::new();
    for mode in [0o770, 0o2770] {
        let root = place.shared(0, mode);
        let (said, one) = place.tries(&ONE, &root);
        assert_eq!(said, "holds", "{mode:o}");
        assert_eq!(place.tries(&TWO, &root).0, "is too late", "{mode:o}");
        drop(one);
        assert_eq!(place.tries(&TWO, &root).0, "holds", "{mode:o}");
        assert_eq!(place.tries(&ONE, &root).0, "holds", "{mode:o}");
        let stranger = place.tries(&STRANGER, &root).0;
        assert!(stranger.starts_with("cannot open "), "{mode:o}: {stranger}");
    }
}

fn a_group_that_cannot_be_given_is_named_in_the_error() {
    let place = Place::new();
    let root = place.shared(STRANGER.id, 0o770);
    let said = place.tries(&STRANGER, &root).0;
    assert!(said.contains("chmod g+s") && said.contains("locks"), "{said}");
    assert_eq!(std::fs::read_dir(&root).unwrap().count(), 0, "nothing is left");
}
