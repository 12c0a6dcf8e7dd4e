package cause

import (
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	errOuter = Define("CBN-SDK-901", "outer", "turn it off").Code(codes.NotFound)
	errInner = Define("CBN-SDK-902", "inner", "turn it on")
)

func TestErrorNamesCulpritPlaceAndReason(t *testing.T) {
	err := errOuter.Wrap(errInner.New("disk %d", 3), "table T").At("a.xml", 4, 2)
	if got, want := err.Error(), "CBN-SDK-901 a.xml:4:2: table T: CBN-SDK-902: disk 3"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if !errors.Is(err, errOuter) || !errors.Is(err, errInner) || errors.Is(err, Unknown) {
		t.Error("errors.Is must find both kinds and no other")
	}
}

func TestErrorSurvivesGRPC(t *testing.T) {
	sent := errOuter.Wrap(errInner.New("disk 3"), "table T").At("a.xml", 4, 2)
	wire := status.FromProto(sent.GRPCStatus().Proto()).Err()
	got := From(fmt.Errorf("while reading: %w", wire))
	if got.Error() != sent.Error() || !errors.Is(got, errOuter) || !errors.Is(got, errInner) {
		t.Errorf("got %v, want %v", got, sent)
	}
	if status.Code(got) != codes.NotFound {
		t.Errorf("code %v", status.Code(got))
	}
	if got.Proto().Fix != "turn it off" {
		t.Errorf("fix %q", got.Proto().Fix)
	}
}

func TestFromPlainErrors(t *testing.T) {
	if From(nil) != nil || Proto(nil) != nil {
		t.Error("nil must stay nil")
	}
	if !errors.Is(From(errors.New("x")), Unknown) {
		t.Error("a plain error is Unknown")
	}
	if !errors.Is(From(status.Error(codes.Unavailable, "gone")), Unreachable) {
		t.Error("Unavailable is Unreachable")
	}
}
