//! The way to the server: a Unix socket or TCP, with TLS at once, asked for, or not at all.

use std::io;
use std::path::Path;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{CertificateError, ClientConfig, Error as TlsError, RootCertStore, crypto};

use super::section::{Server, Tls};
use super::{Fault, SetupError, gate};

/// Longest file of authorities, in bytes: Debian's bundle has a quarter of a million.
const LONGEST_CA: u64 = 4 * 1024 * 1024;

/// `StartTLS` (RFC 4511, 4.14.1) as the first message.
const START_TLS: &[u8] = b"\x30\x1d\x02\x01\x01\x77\x18\x80\x161.3.6.1.4.1.1466.20037";
/// `ExtendedResponse`.
const EXTENDED: u8 = 0x78;

/// A connection, whatever it goes through.
pub(super) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Whose certificates are believed.
///
/// # Errors
/// [`SetupError::Authorities`].
pub(super) fn authorities(path: &Path) -> Result<Arc<ClientConfig>, SetupError> {
    let wrong = |why: String| SetupError::Authorities {
        path: path.to_owned(),
        why,
    };
    let text = super::read_file(path, LONGEST_CA).map_err(|error| wrong(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    let read = CertificateDer::pem_slice_iter(&text).filter_map(Result::ok);
    let (taken, _) = roots.add_parsable_certificates(read);
    if taken == 0 {
        return Err(wrong("there is no certificate in it".to_owned()));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| wrong(error.to_string()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Connects.
///
/// # Errors
/// [`Fault`].
pub(super) async fn connect(server: &Server, config: Option<&Arc<ClientConfig>>) -> Result<Box<dyn Stream>, Fault> {
    let unreachable = |error: io::Error| Fault::Unreachable(error.kind().to_string());
    let (host, port, tls) = match server {
        Server::Socket(path) => {
            let stream = UnixStream::connect(path).await.map_err(unreachable)?;
            return Ok(Box::new(stream));
        }
        Server::Host { name, port, tls } => (name, *port, *tls),
    };
    let mut stream = TcpStream::connect((host.as_str(), port)).await.map_err(unreachable)?;
    let config = match (tls, config) {
        (Tls::Without, _) => return Ok(Box::new(stream)),
        (Tls::AtOnce | Tls::Asked, Some(config)) => Arc::clone(config),
        (Tls::AtOnce | Tls::Asked, None) => return Err(Fault::NoTls),
    };
    if tls == Tls::Asked {
        stream.write_all(START_TLS).await.map_err(unreachable)?;
        // Read to its last byte and no further: nothing that came in the clear is taken for what came through TLS.
        let (_, answer) = gate::message(&mut stream).await?;
        if gate::result_of_first(&answer, EXTENDED) != Some(0) {
            return Err(Fault::NoTls);
        }
    }
    let name = ServerName::try_from(host.clone()).map_err(|_| Fault::Certificate("the URI names no host"))?;
    let stream = TlsConnector::from(config).connect(name, stream).await;
    Ok(Box::new(stream.map_err(|error| of_handshake(&error))?))
}

fn of_handshake(error: &io::Error) -> Fault {
    let tls = error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>());
    match tls {
        Some(TlsError::InvalidCertificate(why)) => Fault::Certificate(match why {
            CertificateError::UnknownIssuer => "nobody in the file of authorities has signed it",
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired",
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => "it is not valid yet",
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "it is for another name than the URI's"
            }
            _ => "it is not a valid one for a server",
        }),
        _ => Fault::NoTls,
    }
}
