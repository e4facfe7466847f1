"""The operation of tx.v1.ParticipantService here: gacha.v1.Draw and its result."""

from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import Message

from gacha_svc.domain.pulls import Draw, PulledItem
from mesh.contract.identifiers import checked_uuid
from mesh.errors import InvalidArgument
from protos.gacha.v1 import gacha_pb2 as pb


def decode_draw(body: AnyMessage) -> Draw:
    """Reads the body of an operation to prepare. Raises InvalidArgument."""
    draw = pb.Draw()
    if not body.Unpack(draw):
        raise InvalidArgument.of_field("operations", "must hold gacha.v1.Draw")
    if draw.count not in (1, 10) or draw.cost < 1:
        raise InvalidArgument.of_field("operations", "must draw 1 or 10 at a cost of at least 1")
    user_id = checked_uuid("user_id", draw.user_id)
    return Draw(user_id, draw.banner_id, draw.count, draw.cost, draw.odds_version)


def encode_draw_result(items: tuple[PulledItem, ...]) -> Message:
    """The result in a YES vote."""
    result = pb.DrawResult()
    for item in items:
        result.items.add(item_id=item.item_id, name=item.name, rarity=item.rarity)
    return result
