//! Connections to PostgreSQL: the URL, TLS, and the way to stop what a connection does.

use std::{fs, sync::Arc, time::Duration};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use tokio_postgres::{CancelToken, Client, Config, config::SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::explained;
use crate::error::{Error, Kind, Result};

/// How long a connection may take to come about, on each host.
const CONNECT: Duration = Duration::from_secs(5);

/// Everything that is needed to connect.
pub(super) struct Connector {
    config: Config,
    tls: MakeRustlsConnect,
}

/// What libpq's `sslmode` asks of the server's certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    Nothing,
    Chain,
    ChainAndName,
}

impl Connector {
    /// Reads `postgres://…` as libpq does (<https://www.postgresql.org/docs/current/libpq-connect.html>): several hosts, `sslmode`,
    /// `sslrootcert`, `target_session_attrs`, `connect_timeout`, …
    ///
    /// # Errors
    /// [`Kind::Config`], never with the URL's password.
    pub(super) fn new(url: &str) -> Result<Connector> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut kept, mut mode, mut root) = (vec![], None, None);
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("sslmode", value)) => mode = Some(value.to_owned()),
                Some(("sslrootcert", value)) => root = Some(decoded(value)),
                Some(("target_session_attrs", "primary")) => kept.push("target_session_attrs=read-write"),
                // Of no use to a reader, and refused by poolers.
                Some(("options", _)) => {
                    return Err(Error::new(Kind::Config, "`options` in the database's URL is not passed on")
                        .remedy("set it for the role: ALTER ROLE … SET …"));
                }
                _ => kept.push(pair),
            }
        }
        let plain = match kept.is_empty() {
            true => base.to_owned(),
            false => format!("{base}?{}", kept.join("&")),
        };
        let mut config: Config = plain.parse().map_err(|error: tokio_postgres::Error| {
            let why = std::error::Error::source(&error).map_or_else(|| error.to_string(), ToString::to_string);
            Error::new(Kind::Config, format!("the database's URL cannot be read: {why}"))
                .remedy("write postgres://USER:PASSWORD@HOST:PORT/DATABASE, with special characters percent-encoded")
        })?;
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT);
        }
        if config.get_application_name().is_none() {
            config.application_name("chunkflow");
        }
        config.keepalives_idle(Duration::from_secs(30));
        let (ssl, check) = match mode.as_deref().unwrap_or("prefer") {
            "disable" => (SslMode::Disable, Check::Nothing),
            "allow" | "prefer" => (SslMode::Prefer, Check::Nothing),
            // libpq checks the chain here too where there is a root certificate.
            "require" if root.is_some() => (SslMode::Require, Check::Chain),
            "require" => (SslMode::Require, Check::Nothing),
            "verify-ca" => (SslMode::Require, Check::Chain),
            "verify-full" => (SslMode::Require, Check::ChainAndName),
            other => {
                return Err(Error::new(Kind::Config, format!("there is no sslmode `{other}`"))
                    .remedy("use disable, allow, prefer, require, verify-ca or verify-full"));
            }
        };
        config.ssl_mode(ssl);
        Ok(Connector { config, tls: MakeRustlsConnect::new(tls(check, root.as_deref())?) })
    }

    /// Makes a connection, driven by a task of its own that ends with the client.
    ///
    /// # Errors
    /// Also when the server takes the connection and then says nothing.
    pub(super) async fn connect(&self) -> Result<Client> {
        let hosts = self.config.get_hosts().len().max(1) as u32;
        let limit = self.config.get_connect_timeout().map_or(CONNECT, |limit| *limit) * hosts;
        let connected = tokio::time::timeout(limit, self.config.connect(self.tls.clone())).await;
        let (client, connection) = connected
            .map_err(|_| {
                Error::new(Kind::Unavailable, format!("PostgreSQL did not answer within {limit:?}"))
                    .remedy("see that it runs at the address in [databases], and is not overloaded")
            })?
            .map_err(|error| explained(error, None))?;
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection to PostgreSQL ended");
            }
        });
        Ok(client)
    }

    /// Stops what a connection does at the server. It may come too late, or not at all: the connection must not be used again.
    pub(super) async fn cancel(&self, token: CancelToken) {
        match tokio::time::timeout(CONNECT, token.cancel_query(self.tls.clone())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%error, "a query that nobody waits for could not be stopped"),
            Err(_) => tracing::warn!("a query that nobody waits for could not be stopped in time"),
        }
    }

    /// Which database this is, without user and password.
    pub(super) fn identity(&self) -> String {
        format!("{:?} {:?} {:?}", self.config.get_hosts(), self.config.get_ports(), self.config.get_dbname())
    }
}

fn decoded(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn tls(check: Check, root: Option<&str>) -> Result<ClientConfig> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let broken = |error: rustls::Error| Error::new(Kind::Config, "TLS cannot be set up").caused_by(error);
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(broken)?;
    if check == Check::Nothing {
        let verifier = Arc::new(Lenient { provider, chain: None });
        return Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth());
    }
    let roots = Arc::new(roots(root)?);
    if check == Check::ChainAndName {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let chain = WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build();
    let chain = chain.map_err(|error| Error::new(Kind::Config, "TLS cannot be set up").caused_by(error))?;
    let verifier = Arc::new(Lenient { provider, chain: Some(chain) });
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// The certificates of `sslrootcert`, or the system's.
fn roots(file: Option<&str>) -> Result<RootCertStore> {
    let mut store = RootCertStore::empty();
    let Some(file) = file.filter(|file| *file != "system") else {
        store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        if store.is_empty() {
            return Err(Error::new(Kind::Config, "this system has no certificates to check the server's with")
                .remedy("install ca-certificates, or name the file with sslrootcert=…"));
        }
        return Ok(store);
    };
    let unreadable = |why: String| {
        Error::new(Kind::Config, format!("the root certificate {file} cannot be used: {why}"))
            .remedy("name a PEM file with sslrootcert=…")
    };
    let text = fs::read(file).map_err(|error| unreadable(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        store.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    match store.is_empty() {
        true => Err(unreadable("it holds no certificate".into())),
        false => Ok(store),
    }
}

/// Checks less than a browser would: no name, or nothing but that the server holds the key of its own certificate.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    chain: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            Err(rustls::Error::InvalidCertificate(NotValidForName | NotValidForNameContext { .. })) => {
                Ok(ServerCertVerified::assertion())
            }
            result => result,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(url: &str) -> String {
        Connector::new(url).err().map_or_else(String::new, |error| format!("{error:?}"))
    }

    #[test]
    fn a_url_is_read_as_libpq_reads_it_and_a_wrong_one_never_shows_its_password() {
        for url in [
            "postgres://u:p@h/d",
            "postgresql://h:1,i:2/d?sslmode=require&target_session_attrs=primary&connect_timeout=3",
            "postgres:///d?host=/run/postgresql&sslmode=disable",
        ] {
            assert_eq!(refused(url), "", "{url}");
        }
        for (url, why) in [
            ("postgres://u:secret@h/d?sslmode=maybe", "no sslmode `maybe`"),
            ("postgres://u:secret@h:port/d", "cannot be read"),
            ("postgres://u:secret@h/d?colour=red", "cannot be read"),
            ("postgres://u:secret@h/d?sslmode=verify-full&sslrootcert=/nowhere.pem", "/nowhere.pem cannot be used"),
        ] {
            let error = refused(url);
            assert!(error.contains(why) && !error.contains("secret"), "{url}: {error}");
        }
    }
}
