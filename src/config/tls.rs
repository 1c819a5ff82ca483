//! `tls` in `[server]`

use std::{
    io,
    path::{Path, PathBuf},
};

use rustls::{
    Error as TlsError,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem, pem::PemObject},
    sign::CertifiedKey,
};

use super::read::Section;
use crate::source::Complaint;

/// The certificate of the public listener and its private key, as PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those between it and the root.
    pub cert: PathBuf,
    /// The private key: PKCS #8, PKCS #1 or SEC 1, without a password.
    pub key: PathBuf,
}

impl TlsFiles {
    pub(super) fn read(mut section: Section<'_, '_>) -> TlsFiles {
        let remedy = "write tls = { cert = \"cert.pem\", key = \"key.pem\" }";
        let files =
            TlsFiles { cert: section.required("cert", remedy).into(), key: section.required("key", remedy).into() };
        section.finish();
        files
    }

    /// Makes paths relative to the configuration's folder.
    pub(super) fn beside(&mut self, configuration: &Path) {
        let folder = configuration.parent().unwrap_or(Path::new(""));
        for file in [&mut self.cert, &mut self.key] {
            if !file.as_os_str().is_empty() {
                *file = folder.join(&*file);
            }
        }
    }

    /// Whether both are set.
    pub(super) fn are_named(&self) -> bool {
        [&self.cert, &self.key].iter().all(|file| !file.as_os_str().is_empty())
    }

    /// Reads both files, and checks that they belong together.
    ///
    /// # Errors
    /// What is wrong, and with which file.
    pub(crate) fn load(&self) -> Result<CertifiedKey, Complaint> {
        let cert = |why: String| {
            let file = self.cert.display();
            Complaint::new(
                "cert",
                format!("the certificate {file} {why}"),
                "name a PEM file: the certificate, then its chain",
            )
        };

        let key = |why: String| {
            let file = self.key.display();
            Complaint::new(
                "key",
                format!("the private key {file} {why}"),
                "name the certificate's key, in PEM, without a password",
            )
        };

        let chain = CertificateDer::pem_file_iter(&self.cert).and_then(Iterator::collect::<Result<Vec<_>, _>>);
        let chain = chain.map_err(|error| cert(unread(&error)))?;
        if chain.is_empty() {
            return Err(cert("holds no certificate".to_owned()));
        }

        let secret = PrivateKeyDer::from_pem_file(&self.key).map_err(|error| key(unread(&error)))?;
        CertifiedKey::from_der(chain, secret, &aws_lc_rs::default_provider()).map_err(|error| match error {
            TlsError::InconsistentKeys(_) => key("belongs to another certificate".to_owned()),
            TlsError::InvalidCertificate(_) => cert("is broken".to_owned()),
            _ => key("is of no known kind".to_owned()),
        })
    }
}

/// Why a PEM file cannot be used; its contents are not shown.
fn unread(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) if error.kind() == io::ErrorKind::NotFound => "is not there".to_owned(),
        pem::Error::Io(error) => format!("cannot be read: {error}"),
        pem::Error::NoItemsFound => "holds nothing of the kind".to_owned(),
        _ => "is no PEM file".to_owned(),
    }
}
