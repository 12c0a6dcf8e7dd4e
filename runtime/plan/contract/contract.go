// Package contract compares what a provider of a service speaks with what a consumer was built with, and names what breaks. It must not
// know packages, files or the plan: it is given FileDescriptorSets.
package contract

import (
	"fmt"
	"slices"

	"carbonado.dev/sdk/cause"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

// ErrContract is the kind of a contract that can't be read.
var ErrContract = cause.Define("CBN-PLAN-021", "A package's contract can't be read.", "Make it anew with `carbonado plugin gen`, then build and install the package.")

// Break is one thing of a consumer's contract that a provider does not keep.
type Break struct {
	// What is the full name of the method or field, as the consumer knows it.
	What string
	// Why is half a sentence: "is gone", "has number 4, was 3".
	Why string
}

func (b Break) String() string { return b.What + " " + b.Why }

// Service finds a service in a serialised FileDescriptorSet. nil without an error: the set does not define it.
func Service(set []byte, name string) (protoreflect.ServiceDescriptor, error) {
	var s descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(set, &s); err != nil {
		return nil, ErrContract.Wrap(err, "no FileDescriptorSet")
	}
	files, err := protodesc.NewFiles(&s)
	if err != nil {
		return nil, ErrContract.Wrap(err, "the FileDescriptorSet is not whole")
	}
	d, err := files.FindDescriptorByName(protoreflect.FullName(name))
	if err != nil {
		return nil, nil //nolint:nilerr // absence is no fault
	}
	service, _ := d.(protoreflect.ServiceDescriptor)
	return service, nil
}

// Breaks lists what a provider's service does not keep of the one that a consumer was built with, in the consumer's order: methods that are
// gone or stream otherwise, fields that are gone (their number not reserved), that have another number, or another type on the wire.
// What the provider has more is no break.
func Breaks(provider, consumer protoreflect.ServiceDescriptor) []Break {
	c := comparison{seen: map[[2]protoreflect.FullName]bool{}}
	methods := consumer.Methods()
	for i := range methods.Len() {
		want := methods.Get(i)
		have := provider.Methods().ByName(want.Name())
		switch {
		case have == nil:
			c.add(want, "is gone")
			continue
		case have.IsStreamingClient() != want.IsStreamingClient() || have.IsStreamingServer() != want.IsStreamingServer():
			c.add(want, "is %s, was %s", streaming(have), streaming(want))
		}
		c.message(have.Input(), want.Input())
		c.message(have.Output(), want.Output())
	}
	return c.breaks
}

func streaming(m protoreflect.MethodDescriptor) string {
	switch {
	case m.IsStreamingClient() && m.IsStreamingServer():
		return "streaming both ways"
	case m.IsStreamingClient():
		return "client streaming"
	case m.IsStreamingServer():
		return "server streaming"
	}
	return "unary"
}

type comparison struct {
	breaks []Break
	// seen are pairs of messages compared already: messages may contain themselves.
	seen map[[2]protoreflect.FullName]bool
}

func (c *comparison) add(what protoreflect.Descriptor, why string, args ...any) {
	b := Break{string(what.FullName()), fmt.Sprintf(why, args...)}
	if !slices.Contains(c.breaks, b) {
		c.breaks = append(c.breaks, b)
	}
}

func (c *comparison) message(have, want protoreflect.MessageDescriptor) {
	pair := [2]protoreflect.FullName{have.FullName(), want.FullName()}
	if c.seen[pair] {
		return
	}
	c.seen[pair] = true
	fields := want.Fields()
	for i := range fields.Len() {
		w := fields.Get(i)
		h := have.Fields().ByNumber(w.Number())
		if named := have.Fields().ByName(w.Name()); named != nil && named.Number() != w.Number() {
			c.add(w, "has number %d, was %d", named.Number(), w.Number())
			continue
		}
		switch {
		case h == nil && have.ReservedRanges().Has(w.Number()): // given up in order
		case h == nil:
			c.add(w, "is gone")
		case h.IsList() != w.IsList() || h.IsMap() != w.IsMap():
			c.add(w, "is %s, was %s", shape(h), shape(w))
		case wire(h) != wire(w):
			c.add(w, "is of type %s, was %s", h.Kind(), w.Kind())
		case w.Message() != nil:
			c.message(h.Message(), w.Message())
		}
	}
}

func shape(f protoreflect.FieldDescriptor) string {
	switch {
	case f.IsMap():
		return "a map"
	case f.IsList():
		return "repeated"
	}
	return "single"
}

// wire names a field's form on the wire; kinds with the same one can be read for each other.
func wire(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.Int32Kind, protoreflect.Int64Kind, protoreflect.Uint32Kind, protoreflect.Uint64Kind, protoreflect.BoolKind, protoreflect.EnumKind:
		return "varint"
	case protoreflect.Sint32Kind, protoreflect.Sint64Kind:
		return "zigzag"
	case protoreflect.Fixed32Kind, protoreflect.Sfixed32Kind:
		return "fixed32"
	case protoreflect.Fixed64Kind, protoreflect.Sfixed64Kind:
		return "fixed64"
	case protoreflect.MessageKind:
		return "message"
	}
	return f.Kind().String()
}
