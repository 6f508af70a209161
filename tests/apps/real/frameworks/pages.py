"""What the sites of this directory have in common."""
import hashlib

PHOTO = "image/x-noise"


def measured(file):
    """Size and digest of a body or an uploaded file."""
    size, digest = 0, hashlib.sha256()
    for part in iter(lambda: file.read(65536), b""):
        size += len(part)
        digest.update(part)
    return {"size": size, "sha256": digest.hexdigest()}


def stream(many):
    """A text that is made while it is sent."""
    return (b"line %d\n" % number for number in range(many))
