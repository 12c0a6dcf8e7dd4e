"""Publishes numbered events as any agent does: log in over TLS, define a stream, publish in clear. It knows the protocol only.

usage: client.py SECURE PLAIN USER PASSWORD STREAM COUNT
"""
import ssl
import sys
import time

from databridge import ThriftEventTransmissionService, ThriftSecureEventTransmissionService
from databridge.ttypes import (
    ThriftAuthenticationException,
    ThriftDifferentStreamDefinitionAlreadyDefinedException,
    ThriftEventBundle,
    ThriftSessionExpiredException,
    ThriftUndefinedEventTypeException,
)
from thrift.protocol.TBinaryProtocol import TBinaryProtocol
from thrift.transport import TSocket, TSSLSocket, TTransport


def client(service, socket):
    transport = TTransport.TBufferedTransport(socket)
    transport.open()
    return service.Client(TBinaryProtocol(transport)), transport


def expect(exception, call, *args):
    try:
        call(*args)
    except exception:
        return
    sys.exit("%s was not raised" % exception.__name__)


secure_address, plain_address, user, password, stream, count = sys.argv[1:7]
host, port = secure_address.rsplit(":", 1)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
secure, secure_transport = client(
    ThriftSecureEventTransmissionService, TSSLSocket.TSSLSocket(host, int(port), ssl_context=context)
)
session = secure.connect(user, password)

host, port = plain_address.rsplit(":", 1)
plain, plain_transport = client(ThriftEventTransmissionService, TSocket.TSocket(host, int(port)))
definition = (
    '{"name": "%s", "version": "1.0.0", "payloadData": ['
    '{"name": "serial", "type": "INT"}, {"name": "text", "type": "STRING"}]}' % stream
)
stream_id = plain.defineStream(session, definition)
assert stream_id == stream + ":1.0.0", stream_id
assert plain.defineStream(session, definition) == stream_id
assert plain.findStreamId(session, stream, "1.0.0") == stream_id
expect(
    ThriftDifferentStreamDefinitionAlreadyDefinedException,
    plain.defineStream,
    session,
    definition.replace("INT", "LONG"),
)
expect(ThriftSessionExpiredException, plain.findStreamId, "guess", stream, "1.0.0")


def bundle(numbers):
    return ThriftEventBundle(
        sessionId=session,
        eventNum=len(numbers),
        intAttributeList=list(numbers),
        longAttributeList=[int(time.time() * 1000)] * len(numbers),
        stringAttributeList=[s for n in numbers for s in (stream_id, "text of event %d" % n)],
    )


short = bundle(range(3))
short.intAttributeList.pop()
expect(ThriftUndefinedEventTypeException, plain.publish, short)

numbers = list(range(int(count)))
for i in range(0, len(numbers), 200):
    plain.publish(bundle(numbers[i : i + 200]))
secure.disconnect(session)
expect(ThriftSessionExpiredException, plain.publish, bundle([0]))
plain_transport.close()
secure_transport.close()
print("published %d events to %s" % (len(numbers), stream_id))
