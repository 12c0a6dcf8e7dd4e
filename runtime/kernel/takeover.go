package kernel

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/cluster/local"
	"carbonado.dev/carbonado/runtime/guardian"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/carbonado/runtime/supervisor"
	"carbonado.dev/sdk/cause"
)

// Why a kernel starts components anew that ran beneath the one before.
var (
	errNote = cause.Define("CBN-SUP-150", "What the kernel before has left with the guardian can't be read.",
		"Nothing: the components are started anew.")
	errPackage = cause.Define("CBN-SUP-151", "A component's package is another one than its running process was started from.",
		"Nothing: the component is started anew from the package that is installed now.")
)

const (
	// noteFormat is the only one yet. Fields may be added to it; another format is not read.
	noteFormat = 1
	// noteQuiet joins changes that come together into one note.
	noteQuiet = 5 * time.Millisecond
	// takeOverSettle is how long a kernel that follows another waits for components that are on their way.
	takeOverSettle = 20 * time.Second
)

// kernelNote is what a kernel leaves with the guardian for the one after it.
type kernelNote struct {
	Format int `json:"format"`
	// Secret makes the keys of principals: they stay what running components were told.
	Secret []byte `json:"secret"`
	// First is the version of the guardian's program and its first kernel's.
	First string `json:"first"`
	// Seq is the last number of a transition.
	Seq   uint64                    `json:"seq,omitempty"`
	Units map[string]reconcile.Note `json:"units,omitempty"`
	// Level is the start level, Target where a change of it leads to.
	Level  int `json:"level,omitempty"`
	Target int `json:"target,omitempty"`
	// Upgrade is the last upgrade that a kernel of this guardian has asked for.
	Upgrade *upgrade `json:"upgrade,omitempty"`
}

// succession is a kernel's part between the one before and the one after it.
type succession struct {
	estate guardian.Estate
	note   kernelNote
	broken error // the note could not be read
	found  []reconcile.Found
	taken  int           // processes that go on
	took   time.Duration // from the earlier kernel's end to RUNNING
	end    func()        // of the goroutine that keeps notes

	// mu guards handing, took and the note's Upgrade, whose content does not change; keeping keeps notes in order.
	mu      sync.Mutex
	handing bool // this kernel is about to hand over
	keeping sync.Mutex
}

// follows tells whether another kernel ran before this one beneath the same guardian.
func (s *succession) follows() bool { return s.estate.Kernels > 1 }

// inherit asks the guardian what the kernel before has left.
func (k *Kernel) inherit(ctx context.Context) error {
	s := &k.succession
	estate, raw, err := k.guardian.Inherit(ctx)
	if err != nil {
		return err
	}
	s.estate = estate
	if s.follows() {
		k.log.Info("this kernel follows another", "pid", estate.Previous, "ended", estate.Ended, "processes", len(estate.Pids))
		if len(raw) > 0 {
			if err := json.Unmarshal(raw, &s.note); err != nil {
				s.broken = errNote.Wrap(err, "the note of kernel %d", estate.Previous)
			} else if s.note.Format != noteFormat {
				s.broken = errNote.New("the note of kernel %d is of format %d, this kernel reads %d", estate.Previous, s.note.Format, noteFormat)
			}
		} else if len(estate.Pids) > 0 {
			s.broken = errNote.New("kernel %d has left no note", estate.Previous)
		}
		if c, ok := k.coordinator.(*local.Coordinator); ok && s.broken == nil {
			c.Resume()
		}
	}
	if s.broken != nil {
		k.log.Warn("all components are started anew", "cause", s.broken)
		s.note = kernelNote{}
	}
	if s.note.Secret == nil {
		s.note.Secret = make([]byte, sha256.Size)
		_, _ = rand.Read(s.note.Secret) // never fails (crypto/rand)
	}
	if s.note.First == "" {
		s.note.First = k.options.Version
	}
	s.note.Format = noteFormat
	k.concludeUpgrade()
	return nil
}

// principalSecret derives the key of a component's principals: the same in each kernel of one guardian.
func (s *succession) principalSecret(component string) []byte {
	mac := hmac.New(sha256.New, s.note.Secret)
	mac.Write([]byte("principal\x00" + component))
	return mac.Sum(nil)
}

// attach takes the processes of the kernel before over, as far as they are what the plan asks for.
func (k *Kernel) attach(ctx context.Context, p *plan.Plan) {
	s := &k.succession
	var all sync.WaitGroup
	var mu sync.Mutex // guards s.found
	for _, pid := range s.estate.Pids {
		all.Go(func() {
			process, err := k.guardian.Adopt(ctx, pid)
			if err != nil {
				if !errors.Is(err, syscall.ESRCH) {
					k.log.Error("a process can't be adopted", "pid", pid, "error", err)
				}
				return
			}
			inst, answer, err := k.supervisor.Attach(ctx, process)
			if inst == nil {
				k.log.Error("a process can't be taken over", "pid", pid, "error", err)
				return
			}
			if err == nil {
				err = s.broken
			}
			if err == nil {
				err = k.installed(p, inst)
			}
			mu.Lock()
			defer mu.Unlock()
			s.found = append(s.found, reconcile.Found{Name: inst.Name(), Process: inst, Answer: answer, Err: err})
			if err == nil {
				s.taken++
				k.host.adopt(ctx, inst, p)
			} else {
				k.log.Warn("a component is not taken over", "component", inst.Name(), "pid", pid, "cause", err)
			}
		})
	}
	all.Wait()
	k.supervisor.Tidy()
	k.reconciler.Inherit(s.found, s.note.Units, s.note.Seq)
}

// installed says why a running process is not what the plan would start; nil if it is.
func (k *Kernel) installed(p *plan.Plan, inst *supervisor.Instance) error {
	c := p.Find(inst.Name())
	if c == nil || !c.Installed {
		return nil // it is stopped because of that
	}
	digest := executableDigest(c.Package)
	if c.Package.Version != inst.Version() || digest != inst.Digest() {
		return errPackage.New("%s %s with digest %s is installed, process %d is version %s with digest %s", inst.Name(), c.Package.Version, digest, inst.PID(), inst.Version(), inst.Digest())
	}
	return nil
}

func executableDigest(p *catalog.Package) string {
	for _, f := range p.Files {
		if f.Path == p.Descriptor.Executable {
			return f.SHA256
		}
	}
	return ""
}

// adopt makes a running process known to the host as Launch does.
func (h *host) adopt(ctx context.Context, inst *supervisor.Instance, p *plan.Plan) {
	bound := map[string]string{}
	if c := p.Find(inst.Name()); c != nil && c.Installed {
		for _, port := range c.Package.Descriptor.Ports {
			key := inst.Name() + "/" + port.Name
			if address, err := h.k.guardian.Address(ctx, key); err == nil {
				bound[key] = address
			}
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.instances[inst.Name()] = inst
	for key, address := range bound {
		h.addresses[key] = address
	}
}

// keepNotes leaves the note with the guardian and renews it at each change, until the returned function is called.
func (k *Kernel) keepNotes() (end func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			changed := k.reconciler.Changed()
			k.keepNote(ctx)
			select {
			case <-changed:
			case <-ctx.Done():
				return
			}
			select {
			case <-time.After(noteQuiet):
			case <-ctx.Done():
				return
			}
		}
	}()
	return func() {
		cancel()
		<-ended
	}
}

// keepNote leaves the present note with the guardian.
func (k *Kernel) keepNote(ctx context.Context) {
	s := &k.succession
	s.keeping.Lock()
	defer s.keeping.Unlock()
	s.mu.Lock()
	note := s.note
	s.mu.Unlock()
	note.Units, note.Seq = k.reconciler.Notes()
	note.Level, note.Target = k.reconciler.Level()
	b, err := json.Marshal(note)
	if err == nil && !bytes.Equal(b, k.lastNote) {
		if err = k.guardian.KeepNote(ctx, b); err == nil {
			k.lastNote = b
		}
	}
	if err != nil && ctx.Err() == nil {
		k.log.Warn("what a later kernel must know could not be left with the guardian", "error", err)
	}
}

// tookOver says that this kernel has followed another, once it is RUNNING.
func (k *Kernel) tookOver() {
	s := &k.succession
	if !s.follows() {
		return
	}
	s.upgraded()
	s.mu.Lock()
	s.took = time.Since(s.estate.EndedAt)
	s.mu.Unlock()
	k.log.Info("taken over", "components", s.taken, "of", len(s.estate.Pids), "from kernel", s.estate.Previous, "which ended by", s.estate.Ended, "after", s.took.Round(time.Millisecond).String())
	fmt.Fprintf(k.options.Out, "Carbonado %s has taken over %d of %d components from kernel %d (%s), %s after its end.\n",
		k.options.Version, s.taken, len(s.estate.Pids), s.estate.Previous, s.estate.Ended, s.took.Round(time.Millisecond))
}

// sameProgram tells whether the guardian runs this kernel's program.
func (k *Kernel) sameProgram() bool {
	theirs, err := os.Stat(filepath.Join("/proc", fmt.Sprint(k.guardian.PID()), "exe"))
	if err != nil {
		return true // it can't be seen
	}
	ours, err := os.Stat("/proc/self/exe")
	return err != nil || os.SameFile(theirs, ours)
}
