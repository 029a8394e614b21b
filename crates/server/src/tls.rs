//! TLS at the listener.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// How often it is looked whether the files have changed: whoever renews certificates need not restart anything.
const LOOK: Duration = Duration::from_secs(10);

/// Why TLS cannot be spoken.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file that cannot be read, or holds something else.
    #[error("{0}: {1}")]
    File(PathBuf, rustls::pki_types::pem::Error),
    /// The file has no certificate in it.
    #[error("{0}: there is no certificate in it")]
    Empty(PathBuf),
    /// A key that does not go with the certificate, or is of a kind that nobody takes.
    #[error("the certificate and the key cannot be used: {0}")]
    Key(rustls::Error),
}

/// What a server presents, from two files that may change.
#[derive(Clone)]
pub struct Tls {
    certificates: Arc<Certificates>,
    acceptor: TlsAcceptor,
}

struct Certificates {
    certificate: PathBuf,
    key: PathBuf,
    /// When they had been changed last before they were read first.
    changed_at: Changed,
    current: ArcSwap<CertifiedKey>,
}

/// When the two files were changed last.
type Changed = [Option<SystemTime>; 2];

impl std::fmt::Debug for Certificates {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificates").field("certificate", &self.certificate).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.load_full())
    }
}

impl Tls {
    /// From files in PEM: a certificate with those that lead to its root behind it, and its private key.
    pub fn from_files(certificate: PathBuf, key: PathBuf) -> Result<Self, TlsError> {
        let changed_at = [&certificate, &key].map(|file| changed_at(file));
        let current = ArcSwap::from_pointee(read(&certificate, &key)?);
        let certificates = Arc::new(Certificates { certificate, key, changed_at, current });
        let provider = Arc::new(aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(TlsError::Key)?.with_no_client_auth();
        let mut config = config.with_cert_resolver(Arc::clone(&certificates) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { certificates, acceptor: TlsAcceptor::from(Arc::new(config)) })
    }

    pub(crate) fn acceptor(&self) -> TlsAcceptor {
        self.acceptor.clone()
    }

    /// Presents what the files hold, also after they have changed. What cannot be used is not taken: the certificate before
    /// goes on to be presented.
    pub(crate) async fn follow(self) {
        let Certificates { certificate, key, .. } = &*self.certificates;
        let mut known = self.certificates.changed_at;
        let mut looks = tokio::time::interval(LOOK);
        loop {
            looks.tick().await;
            let found = [certificate, key].map(|file| changed_at(file));
            if found == known {
                continue;
            }
            // The other file may just be being written: it is looked at again until the two go together.
            match read(certificate, key) {
                Ok(current) => {
                    self.certificates.current.store(Arc::new(current));
                    known = found;
                    tracing::info!("the certificate has been renewed");
                }
                Err(error) => {
                    tracing::warn!(%error, "the changed certificate is not taken; the one before is presented");
                }
            }
        }
    }
}

fn changed_at(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|about: std::fs::Metadata| -> io::Result<SystemTime> { about.modified() }).ok()
}

fn read(certificate: &Path, key: &Path) -> Result<CertifiedKey, TlsError> {
    let refused = |file: &Path| {
        let file = file.to_owned();
        move |error| TlsError::File(file, error)
    };
    let chain = CertificateDer::pem_file_iter(certificate).map_err(refused(certificate))?;
    let chain = chain.collect::<Result<Vec<_>, _>>().map_err(refused(certificate))?;
    if chain.is_empty() {
        return Err(TlsError::Empty(certificate.to_owned()));
    }
    let key = PrivateKeyDer::from_pem_file(key).map_err(refused(key))?;
    let certified = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(TlsError::Key)?;
    certified.keys_match().map_err(TlsError::Key)?;
    Ok(certified)
}
