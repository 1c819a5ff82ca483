//! The application is asked who a request is from.
//!
//! It gets the method, the path, the host, `Authorization` and the cookies that the configuration
//! names, and nothing else. So nothing else can decide the answer, and the answer is kept by the
//! digest of all that was sent.

use std::{
    fmt,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::timeout;

use super::{
    ask::{Answer, Endpoint},
    away::{Away, Line, Seldom},
    credentials::Shown,
    expiry,
    flights::Flights,
    refusal::Refusal,
    remembered::{Digest, Remembered, digest, memory_of},
    turns::{ALL, EACH, NoTurn, Turn, Turns, WAIT},
};
use crate::{
    error::{Error, Kind},
    identity::Identity,
    unpoisoned::Unpoisoned,
};

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How long the application may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Its largest answer, in bytes.
const LARGEST: usize = 64 * 1024;
/// How long a refusal is kept.
const KEEP_REFUSAL: Duration = Duration::from_secs(1);
/// How much of what the application says is passed on, in characters.
const TOLD: usize = 500;

/// `[auth.forward]`
#[derive(Clone, Debug)]
pub(crate) struct ForwardConfig {
    pub(crate) endpoint: Endpoint,
    /// The names of the cookies that are passed on.
    pub(crate) cookies: Vec<String>,
    /// How long an answer is kept.
    pub(crate) cache: Duration,
}

/// Asks the application.
pub(super) struct Forward {
    inner: Arc<Inner>,
    flights: Flights<Said>,
}

struct Inner {
    config: ForwardConfig,
    answers: Remembered<Said>,
    turns: Turns,
    away: Away,
    /// When the log last said that no turn came.
    crowded: Mutex<Seldom>,
}

/// What the application says of one request.
type Said = Result<Arc<Identity>, Refusal>;

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Forward").field(&self.inner.config).finish()
    }
}

impl Forward {
    pub(super) fn new(config: &ForwardConfig) -> Forward {
        let inner = Inner {
            config: config.clone(),
            answers: Remembered::new(),
            turns: Turns::new(),
            away: Away::default(),
            crowded: Mutex::default(),
        };
        Forward { inner: Arc::new(inner), flights: Flights::new() }
    }

    /// What the application would be asked; `None` if the request shows nothing for it.
    pub(super) fn question<'q>(&self, shown: &'q Shown<'_>) -> Option<Question<'q>> {
        let cookies = shown.cookies(&self.inner.config.cookies);
        if cookies.is_empty() && shown.authorization.is_none() {
            return None;
        }

        let authorization = shown.authorization.map(HeaderValue::as_bytes);
        let fixed = [shown.method.as_str().as_bytes(), shown.path.as_bytes(), shown.host.as_bytes()];
        let has_authorization = [u8::from(authorization.is_some())];
        let fields = fixed.into_iter().chain([&has_authorization[..], authorization.unwrap_or_default()]);
        let digest = digest(fields.chain(cookies.iter().copied()));
        Some(Question { digest, fixed, authorization: shown.authorization, cookies })
    }

    /// Who the application says the request is from. It comes from this address.
    ///
    /// # Errors
    /// As it says; when it does not say it in time; when too many questions are under way.
    pub(super) async fn identity(&self, question: Question<'_>, client: IpAddr) -> Said {
        let digest = question.digest;
        let kept = self.inner.answers.get(&digest);
        // Of a login that has ended since, the application may say that it has been prolonged.
        let has_ended = |said: &Said| said.as_ref().is_ok_and(|identity| !identity.is_current(SystemTime::now()));
        if let Some(said) = kept.filter(|said| !has_ended(said)) {
            return said;
        }

        let enter = || {
            let place = self.inner.turns.enter(client).map_err(|why| Err(self.inner.no_turn(why)))?;
            let inner = Arc::clone(&self.inner);
            Ok(async move { place.turn().await.map_err(|why| Err(inner.no_turn(why))) })
        };
        let headers = question.headers();
        let inner = Arc::clone(&self.inner);
        let ask = move |turn: Turn| async move { inner.asked(digest, headers, turn).await };
        // It says nothing only if it breaks off.
        self.flights.join(digest, enter, ask).await.unwrap_or_else(|| Err(not_now()))
    }
}

/// A question to the application. Most are answered by what is remembered, so its fields are written
/// only when it is asked.
pub(super) struct Question<'q> {
    digest: Digest,
    /// Method, path and host.
    fixed: [&'q [u8]; 3],
    authorization: Option<&'q HeaderValue>,
    cookies: Vec<&'q [u8]>,
}

impl Question<'_> {
    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let mut add = |name: HeaderName, value: &[u8]| {
            // All of them were in a request's head.
            headers.extend(HeaderValue::from_bytes(value).ok().map(|value| (name, value)));
        };

        add(METHOD, self.fixed[0]);
        add(URI, self.fixed[1]);
        add(HOST, self.fixed[2]);
        if !self.cookies.is_empty() {
            add(header::COOKIE, &self.cookies.join(&b"; "[..]));
        }
        headers.extend(self.authorization.map(|value| (header::AUTHORIZATION, value.clone())));
        headers
    }
}

impl Inner {
    async fn asked(&self, digest: Digest, headers: HeaderMap, _turn: Turn) -> Said {
        // What it says may be as old as this moment.
        let began = Instant::now();
        let answer = match timeout(PATIENCE, self.config.endpoint.get(headers, LARGEST)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Err(self.away(&why)),
            Err(_) => return Err(self.away(&format!("no answer within {PATIENCE:?}"))),
        };

        let said = self.read(answer);
        let is_answer = said.as_ref().err().is_none_or(Refusal::is_final);
        if is_answer {
            self.log(self.away.answered(), "");
        }

        match &said {
            Ok(identity) => {
                self.answers.keep(digest, said.clone(), memory_of(identity.claims()), began, self.config.cache);
            }
            Err(_) if is_answer => {
                let time = KEEP_REFUSAL.min(self.config.cache);
                // A character has four bytes at most.
                self.answers.keep(digest, said.clone(), 4 * TOLD, began, time);
            }
            Err(_) => {}
        }
        said
    }

    fn read(&self, answer: Answer) -> Said {
        let Answer { status, body } = answer;
        if status.is_success() {
            let claims: Map<String, Value> =
                serde_json::from_slice(&body).map_err(|_| self.away("the answer is no JSON object of claims"))?;
            let identity = identity(claims)
                .map_err(|expiry::NoMoment| self.away("`exp` in the answer is no number of seconds since 1970"))?;
            if !identity.is_current(SystemTime::now()) {
                return Err(Refusal::wrong("the login has ended"));
            }
            return Ok(Arc::new(identity));
        }

        match status {
            StatusCode::FORBIDDEN => {
                let told = told(&body).unwrap_or_else(|| "the application refuses this".to_owned());
                Err(Refusal::Problem(Error::new(Kind::Forbidden, told)))
            }
            StatusCode::UNAUTHORIZED => Err(Refusal::wrong(
                told(&body).unwrap_or_else(|| "the application does not know this login".to_owned()),
            )),
            // To its page for the login, most likely.
            status if status.is_redirection() => Err(Refusal::wrong("the application asks for a login")),
            status => Err(self.away(&format!("the answer is {status}"))),
        }
    }

    fn away(&self, why: &str) -> Refusal {
        self.log(self.away.failed(), why);
        not_now()
    }

    fn log(&self, line: Option<Line>, why: &str) {
        let forward = &self.config.endpoint;
        match line {
            Some(Line::Away) => {
                tracing::warn!(%forward, "the application does not say who a request is from: {why}");
            }
            Some(Line::Back { failed }) => {
                tracing::info!(%forward, failed, "the application says again who requests are from");
            }
            None => {}
        }
    }

    /// The application may be there, but the question has no turn.
    fn no_turn(&self, why: NoTurn) -> Refusal {
        if self.crowded.lock().unpoisoned().is_time(Instant::now()) {
            let forward = &self.config.endpoint;
            match why {
                NoTurn::OfAll => tracing::warn!(
                    %forward,
                    "no turn within {WAIT:?}: {ALL} questions of who requests are from are under way at the application"
                ),
                NoTurn::OfAddress => tracing::warn!(
                    %forward,
                    "one address has too many questions of who its requests are from: it gets {EACH} turns at once, \
                     and more wait for {WAIT:?}. If that is a proxy, name it in `trusted_proxies`"
                ),
            }
        }
        why.refusal()
    }
}

/// Nobody can tell now who it is.
fn not_now() -> Refusal {
    Refusal::away("the application that knows who this is does not say it now")
}

/// The identity with these claims. If they have the end of a login, it ends then.
///
/// # Errors
/// When they have one that is no moment.
fn identity(claims: Map<String, Value>) -> Result<Identity, expiry::NoMoment> {
    let end = expiry::of(&claims)?;
    let identity = Identity::new(claims);
    Ok(match end {
        Some(end) => identity.until(end),
        None => identity,
    })
}

/// What the application says to the client, if it says it as problems and most frameworks do.
fn told(body: &[u8]) -> Option<String> {
    #[derive(Deserialize)]
    struct Problem {
        detail: String,
    }

    let Problem { detail } = serde_json::from_slice(body).ok()?;
    let plain = detail.chars().map(|c| if c.is_control() { ' ' } else { c });
    let told: String = plain.take(TOLD).collect();
    let told = told.trim();
    (!told.is_empty()).then(|| told.to_owned())
}

/// Checks that the application answers at this address. The question shows no credential, and any
/// answer to it will do.
///
/// # Errors
/// Why it does not.
pub(crate) async fn check(endpoint: &Endpoint) -> Result<(), String> {
    let answer = timeout(PATIENCE, endpoint.get(HeaderMap::new(), LARGEST)).await;
    let answer = answer.unwrap_or_else(|_| Err(format!("no answer within {PATIENCE:?}")));
    let status = answer.map_err(|why| format!("the application does not answer: {why}"))?.status;
    let is_one = status.is_success() || status.is_redirection();
    if is_one || [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&status) {
        return Ok(());
    }
    Err(format!("the application answers {status}, and not who a request is from"))
}

#[cfg(test)]
mod tests;
