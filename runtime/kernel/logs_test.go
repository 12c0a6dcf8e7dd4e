package kernel

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hashicorp/go-hclog"
)

// A log file that can't be written does not take the line from the terminal, and the other way round.
func TestALineReachesWhatCanBeWritten(t *testing.T) {
	var terminal bytes.Buffer
	folder := t.TempDir()
	// A folder stands where the file should be: opening it fails, as writing does on a full disk.
	if err := os.Mkdir(filepath.Join(folder, kernelLog+".log"), 0o700); err != nil {
		t.Fatal(err)
	}
	l, err := newLogs(folder, &terminal, hclog.Info)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.root.Error("the disk is full")
	if !strings.Contains(terminal.String(), "the disk is full") {
		t.Errorf("the terminal has %q", terminal.String())
	}
	closed, err := os.Create(filepath.Join(folder, "closed"))
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	other := t.TempDir()
	l, err = newLogs(other, closed, hclog.Info)
	if err != nil {
		t.Fatal(err)
	}
	defer l.close()
	l.root.Error("the terminal is gone")
	b, err := os.ReadFile(filepath.Join(other, kernelLog+".log"))
	if err != nil || !strings.Contains(string(b), "the terminal is gone") {
		t.Errorf("the file has %q, %v", b, err)
	}
}
