package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/Masterminds/semver/v3"

	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/dropins"
	"carbonado.dev/carbonado/runtime/reconcile"
)

const (
	// packagesPause is how long the folder of packages must be quiet before it is read anew: several may be installed at once.
	packagesPause = 300 * time.Millisecond
	// packagesRescan is how often it is looked at where no file events come.
	packagesRescan = 15 * time.Second
)

// watchPackages takes up what is installed into plugins/ and removed from it while the server runs, until close.
func (k *Kernel) watchPackages() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	bell, err := deploy.NewDoorbell()
	if err != nil {
		k.log.Warn("no file events for plugins/: it is looked at by the clock", "error", err)
	}
	go func() {
		defer close(ended)
		if bell != nil {
			defer bell.Close()
		}
		k.followPackages(ctx, bell)
	}()
	k.packagesEnd = func() {
		cancel()
		<-ended
	}
}

func (k *Kernel) followPackages(ctx context.Context, bell deploy.Doorbell) {
	plugins := filepath.Join(k.home, "plugins")
	seen := installed(plugins)
	tick := time.NewTicker(packagesRescan)
	defer tick.Stop()
	for {
		var rings <-chan struct{}
		if bell != nil {
			_, _ = bell.Watch(packageFolders(plugins)) // what can't be watched is seen by the clock
			rings = bell.Rings()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-rings:
			select {
			case <-time.After(packagesPause):
			case <-ctx.Done():
				return
			}
			bell.Touched()
		}
		now := installed(plugins)
		if now == seen {
			continue
		}
		seen = now
		// It waits until all has settled; what comes meanwhile is seen next.
		if err := k.replanFor(ctx, reconcile.KernelName, "packages as they lie in plugins/"); err != nil && ctx.Err() == nil {
			k.log.Warn("packages", "error", err)
		}
		k.deployer.Reconsider(dropins.Type) // something may have been installed over a dropped file's package
		k.pinDamaged()
		for _, x := range k.updates.refusals() {
			k.log.Warn("package", "cause", x)
		}
	}
}

// packageFolders are those whose entries are packages or versions of one.
func packageFolders(plugins string) []string {
	out := []string{plugins}
	names, _ := os.ReadDir(plugins)
	for _, n := range names {
		if n.IsDir() && !strings.HasPrefix(n.Name(), ".") && n.Name() != "examples" {
			out = append(out, filepath.Join(plugins, n.Name()))
		}
	}
	return out
}

// installed is a text that changes when a package is installed, replaced or removed.
func installed(plugins string) string {
	var b strings.Builder
	for _, folder := range packageFolders(plugins)[1:] {
		versions, _ := os.ReadDir(folder)
		for _, v := range versions {
			if _, err := semver.StrictNewVersion(v.Name()); err != nil {
				continue
			}
			fmt.Fprintf(&b, "%s/%s", filepath.Base(folder), v.Name())
			for _, file := range []string{"package.lock", "component.yaml"} {
				if st, err := os.Stat(filepath.Join(folder, v.Name(), file)); err == nil {
					fmt.Fprintf(&b, " %d %d", st.Size(), st.ModTime().UnixNano())
				}
			}
			b.WriteByte('\n')
		}
	}
	return b.String()
}

// newerVersion tells whether version a is above b.
func newerVersion(a, b string) bool {
	x, err := semver.NewVersion(a)
	if err != nil {
		return false
	}
	y, err := semver.NewVersion(b)
	return err != nil || x.GreaterThan(y)
}
