//! The longer texts of the help.

pub(crate) const URL: &str = "\
Where the locks live, such as zookeeper://zk1:2181,zk2:2181/app or file:///var/lib/app/locks

Without it they live in a directory of this machine that only this user has: /var/tmp/fairlock-UID, or /run/fairlock for \
root. It is the same for shells, cron and services, whatever their environment; what has another /var/tmp or /run \
(containers) has other locks.

Other users can see the arguments of a process: a URL with a password belongs into the environment.";

pub(crate) const EXIT_CODES: &str = "\
Exit codes:
  0   success
  1   demo or conformance: a promise was broken
  64  wrong usage
  69  the service cannot be reached
  70  another error
  75  the lock was not had in time (run --conflict-exit-code changes it)
  76  the lock, or the place in its queue, was lost
  77  permission denied
  78  wrong URL or configuration
  run exits with the exit code of its program; 126 if that cannot be executed, 127 if it was not found.

Results go to stdout, everything else to stderr. RUST_LOG=debug shows more, NO_COLOR takes the colours away.";

pub(crate) const DEMO: &str = "\
Examples:
  fairlock demo
  fairlock demo --url zookeeper://localhost:2181 --executors 50 --tasks 2 --hold 0s";

pub(crate) const GRACE: &str = "\
From SIGTERM to SIGKILL, where CMD has to end

SIGKILL comes when the lock is not sure to be held any more: when four fifths of the session have passed since the last \
renewal. SIGTERM comes that much sooner. So a longer grace ends CMD after a shorter silence of the service. It can be \
two fifths of the session at most (4s of 10s), which is the default if that is less than 10s. In a directory, where \
nobody takes a lock away but by hand, it begins with the loss, and can be of any length. What is left of CMD after a \
signal had asked that to end has as much time from the signal on.";

pub(crate) const RUN: &str = "\
Signals: SIGTERM, SIGINT, SIGHUP and SIGQUIT are passed on to everything that CMD started, SIGUSR1 and SIGUSR2 to CMD \
alone. Keys such as Ctrl-C and Ctrl-Z reach CMD as if fairlock was not there.

CMD finds in its environment:
  FAIRLOCK_NAME   the name of the lock
  FAIRLOCK_TOKEN  the fencing token, a number that grows from holder to holder: let what the lock protects refuse
                  a smaller one than it has seen

Examples:
  fairlock run backup -- ./backup.sh --full
  fairlock run backup -c 'pg_dump app | gzip > app.gz'
  fairlock run --try migrations -- ./migrate || echo 'somebody else does it'
  fairlock run --verbose --semaphore 4 --wait 1m gpu -- python3 train.py
  fairlock run --url zookeeper://localhost:2181 nightly/backup -- ./backup.sh";

pub(crate) const QUEUE: &str = "\
JSON: an array of objects, the first in the queue first, with
  position  place in the queue, from 0
  holds     true, or false: waits
  kind      \"exclusive\", \"shared\" or \"semaphore\"
  permits   how many permits it takes (semaphores only)
  limit     how many permits there are (semaphores only)
  token     fencing token
  id        identity of the entry
  since     when it was accepted into the queue (RFC 3339), or null
  label     what its owner says about itself
With --watch: such an array on a line of its own after each change.

Examples:
  fairlock queue nightly/backup
  fairlock queue --watch --semaphore gpu
  fairlock queue --json nightly/backup | jq -r '.[] | select(.holds).label'";

pub(crate) const LIST: &str = "\
JSON: an array of objects with
  family  \"lock\" or \"semaphore\"
  name    name of the lock";

pub(crate) const CONFORMANCE: &str = "\
Uses locks of its own names only. Trials that need more than a URL can give are ignored, with the reason.

JSON: an array of objects with
  name     what the trial asserts, behind the name of its group and a slash
  outcome  \"passed\", \"failed\" or \"ignored\"
  reason   why it failed or was ignored, or null

Examples:
  fairlock conformance --url zookeeper://localhost:2181/playground
  fairlock conformance --filter exclusion";

pub(crate) const BENCH_ONLY: &str = "\
Only these rows [default: uncontended,parallel,handover,fanout]

  uncontended  one task takes a free lock again and again; given back by release().await, and by drop
  parallel     64 tasks of one service, each with a lock of its own
  handover     N services, each in turn with one lock
  fanout       N services whose entries are let in by one departure
  waiters      many tasks of one service that wait for one lock
  held         many locks that one service holds, at rest";

pub(crate) const BENCH_KIND: &str = "\
Only locks of these kinds [default: all]

In handover, every second contender of a shared lock takes it exclusively, and a semaphore has 4 permits, or one less \
than there are contenders.";

pub(crate) const BENCH: &str = "\
Examples:
  fairlock bench --url redis://localhost:6379
  fairlock bench --only handover --kind exclusive --waiters 10,200 --json";

pub(crate) const COMPLETIONS: &str = "\
Examples:
  source <(fairlock completions bash)
  fairlock completions fish > ~/.config/fish/completions/fairlock.fish";

pub(crate) const MAN: &str = "\
Examples:
  fairlock man run | man -l -
  fairlock man > /usr/local/share/man/man1/fairlock.1";
