//! Who asks: API keys, the tokens made from them, and how often they may ask.

use crate::config::Config;
use crate::fault::{Fault, Kind};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Instant, SystemTime, UNIX_EPOCH};
use subtle::ConstantTimeEq;

/// What access tokens begin with.
const TOKEN: &str = "sk_tok_";
/// The longest that a token may live, in seconds.
pub(crate) const LONGEST_TOKEN: u64 = 3600;

/// Whose states and voices are whose: a number made from a key's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner(pub u32);

/// Who asks, and what they may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// Whose things these are.
    pub owner: Owner,
    /// Cloning copies nobody.
    pub rehearse: bool,
    /// Whether speech may be asked for.
    pub speech: bool,
    /// Whether everything else may be asked for: a token may only speak.
    pub all: bool,
}

/// One known key: only its hash is kept.
struct Known {
    owner: Owner,
    hash: [u8; 32],
    rehearse: bool,
    per_minute: u32,
}

/// What a token says.
#[derive(Serialize, Deserialize)]
struct Claims {
    owner: u32,
    rehearse: bool,
    speech: bool,
    expires: u64,
    /// Two tokens of one moment are two tokens.
    nonce: u64,
}

/// All keys.
pub struct Keyring {
    known: Vec<Known>,
    secret: [u8; 32],
    rehearse: bool,
    per_minute: u32,
    buckets: Mutex<HashMap<u32, Bucket>>,
}

/// Requests that may still be made; it fills up by the minute's share.
struct Bucket {
    left: f64,
    at: Instant,
}

impl Keyring {
    /// The keys of a configuration; `secret` seals tokens.
    #[must_use]
    pub fn new(config: &Config, secret: [u8; 32]) -> Self {
        let general = config.limits.requests_per_minute;
        let known = config.keys.iter().map(|key| Known {
            owner: owner(&key.name),
            hash: *blake3::hash(key.key.as_bytes()).as_bytes(),
            rehearse: key.rehearse || config.rehearse,
            per_minute: key.requests_per_minute.unwrap_or(general),
        });
        Self {
            known: known.collect(),
            secret,
            rehearse: config.rehearse,
            per_minute: general,
            buckets: Mutex::default(),
        }
    }

    /// Whether keys are needed.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.known.is_empty()
    }

    /// Who shows `credential`.
    ///
    /// # Errors
    /// The same for every key that is not valid: a wrong one learns nothing.
    pub fn caller(&self, credential: Option<&str>) -> Result<Caller, Fault> {
        let given = credential.unwrap_or_default();
        if let Some(claims) = self.claims(given) {
            if claims.expires < now() {
                let message = "this access token has expired: ask for a new one";
                return Err(Fault::new(Kind::Unauthorized, "expired_token", message));
            }
            return Ok(Caller {
                owner: Owner(claims.owner),
                rehearse: claims.rehearse,
                speech: claims.speech,
                all: false,
            });
        }
        if self.is_open() {
            return Ok(Caller {
                owner: Owner(0),
                rehearse: self.rehearse,
                speech: true,
                all: true,
            });
        }
        // Hashes have one length, and all keys are compared, so that the time
        // this takes tells nothing.
        let hash = blake3::hash(given.as_bytes());
        let mut found = None;
        for known in &self.known {
            if bool::from(known.hash.ct_eq(hash.as_bytes())) {
                found = Some(known);
            }
        }
        found.map_or_else(
            || {
                let message = "a valid API key is needed: send it as `Authorization: Bearer KEY`, `X-API-Key`, or `?api_key=`";
                Err(Fault::new(Kind::Unauthorized, "invalid_api_key", message))
            },
            |known| {
                Ok(Caller {
                    owner: known.owner,
                    rehearse: known.rehearse,
                    speech: true,
                    all: true,
                })
            },
        )
    }

    /// Counts a request.
    ///
    /// # Errors
    /// If there were too many in the last minute; when to try again.
    pub fn count(&self, caller: Caller) -> Result<(), Fault> {
        let own = self.known.iter().find(|k| k.owner == caller.owner);
        let per_minute = own.map_or(self.per_minute, |known| known.per_minute);
        if per_minute == 0 {
            return Ok(());
        }
        let most = f64::from(per_minute);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        let bucket = buckets.entry(caller.owner.0).or_insert(Bucket {
            left: most,
            at: now,
        });
        let refill = (now - bucket.at).as_secs_f64() * most / 60.0;
        bucket.left = (bucket.left + refill).min(most);
        bucket.at = now;
        if bucket.left < 1.0 {
            let wait = ((1.0 - bucket.left) * 60.0 / most).ceil() as u32;
            let message = format!("{per_minute} requests a minute are taken: wait {wait} s");
            let fault = Fault::new(Kind::TooMany, "rate_limit_exceeded", message);
            return Err(fault.retry_after(wait.max(1)));
        }
        bucket.left -= 1.0;
        Ok(())
    }

    /// A token that may do what `caller` may, or only speak, for `seconds`.
    #[must_use]
    pub fn token(&self, caller: Caller, speech: bool, seconds: u64) -> String {
        let mut nonce = [0; 8];
        // Without randomness two tokens of one second may be alike: no harm.
        let _ = getrandom::fill(&mut nonce);
        let claims = Claims {
            owner: caller.owner.0,
            rehearse: caller.rehearse,
            speech: speech && caller.speech,
            expires: now() + seconds.min(LONGEST_TOKEN),
            nonce: u64::from_le_bytes(nonce),
        };
        let body = serde_json::to_vec(&claims).unwrap_or_default();
        let body = URL_SAFE_NO_PAD.encode(body);
        let seal = URL_SAFE_NO_PAD.encode(self.seal(&body));
        format!("{TOKEN}{body}.{seal}")
    }

    fn seal(&self, body: &str) -> [u8; 32] {
        *blake3::keyed_hash(&self.secret, body.as_bytes()).as_bytes()
    }

    /// What a token says, if its seal is ours.
    fn claims(&self, credential: &str) -> Option<Claims> {
        let (body, seal) = credential.strip_prefix(TOKEN)?.split_once('.')?;
        let seal = URL_SAFE_NO_PAD.decode(seal).ok()?;
        if !bool::from(seal.as_slice().ct_eq(&self.seal(body))) {
            return None;
        }
        let body = URL_SAFE_NO_PAD.decode(body).ok()?;
        serde_json::from_slice(&body).ok()
    }
}

/// The owner of a key's name. Nobody is owner 0, which is everybody where there
/// are no keys.
fn owner(name: &str) -> Owner {
    let [a, b, c, d, ..] = *blake3::hash(name.as_bytes()).as_bytes();
    Owner(u32::from_be_bytes([a, b, c, d]).max(1))
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(text: &str) -> Keyring {
        Keyring::new(&Config::parse(text).unwrap(), [7; 32])
    }

    const TWO: &str = "[[keys]]\nname='a'\nkey='key-of-a-1'\nrequests_per_minute=3\n[[keys]]\nname='b'\nkey='key-of-b-1'\nrehearse=true";

    #[test]
    fn keys_tell_callers_apart() {
        let ring = ring(TWO);
        let a = ring.caller(Some("key-of-a-1")).unwrap();
        let b = ring.caller(Some("key-of-b-1")).unwrap();
        assert_ne!(a.owner, b.owner);
        assert!(b.rehearse && !a.rehearse);
        let refusals = [None, Some(""), Some("key-of-a-2"), Some("sk_tok_x.y")]
            .map(|key| ring.caller(key).unwrap_err().message);
        assert!(refusals.iter().all(|r| *r == refusals[0]));
    }

    #[test]
    fn tokens_speak_for_a_while_and_cannot_be_made_up() {
        let ring = ring(TWO);
        let a = ring.caller(Some("key-of-a-1")).unwrap();
        let token = ring.token(a, true, 60);
        let by_token = ring.caller(Some(&token)).unwrap();
        assert_eq!(by_token.owner, a.owner);
        assert!(by_token.speech && !by_token.all);
        let mut forged = token.clone();
        forged.insert(9, 'A');
        assert!(ring.caller(Some(&forged)).is_err());
        let other = Keyring::new(&Config::parse(TWO).unwrap(), [8; 32]);
        assert!(other.caller(Some(&token)).is_err());
        let claims = Claims {
            owner: 1,
            rehearse: false,
            speech: true,
            expires: now() - 1,
            nonce: 0,
        };
        let body = URL_SAFE_NO_PAD.encode(serde_json::to_vec(&claims).unwrap());
        let seal = URL_SAFE_NO_PAD.encode(ring.seal(&body));
        let expired = format!("{TOKEN}{body}.{seal}");
        let refused = ring.caller(Some(&expired)).unwrap_err();
        assert_eq!(refused.code, "expired_token");
    }

    #[test]
    fn a_rate_is_held() {
        let ring = ring(TWO);
        let a = ring.caller(Some("key-of-a-1")).unwrap();
        let b = ring.caller(Some("key-of-b-1")).unwrap();
        for _ in 0..3 {
            ring.count(a).unwrap();
        }
        let refused = ring.count(a).unwrap_err();
        assert_eq!(refused.kind, Kind::TooMany);
        assert!(refused.retry_after.unwrap() <= 20);
        ring.count(b).unwrap();
    }

    #[test]
    fn without_keys_all_may_ask() {
        let ring = ring("");
        assert!(ring.is_open());
        assert!(ring.caller(None).unwrap().all);
        assert!(ring.caller(Some("anything")).unwrap().all);
        let token = ring.token(ring.caller(None).unwrap(), true, 5);
        assert!(!ring.caller(Some(&token)).unwrap().all);
    }
}
