package contract

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/descriptorpb"
)

// base is the contract that the consumer was built with.
const base = `file { name: "greet.proto" package: "acme.v1" syntax: "proto3"
  message_type { name: "Ask"
    field { name: "name" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "count" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }
    field { name: "next" number: 3 type: TYPE_MESSAGE type_name: ".acme.v1.Ask" label: LABEL_OPTIONAL }
    field { name: "tags" number: 4 type: TYPE_STRING label: LABEL_REPEATED } }
  message_type { name: "Answer" field { name: "text" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL } }
  service { name: "Greeter"
    method { name: "Greet" input_type: ".acme.v1.Ask" output_type: ".acme.v1.Answer" }
    method { name: "Follow" input_type: ".acme.v1.Ask" output_type: ".acme.v1.Answer" server_streaming: true } } }`

func set(t *testing.T, text string) []byte {
	t.Helper()
	var s descriptorpb.FileDescriptorSet
	if err := prototext.Unmarshal([]byte(text), &s); err != nil {
		t.Fatal(err)
	}
	b, err := proto.Marshal(&s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBreaks(t *testing.T) {
	for _, c := range []struct{ name, old, new, want string }{
		{"nothing changes", "", "", ""},
		{"a method more", `service { name: "Greeter"`, `service { name: "Greeter" method { name: "Wave" input_type: ".acme.v1.Ask" output_type: ".acme.v1.Answer" }`, ""},
		{"a field more", `message_type { name: "Answer"`, `message_type { name: "Answer" field { name: "mood" number: 2 type: TYPE_BOOL label: LABEL_OPTIONAL }`, ""},
		{"a method is gone", `method { name: "Greet" input_type: ".acme.v1.Ask" output_type: ".acme.v1.Answer" }`, "", "acme.v1.Greeter.Greet is gone"},
		{"streaming changes", " server_streaming: true", "", "acme.v1.Greeter.Follow is unary, was server streaming"},
		{"a field is gone", `field { name: "count" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }`, "", "acme.v1.Ask.count is gone"},
		{"a field is gone in order", `field { name: "count" number: 2 type: TYPE_INT32 label: LABEL_OPTIONAL }`, "reserved_range { start: 2 end: 3 }", ""},
		{"a number changes", `name: "count" number: 2`, `name: "count" number: 5`, "acme.v1.Ask.count has number 5, was 2"},
		{"a type changes", "TYPE_INT32", "TYPE_STRING", "acme.v1.Ask.count is of type string, was int32"},
		{"a type changes, the wire does not", "TYPE_INT32", "TYPE_UINT64", ""},
		{"a type changes its signs", "TYPE_INT32", "TYPE_SINT32", "acme.v1.Ask.count is of type sint32, was int32"},
		{"a list becomes single", "number: 4 type: TYPE_STRING label: LABEL_REPEATED", "number: 4 type: TYPE_STRING label: LABEL_OPTIONAL", "acme.v1.Ask.tags is single, was repeated"},
		{"in the answer", `name: "text" number: 1 type: TYPE_STRING`, `name: "text" number: 1 type: TYPE_BYTES`, "acme.v1.Answer.text is of type bytes, was string"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.old != "" && !strings.Contains(base, c.old) {
				t.Fatal("the case changes nothing")
			}
			consumer, err := Service(set(t, base), "acme.v1.Greeter")
			if err != nil {
				t.Fatal(err)
			}
			provider, err := Service(set(t, strings.Replace(base, c.old, c.new, 1)), "acme.v1.Greeter")
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, b := range Breaks(provider, consumer) {
				got = append(got, b.String())
			}
			if strings.Join(got, "; ") != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

func TestServiceOfWhatIsNoContract(t *testing.T) {
	if _, err := Service([]byte("no contract"), "a.B"); err == nil {
		t.Error("any bytes are a contract")
	}
	if s, err := Service(set(t, base), "acme.v1.Other"); s != nil || err != nil {
		t.Errorf("%v %v", s, err)
	}
	if _, err := Service(set(t, `file { name: "a.proto" dependency: "missing.proto" }`), "a.B"); err == nil {
		t.Error("a set that is not whole is one")
	}
}
