package cli

import (
	"strings"
	"testing"
	"time"
)

func TestAPastTimeIsReadInEveryForm(t *testing.T) {
	now := time.Date(2026, 11, 25, 12, 0, 0, 0, time.UTC)
	for text, want := range map[string]time.Time{
		"2026-11-25T10:00:00Z": now.Add(-2 * time.Hour), "10m ago": now.Add(-10 * time.Minute), "90s": now.Add(-90 * time.Second),
		"1h30m ago": now.Add(-90 * time.Minute), "2d ago": now.Add(-48 * time.Hour), "0s ago": now,
	} {
		if got, err := moment(text, now); err != nil || !got.Equal(want) {
			t.Errorf("%s is %s, %v; want %s", text, got, err, want)
		}
	}
	for _, text := range []string{"", "ago", "yesterday", "-5m ago", "5 parsecs ago"} {
		if got, err := moment(text, now); err == nil {
			t.Errorf("%q is taken for %s", text, got)
		}
	}
}

func TestWhyNamesTheLeafAndTheFix(t *testing.T) {
	dir := home(t, node)
	code, out, errs := run(dir, "why", "Indexing")
	want := "Indexing is WAITING: CBN-PLAN-001 repository/conf/profiles.yaml:12: DataService is disabled\n"
	if code != ExitInactive || errs != "" || !strings.HasPrefix(out, want) {
		t.Errorf("exit %d, %q, %q", code, out, errs)
	}
	if code, out, _ := run(dir, "why", "DataService"); code != ExitOK || !strings.Contains(out, "as asked for") {
		t.Errorf("exit %d, %q", code, out)
	}
}
