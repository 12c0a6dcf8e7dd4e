// Package databridge is the event protocol of WSO2's data agents: a server for it, a reader that takes a published bundle in
// place, and the transposer that turns a bundle into Arrow record batches. It must not know where events go.
//
// The protocol is Thrift's binary protocol without frames (idl/databridge.thrift). Session calls run through generated code
// (package wire); publish has a reader by hand, because it is the path of every event.
package databridge
