package admin

import (
	"errors"
	"testing"

	"carbonado.dev/sdk/cause"
)

func TestTheFixIsThatOfTheDeepestCauseWithACode(t *testing.T) {
	full := cause.Define("ACME-DISK-001", "The disk is full.", "Free some space.")
	top := cause.Define("ACME-TOP-001", "It can't be stored.", "See the reason.")
	for _, err := range []error{
		full.Wrap(errors.New("no space left on device"), "store"),
		top.Wrap(full.Wrap(errors.New("no space left on device"), "store"), "event"),
	} {
		if got := CauseOf(cause.Proto(err)).FixText(); got != "Free some space." {
			t.Errorf("%v: fix %q", err, got)
		}
	}
}
