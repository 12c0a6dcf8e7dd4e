package cause

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
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

// databaseError is an error as SQLite's drivers give it.
type databaseError struct{ code int }

func (databaseError) Error() string { return "database or disk is full (13)" }
func (e databaseError) Code() int   { return e.code }

// TestFullDisk: whatever wraps it, a full disk is named with the file, the disk and what to do.
func TestFullDisk(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deep", "a.db")
	for name, reason := range map[string]error{
		"file":     &fs.PathError{Op: "write", Path: file, Err: syscall.ENOSPC},
		"quota":    fmt.Errorf("saving: %w", &os.LinkError{Op: "rename", Old: "x", New: file, Err: syscall.EDQUOT}),
		"database": errors.Join(&fs.PathError{Op: "write", Path: file, Err: databaseError{13}}, errors.New("rolled back")),
	} {
		t.Run(name, func(t *testing.T) {
			for _, err := range []*Error{errOuter.Wrap(errInner.Wrap(reason, "table T"), "user u"), From(reason)} {
				if !errors.Is(err, DiskFull) || strings.Count(err.Error(), DiskFull.ID()) != 1 || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "mounted at /") {
					t.Errorf("%v", err)
				}
				if name != "database" && !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, syscall.EDQUOT) {
					t.Errorf("%v has lost the system's reason", err)
				}
				p := err.Proto()
				for _, c := range append(p.Chain, p) {
					if c.Code == Unknown.ID() {
						t.Errorf("the chain of %v has no code for %q", err, c.Text)
					}
				}
				leaf := append([]*commonv1.Cause{p}, p.Chain...)[len(p.Chain)]
				if leaf.Code != DiskFull.ID() || !strings.HasPrefix(leaf.Fix, "Free space") || !strings.Contains(leaf.Fix, " /") {
					t.Errorf("the leaf is %v", leaf)
				}
			}
			if fix := errOuter.Wrap(errInner.Wrap(reason, "table T"), "user u").Proto().Fix; !strings.HasPrefix(fix, "Free space") {
				t.Errorf("the fix is %q", fix)
			}
		})
	}
	for _, other := range []error{nil, io.EOF, databaseError{1}, &fs.PathError{Op: "write", Path: file, Err: syscall.EIO}} {
		if errors.Is(errOuter.Wrap(other, "x"), DiskFull) {
			t.Errorf("%v is no full disk", other)
		}
	}
}
