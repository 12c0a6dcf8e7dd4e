// Command contracts writes the contracts of the analytics server as one FileDescriptorSet, for packages to carry (`contract:` in
// component.yaml): the plan compares what a provider has with what a consumer was built with. It must not know components.
package main

import (
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	analyticsv1 "carbonado.dev/sdk/proto/carbonado/analytics/v1"
	httpv1 "carbonado.dev/sdk/proto/carbonado/http/v1"
)

// roots are the files that hold the services; what they import comes with them.
var roots = []protoreflect.FileDescriptor{
	analyticsv1.File_carbonado_analytics_v1_engine_proto, analyticsv1.File_carbonado_analytics_v1_identity_proto,
	analyticsv1.File_carbonado_analytics_v1_index_proto, analyticsv1.File_carbonado_analytics_v1_store_proto,
	analyticsv1.File_carbonado_analytics_v1_streams_proto, httpv1.File_carbonado_http_v1_http_proto,
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: contracts FILE")
		os.Exit(64)
	}
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(set())
	if err == nil {
		err = os.WriteFile(os.Args[1], b, 0o644)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// set holds each file after those that it imports.
func set() *descriptorpb.FileDescriptorSet {
	out := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	var add func(protoreflect.FileDescriptor)
	add = func(f protoreflect.FileDescriptor) {
		if seen[f.Path()] {
			return
		}
		seen[f.Path()] = true
		for i := range f.Imports().Len() {
			add(f.Imports().Get(i).FileDescriptor)
		}
		out.File = append(out.File, protodesc.ToFileDescriptorProto(f))
	}
	for _, f := range roots {
		add(f)
	}
	return out
}
