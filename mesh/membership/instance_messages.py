"""Conversion between Instance and registry.v1.Instance."""

from mesh.contract.instances import Instance, InstanceState
from protos.registry.v1 import registry_pb2

STATE_NUMBERS = {
    InstanceState.SERVING: registry_pb2.INSTANCE_STATE_SERVING,
    InstanceState.DRAINING: registry_pb2.INSTANCE_STATE_DRAINING,
}


def to_message(instance: Instance) -> registry_pb2.Instance:
    """The proto message for an instance."""
    return registry_pb2.Instance(
        id=instance.id,
        service=instance.service,
        address=instance.address,
        state=STATE_NUMBERS[instance.state],
        metrics_address=instance.metrics_address,
    )


def from_message(message: registry_pb2.Instance) -> Instance:
    """The instance in a proto message; an unspecified or unknown state is SERVING."""
    is_draining = message.state == registry_pb2.INSTANCE_STATE_DRAINING
    state = InstanceState.DRAINING if is_draining else InstanceState.SERVING
    return Instance(message.id, message.service, message.address, state, message.metrics_address)
