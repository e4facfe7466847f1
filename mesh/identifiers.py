"""UUIDs as they arrive from elsewhere."""

from uuid import UUID

from mesh.errors import InvalidArgument


def checked_uuid(field: str, text: str) -> str:
    """The UUID in its canonical form. Raises InvalidArgument naming the field."""
    try:
        return str(UUID(text))
    except ValueError as error:
        raise InvalidArgument.of_field(field, "must be a UUID") from error
