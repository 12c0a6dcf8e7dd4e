/*
 * The databridge event protocol that WSO2's data agents speak, written from its facts: names, numbers and types.
 * It must not know how events are stored. Transport: TBinaryProtocol, unframed.
 * Fields 100 and 101 are ours; others skip them.
 */
namespace go wire
namespace py databridge

enum ThriftAttributeType { INT, LONG, FLOAT, DOUBLE, BOOL, STRING }

struct ThriftAttribute {
  1: optional string name
  2: optional ThriftAttributeType attributeType
}

/** Identity of a bundle: the same source and counter is the same bundle, however often it is sent. */
struct BundleId {
  /** 16 random bytes, made at the start of the sending process. */
  1: optional binary source
  /** Grows by one with each bundle of the source, from 1. */
  2: optional i64 counter
  /** W3C trace context that receiver and store go on with: trace id (16 bytes), span id (8), flags (1). */
  3: optional binary trace
}

/** Events of a bundle, transposed: one list per type, in the order of the events and of their attributes. */
struct ThriftEventBundle {
  1: optional string sessionId
  2: optional i32 eventNum
  3: optional list<i32> intAttributeList
  4: optional list<i64> longAttributeList
  5: optional list<double> doubleAttributeList
  6: optional list<bool> boolAttributeList
  7: optional list<string> stringAttributeList
  8: optional map<i32, map<string, string>> arbitraryDataMapMap
  100: optional BundleId bundleId
  /** One bit per attribute of each event in order, least bit first: 1 is null. Present only where "_null" is not enough. */
  101: optional binary nulls
}

exception ThriftStreamDefinitionException { 1: required string message }
exception ThriftNoStreamDefinitionExistException { 1: required string message }
exception ThriftDifferentStreamDefinitionAlreadyDefinedException { 1: required string message }
exception ThriftMalformedStreamDefinitionException { 1: required string message }
exception ThriftUndefinedEventTypeException { 1: required string message }
exception ThriftSessionExpiredException { 1: required string message }
exception ThriftAuthenticationException { 1: required string message }

/** Spoken on the plain port (7611). */
service ThriftEventTransmissionService {
  string defineStream(1: string sessionId, 2: string streamDefinition) throws (
    1: ThriftDifferentStreamDefinitionAlreadyDefinedException ade,
    2: ThriftMalformedStreamDefinitionException mtd,
    3: ThriftStreamDefinitionException tde,
    4: ThriftSessionExpiredException se)
  string findStreamId(1: string sessionId, 2: string streamName, 3: string streamVersion) throws (
    1: ThriftNoStreamDefinitionExistException tnde,
    2: ThriftSessionExpiredException se)
  void publish(1: ThriftEventBundle eventBundle) throws (
    1: ThriftUndefinedEventTypeException ue,
    2: ThriftSessionExpiredException se)
  bool deleteStreamById(1: string sessionId, 2: string streamId) throws (
    1: ThriftSessionExpiredException se)
  bool deleteStreamByNameVersion(1: string sessionId, 2: string streamName, 3: string streamVersion) throws (
    1: ThriftSessionExpiredException se)
}

/** Spoken on the TLS port (7711): the plain service and signing in. */
service ThriftSecureEventTransmissionService extends ThriftEventTransmissionService {
  string connect(1: string userName, 2: string password) throws (
    1: ThriftAuthenticationException ae)
  void disconnect(1: string sessionId)
}
