package layout_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"carbonado.dev/sdk/handshake/layout"

	"go.uber.org/goleak"
)

// The test binary plays the component whose lifeline is descriptor 4.
func TestMain(m *testing.M) {
	if os.Args[0] == "component" {
		line, err := layout.Take()
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		k, err := line.Kernel(context.Background())
		if err != nil {
			os.Stdout.WriteString(err.Error() + "\n")
			os.Exit(1)
		}
		os.Stdout.WriteString(k.Line())
		select {}
	}
	goleak.VerifyTestMain(m)
}

func TestKernelIsTheLastOneNamed(t *testing.T) {
	r, w := io.Pipe()
	ended := make(chan struct{})
	l := layout.Watch(r, func() { close(ended) })
	if l.Admits(0, 0) || l.Admits(12, 34) {
		t.Error("somebody is admitted before anybody is named")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Millisecond)
	defer cancel()
	if k, err := l.Kernel(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("kernel %v, %v", k, err)
	}
	io.WriteString(w, layout.Kernel{PID: 12, UID: 34}.Line())
	if k, err := l.Kernel(t.Context()); err != nil || k != (layout.Kernel{PID: 12, UID: 34}) {
		t.Errorf("kernel %v, %v", k, err)
	}
	if !l.Admits(12, 34) || l.Admits(12, 0) || l.Admits(13, 34) {
		t.Error("not exactly the kernel is admitted")
	}
	// Lines of later versions are skipped; a new kernel takes the place of the old.
	io.WriteString(w, "weather sunny\nkernel -1 0\nkernel x\n"+layout.Kernel{PID: 56, UID: 34}.Line())
	io.WriteString(w, "\n") // taken when all before it has been dealt with
	if !l.Admits(56, 34) || l.Admits(12, 34) {
		t.Error("the new kernel is not admitted, or the old still is")
	}
	w.Close()
	select {
	case <-ended:
	case <-time.After(10 * time.Second):
		t.Fatal("the end went unseen")
	}
}

func TestClosedLifelineDoesNotEndTheProcess(t *testing.T) {
	r, w := io.Pipe()
	defer w.Close()
	l := layout.Watch(r, func() { t.Error("ended") })
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestParseKernelReadsWhatLineWrites(t *testing.T) {
	for _, k := range []layout.Kernel{{PID: 1}, {PID: 4194304, UID: 65534}} {
		if got, ok := layout.ParseKernel(k.Line()); !ok || got != k {
			t.Errorf("%v, %t of %q", got, ok, k.Line())
		}
	}
	for _, text := range []string{"", "kernel", "kernel 1", "kernel 0 0", "kernel 1 -1", "Kernel 1 1"} {
		if k, ok := layout.ParseKernel(text); ok {
			t.Errorf("%q is %v", text, k)
		}
	}
}

func TestProcessEndsWithItsLifeline(t *testing.T) {
	for _, dev := range []string{"", "/dev/null"} { // no lifeline, and something else in its place
		c := exec.Command("/proc/self/exe")
		c.Args = []string{"component"}
		if dev != "" {
			f, err := os.Open(dev)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			c.ExtraFiles = []*os.File{f, f}
		}
		out, _ := c.Output()
		if c.ProcessState.ExitCode() != 1 || !strings.Contains(string(out), "started by carbonado") {
			t.Errorf("descriptor 4 is %q: code %d, it said %q", dev, c.ProcessState.ExitCode(), out)
		}
	}

	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	c := exec.Command("/proc/self/exe")
	c.Args = []string{"component"}
	c.ExtraFiles = []*os.File{null, r}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(w, layout.Kernel{PID: 7, UID: 8}.Line())
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	r.Close()
	said := make([]byte, 64)
	n, _ := out.Read(said)
	if string(said[:n]) != "kernel 7 8\n" {
		t.Errorf("it said %q", said[:n])
	}
	w.Close()
	ended := make(chan struct{})
	go func() { defer close(ended); c.Wait() }()
	select {
	case <-ended:
		if code := c.ProcessState.ExitCode(); code != layout.ExitLifeline {
			t.Errorf("exit code %d", code)
		}
	case <-time.After(10 * time.Second):
		c.Process.Kill()
		<-ended
		t.Fatal("it lives on")
	}
}
