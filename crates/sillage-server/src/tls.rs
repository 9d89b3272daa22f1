//! TLS: a given certificate, or one made on the spot.

use crate::fault::Fault;
use std::path::Path;
use std::sync::Arc;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// What accepts TLS connections, from `auto` or `CERT,KEY`. A certificate that is
/// made is kept in `folder`, so that clients that were told to trust it still do
/// after a restart.
pub(crate) fn acceptor(setting: &str, folder: Option<&Path>) -> Result<TlsAcceptor, Fault> {
    let wrong = |what: String| Fault::bad("tls", what);
    let (chain, key) = match setting.split_once(',') {
        Some((cert, key)) => (read(Path::new(cert))?, read(Path::new(key))?),
        None if setting == "auto" => own(folder)?,
        None => return Err(wrong(format!("'{setting}': say auto, or CERT.pem,KEY.pem"))),
    };
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(chain.as_bytes()).collect();
    let chain = chain.map_err(|e| wrong(format!("the certificate cannot be read: {e}")))?;
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes());
    let key = key.map_err(|e| wrong(format!("the private key cannot be read: {e}")))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain, key);
    let mut config = config.map_err(|e| wrong(format!("certificate and key do not fit: {e}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn read(path: &Path) -> Result<String, Fault> {
    std::fs::read_to_string(path)
        .map_err(|e| Fault::bad("tls", format!("{} cannot be read: {e}", path.display())))
}

/// The certificate for this machine's own names.
fn own(folder: Option<&Path>) -> Result<(String, String), Fault> {
    let kept = folder.map(|f| (f.join("tls-cert.pem"), f.join("tls-key.pem")));
    if let Some((cert, key)) = &kept
        && cert.exists()
        && key.exists()
    {
        return Ok((read(cert)?, read(key)?));
    }
    let names = ["localhost", "127.0.0.1", "::1"]
        .map(str::to_owned)
        .to_vec();
    let made = rcgen::generate_simple_self_signed(names).map_err(Fault::internal)?;
    let (chain, secret) = (made.cert.pem(), made.signing_key.serialize_pem());
    if let Some((cert, key)) = &kept {
        let write = |path: &Path, text: &str| {
            sillage_state::write_file(path, |file| {
                #[cfg(unix)]
                {
                    use std::os::unix::fs::PermissionsExt;
                    file.set_permissions(std::fs::Permissions::from_mode(0o600))?;
                }
                std::io::Write::write_all(file, text.as_bytes())
            })
            .map_err(Fault::internal)
        };
        write(key, &secret)?;
        write(cert, &chain)?;
    }
    Ok((chain, secret))
}
