package main

import (
	"slices"
	"testing"

	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// The set is whole, and has every service of the contracts.
func TestSet(t *testing.T) {
	files, err := protodesc.NewFiles(set())
	if err != nil {
		t.Fatal(err)
	}
	var services []string
	files.RangeFiles(func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			services = append(services, string(f.Services().Get(i).Name()))
		}
		return true
	})
	for _, want := range []string{"RecordStore", "ChangeFeed", "EventLog", "StreamAdmin", "StreamConsumer", "InputAdapter", "Engine", "Scripts", "Index", "Authenticator", "Authorizer", "Users", "HTTPRoutes"} {
		if !slices.Contains(services, want) {
			t.Errorf("%s is missing", want)
		}
	}
}
