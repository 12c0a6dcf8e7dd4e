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
const devPause = 60 * time.Millisecond

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
	contracts := true
	for {
		begin := time.Now()
		if err := p.round(ctx, contracts, swap); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			fmt.Fprintf(p.Stderr, "%s\nwaiting for a change\n", err)
		} else {
			fmt.Fprintf(p.Stdout, "%s %s serves after %s\n", p.Descriptor.Name, p.Descriptor.Version, time.Since(begin).Round(10*time.Millisecond))
			contracts = false
		}
		changed, err := p.changed(ctx, w)
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return nil
		}
		contracts = contracts || changed
	}
}

// round makes one build and swap.
func (p *Project) round(ctx context.Context, contracts bool, swap func(context.Context) error) error {
	if err := p.Reload(); err != nil {
		return err
	}
	if contracts {
		if err := p.Generate(ctx); err != nil {
			return err
		}
	}
	if err := p.Build(ctx, nil); err != nil {
		return err
	}
	return swap(ctx)
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

// changed waits for a change of the sources and for quiet after it. contracts tells whether a contract or the descriptor is among what changed.
func (p *Project) changed(ctx context.Context, w *fsnotify.Watcher) (contracts bool, err error) {
	var quiet <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return contracts, nil
		case <-quiet:
			return contracts, p.watch(w) // folders may have come
		case e, ok := <-w.Events:
			if !ok {
				return contracts, ErrBuild.New("the sources are no longer watched")
			}
			if p.ignored(e.Name) || e.Op == fsnotify.Chmod {
				continue
			}
			contracts = contracts || strings.HasSuffix(e.Name, ".proto") || filepath.Base(e.Name) == descriptorFile
			quiet = time.After(devPause)
		case err, ok := <-w.Errors:
			if !ok {
				return contracts, ErrBuild.New("the sources are no longer watched")
			}
			if errors.Is(err, fsnotify.ErrEventOverflow) {
				contracts, quiet = true, time.After(devPause)
				continue
			}
			return contracts, ErrBuild.Wrap(err, "the sources can't be watched")
		}
	}
}
