//! An authority of the test's own, and what it signs.

use super::Directory;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SignatureAlgorithm,
};
use std::path::PathBuf;

pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        Self::named("Authority of a test")
    }

    pub(crate) fn named(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes its certificate.
    pub(crate) fn write(&self, directory: &Directory) -> PathBuf {
        directory.write("ca.pem", self.0.pem())
    }

    /// Writes `NAME.pem` and `NAME.key` for the host or person of that name.
    pub(crate) fn sign(&self, directory: &Directory, file: &str, name: &str) -> PathBuf {
        self.sign_with(directory, file, name, &rcgen::PKCS_ECDSA_P256_SHA256)
    }

    pub(crate) fn sign_with(
        &self,
        directory: &Directory,
        file: &str,
        name: &str,
        algorithm: &'static SignatureAlgorithm,
    ) -> PathBuf {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        directory.write(format!("{file}.key"), key.serialize_pem());
        directory.write(format!("{file}.pem"), certificate.pem())
    }
}
