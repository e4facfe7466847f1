"""Files that only their owner may read: keys, certificates, and what a runner knows of its mesh."""

import os
from pathlib import Path


def replace_file(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Writes or replaces a file atomically and durably. Raises OSError.

    The draft beside it is `NAME.new`, so that readers of `*.pem` never see half a key.
    """
    draft = path.with_name(f"{path.name}.new")
    draft.unlink(missing_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
