//! The application is asked who a request is from.
//!
//! It gets the method, the path, the host, `Authorization` and the cookies that the configuration
//! names, and nothing else. So nothing else can decide the answer, and the answer is kept by the
//! digest of all that was sent.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::{sync::Semaphore, time::timeout};

use super::{
    ask::{Answer, Endpoint},
    credentials::Shown,
    expiry,
    flights::Flights,
    refusal::Refusal,
    remembered::{Digest, Remembered, digest},
};
use crate::{
    error::{Error, Kind},
    identity::Identity,
};

const METHOD: HeaderName = HeaderName::from_static("x-forwarded-method");
const URI: HeaderName = HeaderName::from_static("x-forwarded-uri");
const HOST: HeaderName = HeaderName::from_static("x-forwarded-host");

/// How long the application may take, with the wait for a turn.
const PATIENCE: Duration = Duration::from_secs(2);
/// How many different questions it gets at once.
const TURNS: usize = 64;
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
pub(super) struct Forward(Arc<Inner>);

struct Inner {
    config: ForwardConfig,
    answers: Remembered<Said>,
    flights: Flights<Said>,
    turns: Semaphore,
    /// Whether the last question got no answer.
    is_away: AtomicBool,
}

/// What the application says of one request.
type Said = Result<Arc<Identity>, Refusal>;

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Forward").field(&self.0.config).finish()
    }
}

impl Forward {
    pub(super) fn new(config: &ForwardConfig) -> Forward {
        Forward(Arc::new(Inner {
            config: config.clone(),
            answers: Remembered::new(),
            flights: Flights::new(),
            turns: Semaphore::new(TURNS),
            is_away: AtomicBool::new(false),
        }))
    }

    /// What the application would be asked; `None` if the request shows nothing for it.
    pub(super) fn question<'q>(&self, shown: &'q Shown<'_>) -> Option<Question<'q>> {
        let cookies = shown.cookies(&self.0.config.cookies);
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

    /// Who the application says the request is from.
    ///
    /// # Errors
    /// As it says; when it does not say it in time.
    pub(super) async fn identity(&self, question: Question<'_>) -> Said {
        let digest = question.digest;
        let kept = self.0.answers.get(&digest);
        // Of a login that has ended since, the application may say that it has been prolonged.
        let has_ended = |said: &Said| said.as_ref().is_ok_and(|identity| !identity.is_current(SystemTime::now()));
        if let Some(said) = kept.filter(|said| !has_ended(said)) {
            return said;
        }

        let headers = question.headers();
        let inner = Arc::clone(&self.0);
        self.0.flights.join(digest, || async move { inner.asked(digest, headers).await }).await
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
    async fn asked(&self, digest: Digest, headers: HeaderMap) -> Said {
        // What it says may be as old as this moment.
        let began = Instant::now();
        let answer = async {
            let _turn = self.turns.acquire().await;
            self.config.endpoint.get(headers, LARGEST).await
        };

        let answer = match timeout(PATIENCE, answer).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => return Err(self.away(&why)),
            Err(_) => return Err(self.away(&format!("no answer within {PATIENCE:?}"))),
        };

        let bytes = answer.body.len();
        let said = self.read(answer);
        let is_answer = said.as_ref().err().is_none_or(Refusal::is_final);
        if is_answer && self.is_away.swap(false, Ordering::Relaxed) {
            tracing::info!(forward = %self.config.endpoint, "the application says again who requests are from");
        }

        match &said {
            // An identity takes a few times the bytes of its text.
            Ok(_) => self.answers.keep(digest, said.clone(), 4 * bytes, began, self.config.cache),
            Err(_) if is_answer => {
                let time = KEEP_REFUSAL.min(self.config.cache);
                self.answers.keep(digest, said.clone(), TOLD, began, time);
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
        if !self.is_away.swap(true, Ordering::Relaxed) {
            tracing::warn!(forward = %self.config.endpoint, "the application does not say who a request is from: {why}");
        }
        Refusal::away("the application that knows who this is does not say it now")
    }
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
