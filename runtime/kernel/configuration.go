package kernel

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/deploy"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/plan/inputs"
	"carbonado.dev/carbonado/runtime/reconcile"
	"carbonado.dev/sdk/cause"
)

// errInForce is the kind of a configuration file that can't be used while an earlier configuration is in force.
var errInForce = cause.Define("CBN-CFG-092", "A component's configuration file can't be used; the configuration before it stays in force.",
	"Correct the line that is named; `carbonado config check` tells whether all is right.")

const (
	// configurationQuiet is how long the files of the configuration must stay as they are before they are read.
	configurationQuiet = 300 * time.Millisecond
	// configurationMost is how long files that never come to rest are waited for.
	configurationMost = 10 * time.Second
	// configurationLook is how often the files are looked at without an event.
	configurationLook = 2 * time.Second
	// asConfigured stands in the history of the desired state for a change of these files.
	asConfigured = "configuration as it lies in the installation"
)

// configs is what the kernel knows of configuration that is not as its file says.
type configs struct {
	end func() // of the following; nil before it began

	// mu guards the fields below, by component.
	mu      sync.Mutex
	refused map[string]*component.Cause
	// given is what processes of an earlier kernel have.
	given map[string]*config.Component
}

func (c *configs) of(name string) *component.Cause {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.refused[name]
}

// configCause is why a component's configuration is not the one in its file; nil if it is.
func (k *Kernel) configCause(v reconcile.View) *component.Cause {
	if c := k.configs.of(v.Name); c != nil {
		return c
	}
	return v.ConfigCause
}

// keepConfigs puts, where a component's file can't be used, the configuration in force in its place.
func (k *Kernel) keepConfigs(in *inputs.Inputs) {
	now := k.reconciler.Plan()
	refused := map[string]*component.Cause{}
	k.configs.mu.Lock()
	defer k.configs.mu.Unlock()
	for _, p := range in.Chosen() {
		c := in.Components[p.Name]
		if c == nil || c.Cause == nil {
			continue
		}
		var kept *config.Component
		if now == nil {
			kept = k.configs.given[p.Name]
		} else if was := now.Find(p.Name); was != nil && was.Package != nil && was.Package.Digest == p.Digest && was.Config != nil && was.Config.Cause == nil {
			kept = was.Config
		}
		if kept == nil {
			continue
		}
		why := component.CauseOf(errInForce.New("the new configuration of %s is not taken", p.Name)).Because(*c.Cause)
		refused[p.Name] = &why
		in.Components[p.Name] = kept
	}
	for name, why := range refused {
		if !why.Same(k.configs.refused[name]) {
			k.log.Warn("a configuration is not taken", "component", name, "cause", why.String())
		}
	}
	k.configs.refused = refused
}

// notices are sentences for an operator.
func (c *configs) notices() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, name := range slices.Sorted(maps.Keys(c.refused)) {
		out = append(out, c.refused[name].String())
	}
	return out
}

// keepGiven plans anew where a file can't be used and a process that was taken over has a configuration that could.
func (k *Kernel) keepGiven(ctx context.Context, p *plan.Plan) (*plan.Plan, error) {
	given := map[string]*config.Component{}
	for _, f := range k.succession.found {
		if c := p.Find(f.Name); f.Err == nil && len(f.Answer.GetConfigJson()) > 0 && c != nil && c.Config != nil && c.Config.Cause != nil {
			given[f.Name] = config.Given(f.Name, f.Answer.ConfigJson)
		}
	}
	if len(given) == 0 {
		return p, nil
	}
	k.configs.mu.Lock()
	k.configs.given = given
	k.configs.mu.Unlock()
	return k.makePlan(ctx)
}

// watchConfiguration takes up what changes in the components' configuration, and in what it is made of, until close.
func (k *Kernel) watchConfiguration() {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	bell, err := deploy.NewDoorbell()
	if err != nil {
		k.log.Warn("no file events for the configuration: it is looked at by the clock", "error", err)
	}
	go func() {
		defer close(ended)
		if bell != nil {
			defer bell.Close()
		}
		k.followConfiguration(ctx, bell)
	}()
	k.configs.end = func() {
		cancel()
		<-ended
	}
}

func (k *Kernel) followConfiguration(ctx context.Context, bell deploy.Doorbell) {
	files := k.configurationFiles()
	seen := lookOf(files)
	tick := time.NewTicker(configurationLook)
	defer tick.Stop()
	for {
		var rings <-chan struct{}
		if bell != nil {
			_, _ = bell.Watch(append(foldersOf(files), filepath.Join(k.home, config.ComponentsFolder))) // what can't be watched is seen by the clock
			rings = bell.Rings()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-rings:
			bell.Touched()
		}
		files = k.configurationFiles()
		if lookOf(files) == seen {
			continue
		}
		if seen = k.atRest(ctx, files); ctx.Err() != nil {
			return
		}
		if err := k.reconfigure(ctx); err != nil && ctx.Err() == nil {
			k.log.Warn("changed configuration is not taken up", "cause", err)
		}
	}
}

// configurationFiles are those that the components' configuration is made of, absolute.
func (k *Kernel) configurationFiles() []string {
	k.planning.Lock()
	out := k.basis().config.Sources()
	k.planning.Unlock()
	folder := filepath.Join(k.home, config.ComponentsFolder)
	out = append(out, folder)
	entries, _ := os.ReadDir(folder) // without the folder there are none
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), ".yaml") {
			out = append(out, filepath.Join(folder, e.Name()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func foldersOf(files []string) []string {
	folders := map[string]bool{}
	for _, f := range files {
		folders[filepath.Dir(f)] = true
	}
	return slices.Sorted(maps.Keys(folders))
}

// lookOf is a text that changes when one of the files does.
func lookOf(files []string) string {
	var b strings.Builder
	for _, f := range files {
		if st, err := os.Stat(f); err == nil && !st.IsDir() {
			fmt.Fprintf(&b, "%s %d %d %o\n", f, st.Size(), st.ModTime().UnixNano(), st.Mode())
		}
	}
	return b.String()
}

// atRest waits until the files stay as they are and nobody writes them, and gives their look.
func (k *Kernel) atRest(ctx context.Context, files []string) string {
	most := time.Now().Add(configurationMost)
	for {
		before := lookOf(files)
		select {
		case <-time.After(configurationQuiet):
		case <-ctx.Done():
			return before
		}
		files = k.configurationFiles()
		if time.Now().After(most) || lookOf(files) == before && !slices.ContainsFunc(files, deploy.BeingWritten) {
			return before
		}
	}
}

// reconfigure plans anew and puts the plan in force; the reconciler brings the values to the components.
func (k *Kernel) reconfigure(ctx context.Context) error {
	k.planning.Lock()
	defer k.planning.Unlock()
	p, err := k.makePlan(ctx)
	if err != nil {
		return err
	}
	changes := plan.Diff(k.reconciler.Plan(), p)
	k.history.rules(p)
	k.reconciler.Apply(p)
	if len(changes) > 0 {
		k.deployments.record(reconcile.KernelName, asConfigured, changes, "done", k.desired())
	}
	return nil
}
