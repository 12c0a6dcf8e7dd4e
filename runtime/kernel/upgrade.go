package kernel

import (
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"carbonado.dev/carbonado/runtime/admin"
	"carbonado.dev/carbonado/runtime/durable"
)

var _ admin.Upgrading = (*Kernel)(nil)

const (
	// programFile is the kernel's program below bin/; the others lie beside it.
	programFile  = "carbonado"
	previousFile = "carbonado.previous"
	refusedFile  = "carbonado.refused"
	// defaultTrial is how long a new kernel may take to be RUNNING.
	defaultTrial = time.Minute
	// versionMost bounds the question for a program's version.
	versionMost = 10 * time.Second
	// farewell is how long requests under way may go on when this kernel hands over, and each of the steps after that.
	farewell = time.Second
)

// States of an upgrade.
const (
	upgradeAsked   = "handing over"
	upgradeDone    = "done"
	upgradeRefused = "refused"
)

// upgrade is an upgrade as one kernel tells the next.
type upgrade struct {
	admin.Upgrade
	// Installed: bin/carbonado was replaced, and the one before lies beside it.
	Installed bool `json:"installed"`
}

// Upgrade implements admin.Upgrading.
func (k *Kernel) Upgrade(ctx context.Context, r admin.UpgradeRequest, actor string) (admin.Upgrade, error) {
	s := &k.succession
	k.mu.Lock()
	state := k.state
	k.mu.Unlock()
	s.mu.Lock()
	busy := s.handing || state != "RUNNING"
	s.handing = true
	s.mu.Unlock()
	if busy {
		return admin.Upgrade{}, admin.ErrUpgrading.New("the kernel is %s", state)
	}
	u, program, err := k.prepare(ctx, r)
	if err == nil {
		defer program.Close()
		u.Actor, u.At, u.State = actor, time.Now().UTC(), upgradeAsked
		s.mu.Lock()
		s.note.Upgrade = &u
		s.mu.Unlock()
		k.keepNote(ctx)
		trial := time.Duration(r.DeadlineMs) * time.Millisecond
		if trial <= 0 {
			trial = defaultTrial
		}
		err = k.guardian.HandOver(ctx, program, trial)
		if errors.Is(err, syscall.EBUSY) {
			err = admin.ErrUpgrading.Wrap(err, "the guardian is busy")
		}
		if err != nil && u.Installed {
			err = errors.Join(err, k.takeBack())
		}
	}
	if err != nil {
		s.mu.Lock()
		s.handing, s.note.Upgrade = false, nil
		s.mu.Unlock()
		return admin.Upgrade{}, err
	}
	k.log.Info("handing over", "from", u.From, "to", u.To, "file", u.File, "sha256", u.Digest, "actor", actor)
	k.stop() // the answer is still sent: the doors wait for requests under way
	return u.Upgrade, nil
}

// prepare verifies the program that is asked for, installs it, and gives the descriptor that is to be executed.
func (k *Kernel) prepare(ctx context.Context, r admin.UpgradeRequest) (u upgrade, program *os.File, err error) {
	bin := filepath.Join(k.home, "bin")
	file := r.File
	if file == "" {
		file = filepath.Join(bin, programFile)
	}
	if !filepath.IsAbs(file) {
		return u, nil, admin.ErrProgram.New("%s is no absolute path", file)
	}
	asked, err := os.Open(file)
	if err != nil {
		return u, nil, admin.ErrProgram.Wrap(err, "open %s", file)
	}
	defer asked.Close()
	sum, err := k.basis().catalog.Digests().Of(asked)
	if err != nil {
		return u, nil, admin.ErrProgram.Wrap(err, "read %s", file)
	}
	if r.Digest != "" && !strings.EqualFold(sum, r.Digest) {
		return u, nil, admin.ErrProgram.New("the SHA-256 of %s is %s, not %s", file, sum, r.Digest)
	}
	version, err := versionOf(ctx, asked)
	if err != nil {
		return u, nil, err
	}
	u = upgrade{Upgrade: admin.Upgrade{File: file, Digest: sum, From: k.options.Version, To: version}, Installed: r.File != ""}
	if u.Installed {
		if err := install(bin, asked); err != nil {
			return u, nil, err
		}
		file = filepath.Join(bin, programFile)
	}
	if program, err = os.Open(file); err == nil {
		var installed string
		if installed, err = k.basis().catalog.Digests().Of(program); err == nil && installed != sum {
			err = admin.ErrProgram.New("%s was changed while it was installed", file)
		}
	}
	if err != nil {
		if program != nil {
			program.Close()
		}
		if u.Installed {
			err = errors.Join(err, k.takeBack())
		}
		return u, nil, err
	}
	return u, program, nil
}

// versionOf makes sure that a file is a program for this machine and asks it what it is.
func versionOf(ctx context.Context, f *os.File) (string, error) {
	theirs, err := machine(f.Name())
	if err != nil {
		return "", admin.ErrProgram.Wrap(err, "%s", f.Name())
	}
	if ours, err := machine("/proc/self/exe"); err == nil && ours != theirs {
		return "", admin.ErrProgram.New("%s is for %s, this machine is %s", f.Name(), theirs, ours)
	}
	ctx, cancel := context.WithTimeout(ctx, versionMost)
	defer cancel()
	cmd := exec.CommandContext(ctx, "/proc/self/fd/3", "version", "-o", "json")
	cmd.ExtraFiles = []*os.File{f}
	cmd.Env = []string{"CARBON_HOME=/nonexistent", "PATH="}
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.Output()
	var said struct{ Version string }
	if err == nil {
		err = json.Unmarshal(out, &said)
	}
	if err != nil {
		return "", admin.ErrProgram.Wrap(err, "%s does not say its version", f.Name())
	}
	if said.Version == "" {
		return "", admin.ErrProgram.New("%s does not say its version", f.Name())
	}
	return said.Version, nil
}

func machine(path string) (elf.Machine, error) {
	f, err := elf.Open(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	return f.Machine, nil
}

// install puts a program in the place of bin/carbonado and keeps this kernel's beside it.
func install(bin string, program *os.File) error {
	root, err := os.OpenRoot(bin)
	if err != nil {
		return admin.ErrProgram.Wrap(err, "the folder of programs")
	}
	defer root.Close()
	own, err := os.Open("/proc/self/exe")
	if err != nil {
		return admin.ErrProgram.Wrap(err, "this kernel's own program")
	}
	defer own.Close()
	for _, c := range []struct {
		name string
		from *os.File
	}{{previousFile, own}, {programFile, program}} {
		if _, err := c.from.Seek(0, io.SeekStart); err != nil {
			return admin.ErrProgram.Wrap(err, "read %s", c.from.Name())
		}
		if err := durable.WriteFrom(root, c.name, 0o755, func(w io.Writer) error {
			_, err := io.Copy(w, c.from)
			return err
		}); err != nil {
			return admin.ErrProgram.Wrap(err, "write bin/%s", c.name)
		}
	}
	return nil
}

// takeBack puts the program before an upgrade into bin/carbonado again; the refused one lies beside it.
func (k *Kernel) takeBack() error {
	bin := filepath.Join(k.home, "bin")
	program := filepath.Join(bin, programFile)
	if _, err := os.Stat(filepath.Join(bin, previousFile)); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err := os.Rename(program, filepath.Join(bin, refusedFile)); err != nil {
		return err
	}
	return os.Rename(filepath.Join(bin, previousFile), program)
}

// concludeUpgrade learns, in a kernel that follows, what became of the upgrade that the one before had asked for.
func (k *Kernel) concludeUpgrade() {
	s := &k.succession
	u := s.note.Upgrade
	if u == nil || u.State != upgradeAsked || s.estate.HandedOver {
		return // it is done once this kernel is RUNNING
	}
	u.State, u.Reason = upgradeRefused, s.estate.Refused
	if u.Reason == "" {
		u.Reason = "the kernel that was about to hand over ended: " + s.estate.Ended
	}
	k.log.Error("the upgrade was given up, the program before it runs on", "to", u.To, "reason", u.Reason)
	if !u.Installed {
		return
	}
	if err := k.takeBack(); err != nil {
		k.log.Error("bin/carbonado is still the program that was refused", "error", err)
	}
}

// upgraded is the upgrade's end in the kernel that it led to.
func (s *succession) upgraded() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.note.Upgrade; u != nil && u.State == upgradeAsked {
		done := *u
		done.State = upgradeDone
		s.note.Upgrade = &done
	}
}

// sayStopping tells the guardian that nobody is to follow, unless this kernel has handed over.
func (k *Kernel) sayStopping() {
	if k.handing() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	if err := k.guardian.Stopping(ctx); err != nil {
		k.log.Warn("the guardian does not know that this kernel stops", "error", err)
	}
}

func (k *Kernel) handing() bool {
	k.succession.mu.Lock()
	defer k.succession.mu.Unlock()
	return k.succession.handing
}

// finish ends the kernel: for good, or for another.
func (k *Kernel) finish() {
	if k.handing() {
		k.leave()
	} else {
		k.close()
	}
}

// leave ends this kernel and nothing else: no component is touched. What takes its time is not waited for.
func (k *Kernel) leave() {
	patiently := func(what string, f func(context.Context)) {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		done := make(chan struct{})
		go func() { // ends with the process at the latest
			defer close(done)
			f(ctx)
		}()
		select {
		case <-done:
		case <-ctx.Done():
			k.log.Warn("not waited for", "what", what)
		}
	}
	patiently("requests", k.closeDoors)
	if k.succession.end != nil {
		k.succession.end()
		patiently("the note", k.keepNote)
	}
	patiently("generations", func(context.Context) { k.closeGenerations() })
	if k.supervisor != nil {
		patiently("output", k.supervisor.Release)
	}
	if c, ok := k.coordinator.(io.Closer); ok && c != nil {
		_ = c.Close()
	}
	if k.history != nil {
		k.history.end()
		k.history.close()
	}
	if k.logs != nil {
		k.log.Info("left the components to the kernel that follows")
		k.logs.close()
	}
}

// standing fills in what Status says of kernels beneath one guardian.
func (k *Kernel) standing(st *admin.Status) {
	s := &k.succession
	s.mu.Lock()
	defer s.mu.Unlock()
	if u := s.note.Upgrade; u != nil {
		st.Upgrade = &u.Upgrade
	}
	if s.note.First != k.options.Version || !k.sameProgram() {
		st.GuardianVersion = s.note.First
	}
	if s.follows() {
		st.Takeover = &admin.Takeover{
			Kernel: s.estate.Previous, Ended: s.estate.Ended, At: s.estate.EndedAt.UTC(), Components: s.taken, Of: len(s.estate.Pids), TookMs: s.took.Milliseconds(),
		}
	}
}
