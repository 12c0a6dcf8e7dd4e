package pluginkit

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// devPause is how long the sources must be quiet before a build: an editor writes several files at once.
const devPause = 20 * time.Millisecond

// developer is one Dev: the project, how its server is told, and what makes the next build short.
type developer struct {
	*Project
	swap func(context.Context) error
	// change is what is to be built.
	change change
	// ready gives the quick build that is being prepared, cancel ends its preparation; quick is it. They are nil before a whole build.
	ready  chan *quick
	cancel context.CancelFunc
	quick  *quick
}

// change is what has happened to the sources since the last build.
type change struct {
	// began is when the first file was saved.
	began time.Time
	// contracts: a contract or the descriptor is among them.
	contracts bool
}

// Dev builds the package and hands it to swap, now and after each change of the sources, until ctx ends. What fails is said and waited out: the
// next saved file tries again. swap puts the package in Package() into the running server and returns when it serves.
func (p *Project) Dev(ctx context.Context, swap func(context.Context) error) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return ErrBuild.Wrap(err, "the sources can't be watched")
	}
	defer w.Close()
	if err := p.watch(w); err != nil {
		return ErrBuild.Wrap(err, "the sources can't be watched")
	}
	d := &developer{Project: p, swap: swap, change: change{began: time.Now(), contracts: true}}
	defer d.endPreparation()
	for {
		said, err := d.round(ctx)
		switch {
		case err == nil:
			fmt.Fprintf(p.Stdout, "%s %s swapped in %s (%s)\n", p.Descriptor.Name, p.Descriptor.Version, seconds(time.Since(d.change.began)), said)
			d.change = change{}
			d.prepare(ctx)
		case ctx.Err() != nil:
			return nil
		default:
			fmt.Fprintf(p.Stderr, "%s\nwaiting for a change\n", err)
		}
		if err := d.wait(ctx, w); err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
	}
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// prepare makes the next build a short one, while the sources rest.
func (d *developer) prepare(ctx context.Context) {
	if d.quick != nil || d.ready != nil || !d.has("go.mod") {
		return
	}
	ctx, d.cancel = context.WithCancel(ctx)
	ready := make(chan *quick, 1)
	d.ready = ready
	go func() { ready <- d.prepareQuick(ctx) }()
}

// endPreparation takes the quick build, or gives it up if it is not ready: the whole build takes no longer.
func (d *developer) endPreparation() {
	if d.ready == nil {
		return
	}
	d.cancel()
	d.quick = <-d.ready
	d.ready = nil
}

// round makes one build and swap, and says how long each took.
func (d *developer) round(ctx context.Context) (said string, err error) {
	if err := d.Reload(); err != nil {
		return "", err
	}
	began := time.Now()
	if d.change.contracts {
		if err := d.Generate(ctx); err != nil {
			return "", err
		}
	}
	d.endPreparation()
	if !d.quick.fits() {
		d.quick = nil
	}
	if err := d.build(ctx, nil, d.program); err != nil {
		return "", err
	}
	built := time.Since(began)
	began = time.Now()
	err = d.swap(ctx)
	return fmt.Sprintf("build %s, swap %s", seconds(built), seconds(time.Since(began))), err
}

// program makes the executable, the short way if there is one.
func (d *developer) program(ctx context.Context, target string, platform Platform) error {
	if d.quick != nil && d.quick.program(ctx, target) == nil {
		return nil
	}
	d.quick = nil
	return d.Project.program(ctx, target, platform)
}

// watch follows every folder of sources.
func (p *Project) watch(w *fsnotify.Watcher) error {
	return filepath.WalkDir(p.Dir, func(path string, e fs.DirEntry, err error) error {
		switch {
		case errors.Is(err, fs.ErrNotExist):
			return nil // it went meanwhile
		case err != nil || !e.IsDir():
			return err
		case path != p.Dir && p.ignored(path):
			return fs.SkipDir
		}
		return w.Add(path)
	})
}

// ignored tells what is no source: what a build makes, hidden files, editors' own.
func (p *Project) ignored(path string) bool {
	rel, err := filepath.Rel(p.Dir, path)
	if err != nil {
		return true
	}
	head, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
	base := filepath.Base(path)
	return head == "build" || head == "target" || strings.HasPrefix(base, ".") || strings.HasSuffix(base, "~") || strings.HasSuffix(base, ".swp") ||
		strings.HasSuffix(base, ".binpb") || strings.HasSuffix(base, ".pb.go") || base == "4913" // vim's probe
}

// wait waits for a change of the sources and for quiet after it.
func (d *developer) wait(ctx context.Context, w *fsnotify.Watcher) error {
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-quiet:
			return d.watch(w) // folders may have come
		case e, ok := <-w.Events:
			if !ok {
				return ErrBuild.New("the sources are no longer watched")
			}
			if d.ignored(e.Name) || e.Op == fsnotify.Chmod {
				continue
			}
			d.change.contracts = d.change.contracts || strings.HasSuffix(e.Name, ".proto") || filepath.Base(e.Name) == descriptorFile
			if quiet == nil {
				d.change.began = time.Now()
			}
			quiet = time.After(devPause)
		case err, ok := <-w.Errors:
			if !ok {
				return ErrBuild.New("the sources are no longer watched")
			}
			if !errors.Is(err, fsnotify.ErrEventOverflow) {
				return ErrBuild.Wrap(err, "the sources can't be watched")
			}
			// What has changed is not known: everything may have.
			d.change = change{began: time.Now(), contracts: true}
			quiet = time.After(devPause)
		}
	}
}
