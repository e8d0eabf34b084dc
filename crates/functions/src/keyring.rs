//! Session keys of functions, issued seldom.
//!
//! Environments of one function and role share keys that are young, so that a function whose processes crash at once,
//! again and again, does not fill the store of sessions and push out those of others. Must not outlive the server.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Arn, Clock, SessionKeys, Sessions};

/// Of their life, the part in which keys are given out; an environment has the rest of it at least.
const YOUNG: u32 = 4;

struct Held {
    keys: SessionKeys,
    issued: Duration,
}

/// The keys given out lately.
pub(crate) struct Keyring {
    sessions: Arc<dyn Sessions>,
    clock: Arc<dyn Clock>,
    lifetime: Duration,
    held: Mutex<HashMap<(Arn, Arn), Held>>,
}

impl Keyring {
    pub fn new(sessions: Arc<dyn Sessions>, clock: Arc<dyn Clock>, lifetime: Duration) -> Self {
        Self { sessions, clock, lifetime, held: Mutex::default() }
    }

    /// How long keys are good for at least when they are given out.
    pub fn good_for(&self) -> Duration {
        self.lifetime - self.lifetime / YOUNG
    }

    /// Keys with which code of `function` calls as `role`.
    pub fn keys(&self, function: &Arn, role: &Arn) -> SessionKeys {
        let now = self.clock.instant();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, held| now.saturating_sub(held.issued) < self.lifetime / YOUNG);
        let entry = held
            .entry((function.clone(), role.clone()))
            .or_insert_with(|| Held { keys: self.sessions.issue(function, role, self.lifetime), issued: now });
        entry.keys.clone()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use base::{TestClock, Timestamp};

    use super::*;

    #[derive(Default)]
    struct Counting(AtomicU32);

    impl Sessions for Counting {
        fn issue(&self, _: &Arn, _: &Arn, lifetime: Duration) -> SessionKeys {
            let n = self.0.fetch_add(1, Ordering::SeqCst);
            SessionKeys {
                access_key_id: format!("ASIA{n}"),
                secret_access_key: String::new(),
                session_token: String::new(),
                expires: Timestamp::from_millis(0) + lifetime,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn young_keys_are_shared_by_function_and_role() {
        let clock = Arc::new(TestClock::at(Timestamp::from_millis(0)));
        let ring = Keyring::new(Arc::new(Counting::default()), clock.clone(), Duration::from_secs(4_000));
        let arn = |text: &str| text.parse::<Arn>().unwrap();
        let (f, g) =
            (arn("arn:aws:lambda:a-b-1:000000000000:function:f"), arn("arn:aws:lambda:a-b-1:000000000000:function:g"));
        let (r, s) = (arn("arn:aws:iam::000000000000:role/r"), arn("arn:aws:iam::000000000000:role/s"));
        assert_eq!(ring.keys(&f, &r).access_key_id, "ASIA0");
        assert_eq!(ring.keys(&g, &r).access_key_id, "ASIA1");
        assert_eq!(ring.keys(&f, &s).access_key_id, "ASIA2");
        clock.sleep(Duration::from_secs(999)).await;
        assert_eq!(ring.keys(&f, &r).access_key_id, "ASIA0");
        clock.sleep(Duration::from_secs(1)).await;
        assert_eq!(ring.keys(&f, &r).access_key_id, "ASIA3");
        assert_eq!(ring.good_for(), Duration::from_secs(3_000));
    }
}
