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
  1   check: the lock is held; release: there is no such entry; demo, conformance or bench: a promise was broken
  64  wrong usage
  69  the service cannot be reached
  70  another error
  75  the lock was not had in time (run --conflict-exit-code changes it)
  76  the lock, or the place in its queue, was lost
  77  permission denied
  78  wrong URL or configuration
  run exits with the exit code of its program; 126 if that cannot be executed, 127 if it was not found. If SIGTERM, SIGINT, SIGHUP or \
SIGQUIT ended the program, or the wait, run ends by the same signal.

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

pub(crate) const RUN_USAGE: &str = "\
fairlock run [OPTIONS] <NAME> [--] <CMD>...
       fairlock run [OPTIONS] <NAME> -c <LINE>";

pub(crate) const RUN: &str = "\
Signals: SIGTERM, SIGINT, SIGHUP and SIGQUIT are passed on to everything that CMD started, SIGUSR1 and SIGUSR2 to CMD \
alone. Keys such as Ctrl-C and Ctrl-Z reach CMD as if fairlock was not there.

CMD finds in its environment:
  FAIRLOCK_NAME   the name of the lock
  FAIRLOCK_KIND   exclusive, shared or semaphore
  FAIRLOCK_TOKEN  the fencing token (of NAME, not of others with --and), a number that grows from holder to holder: let what the lock protects refuse
                  a smaller one than it has seen
  FAIRLOCK_ID     the entry, as `fairlock queue --json` shows it
  FAIRLOCK_URL    where the lock lives, so that every fairlock that CMD runs uses the same place
  FAIRLOCK_HELD   what is held around CMD (JSON): a fairlock that CMD runs, and that would wait for one of those locks, also shared ones and \
semaphores, would wait for CMD and so for itself. It fails at once with 64, unless it has --allow-nested or --try

Examples:
  fairlock run backup -- ./backup.sh --full
  fairlock run backup -c 'pg_dump app | gzip > app.gz'
  fairlock run --try migrations -- ./migrate || echo 'somebody else does it'
  fairlock run --and account/3 account/7 -- ./transfer
  fairlock run --once-per 1h --at-least 30s report -- ./report.sh
  fairlock run --verbose --semaphore 4 --wait 1m gpu -- python3 train.py
  fairlock run --url zookeeper://localhost:2181 nightly/backup -- ./backup.sh";

pub(crate) const ONCE_PER: &str = "\
Run CMD at most once in this period, such as 1h, whoever tries; else exit with 0

For cron and timers of several machines: one of them runs CMD, the others find that it runs, or has run, and end without a word (but \
with --verbose). A run counts from its beginning, also if it fails, or if its machine dies in the middle. It may begin a tenth of the period early, a minute \
at most, because no timer fires exactly. When it ran last, who ran it and how that ended is recorded where the lock lives.";

pub(crate) const ELECT_USAGE: &str = "\
fairlock elect [OPTIONS] <NAME>
       fairlock elect [OPTIONS] <NAME> [--] <CMD>...";

pub(crate) const ELECT: &str = "\
CMD finds FAIRLOCK_NAME and FAIRLOCK_TOKEN in its environment, which is the term: a number that grows from leader to leader. See fairlock run \
for what becomes of CMD when the leadership is lost.

JSON: null if nobody leads, or an object with
  term   number of the leadership, its fencing token
  value  what it said about itself
  label  who it is, for people
  since  when it became a candidate (RFC 3339), or null
With --watch: such a value on a line of its own after each change.

Exit codes without CMD: 0, or 75 if nobody leads (with --json or --watch: 0).

Examples:
  fairlock elect --value 10.0.0.7:8080 scheduler -- ./scheduler
  fairlock elect scheduler
  fairlock elect --watch --json scheduler";

pub(crate) const QUEUE_USAGE: &str = "\
fairlock queue [OPTIONS] <NAME>
       fairlock queue [OPTIONS] --semaphore [N] <NAME>";

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
  host      the machine of its owner, or null if that is not known
  pid       the process of its owner there, or null
With --watch: such an array on a line of its own after each change.

Examples:
  fairlock queue nightly/backup
  fairlock queue --watch --semaphore gpu
  fairlock queue --json nightly/backup | jq -r '.[] | select(.holds).label'";

pub(crate) const LOCK: &str = "\
The shell gets the variables FAIRLOCK_NAME, FAIRLOCK_TOKEN and so on, as a program under `fairlock run`. A script that does not get its lock ends \
with the exit code, but with --try or --wait, where it has to look at the status. Should it be possible that fairlock is not there at all, \
write: lock=$(fairlock lock NAME) && eval \"$lock\" || exit

Examples:
  eval \"$(fairlock lock backup)\"; rsync …; fairlock unlock
  eval \"$(fairlock lock --try backup)\" || exit 0
  eval \"$(fairlock lock --for 10m deploy)\"
  exec 9>>/tmp/backup.lock; eval \"$(fairlock lock --fd 9 backup)\"; …; exec 9>&-";

pub(crate) const UNLOCK: &str = "\
Exit codes: 0 if the lock was held all the time, 76 if it was lost, or given back, before.";

pub(crate) const JOIN: &str = "\
Exits with 0 if all ended with 0, else with the exit code of one that did not.

Examples:
  for f in *.wav; do fairlock run --background --semaphore 4 encode flac \"$f\"; done; fairlock join";

pub(crate) const WAIT_USAGE: &str = "\
fairlock wait [OPTIONS] <NAME>
       fairlock wait [OPTIONS] --semaphore [N] <NAME>";

pub(crate) const WAIT: &str = "\
Exit codes: 0 if it is free, 75 if it was not in time.

Examples:
  fairlock wait deploy && echo nobody deploys
  fairlock wait --wait 10m nightly/backup";

pub(crate) const CHECK_USAGE: &str = "\
fairlock check [OPTIONS] <NAME>
       fairlock check [OPTIONS] --semaphore [N] <NAME>";

pub(crate) const CHECK: &str = "\
Prints the label of each holder on a line of its own, or JSON: an array of objects as those of `fairlock queue`.

Exit codes: 0 if it is free, 1 if it is held, or if somebody waits for it.

Examples:
  holder=$(fairlock check deploy) || echo \"$holder deploys\"
  fairlock check --wait 5 deploy";

pub(crate) const RELEASE_USAGE: &str = "\
fairlock release [OPTIONS] <NAME> <ID>
       fairlock release [OPTIONS] --semaphore [N] <NAME> <ID>";

pub(crate) const RELEASE: &str = "\
Exit codes: 0 if the entry was removed, 1 if it was not there or the answer was no.

Examples:
  fairlock queue --json deploy | jq -r '.[0].id'
  fairlock release deploy 7GmWsuDFNqzxBZzcK2mCaV
  fairlock release --yes deploy 1764283190000123";

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

--chaos starts five processes that contend, behind proxies if the URL names hosts with ports; no server is touched. \
What they logged is checked afterwards: exclusion, order, tokens, hand-overs, losses, leftovers. It takes half as long \
again, and ends with 1 if a promise was broken. JSON: an object with seed, grants, ungranted, losses, refused_writes, \
broken (how often what was) and violations.

Examples:
  fairlock conformance --url zookeeper://localhost:2181/playground
  fairlock conformance --chaos 5m --url etcd://localhost:2379/playground
  fairlock conformance --filter exclusion";

pub(crate) const BENCH_ONLY: &str = "\
Only these rows [default: uncontended,parallel,handover,fanout]

  uncontended  one task takes a free lock again and again; given back by release().await, and by drop
  parallel     64 tasks of one service, each with a lock of its own
  handover     N services that contend for one lock
  fanout       N services whose entries are let in together, by one departure
  waiters      --many tasks of one service wait for one lock, then take their turns: how long, in how much memory
  held         --many locks are held by one service for 20 times --time: what they cost at rest

--waiters gives the N. The memory is what the process has more than at its start: measure one of the last two at a time, \
for one kind.";

pub(crate) const BENCH_KIND: &str = "\
Only locks of these kinds [default: all]

In handover and waiters, every second contender of a shared lock takes it exclusively, and a semaphore has 4 permits, or one less \
than contend in handover. In fanout an exclusive entry, or one that takes all permits, lets in shared ones, or some that take a permit each.";

pub(crate) const BENCH: &str = "\
Uses locks under the name fairlock-bench only, and removes what they leave. Fails if anybody was overtaken. Of the servers \
it reads what they tell: redis with INFO, etcd with /metrics, ZooKeeper with the four-letter word mntr, and its processor \
time if it runs on this machine.

JSON: an object with
  row                      \"uncontended\", \"parallel\", \"handover\" or \"fanout\"
  kind                     \"exclusive\", \"shared\" or \"semaphore\"
  release                  \"awaited\" or \"dropped\"
  n                        how many contend, or are let in
  services                 how many services they are spread over
  rounds                   how many rounds were measured
  grants_per_second        median, min and max of the rounds
  acquire_us               p50 and p99 of the time from the call to the grant, in microseconds
  cycle_us                 the same until it is given back
  handover_us              the same from the departure of the last one that was waited for to the grant
  requests_per_grant       messages that the server got
  commands_per_grant       commands of Redis, those inside scripts too
  bytes_per_grant          in both directions
  server_cpu_us_per_grant  processor time of the server
  jain                     Jain's index of how evenly the grants fell: 1 for evenly, 1/n if one got all
  overtaking               how many were granted before their turn
  floor                    an object with the fields from grants_per_second to server_cpu_us_per_grant, or null
  ratio                    median, min and max of our grants to those of the floor, round by round
What is not known is null. For waiters and held it has row, kind and n, and
  seconds_to_queue         until all waited, or were held
  memory_bytes_each        memory of this process for each
  grants_per_second        of the waiters, when they take their turns
  overtaking               as above
  requests_per_second, commands_per_second, bytes_per_second, server_cpu_ms_per_second
                           of the server, while the locks are held

Examples:
  fairlock bench --url redis://localhost:6379
  fairlock bench --only handover --kind exclusive --waiters 10,200 --json
  fairlock bench --only held --kind exclusive --many 1000
  fairlock bench --only handover --plot handover.svg";

#[cfg(feature = "postgres")]
pub(crate) const SCHEMA: &str = "\
Examples:
  fairlock schema postgres | psql app
  fairlock schema postgres --schema locks | psql app";

pub(crate) const COMPLETIONS: &str = "\
The script asks fairlock itself, also for the names of locks: of the service of --url or FAIRLOCK_URL.

Examples:
  echo 'source <(fairlock completions bash)' >> ~/.bashrc
  echo 'source <(fairlock completions zsh)' >> ~/.zshrc
  fairlock completions fish > ~/.config/fish/completions/fairlock.fish";

pub(crate) const MAN: &str = "\
Examples:
  fairlock man run | man -l -
  fairlock man --install /usr/local/share/man/man1";
