//! TLS on the public listener: 1.2 and 1.3, HTTP/2 or HTTP/1.1 by ALPN. The certificate may change
//! while the server runs.

use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::Path,
    sync::{Arc, Mutex, RwLock},
    time::Duration,
};

use rustls::{
    ServerConfig as TlsConfig,
    crypto::aws_lc_rs,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use tokio_rustls::TlsAcceptor;
use x509_cert::der::Decode;

use crate::{config::TlsFiles, unpoisoned::Unpoisoned};

/// How often the files are checked.
pub(super) const LOOK: Duration = Duration::from_secs(2);

/// The settings and certificate for handshakes.
pub(super) struct Tls {
    files: TlsFiles,
    seen: Mutex<Marks>,
    pair: Arc<Pair>,
    acceptor: TlsAcceptor,
}

/// The current certificate and key.
#[derive(Debug)]
struct Pair(RwLock<Arc<CertifiedKey>>);

impl ResolvesServerCert for Pair {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.read().unpoisoned()))
    }
}

/// Changes when a file is written or replaced.
type Marks = [Option<(u64, u64, i64, i64)>; 2];

fn marks(files: &TlsFiles) -> Marks {
    let mark = |file: &Path| {
        let found = fs::metadata(file).ok()?;
        Some((found.ino(), found.len(), found.mtime(), found.mtime_nsec()))
    };
    [mark(&files.cert), mark(&files.key)]
}

impl Tls {
    /// Reads the certificate and its key.
    pub(super) fn open(files: &TlsFiles) -> io::Result<Tls> {
        // Before the files are read, so that a write meanwhile is noticed at the first check.
        let seen = marks(files);
        let pair = Arc::new(Pair(RwLock::new(load(files)?)));
        let provider = Arc::new(aws_lc_rs::default_provider());
        let versions = TlsConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config =
            versions.map_err(io::Error::other)?.with_no_client_auth().with_cert_resolver(Arc::clone(&pair) as _);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Tls { files: files.clone(), seen: Mutex::new(seen), pair, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    /// When the first of the certificates shown to clients expires, in seconds since 1970; 0 if
    /// none says it.
    pub(super) fn expires(&self) -> i64 {
        let pair = Arc::clone(&self.pair.0.read().unpoisoned());
        let ends = pair.cert.iter().filter_map(|certificate| {
            let certificate = x509_cert::Certificate::from_der(certificate).ok()?;
            i64::try_from(certificate.tbs_certificate.validity.not_after.to_unix_duration().as_secs()).ok()
        });
        ends.min().unwrap_or(0)
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Switches to a new certificate if the files have changed; finished handshakes and streams
    /// under way are not affected. A broken pair is logged, and the old one stays: a file may be
    /// half written for a moment.
    pub(super) async fn look(&self) {
        let files = self.files.clone();
        let seen = *self.seen.lock().unpoisoned();
        let looked = tokio::task::spawn_blocking(move || {
            let found = marks(&files);
            (found != seen).then(|| (found, load(&files)))
        });

        let Ok(Some((found, loaded))) = looked.await else { return };
        *self.seen.lock().unpoisoned() = found;
        match loaded {
            Ok(pair) => {
                *self.pair.0.write().unpoisoned() = pair;
                tracing::info!(cert = %self.files.cert.display(), "the certificate changed and is taken over");
            }
            Err(error) => tracing::error!(%error, "the new certificate is refused; the one before goes on"),
        }
    }
}

fn load(files: &TlsFiles) -> io::Result<Arc<CertifiedKey>> {
    files.load().map(Arc::new).map_err(|wrong| io::Error::other(format!("{} ({})", wrong.message, wrong.remedy)))
}
