package kernel

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/catalog"
	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config"
	"carbonado.dev/carbonado/runtime/launch"
	"carbonado.dev/carbonado/runtime/plan"
	"carbonado.dev/carbonado/runtime/privilege"
)

// oldSDK is why a component is no user of its own although users are given.
const oldSDK = "its SDK lets in its own user alone; build it with the present one"

// showEvery is how long a link to a component's own file may lead nowhere.
const showEvery = 2 * time.Second

// confiner decides what each component's process can get at.
type confiner struct {
	home    string
	machine launch.Machine
	users   *users // nil where components are no users of their own, for the reason noUser
	noUser  string

	mu      sync.Mutex    // guards shared
	changed chan struct{} // a component has changed its state

	shared map[string]bool // digests of executables that must run as the server's user
}

// newConfiner looks at the machine and makes the installation passable for users of their own, where they are to be had.
func newConfiner(home string, p config.Privileges) (*confiner, error) {
	c := &confiner{home: home, machine: launch.Look(), changed: make(chan struct{}, 1), shared: map[string]bool{}}
	switch closed := closedTo(home); {
	case !c.machine.Root:
		c.noUser = "the server does not run as root"
	case !p.OwnUser.V:
		c.noUser = "switched off in carbon.xml"
	case c.machine.NoUser != "":
		c.noUser = c.machine.NoUser
	case !mapped(p.FirstUser.V, usersMost):
		c.noUser = fmt.Sprintf("this user namespace has no users from %d on; see <FirstUser> in carbon.xml", p.FirstUser.V)
	case closed != "":
		c.noUser = fmt.Sprintf("other users can't enter %s: chmod o+x it, or install elsewhere", closed)
	default:
		repository := filepath.Join(home, "repository")
		if err := passable(repository, filepath.Join(repository, "data"), filepath.Join(repository, "run")); err != nil {
			return nil, err
		}
		var err error
		c.users, err = openUsers(filepath.Join(repository, "data", "kernel"), p.FirstUser.V)
		return c, err
	}
	return c, nil
}

// knowsOne tells whether a component must run as the server's user: its SDK is an old one, or that of a provider that it is wired to, which
// would refuse it.
func (c *confiner) knowsOne(name, digest string, p *plan.Plan) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shared[digest] {
		return oldSDK
	}
	if p == nil || len(c.shared) == 0 {
		return ""
	}
	planned := p.Find(name)
	if planned == nil {
		return ""
	}
	for _, w := range planned.Wires {
		if provider := p.Find(w.Provider); provider != nil && provider.Package != nil && c.shared[executableOf(provider.Package)] {
			return "it uses " + w.Provider + ", whose SDK lets in its own user alone"
		}
	}
	return ""
}

// executableOf is the digest of a package's executable.
func executableOf(p *catalog.Package) string {
	for _, f := range p.Files {
		if p.Descriptor != nil && f.Path == p.Descriptor.Executable {
			return f.SHA256
		}
	}
	return ""
}

// userOf is the number of a component's own user; 0 is none, for the reason given.
func (c *confiner) userOf(name, digest string, p *plan.Plan) (int, string, error) {
	if c.users == nil {
		return 0, c.noUser, nil
	}
	if why := c.knowsOne(name, digest, p); why != "" {
		return 0, why, nil
	}
	id, err := c.users.of(name)
	return id, "", err
}

// share makes a component of that executable run as the server's user from now on.
func (c *confiner) share(digest string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shared[digest] = true
}

// groupOf is the group of a component's shares; 0 where there are no users of their own.
func (c *confiner) groupOf(name string) (int, error) {
	if c.users == nil {
		return 0, nil
	}
	return c.users.of(name)
}

// cage prepares the folders of a component for its next process, and makes the process's cage. runtime is the folder of the language's
// runtime that it needs, or empty.
func (c *confiner) cage(pkg *catalog.Package, digest, runtime string, p *plan.Plan, conf config.Privileges) (launch.Cage, []component.Measure, error) {
	d := pkg.Descriptor
	repository := filepath.Join(c.home, "repository")
	data := func(name string) string { return filepath.Join(repository, "data", name) }
	user, noUser, err := c.userOf(d.Name, digest, p)
	if err != nil {
		return launch.Cage{}, nil, err
	}
	s := privilege.Subject{
		Name: d.Name, Privileges: append([]string{}, d.Privileges...), Home: c.home, Package: pkg.Dir, Data: data(d.Name), Repository: repository,
		User: user, NoUser: noUser, Runtime: runtime,
	}
	for _, g := range conf.Grants {
		if who, what, _ := strings.Cut(g.V, " "); who == d.Name {
			s.Privileges = append(s.Privileges, what)
		}
	}
	if err := c.own(d, user); err != nil {
		return launch.Cage{}, nil, err
	}
	for _, u := range d.Uses {
		share, group, err := c.used(u, p)
		if err != nil {
			return launch.Cage{}, nil, err
		}
		share.Path = filepath.Join(data(u.Component), u.Share)
		s.Shares = append(s.Shares, share)
		if group != 0 && user != 0 {
			s.Groups = append(s.Groups, group)
		}
	}
	return privilege.Build(s, privilege.Switches{
		OwnUser: conf.OwnUser.V, Landlock: conf.Landlock.V, Seccomp: conf.Seccomp.V, NetworkNamespace: conf.NetworkNamespace.V,
		DropCapabilities: conf.DropCapabilities.V,
	}, c.machine)
}

// own gives a component's data folder to its user, and makes what it shows to others.
func (c *confiner) own(d *component.Descriptor, user int) error {
	folder := filepath.Join(c.home, "repository", "data", d.Name)
	group, err := c.groupOf(d.Name)
	if err != nil {
		return err
	}
	if c.machine.Root {
		if err := own(folder, user, group, d.Shares); err != nil {
			return err
		}
	} else if err := os.MkdirAll(folder, modeOwn); err != nil {
		return errOwn.Wrap(err, "%s", folder)
	}
	for _, name := range links(d) {
		if err := adopt(folder, name, user, group); err != nil {
			return err
		}
	}
	return nil
}

// used is a share of another component, which is made where its owner has not been started yet: a rule needs a folder.
func (c *confiner) used(u component.Use, p *plan.Plan) (privilege.Share, int, error) {
	var share privilege.Share
	if p == nil {
		return share, 0, nil
	}
	planned := p.Find(u.Component)
	if planned == nil || planned.Package == nil || planned.Package.Descriptor == nil {
		return share, 0, nil
	}
	d := planned.Package.Descriptor
	for _, s := range d.Shares {
		if s.Name == u.Share {
			share.Write = s.Write
		}
	}
	group, err := c.groupOf(d.Name)
	if err != nil {
		return share, 0, err
	}
	folder := filepath.Join(c.home, "repository", "data", d.Name, u.Share)
	if _, err := os.Stat(folder); err != nil {
		if err := c.own(d, group); err != nil {
			return share, 0, err
		}
		if err := os.MkdirAll(folder, modeOwn); err != nil {
			return share, 0, errOwn.Wrap(err, "%s", folder)
		}
	}
	return share, group, nil
}

// links are the names under repository/data that lead to a component's own files.
func links(d *component.Descriptor) []string {
	var out []string
	for _, text := range d.Privileges {
		if p, err := component.ParsePrivilege(text); err == nil && p.Kind == component.RepositoryLink {
			out = append(out, filepath.Base(p.Path))
		}
	}
	return out
}

// show makes the links of all components lead to their files, as far as there are any, and removes those that lead nowhere. It must not
// change what a person put there.
func (c *confiner) show(p *plan.Plan) {
	if p == nil {
		return
	}
	for i := range p.Components {
		if pkg := p.Components[i].Package; pkg != nil && pkg.Descriptor != nil {
			for _, name := range links(pkg.Descriptor) {
				show(filepath.Join(c.home, "repository", "data", pkg.Descriptor.Name), name)
			}
		}
	}
}

// look lets keepShowing look at once. It doesn't wait.
func (c *confiner) look() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// keepShowing repeats show until ctx ends.
func (c *confiner) keepShowing(ctx context.Context, current func() *plan.Plan) {
	tick := time.NewTicker(showEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			c.show(current())
		case <-c.changed:
			c.show(current())
		}
	}
}
