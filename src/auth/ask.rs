//! One GET to another server, with a bound on its answer. Follows no redirect, and uses no proxy of
//! the environment.

use std::{
    fmt,
    future::poll_fn,
    io,
    net::{IpAddr, SocketAddr, ToSocketAddrs},
    pin::Pin,
    sync::{Arc, Mutex},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body::Body as _;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::watch,
};
use tokio_rustls::TlsConnector;

use crate::{unpoisoned::Unpoisoned, web::Body};

/// The head of an answer may have no more, in bytes; hyper takes no less.
const HEAD: usize = 64 * 1024;

/// Where another server is asked.
#[derive(Clone)]
pub(crate) struct Endpoint {
    url: Uri,
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
    /// The certificates that its own is checked with; `None`: the system's.
    ca: Option<Vec<u8>>,
    look_up: Arc<LookUp>,
}

/// The look-up of a host's addresses that is under way, if one is. All questions wait for it.
///
/// A look-up holds a thread until the system gives up on it, and nothing can stop it. So there is
/// one at a time, also where each question gives up earlier.
#[derive(Default)]
struct LookUp(Mutex<Option<watch::Receiver<Option<Addresses>>>>);

type Addresses = Result<Arc<[SocketAddr]>, String>;

impl LookUp {
    /// What the look-up under way says, or else this one.
    async fn join(&self, look_up: impl FnOnce() -> io::Result<Vec<SocketAddr>> + Send + 'static) -> Addresses {
        let mut told = {
            let mut under_way = self.0.lock().unpoisoned();
            // An error says that the sender is gone, and so the look-up.
            match under_way.as_ref().filter(|told| told.has_changed().is_ok()) {
                Some(told) => told.clone(),
                None => {
                    let (tells, told) = watch::channel(None);
                    *under_way = Some(told.clone());
                    tokio::task::spawn_blocking(move || {
                        let found = look_up().map(Arc::from).map_err(|error| error.to_string());
                        tells.send_replace(Some(found));
                    });
                    told
                }
            }
        };
        let said = told.wait_for(Option::is_some).await.ok().and_then(|said| said.clone());
        said.unwrap_or_else(|| Err("the look-up of the host broke off".to_owned()))
    }
}

/// An answer, with its whole body.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) body: Bytes,
}

impl Endpoint {
    /// # Errors
    /// Why the address, or the certificates in `ca`, cannot be used; for a message.
    pub(crate) fn new(url: &str, ca: Option<Vec<u8>>) -> Result<Endpoint, Unusable> {
        let parsed: Uri = url.parse().map_err(|_| Unusable::Url)?;
        let authority = parsed.authority().filter(|authority| !authority.as_str().contains('@'));
        let is_tls = match parsed.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => return Err(Unusable::Url),
        };

        let host = authority.map(|authority| authority.host()).filter(|host| !host.is_empty());
        let host = host.ok_or(Unusable::Url)?;
        let bare = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host).to_owned();
        let port = parsed.port_u16().unwrap_or(if is_tls { 443 } else { 80 });
        let tls = if is_tls { Some(Arc::new(client(ca.as_deref())?)) } else { None };
        Ok(Endpoint { host: bare, port, tls, ca, url: parsed, look_up: Arc::default() })
    }

    /// Whether what is sent there can be read on the way.
    pub(crate) fn is_open_to_all(&self) -> bool {
        let is_here = self.host == "localhost"
            || self.host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.to_canonical().is_loopback());
        self.tls.is_none() && !is_here
    }

    /// Asks, with these fields and no others but `Host`. The caller sets a limit on the time;
    /// dropping the future closes the connection.
    ///
    /// # Errors
    /// Why there is no answer; when its body has more than `most` bytes.
    pub(super) async fn get(&self, headers: HeaderMap, most: usize) -> Result<Answer, String> {
        let addresses = self.addresses().await?;
        let stream = TcpStream::connect(&*addresses).await.map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else {
            return self.exchange(stream, headers, most).await;
        };

        let name = ServerName::try_from(self.host.clone()).map_err(|error| error.to_string())?;
        let stream = TlsConnector::from(Arc::clone(tls)).connect(name, stream).await;
        self.exchange(stream.map_err(|error| error.to_string())?, headers, most).await
    }

    /// The addresses of the host.
    async fn addresses(&self) -> Result<Arc<[SocketAddr]>, String> {
        if let Ok(ip) = self.host.parse::<IpAddr>() {
            return Ok([SocketAddr::new(ip, self.port)].into());
        }
        let host = self.host.clone();
        let port = self.port;
        self.look_up.join(move || (&*host, port).to_socket_addrs().map(Iterator::collect)).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
        headers: HeaderMap,
        most: usize,
    ) -> Result<Answer, String> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(HEAD);
        let begun = builder.handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = begun.map_err(|error| error.to_string())?;
        let answer = async {
            let request = self.request(headers)?;
            let response = sender.send_request(request).await.map_err(|error| error.to_string())?;
            let status = response.status();
            let mut body = response.into_body();
            let mut bytes = vec![];
            while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
                bytes.extend(frame.map_err(|error| error.to_string())?.into_data().unwrap_or_default());
                if bytes.len() > most {
                    return Err(format!("the answer has more than {most} bytes"));
                }
            }
            Ok(Answer { status, body: bytes.into() })
        };

        // No task of its own drives the connection, so that it ends with this.
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            biased;
            answered = &mut answer => answered,
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.to_string()),
            },
        }
    }

    fn request(&self, headers: HeaderMap) -> Result<Request<Body>, String> {
        let path = self.url.path_and_query().map_or("/", |path| path.as_str());
        let authority = self.url.authority().map(|authority| authority.as_str()).unwrap_or_default();
        let mut request = Request::new(Body::empty());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = path.parse().map_err(|_| "the address is no URL".to_owned())?;
        *request.headers_mut() = headers;
        let host = HeaderValue::try_from(authority).map_err(|_| "the address is no URL".to_owned())?;
        request.headers_mut().insert(header::HOST, host);
        // There is no second question.
        request.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        Ok(request)
    }
}

/// Why an endpoint cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// The address is no URL of HTTP.
    Url,
    /// The certificates that the configuration names are none.
    Ca,
    /// The system has no certificates.
    System,
}

fn client(ca: Option<&[u8]>) -> Result<ClientConfig, Unusable> {
    let mut roots = RootCertStore::empty();
    match ca {
        Some(pem) => {
            for certificate in CertificateDer::pem_slice_iter(pem) {
                let certificate = certificate.map_err(|_| Unusable::Ca)?;
                roots.add(certificate).map_err(|_| Unusable::Ca)?;
            }
            if roots.is_empty() {
                return Err(Unusable::Ca);
            }
        }
        None => {
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            if roots.is_empty() {
                return Err(Unusable::System);
            }
        }
    }

    let provider = Arc::new(aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.expect("the provider has suites for TLS 1.2 and 1.3");
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Endpoint) -> bool {
        self.url == other.url && self.ca == other.ca
    }
}

impl fmt::Display for Endpoint {
    /// Without the query, which may hold a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = self.url.scheme_str().unwrap_or_default();
        let authority = self.url.authority().map(|authority| authority.as_str()).unwrap_or_default();
        write!(f, "{scheme}://{authority}{}", self.url.path())
    }
}

impl fmt::Debug for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Endpoint({self})")
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::poll;

    use super::*;

    #[test]
    fn an_address_is_a_url_of_http_without_a_user() {
        for url in ["http://127.0.0.1:8000/whoami", "https://issuer.example/.well-known/jwks.json?a=b", "http://[::1]"]
        {
            assert!(Endpoint::new(url, None).is_ok(), "{url}");
        }
        for url in ["", "/whoami", "issuer.example/keys", "ftp://issuer.example", "http://user:pass@h/", "http://"] {
            assert_eq!(Endpoint::new(url, None).err(), Some(Unusable::Url), "{url}");
        }
        assert_eq!(Endpoint::new("https://h/", Some(b"none".to_vec())).err(), Some(Unusable::Ca));
    }

    #[test]
    fn what_can_be_read_on_the_way_is_plain_and_leaves_the_machine() {
        let open = |url: &str| Endpoint::new(url, None).unwrap().is_open_to_all();
        assert!(open("http://issuer.example/") && open("http://10.0.0.1/") && open("http://localhost.example/"));
        assert!(!open("http://localhost:8000/") && !open("http://127.0.0.2/") && !open("http://[::1]/"));
        assert!(!open("https://issuer.example/"));
    }

    #[tokio::test]
    async fn however_many_ask_and_give_up_one_look_up_runs_at_a_time() {
        let look_up = LookUp::default();
        let begun = Arc::new(AtomicUsize::new(0));
        let address = SocketAddr::from(([192, 0, 2, 1], 80));
        let (answers, answer) = std::sync::mpsc::channel::<()>();
        let answer = Arc::new(Mutex::new(answer));
        let slow = || {
            let begun = Arc::clone(&begun);
            let answer = Arc::clone(&answer);
            move || {
                begun.fetch_add(1, Ordering::Relaxed);
                answer.lock().unwrap().recv().map_err(io::Error::other)?;
                Ok(vec![address])
            }
        };

        for _ in 0..100 {
            let mut gives_up = Box::pin(look_up.join(slow()));
            assert!(poll!(&mut gives_up).is_pending());
        }
        let mut waits = Box::pin(look_up.join(slow()));
        assert!(poll!(&mut waits).is_pending());
        answers.send(()).unwrap();
        assert_eq!(*waits.await.unwrap(), [address]);
        assert_eq!(begun.load(Ordering::Relaxed), 1);

        // What it said is for those who waited; the next one looks itself.
        drop(answers);
        while look_up.0.lock().unwrap().as_ref().unwrap().has_changed().is_ok() {
            tokio::task::yield_now().await;
        }
        assert!(look_up.join(slow()).await.is_err());
        assert_eq!(begun.load(Ordering::Relaxed), 2);
    }

    #[test]
    fn the_query_of_an_address_is_not_shown() {
        let endpoint = Endpoint::new("http://h:1/keys?token=s3cret", None).unwrap();
        assert_eq!(format!("{endpoint} {endpoint:?}"), "http://h:1/keys Endpoint(http://h:1/keys)");
    }
}
