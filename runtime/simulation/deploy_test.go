package simulation

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/reconcile"
)

// slower is how many histories without files are tried for each with files, which writes to a disk.
const slower = 5

// silent is a doorbell that never rings: a bubble can't wait for the operating system. Files are seen by the clock.
type silent struct{}

func (silent) Rings() <-chan struct{}       { return nil }
func (silent) Watch([]string) (bool, error) { return false, nil }
func (silent) Touched() map[string]bool     { return nil }
func (silent) Close() error                 { return nil }

var deliveryKinds = []string{
	"write good", "write good", "write good", "write bad", "write crash", "touch", "remove", "remove",
	"crash", "crash other", "stop", "start", "restart", "restart hard", "update", "disable", "enable", "disable other", "enable other", "slow", "wait", "wait", "wait",
}

// delivery is a node with files: Owner takes them, Other stands beside it, and one may need the other.
type delivery struct {
	Needs, Needed bool // the owner needs the other; the other needs the owner
	Ops           []op
}

func drawDelivery(t *rapid.T) delivery {
	d := delivery{Needs: rapid.Bool().Draw(t, "needs")}
	d.Needed = !d.Needs && rapid.Bool().Draw(t, "needed")
	d.Ops = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) op {
		return op{Kind: rapid.SampledFrom(deliveryKinds).Draw(t, "kind"), Who: rapid.IntRange(0, 3).Draw(t, "file"), N: rapid.IntRange(0, 4).Draw(t, "n")}
	}), 1, 25).Draw(t, "ops")
	return d
}

const ownerName, otherName = "Owner", "Other"

func (d delivery) descriptor(name string, version int) string {
	text := fmt.Sprintf("name: %s\nversion: 1.%d.0\nsummary: s\nexecutable: bin/x\nrestart: {budget: 12, per: 10m}\nprovides: [{service: test.v1.%s, version: 1.0.0}]\n", name, version, name)
	needs := func(other string) string {
		return fmt.Sprintf("requires: [{name: r, service: test.v1.%s, cardinality: 1..1}]\n", other)
	}
	switch {
	case name == ownerName && d.Needs:
		text += needs(otherName)
	case name == otherName && d.Needed:
		text += needs(ownerName)
	}
	if name == ownerName {
		text += "deploys: [{type: note, directory: notes, suffix: .txt}]\n"
	}
	return text
}

// run plays a history within a synctest bubble over files in home, and says what went wrong.
func (d delivery) run(home string) (wrong error) {
	w := New()
	repository := filepath.Join(home, "repository")
	notes := filepath.Join(repository, deploy.ServerRoot, "notes")
	if err := os.MkdirAll(notes, 0o700); err != nil {
		return err
	}
	service, err := deploy.New(deploy.Options{
		Repository: repository, Data: filepath.Join(repository, "data", "kernel", "artifacts"), Deployers: w.Reconciler, Bell: silent{},
	})
	if err != nil {
		return err
	}
	w.OnEvent = func(ev reconcile.Event) { // as the kernel does
		if ev.Transition != nil {
			service.Ring()
		}
	}
	if err := w.Install(d.descriptor(ownerName, 0), d.descriptor(otherName, 0)); err != nil {
		return err
	}
	w.Apply()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Hour)
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- service.Run(ctx) }()
	defer func() {
		shutdown, end := context.WithTimeout(context.Background(), 10*time.Minute)
		defer end()
		w.Reconciler.Shutdown(shutdown)
		cancel()
		if err := <-ran; err != nil && !errors.Is(err, context.Canceled) {
			wrong = errors.Join(wrong, err)
		}
	}()
	var asked []chan struct{}
	ask := func(f func(context.Context) error) {
		done := make(chan struct{})
		asked = append(asked, done)
		go func() {
			defer close(done)
			_ = f(ctx) // that the component can't do it is no fault of the kernel; the invariants are checked
		}()
	}
	defer func() {
		for _, done := range asked {
			<-done
		}
	}()
	disk, held := map[string]string{}, map[string]bool{}
	for i, o := range d.Ops {
		file := fmt.Sprintf("f%d.txt", o.Who)
		name := ownerName
		kind, other := strings.CutSuffix(o.Kind, " other")
		if other {
			name = otherName
		}
		switch kind {
		case "write good", "write bad", "write crash":
			text := strings.TrimPrefix(kind, "write ")
			if text != "crash" {
				text += fmt.Sprint(" ", i)
			}
			if err := os.WriteFile(filepath.Join(notes, file), []byte(text), 0o600); err != nil {
				return err
			}
			disk[file] = text
		case "touch":
			if _, ok := disk[file]; ok {
				now := time.Now()
				if err := os.Chtimes(filepath.Join(notes, file), now, now); err != nil {
					return err
				}
			}
		case "remove":
			if err := os.Remove(filepath.Join(notes, file)); err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			delete(disk, file)
		case "crash":
			if p := w.Process(name); p != nil {
				p.Crash()
			}
		case "stop":
			held[name] = true
			ask(func(ctx context.Context) error { return w.Reconciler.Stop(ctx, name, "tester") })
		case "start":
			delete(held, name)
			ask(func(ctx context.Context) error { return w.Reconciler.Start(ctx, name, "tester") })
		case "restart", "restart hard":
			delete(held, name)
			ask(func(ctx context.Context) error { return w.Reconciler.Restart(ctx, name, "tester", kind != "restart") })
		case "update":
			if err := w.Install(d.descriptor(name, i+1)); err != nil {
				return err
			}
			w.Apply()
		case "disable", "enable":
			w.Enable(name, kind == "enable")
			w.Apply()
		case "slow":
			w.SetSlow(name, time.Duration(o.N)*time.Second)
		case "wait":
			time.Sleep(time.Duration(1+o.N*o.N*o.N) * 300 * time.Millisecond)
		}
		synctest.Wait()
		if err := w.Check(); err != nil {
			return fmt.Errorf("after step %d, %s: %w", i, o, err)
		}
	}
	w.SetSlow(ownerName, 0)
	time.Sleep(30 * time.Minute)
	synctest.Wait()
	return errors.Join(w.CheckSettled(held), w.checkArtifacts(service.List("note"), disk))
}

// checkArtifacts compares the disk, what is said of the files, and what the owner's process holds, once all is quiet.
func (w *World) checkArtifacts(list []deploy.Artifact, disk map[string]string) error {
	var wrong []error
	report := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	said := map[string]deploy.Artifact{}
	for _, a := range list {
		said[filepath.Base(a.Path)] = a
		if _, ok := disk[filepath.Base(a.Path)]; !ok {
			report("%s is gone and listed as %s", a.Path, a.State)
		}
	}
	v, _ := w.Reconciler.View(ownerName)
	p := w.Process(ownerName)
	if v.State != component.Active || p == nil {
		for file := range disk {
			if s := said[file].State; s != deploy.Pending && s != deploy.Faulty {
				report("%s is %q, and its owner is %s", file, s, v.State)
			}
		}
		return errors.Join(wrong...)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for path := range p.artifacts {
		if _, ok := disk[filepath.Base(path)]; !ok {
			report("%s is gone and held", path)
		}
	}
	for file, text := range disk {
		holds, ok := p.artifacts[deploy.ServerRoot+"/notes/"+file]
		state := said[file].State
		switch good := strings.HasPrefix(text, "good"); {
		case good && (state != deploy.Deployed || holds != text):
			report("%s has %q: it is %q, the owner holds %q; %v", file, text, state, holds, said[file].Cause)
		case !good && state != deploy.Faulty:
			report("%s has %q and is %q; %v", file, text, state, said[file].Cause)
		case !good && ok && !strings.HasPrefix(holds, "good"):
			report("%s has %q, and the owner holds %q", file, text, holds)
		}
	}
	return errors.Join(wrong...)
}

// memory is a folder whose files are in memory, where there is one: what is written there need not be waited for.
func memory() string {
	const shared = "/dev/shm"
	if st, err := os.Stat(shared); err == nil && st.IsDir() {
		return shared
	}
	return "" // the usual folder for temporary files
}

// TestEveryDeliveryEndsAsTheDiskIs tries histories of files and of the component that takes them.
func TestEveryDeliveryEndsAsTheDiskIs(t *testing.T) {
	root, err := os.MkdirTemp(memory(), "carbonado-deliveries-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(root)
	checks := flag.Lookup("rapid.checks")
	all := checks.Value.String()
	defer func() { _ = checks.Value.Set(all) }()
	n, err := strconv.Atoi(all)
	if err == nil {
		err = checks.Value.Set(strconv.Itoa(max(1, n/slower)))
	}
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(rt *rapid.T) {
		d := drawDelivery(rt)
		home, err := os.MkdirTemp(root, "node")
		if err != nil {
			rt.Fatal(err)
		}
		defer os.RemoveAll(home)
		synctest.Test(t, func(*testing.T) { err = d.run(home) })
		if err != nil {
			rt.Fatalf("%v\nneeds: %v, needed: %v\nops: %v", err, d.Needs, d.Needed, d.Ops)
		}
	})
}
