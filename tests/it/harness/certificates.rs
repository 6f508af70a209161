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
        self.sign_as(directory, file, &[name], algorithm, |_| {})
    }

    /// The same for several names, with something else in it.
    pub(crate) fn sign_as(
        &self,
        directory: &Directory,
        file: &str,
        names: &[&str],
        algorithm: &'static SignatureAlgorithm,
        adjust: impl FnOnce(&mut CertificateParams),
    ) -> PathBuf {
        let key = KeyPair::generate_for(algorithm).unwrap();
        let mut params =
            CertificateParams::new(names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
        let params = params.as_mut().unwrap();
        params.distinguished_name.push(DnType::CommonName, names[0]);
        adjust(params);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        directory.write(format!("{file}.key"), key.serialize_pem());
        directory.write(format!("{file}.pem"), certificate.pem())
    }
}
