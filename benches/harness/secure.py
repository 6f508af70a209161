"""What servers and clients need for TLS: a certificate that is made anew for each run, and contexts that trust any."""
import ssl
import subprocess


def certificate(directory):
    """ECDSA P-256 for localhost, signed by itself; `both.pem` is what haproxy wants."""
    if directory.exists():
        return
    directory.mkdir()
    key, cert = directory / "key.pem", directory / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30", "-subj",
         "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)],
        check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    both = directory / "both.pem"
    both.touch(0o600)
    both.write_text(cert.read_text() + key.read_text())
    key.chmod(0o600)


def context(*protocols, least=ssl.TLSVersion.TLSv1_2):
    """Of a client that takes any certificate; `protocols` are offered by ALPN."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_NONE
    made.minimum_version = least
    if protocols:
        made.set_alpn_protocols(list(protocols))
    return made
