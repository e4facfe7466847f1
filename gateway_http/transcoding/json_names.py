"""The JSON names of the fields that the errors of a method may name."""

from collections.abc import Mapping

from google.protobuf.descriptor import Descriptor


def json_names_of(request: Descriptor, response: Descriptor) -> Mapping[str, str]:
    """The JSON name of each field of the request, by its proto name; and of each field of the
    response, at any depth, whose name is none of a field before it."""
    names = {field.name: field.json_name for field in request.fields}
    seen: set[str] = set()
    waiting = [response]
    while waiting:
        message = waiting.pop(0)
        if message.full_name in seen:
            continue
        seen.add(message.full_name)
        for field in message.fields:
            names.setdefault(field.name, field.json_name)
            if field.message_type is not None:
                waiting.append(field.message_type)
    return names
