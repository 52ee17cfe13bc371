//! What the parts of a transaction cost etcd: `bounds SERVER TASKS`. Each task makes a key and deletes it, again and again, in one
//! way after another; the ways alternate, and are compared with the floor of `fairlock bench`, a transaction that puts and a plain deletion.

use std::time::{Duration, Instant};

use etcd_client::{Client, Compare, CompareOp, Error, GetOptions, KvClient, PutOptions, Txn, TxnOp};

const ROUNDS: usize = 7;
const ROUND: Duration = Duration::from_millis(700);
const SESSION: &str = "/bounds/session";

/// How a key is made.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Make {
    Put,
    Txn,
    /// If the key is not there.
    IfNew,
    /// And a look at the one that decides.
    IfNewAndLook,
    /// And if the session has not raised its number: all that fairlock does.
    All,
}

/// How a key is deleted.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Delete {
    Plain,
    Txn,
    /// If it is this one.
    IfSame,
    /// And a look at the next one: all that fairlock does for a free lock.
    All,
}

const WAYS: [(&str, Make, Delete); 8] = [
    ("floor", Make::Txn, Delete::Plain),
    ("no transaction", Make::Put, Delete::Plain),
    ("like Go's Mutex", Make::IfNewAndLook, Delete::Plain),
    ("deletion in a transaction", Make::Txn, Delete::Txn),
    ("conditions", Make::IfNew, Delete::IfSame),
    ("all that makes, plain deletion", Make::All, Delete::Plain),
    ("all that makes, no look when it goes", Make::All, Delete::IfSame),
    ("all", Make::All, Delete::All),
];

struct Task {
    kv: KvClient,
    lease: i64,
    prefix: String,
}

impl Task {
    fn key(&self) -> String {
        format!("{}ex-1-1", self.prefix)
    }

    fn look(&self) -> TxnOp {
        TxnOp::get(&*self.prefix, Some(GetOptions::new().with_prefix().with_keys_only().with_limit(1)))
    }

    async fn make(&mut self, way: Make) -> Result<i64, Error> {
        let (key, value) = (self.key(), "0123456789abcdefghijkl host:1234");
        let lease = Some(PutOptions::new().with_lease(self.lease));
        if way == Make::Put {
            let answer = self.kv.put(key, value, lease).await?;
            return Ok(answer.header().map_or(0, |header| header.revision()));
        }
        let put = TxnOp::put(&*key, value, lease);
        let new = Compare::create_revision(&*key, CompareOp::Equal, 0);
        let number = Compare::value(SESSION, CompareOp::Less, "1");
        let txn = match way {
            Make::Put | Make::Txn => Txn::new().and_then([put]),
            Make::IfNew => Txn::new().when([new]).and_then([put]),
            Make::IfNewAndLook => Txn::new().when([new]).and_then([self.look(), put]),
            Make::All => Txn::new().when([new, number]).and_then([self.look(), put]),
        };
        let answer = self.kv.txn(txn).await?;
        Ok(answer.header().map_or(0, |header| header.revision()))
    }

    async fn delete(&mut self, way: Delete, made: i64) -> Result<(), Error> {
        let key = self.key();
        let delete = TxnOp::delete(&*key, None);
        let same = Compare::create_revision(&*key, CompareOp::Equal, made);
        let txn = match way {
            Delete::Plain => return self.kv.delete(key, None).await.map(drop),
            Delete::Txn => Txn::new().and_then([delete]),
            Delete::IfSame => Txn::new().when([same]).and_then([delete]),
            Delete::All => Txn::new().when([same]).and_then([delete, self.look()]),
        };
        self.kv.txn(txn).await.map(drop)
    }

    async fn go_on(mut self, make: Make, delete: Delete, end: Instant) -> Result<u32, Error> {
        let mut turns = 0;
        while Instant::now() < end {
            let made = self.make(make).await?;
            self.delete(delete, made).await?;
            turns += 1;
        }
        Ok(turns)
    }
}

async fn round(client: &Client, lease: i64, tasks: usize, make: Make, delete: Delete) -> Result<f64, Error> {
    let begin = Instant::now();
    let task = |task| Task { kv: client.kv_client(), lease, prefix: format!("/bounds/lock/{task}/") };
    let running: Vec<_> =
        (0..tasks).map(|number| tokio::spawn(task(number).go_on(make, delete, begin + ROUND))).collect();
    let mut turns = 0;
    for task in running {
        turns += task.await.map_err(|error| Error::IoError(error.into()))??;
    }
    Ok(f64::from(turns) / begin.elapsed().as_secs_f64())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [server, tasks] = &arguments[..] else { return Err("usage: bounds SERVER TASKS".into()) };
    let tasks = tasks.parse()?;
    let client = Client::connect([server], None).await?;
    let lease = client.lease_client().grant(600, None).await?.id();
    client.kv_client().put(SESSION, "0", Some(PutOptions::new().with_lease(lease))).await?;
    let mut ratios = vec![Vec::new(); WAYS.len()];
    for warm in 0..=ROUNDS {
        let mut floor = 0.0;
        for ((_, make, delete), ratios) in WAYS.iter().zip(&mut ratios) {
            let rate = round(&client, lease, tasks, *make, *delete).await?;
            if (*make, *delete) == (Make::Txn, Delete::Plain) {
                floor = rate;
            }
            if warm > 0 {
                ratios.push(rate / floor);
            }
        }
    }
    for ((name, ..), ratios) in WAYS.iter().zip(&mut ratios) {
        ratios.sort_unstable_by(f64::total_cmp);
        let (least, median, most) = (ratios[0], ratios[ROUNDS / 2], ratios[ROUNDS - 1]);
        println!("{median:.2} ({least:.2}-{most:.2})  {name}");
    }
    client.lease_client().revoke(lease).await?;
    Ok(())
}
