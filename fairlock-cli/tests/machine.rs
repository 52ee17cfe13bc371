//! The command on machines that are otherwise than this one: disks, users, environments. What the kernel or this user may
//! not arrange is ignored, with the reason: containers often have neither mounts nor several users.

#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

mod support;

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{ExitCode, Output};

use libtest_mimic::{Arguments, Failed, Trial};
use rustix::process::geteuid;
use tokio::process::Command;

use support::{Running, UNTIL_INPUT_ENDS, in_time};

const PROGRAM: &str = env!("CARGO_BIN_EXE_fairlock");
/// Whose numbers no system gives to anybody.
const USER: u32 = 1_912_004;
const STRANGER: u32 = 1_912_005;

fn main() -> ExitCode {
    let mounts =
        if mounting().is_some() { "" } else { " (the kernel does not let this user mount a file system)" };
    let users = if geteuid().is_root() { "" } else { " (it takes root to be several users)" };
    let mounts_and_users = if mounting() == Some(AS_ROOT) {
        ""
    } else {
        " (it takes root, and a kernel that lets it mount a file system)"
    };
    let trials = vec![
        trial("a_full_disk_is_named_in_the_error", mounts, a_full_disk_is_named_in_the_error),
        trial(
            "a_read_only_directory_is_named_in_the_error",
            mounts,
            a_read_only_directory_is_named_in_the_error,
        ),
        trial(
            "the_default_place_is_one_for_all_environments",
            "",
            the_default_place_is_one_for_all_environments,
        ),
        trial("a_default_place_of_a_stranger_is_refused", users, a_default_place_of_a_stranger_is_refused),
        trial(
            "a_default_place_that_others_do_not_see_is_refused",
            mounts_and_users,
            a_default_place_that_others_do_not_see_is_refused,
        ),
        trial(
            "without_proc_it_is_said_what_is_missing",
            mounts_and_users,
            without_proc_it_is_said_what_is_missing,
        ),
    ];
    libtest_mimic::run(&Arguments::from_args(), trials).exit_code()
}

fn trial<F: Future<Output = ()> + 'static>(name: &str, ignored: &str, test: fn() -> F) -> Trial {
    let run = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(test());
        Ok::<_, Failed>(())
    };
    Trial::test(format!("{name}{ignored}"), run).with_ignored_flag(!ignored.is_empty())
}

const AS_ROOT: &[&str] = &["--mount"];
/// Who is root to itself alone: not in `chroot`, nor in most containers.
const AS_USER: &[&str] = &["--user", "--map-root-user", "--mount"];
/// In `chroot`, the root directory is no mount that could be made private.
const IN_CHROOT: &[&str] = &["--mount", "--propagation", "unchanged"];

/// How `unshare` gives a program mounts of its own, if at all.
fn mounting() -> Option<&'static [&'static str]> {
    let allowed = |way: &&[&str]| {
        let directory = tempfile::tempdir().unwrap();
        let script = format!("mount -t tmpfs none {0} && umount {0}", directory.path().display());
        let mut command = std::process::Command::new("unshare");
        command.args(*way).args(["sh", "-c", &script]);
        command.output().is_ok_and(|output| output.status.success())
    };
    [AS_ROOT, AS_USER, IN_CHROOT].into_iter().find(allowed)
}

/// Runs the command on a file system that is mounted like this.
async fn on_file_system(options: &str, prepare: &str, arguments: &str) -> Output {
    let directory = tempfile::tempdir().unwrap();
    let mount = directory.path().display();
    let script = format!(
        "mount -t tmpfs -o {options} none {mount} || exit; {prepare} && {PROGRAM} {arguments}; code=$?; umount {mount}; exit $code"
    );
    let mut command = Command::new("unshare");
    command.args(mounting().unwrap()).args(["sh", "-c", &script]);
    command.env("FAIRLOCK_URL", format!("file://{mount}/root")).env("MOUNT", directory.path());
    output(command).await
}

async fn output(mut command: Command) -> Output {
    command.env_remove("RUST_LOG").kill_on_drop(true);
    in_time("the command ends", command.output()).await.unwrap()
}

#[track_caller]
fn assert_fails(output: &Output, code: i32, reasons: &[&str]) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{stderr}");
    assert!(reasons.iter().all(|reason| stderr.contains(reason)), "{stderr}");
    assert!(output.stdout.is_empty(), "a failure is no result: {output:?}");
}

async fn a_full_disk_is_named_in_the_error() {
    // Each stops at another place. A file system has its own directory, so one is the least.
    for (inodes, place) in [(1, "root"), (2, "locks"), (3, "locks/x"), (4, ".new-"), (5, "counter")] {
        let options = format!("nr_inodes={inodes}");
        let output = on_file_system(&options, "true", "run x -- echo ran").await;
        assert_fails(&output, 70, &["fairlock: ", ": cannot create ", place, "No space left on device"]);
    }
    let output = on_file_system("nr_inodes=6", "true", "run x -- true").await;
    assert!(output.status.success(), "{output:?}");
}

async fn a_read_only_directory_is_named_in_the_error() {
    let read_only = "mount -o remount,bind,ro $MOUNT";
    let output = on_file_system("size=64k", read_only, "run x -- echo ran").await;
    assert_fails(&output, 77, &["fairlock: ", ": cannot create ", "/root: Read-only file system"]);
    let used = format!("{PROGRAM} run x -- true && {read_only}");
    let output = on_file_system("size=64k", &used, "run x -- echo ran").await;
    assert_fails(&output, 77, &["fairlock: ", ": cannot create ", "/root/locks/x: Read-only file system"]);
}

async fn the_default_place_is_one_for_all_environments() {
    let directory = tempfile::tempdir().unwrap();
    let elsewhere = directory.path().to_str().unwrap();
    let path = std::env::var("PATH").unwrap();
    let environments: [&[(&str, &str)]; 3] = [
        &[],
        &[("HOME", elsewhere), ("XDG_RUNTIME_DIR", elsewhere), ("TMPDIR", elsewhere)],
        &[
            ("HOME", "/nonexistent"),
            ("XDG_RUNTIME_DIR", "/run/user/0"),
            ("USER", "somebody"),
            ("LOGNAME", "else"),
        ],
    ];
    let name = format!("test-{}", fairlock::EntryId::random().as_str().to_lowercase());
    let command = |environment: &[(&str, &str)], options: &[&str], program: &[&str]| {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("PATH", &path).envs(environment.iter().copied());
        command.arg("run").args(options).args([&name, "--"]).args(program).kill_on_drop(true);
        command
    };
    for holders in environments {
        let mut holder = Running::start(command(holders, &[], UNTIL_INPUT_ENDS));
        holder.token(&name).await;
        for others in environments {
            let output = output(command(others, &["--try"], &["echo", "ran"])).await;
            assert_eq!(output.status.code(), Some(75), "{holders:?}, {others:?}: {output:?}");
        }
        holder.finish().await;
    }
    let said = output(command(&[], &["--verbose"], &["true"])).await.stderr;
    let said = String::from_utf8(said).unwrap();
    let place = said.lines().next().unwrap().strip_prefix("fairlock: the locks live at file://").unwrap();
    assert_eq!(fs::metadata(place).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(!Path::new(place).join("locks").join(name).exists(), "nothing is left");
}

/// The command as [`USER`], who may have no business where it was built.
fn as_user(directory: &Path) -> String {
    fs::set_permissions(directory, PermissionsExt::from_mode(0o755)).unwrap();
    let program = directory.join("fairlock");
    // Not by this process: while a file is open for writing, and be it in a child that another test has just started, it
    // cannot be executed.
    assert!(std::process::Command::new("cp").arg(PROGRAM).arg(&program).status().unwrap().success());
    format!("exec setpriv --reuid={USER} --regid={USER} --clear-groups {}", program.display())
}

async fn a_default_place_of_a_stranger_is_refused() {
    let place = format!("/var/tmp/fairlock-{USER}");
    let directory = tempfile::tempdir().unwrap();
    let script = format!("{} run x -- echo ran", as_user(directory.path()));
    let run = || {
        let mut command = Command::new("sh");
        command.args(["-c", &script]).env_remove("FAIRLOCK_URL");
        output(command)
    };
    fs::create_dir(&place).unwrap();
    chown(&place, Some(STRANGER), Some(STRANGER)).unwrap();
    let refused = run().await;
    fs::remove_dir(&place).unwrap();
    assert_fails(&refused, 77, &["fairlock: the default place ", "--url file:///", &place]);

    let accepted = run().await;
    fs::remove_dir_all(&place).unwrap();
    assert!(accepted.status.success(), "{accepted:?}");
}

async fn a_default_place_that_others_do_not_see_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let private = directory.path().join("systemd-private-1-a.service-2");
    fs::create_dir(&private).unwrap();
    fs::set_permissions(&private, PermissionsExt::from_mode(0o1777)).unwrap();
    let user = as_user(directory.path());
    let script = format!("mount --bind {} /var/tmp && {user} run x -- echo ran", private.display());
    let mut command = Command::new("unshare");
    command.args(AS_ROOT).args(["sh", "-c", &script]).env_remove("FAIRLOCK_URL");
    assert_fails(&output(command).await, 78, &["a /var/tmp of its own", "--url file:///"]);
    assert_eq!(fs::read_dir(private).unwrap().count(), 0, "nothing was made");
}

async fn without_proc_it_is_said_what_is_missing() {
    let directory = tempfile::tempdir().unwrap();
    let without_proc = async |line: &str| {
        let mut command = Command::new("unshare");
        command.args(AS_ROOT).args(["sh", "-c", &format!("mount -t tmpfs none /proc && {line}")]);
        command.env("FAIRLOCK_URL", format!("file://{}", directory.path().display()));
        output(command).await
    };
    for line in ["run x echo ran", "run --background x echo ran"] {
        assert_fails(&without_proc(&format!("{PROGRAM} {line}")).await, 70, &["there is no /proc"]);
    }
    let output = without_proc(&format!("{PROGRAM} check x && {PROGRAM} queue --json x")).await;
    assert_eq!((output.status.code(), &*output.stdout), (Some(0), &b"[]\n"[..]), "{output:?}");
}
