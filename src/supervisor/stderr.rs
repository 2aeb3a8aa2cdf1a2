//! What processes write to stderr: always drained, the last of it kept, all of it logged up to a rate.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::unix::pipe, sync::watch, time::Instant};

use super::LineSink;

/// How much of stderr is kept.
const KEPT_BYTES: usize = 256 * 1024;
/// Longer lines are cut into pieces of this size.
const LINE_BYTES: usize = 8 * 1024;
/// How much goes to the log per second; the rest is only counted.
const LOGGED_PER_SECOND: usize = 1024 * 1024;

/// The last lines of a unit's stderr, across its processes. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    lines: VecDeque<String>,
    bytes: usize,
    /// Lines ever pushed.
    total: u64,
}

impl Tail {
    fn push(&self, line: String) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.total += 1;
        kept.bytes += line.len() + 1;
        kept.lines.push_back(line);
        while kept.bytes > KEPT_BYTES {
            let Some(oldest) = kept.lines.pop_front() else { break };
            kept.bytes -= oldest.len() + 1;
        }
    }

    /// The last `n` lines, oldest first.
    pub(super) fn last(&self, n: usize) -> Vec<String> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let skip = kept.lines.len().saturating_sub(n);
        kept.lines.iter().skip(skip).cloned().collect()
    }

    /// Marks this moment for [`Self::last_since`].
    pub(super) fn mark(&self) -> u64 {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.total
    }

    /// The last `n` of the lines that came after `mark`, oldest first.
    pub(super) fn last_since(&self, mark: u64, n: usize) -> Vec<String> {
        let came = usize::try_from(self.mark() - mark).unwrap_or(usize::MAX);
        self.last(n.min(came))
    }
}

/// Hides the values of secret variables in what is kept and logged.
#[derive(Clone, Debug, Default)]
pub(super) struct Redaction(Vec<String>);

impl Redaction {
    /// Values of variables whose name sounds like a secret, if long enough not to be a word of the language.
    pub(super) fn of<'a>(env: impl Iterator<Item = (&'a String, &'a String)>) -> Self {
        const SECRET: [&str; 7] = ["KEY", "TOKEN", "SECRET", "PASS", "CREDENTIAL", "AUTH", "DATABASE_URL"];
        let is_secret = |name: &str| {
            let name = name.to_ascii_uppercase();
            SECRET.iter().any(|word| name.contains(word))
        };
        let values = env.filter(|(name, value)| is_secret(name) && value.len() >= 6);
        Self(values.map(|(_, value)| value.clone()).collect())
    }

    fn apply(&self, line: String) -> String {
        self.0
            .iter()
            .filter(|secret| !secret.is_empty())
            .fold(line, |line, secret| {
                if line.contains(secret.as_str()) {
                    line.replace(secret.as_str(), "***")
                } else {
                    line
                }
            })
    }
}

/// Where the lines of one process go.
pub(super) struct Drain {
    pub(super) tail: Tail,
    pub(super) log: Option<Arc<dyn LineSink>>,
    pub(super) redaction: Redaction,
}

impl Drain {
    /// Reads until every process that holds the other end is gone; `ended` is set then.
    pub(super) async fn run(self, mut stderr: pipe::Receiver, ended: watch::Sender<bool>) {
        let mut line = Vec::new();
        let mut rate = Rate::new(Instant::now());
        let mut chunk = vec![0; LINE_BYTES];
        // A read error means the same as the end: there is nothing more to read.
        while let Ok(n @ 1..) = stderr.read(&mut chunk).await {
            for piece in chunk.iter().take(n) {
                if *piece == b'\n' {
                    self.take(&mut line, &mut rate);
                } else {
                    line.push(*piece);
                    if line.len() >= LINE_BYTES {
                        self.take(&mut line, &mut rate);
                    }
                }
            }
        }
        if !line.is_empty() {
            self.take(&mut line, &mut rate);
        }
        ended.send_replace(true);
    }

    fn take(&self, line: &mut Vec<u8>, rate: &mut Rate) {
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        let text = self.redaction.apply(String::from_utf8_lossy(line).into_owned());
        line.clear();
        if let Some(log) = &self.log {
            match rate.admit(text.len() + 1, Instant::now()) {
                Admit::Yes { left_out: 0 } => log.write_line(&text),
                Admit::Yes { left_out } => {
                    log.write_line(&format!("[{left_out} lines left out: more than 1 MiB/s]"));
                    log.write_line(&text);
                }
                Admit::No => {}
            }
        }
        self.tail.push(text);
    }
}

/// Lets so many bytes pass per second.
struct Rate {
    since: Instant,
    bytes: usize,
    left_out: u64,
}

enum Admit {
    Yes { left_out: u64 },
    No,
}

impl Rate {
    fn new(now: Instant) -> Self {
        Self {
            since: now,
            bytes: 0,
            left_out: 0,
        }
    }

    fn admit(&mut self, bytes: usize, now: Instant) -> Admit {
        if now.duration_since(self.since) >= Duration::from_secs(1) {
            (self.since, self.bytes) = (now, 0);
        }
        if self.bytes + bytes > LOGGED_PER_SECOND {
            self.left_out += 1;
            return Admit::No;
        }
        self.bytes += bytes;
        Admit::Yes {
            left_out: std::mem::take(&mut self.left_out),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Lines(Mutex<Vec<String>>);

    impl LineSink for Lines {
        fn write_line(&self, line: &str) {
            self.0.lock().unwrap().push(line.to_owned());
        }
    }

    async fn drained(bytes: &[u8], log: Option<Arc<dyn LineSink>>, secrets: &[&str]) -> Tail {
        use tokio::io::AsyncWriteExt;
        let (mut sender, receiver) = pipe::pipe().unwrap();
        let (tail, ended) = (Tail::default(), watch::Sender::new(false));
        let redaction = Redaction(secrets.iter().map(|s| (*s).to_owned()).collect());
        let drain = Drain {
            tail: tail.clone(),
            log,
            redaction,
        };
        let write = async {
            sender.write_all(bytes).await.unwrap();
            drop(sender);
        };
        tokio::join!(write, drain.run(receiver, ended.clone()));
        assert!(*ended.borrow());
        tail
    }

    #[tokio::test]
    async fn lines_are_kept_whatever_bytes_they_hold() {
        let tail = drained(b"one\r\n\ntwo \xff\xfe\nlast \xe2\x82", None, &[]).await;
        assert_eq!(tail.last(9), ["one", "", "two \u{fffd}\u{fffd}", "last \u{fffd}"]);
        assert_eq!(tail.last(1), ["last \u{fffd}"]);
        assert_eq!(tail.mark(), 4);
        assert_eq!(tail.last_since(3, 9), ["last \u{fffd}"]);
    }

    #[tokio::test]
    async fn secrets_are_hidden() {
        let tail = drained(b"key=hunter2x ok\n", None, &["hunter2x"]).await;
        assert_eq!(tail.last(1), ["key=*** ok"]);
    }

    #[test]
    fn only_secret_sounding_values_are_hidden() {
        let env = std::collections::BTreeMap::from(
            [("API_KEY", "abcdefgh"), ("MODE", "production"), ("PASSWORD", "abc")]
                .map(|(k, v)| (k.to_owned(), v.to_owned())),
        );
        assert_eq!(Redaction::of(env.iter()).0, ["abcdefgh"]);
    }

    #[tokio::test]
    async fn a_flood_is_drained_but_neither_kept_nor_logged_whole() {
        let lines = Arc::new(Lines(Mutex::default()));
        let flood = vec![b'x'; 4 * 1024 * 1024];
        let tail = drained(&flood, Some(Arc::clone(&lines) as Arc<dyn LineSink>), &[]).await;
        let kept: usize = tail.last(usize::MAX).iter().map(String::len).sum();
        assert!(kept <= KEPT_BYTES && kept > KEPT_BYTES / 2, "{kept}");
        let logged: usize = lines.0.lock().unwrap().iter().map(String::len).sum();
        // The flood may straddle a second or two.
        assert!(logged < flood.len(), "{logged}");
    }

    #[test]
    fn the_log_says_how_much_it_left_out() {
        let begun = Instant::now();
        let mut rate = Rate::new(begun);
        assert!(matches!(
            rate.admit(LOGGED_PER_SECOND, begun),
            Admit::Yes { left_out: 0 }
        ));
        assert!(matches!(rate.admit(1, begun), Admit::No));
        let later = begun + Duration::from_secs(1);
        assert!(matches!(rate.admit(1, later), Admit::Yes { left_out: 1 }));
    }
}
