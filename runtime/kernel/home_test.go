package kernel

import (
	"errors"
	"io/fs"
	"strings"
	"syscall"
	"testing"

	"carbonado.dev/sdk/cause"
)

func TestAFolderThatCannotBeUsedHasTheFixOfItsReason(t *testing.T) {
	for reason, want := range map[error]string{
		&fs.PathError{Op: "mkdir", Path: "data", Err: syscall.EACCES}: "chown",
		&fs.PathError{Op: "write", Path: "runs", Err: syscall.ENOSPC}: "Free space",
		errors.New("no folder"): "CARBON_HOME",
	} {
		err := unusable(reason, "data")
		if fix := cause.From(err).Proto().GetFix(); !strings.Contains(fix, want) || !errors.Is(err, ErrHome) {
			t.Errorf("%v: %v, fix %q", reason, err, fix)
		}
	}
}
