// Package car reads Carbon application archives (.car) of WSO2's products: artifacts.xml, the artifacts that it names, their types, roles
// and order. It must not know who deploys them.
package car

import (
	"bytes"
	"cmp"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"

	"carbonado.dev/carbonado/runtime/archive"
	"carbonado.dev/sdk/carbonxml"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// ErrCar is the kind of an archive that is no application.
var ErrCar = cause.Define("CBN-DEP-020", "A Carbon application archive is not right.",
	"Correct the file within the archive that is named; Carbon Studio or a zip of artifacts.xml and a folder for each artifact makes one.").Code(codes.InvalidArgument)

// Limits of an application. What lies in it are descriptions, not data.
const (
	maxMembers = 2000
	maxTotal   = 64 << 20
	maxFile    = 8 << 20
	applicationType,
	rootFile, artifactFile = "carbon/application", "artifacts.xml", "artifact.xml"
)

// Application is what an archive has.
type Application struct {
	Name, Version string
	// Artifacts in the order in which they are to be deployed: what one depends on stands before it; among others streams stand before
	// receivers before publishers before plans before the rest, and then they stand as artifacts.xml lists them.
	Artifacts []Artifact
	// Skipped are those of other servers' roles.
	Skipped []Skipped
}

// Artifact is one file to deploy.
type Artifact struct {
	Name, Version, Type string
	// Folder is the folder below repository/deployment/server where DAS kept such files; empty for a type that it did not know.
	Folder string
	// Path is the file's place in the archive; File its name.
	Path, File string
	Content    []byte
	needs      []string // keys of those that it depends on
}

// Skipped is an artifact that no role of this server asks for.
type Skipped struct{ Name, Version, Role string }

// kinds are DAS's types of artifacts: the folders where their files lie, and which of them come first.
var kinds = map[string]struct {
	folder string
	rank   int
}{
	"event/stream": {"eventstreams", 0}, "event/receiver": {"eventreceivers", 1}, "event/publisher": {"eventpublishers", 2},
	"event/execution-plan": {"executionplans", 3}, "analytics/eventstore": {"eventsink", 4}, "analytics/spark": {"sparkscripts", 5},
	"analytics/dataPurging": {"datapurging", 6}, "dashboards/gadget": {"gadgets", 7}, "dashboards/layout": {"layouts", 7},
	"dashboards/theme": {"themes", 7}, "dashboards/dashboard": {"dashboards", 8},
}

// otherRank is that of types that DAS did not know.
const otherRank = 9

// dependency is one line of artifacts.xml or of an artifact.xml.
type dependency struct {
	element             *carbonxml.Element
	name, version, role string
}

func (d dependency) key() string { return d.name + "_" + d.version }

// Read reads an archive. file names it in messages; roles are this server's, each a regular expression over an artifact's role.
func Read(file string, data []byte, roles []string) (*Application, error) {
	z, err := archive.Open(bytes.NewReader(data), int64(len(data)), archive.Limits{Members: maxMembers, Total: maxTotal, File: maxFile})
	if err != nil {
		return nil, err
	}
	r := &reader{file: file, archive: z}
	for _, role := range roles {
		x, err := regexp.Compile("^(?:" + role + ")$")
		if err != nil {
			return nil, ErrCar.Wrap(err, "the server role %q is no regular expression", role)
		}
		r.roles = append(r.roles, x)
	}
	root, err := r.parse(rootFile, "artifacts")
	if err != nil {
		return nil, err
	}
	app := root.All("artifact")
	if len(app) != 1 {
		return nil, root.Errorf(ErrCar, "it has %d applications, it must have one", len(app))
	}
	a := &Application{}
	if a.Name, a.Version, err = identity(app[0], "name"); err != nil {
		return nil, err
	}
	if t, _ := app[0].Attr("type"); t.Value != applicationType {
		return nil, app[0].Errorf(ErrCar, "the type of %s is %q, not %s", a.Name, t.Value, applicationType)
	}
	deps, err := dependencies(app[0])
	if err != nil {
		return nil, err
	}
	seen := map[string]bool{}
	for _, d := range deps {
		if seen[d.key()] {
			return nil, d.element.Errorf(ErrCar, "%s %s is named twice", d.name, d.version)
		}
		seen[d.key()] = true
		if !r.wanted(d.role) {
			a.Skipped = append(a.Skipped, Skipped{d.name, d.version, d.role})
			continue
		}
		x, role, err := r.artifact(d)
		if err != nil {
			return nil, err
		}
		if !r.wanted(role) {
			a.Skipped = append(a.Skipped, Skipped{d.name, d.version, role})
			continue
		}
		a.Artifacts = append(a.Artifacts, x)
	}
	return a, a.order()
}

type reader struct {
	file    string
	archive *archive.Archive
	roles   []*regexp.Regexp
}

// parse reads an XML file of the archive, whose root must have the name.
func (r *reader) parse(name, root string) (*carbonxml.Element, error) {
	data, err := r.archive.Read(name, maxFile)
	if err != nil {
		return nil, ErrCar.Wrap(err, "it has no %s", name).At(r.file, 0, 0)
	}
	e, err := carbonxml.Parse(path.Join(r.file, name), data)
	if err != nil {
		return nil, err
	}
	if e.Name.Local != root {
		return nil, e.Errorf(ErrCar, "it begins with <%s>, not <%s>", e.Name.Local, root)
	}
	return e, nil
}

func (r *reader) wanted(role string) bool {
	return role == "" || slices.ContainsFunc(r.roles, func(x *regexp.Regexp) bool { return x.MatchString(role) })
}

// plain is a name or version that may be part of a path.
var plain = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$`)

func identity(e *carbonxml.Element, attr string) (name, version string, err error) {
	n, _ := e.Attr(attr)
	v, _ := e.Attr("version")
	for _, x := range []struct{ what, value string }{{attr, n.Value}, {"version", v.Value}} {
		if !plain.MatchString(x.value) {
			return "", "", e.Errorf(ErrCar, "the %s %q is not of letters, digits, dots, dashes and underscores", x.what, x.value)
		}
	}
	return n.Value, v.Value, nil
}

func dependencies(e *carbonxml.Element) ([]dependency, error) {
	var out []dependency
	for _, d := range e.All("dependency") {
		name, version, err := identity(d, "artifact")
		if err != nil {
			return nil, err
		}
		role, _ := d.Attr("serverRole")
		if include, ok := d.Attr("include"); ok && include.Value == "false" {
			continue
		}
		out = append(out, dependency{d, name, version, role.Value})
	}
	return out, nil
}

// artifact reads the folder of one artifact.
func (r *reader) artifact(d dependency) (Artifact, string, error) {
	folder := d.key()
	if _, ok := r.archive.Find(path.Join(folder, artifactFile)); !ok {
		return Artifact{}, "", d.element.Errorf(ErrCar, "%s %s is not in the archive: there is no %s/%s", d.name, d.version, folder, artifactFile)
	}
	e, err := r.parse(path.Join(folder, artifactFile), "artifact")
	if err != nil {
		return Artifact{}, "", err
	}
	a := Artifact{}
	if a.Name, a.Version, err = identity(e, "name"); err != nil {
		return a, "", err
	}
	if a.Name != d.name || a.Version != d.version {
		return a, "", e.Errorf(ErrCar, "it is %s %s, %s calls it %s %s", a.Name, a.Version, rootFile, d.name, d.version)
	}
	typ, _ := e.Attr("type")
	role, _ := e.Attr("serverRole")
	if a.Type = typ.Value; a.Type == "" {
		return a, "", e.Errorf(ErrCar, "%s has no type", a.Name)
	}
	a.Folder = kinds[a.Type].folder
	files := e.All("file")
	if len(files) != 1 {
		return a, "", e.Errorf(ErrCar, "%s has %d files, it must have one", a.Name, len(files))
	}
	a.File = files[0].Value()
	if a.File == "" || a.File != path.Base(a.File) || strings.HasPrefix(a.File, ".") {
		return a, "", files[0].Errorf(ErrCar, "%q is no file's name", a.File)
	}
	a.Path = path.Join(folder, a.File)
	if f, ok := r.archive.Find(a.Path); !ok || f.Dir {
		return a, "", files[0].Errorf(ErrCar, "the file %s is not in the archive", a.Path)
	}
	if a.Content, err = r.archive.Read(a.Path, maxFile); err != nil {
		return a, "", err
	}
	needs, err := dependencies(e)
	for _, n := range needs {
		a.needs = append(a.needs, n.key())
	}
	return a, role.Value, err
}

// order sorts the artifacts by what they are and as they are listed, and then puts what one depends on before it.
func (a *Application) order() error {
	rank := func(x Artifact) int {
		if k, ok := kinds[x.Type]; ok {
			return k.rank
		}
		return otherRank
	}
	slices.SortStableFunc(a.Artifacts, func(x, y Artifact) int { return cmp.Compare(rank(x), rank(y)) })
	byKey := map[string]Artifact{}
	for _, x := range a.Artifacts {
		byKey[x.Name+"_"+x.Version] = x
	}
	var out []Artifact
	state := map[string]int{} // 1: being placed, 2: placed
	var place func(x Artifact, chain []string) error
	place = func(x Artifact, chain []string) error {
		key := x.Name + "_" + x.Version
		switch state[key] {
		case 1:
			return ErrCar.New("its artifacts depend on each other: %s", strings.Join(append(chain, key), " -> "))
		case 2:
			return nil
		}
		state[key] = 1
		for _, n := range x.needs {
			if y, ok := byKey[n]; ok {
				if err := place(y, append(chain, key)); err != nil {
					return err
				}
			}
		}
		state[key] = 2
		out = append(out, x)
		return nil
	}
	for _, x := range a.Artifacts {
		if err := place(x, nil); err != nil {
			return err
		}
	}
	a.Artifacts = out
	return nil
}

func (s Skipped) String() string { return fmt.Sprintf("%s %s (role %s)", s.Name, s.Version, s.Role) }

// Folder is where DAS kept artifacts of a type, below repository/deployment/server; empty for a type that it did not know.
func Folder(typ string) string { return kinds[typ].folder }
