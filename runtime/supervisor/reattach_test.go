package supervisor_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/guardian"
	"carbonado.dev/carbonado/runtime/guardian/guardiantest"
	"carbonado.dev/carbonado/runtime/supervisor"
	controlv1 "carbonado.dev/sdk/proto/carbonado/control/v1"

	"github.com/hashicorp/go-hclog"
	"golang.org/x/sys/unix"
)

// successor is a second supervisor on the same run folder, as the next kernel's.
func (b *bench) successor() *supervisor.Supervisor {
	b.t.Helper()
	s, err := supervisor.New(supervisor.Config{
		Guardian: guardiantest.Client(), RunFolder: filepath.Join(b.home, "run"), Inherited: true,
		Log: hclog.New(&hclog.LoggerOptions{Output: b.log, JSONFormat: true, Level: hclog.Debug}),
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return s
}

func (b *bench) adopt(pid int) *guardian.Process {
	b.t.Helper()
	p, err := guardiantest.Client().Adopt(b.context(), pid)
	if err != nil {
		b.t.Fatal(err)
	}
	return p
}

// TestCase62Reattach: another supervisor takes a running component over: same process, its calls, its output, its end.
func TestCase62Reattach(t *testing.T) {
	b := newBench(t)
	spec := b.spec("Written")
	if err := os.MkdirAll(spec.PackageFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(spec.PackageFolder, "component.yaml"), []byte("name: Written\nversion: 1.2.3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := guardiantest.Client().Listen(b.context(), "reattach/front", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer guardiantest.Client().Unlisten(context.Background(), "reattach/front")
	spec.Listeners = []supervisor.Listener{{Name: "front", Key: "reattach/front"}}
	old := b.start(spec)
	ctx := b.context()
	c := old.Component()
	if _, err := c.Configure(ctx, &controlv1.ConfigureRequest{Name: "Written", Version: "1.2.3", Generation: 1, RunFolder: old.RunFolder(), Listeners: old.Listeners(),
		KernelPid: int32(os.Getpid())}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Prepare(ctx, &controlv1.PrepareRequest{}); err != nil {
		t.Fatal(err)
	}
	token := []byte("token")
	if _, err := c.Admit(ctx, &controlv1.AdmitRequest{Token: token, Consumer: "Other", Service: "a.b.C", ConsumerPid: 5}); err != nil {
		t.Fatal(err)
	}
	bind := &controlv1.BindRequest{Reference: "next", ServiceId: 7, Generation: 3, Service: "x.y.Z", Provider: "Other", Address: "unix:///nowhere", Token: token, LocalId: 2, Version: "1.4.0"}
	if _, err := c.Bind(ctx, bind); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Acquire(ctx, &controlv1.AcquireRequest{}); err != nil {
		t.Fatal(err)
	}
	b.logged("Written", "acquired <nil>")

	stray := filepath.Join(filepath.Dir(old.RunFolder()), "Dead-1")
	if err := os.Mkdir(stray, 0o700); err != nil {
		t.Fatal(err)
	}
	s := b.successor()
	i, answer, err := s.Attach(ctx, b.adopt(old.PID()))
	if err != nil {
		t.Fatal(err)
	}
	if i.PID() != old.PID() || i.Name() != "Written" || i.Version() != "1.2.3" || i.Generation() != spec.Generation || i.Digest() != selfDigest() || i.RunFolder() != old.RunFolder() {
		t.Errorf("attached to %s %s generation %d, pid %d, %s", i.Name(), i.Version(), i.Generation(), i.PID(), i.RunFolder())
	}
	if answer.Phase != controlv1.TakeOverResponse_PHASE_ACQUIRED || answer.Busy || answer.Generation != 1 || len(answer.Bindings) != 1 || len(answer.Admissions) != 1 {
		t.Errorf("it says %v", answer)
	}
	if h := answer.Bindings[0]; h.Suspended || h.Bind.ServiceId != 7 || h.Bind.Version != "1.4.0" || string(h.Bind.Token) != "token" {
		t.Errorf("it holds %v", h)
	}
	if a := answer.Admissions[0]; a.Consumer != "Other" || a.Service != "a.b.C" || a.ConsumerPid != 5 {
		t.Errorf("it admits %v", a)
	}
	s.Tidy()
	if _, err := os.Stat(stray); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder of a dead attempt: %v", err)
	}
	if _, err := os.Stat(i.RunFolder()); err != nil {
		t.Error(err)
	}
	if exit := i.Stop(ctx, supervisor.DefaultLadder(component.ResultOperator)); exit.Result.Kind != component.ResultOperator || exit.Forced || exit.Ran <= 0 {
		t.Errorf("it ended %+v", exit)
	}
	b.logged("Written", "stopping")
	if err := s.Close(ctx); err != nil {
		t.Error(err)
	}
}

// TestCase62WhatCannotBeTakenOver says why, and can be ended.
func TestCase62WhatCannotBeTakenOver(t *testing.T) {
	foreign := t.TempDir()
	for _, c := range []struct {
		name   string
		before func(t *testing.T, b *bench, i *supervisor.Instance, p *guardian.Process)
		want   error
	}{
		{"no record", func(_ *testing.T, _ *bench, _ *supervisor.Instance, p *guardian.Process) { p.Record = nil }, supervisor.ErrRecord},
		{"a broken record", func(_ *testing.T, _ *bench, _ *supervisor.Instance, p *guardian.Process) { p.Record = []byte("{") }, supervisor.ErrRecord},
		{"the record of a later format", func(_ *testing.T, _ *bench, _ *supervisor.Instance, p *guardian.Process) {
			p.Record = []byte(strings.Replace(string(p.Record), `"format":1`, `"format":2`, 1))
		}, supervisor.ErrRecord},
		{"a folder elsewhere", func(_ *testing.T, _ *bench, i *supervisor.Instance, p *guardian.Process) {
			p.Record = []byte(strings.ReplaceAll(string(p.Record), i.RunFolder(), foreign))
		}, supervisor.ErrRecord},
		{"another digest", func(_ *testing.T, _ *bench, _ *supervisor.Instance, p *guardian.Process) {
			p.Record = []byte(strings.ReplaceAll(string(p.Record), selfDigest(), strings.Repeat("0", 64)))
		}, supervisor.ErrRunning},
		{"another program by now", func(t *testing.T, b *bench, i *supervisor.Instance, _ *guardian.Process) {
			sleep, err := exec.LookPath("sleep")
			if err != nil {
				t.Fatal(err)
			}
			i.Component().Configure(b.context(), &controlv1.ConfigureRequest{ConfigJson: []byte("become " + sleep + " 1000")}) // ends with the connection
		}, supervisor.ErrRunning},
		{"frozen", func(t *testing.T, _ *bench, i *supervisor.Instance, _ *guardian.Process) { freeze(t, i.PID()) }, supervisor.ErrSilent},
		{"an older SDK", nil, supervisor.ErrUnable},
		{"dead", func(_ *testing.T, b *bench, i *supervisor.Instance, p *guardian.Process) {
			unix.Kill(i.PID(), unix.SIGKILL)
			<-p.Done()
		}, supervisor.ErrEnded},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := newBench(t)
			old := b.start(b.spec("Good"))
			s := b.successor()
			p := b.adopt(old.PID())
			if c.before != nil {
				c.before(t, b, old, p)
			}
			i, answer, err := s.Attach(b.context(), p)
			if answer != nil || !errors.Is(err, c.want) {
				t.Errorf("attached: %v, %v", answer, err)
			}
			t.Log(err)
			i.Stop(b.context(), supervisor.DefaultLadder(component.ResultOperator))
			if alive(old.PID()) {
				t.Error("it lives")
			}
			if err := s.Close(b.context()); err != nil {
				t.Error(err)
			}
			if _, err := os.Stat(foreign); err != nil {
				t.Errorf("a folder that is not its own: %v", err)
			}
		})
	}
}
