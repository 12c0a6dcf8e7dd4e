package catalog

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/component"
	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/carbonado/runtime/config/strictyaml"
	"carbonado.dev/sdk/cause"
	"carbonado.dev/sdk/filter"
	"github.com/Masterminds/semver/v3"
)

// ErrDescriptor is the kind of a component.yaml that is not right.
var ErrDescriptor = cause.Define("CBN-PKG-001", "A component.yaml is not right.", "Correct the line that is named.")

// SchemaJSON is the JSON Schema of component.yaml, for editors and for the documentation.
//
//go:embed component.schema.json
var SchemaJSON []byte

var descriptorSchema = sync.OnceValues(func() (*schema.Schema, error) {
	return schema.Compile("component.schema.json", SchemaJSON)
})

// raw is component.yaml as it is written; the schema has passed it.
type raw struct {
	Name       string          `json:"name"`
	Version    string          `json:"version"`
	Summary    string          `json:"summary"`
	Executable string          `json:"executable"`
	Provides   []rawProvide    `json:"provides"`
	Requires   []rawRequire    `json:"requires"`
	Gates      []rawGate       `json:"gates"`
	Deploys    []rawDeploy     `json:"deploys"`
	Config     json.RawMessage `json:"config"`
	CLI        []rawVerb       `json:"cli"`
	Ports      []rawPort       `json:"ports"`
	Shares     []rawShare      `json:"shares"`
	Uses       []string        `json:"uses"`
	StartLevel int             `json:"startLevel"`
	Resources  struct {
		Memory string  `json:"memory"`
		CPU    float64 `json:"cpu"`
		Files  int64   `json:"files"`
		Procs  int64   `json:"processes"`
	} `json:"resources"`
	Watchdog string   `json:"watchdog"`
	Modified []string `json:"modified"`
	Health   struct {
		Grace string `json:"grace"`
	} `json:"health"`
	Runtime struct {
		Java string `json:"java"`
	} `json:"runtime"`
	Restart struct {
		Budget int    `json:"budget"`
		Per    string `json:"per"`
	} `json:"restart"`
	StartTimeout string   `json:"startTimeout"`
	Privileges   []string `json:"privileges"`
	Required     bool     `json:"required"`
}

type rawProvide struct {
	Service    string            `json:"service"`
	Version    string            `json:"version"`
	Contract   string            `json:"contract"`
	Properties map[string]string `json:"properties"`
	Dynamic    bool              `json:"dynamic"`
	Count      *int              `json:"count"`
	Ranking    int               `json:"ranking"`
	Exported   bool              `json:"exported"`
}

type rawRequire struct {
	Name        string          `json:"name"`
	Service     string          `json:"service"`
	Version     string          `json:"version"`
	Cardinality string          `json:"cardinality"`
	Minimum     int             `json:"minimum"`
	Policy      string          `json:"policy"`
	Option      string          `json:"option"`
	Dynamic     bool            `json:"dynamic"`
	Greedy      bool            `json:"greedy"`
	Grace       string          `json:"grace"`
	Contract    string          `json:"contract"`
	Filter      json.RawMessage `json:"filter"`
}

// cardinalities are the words of component.yaml.
var cardinalities = map[string]component.Cardinality{
	"0..1": component.Optional, "1..1": component.Mandatory, "0..n": component.Multiple, "1..n": component.AtLeast1, "1..1 at start": component.AtStart,
}

type rawDeploy struct{ Type, Directory, Suffix string }

type rawVerb struct{ Verb, Summary string }

type rawPort struct {
	Name string
	Port int
	Host string
}

type rawShare struct{ Name, Mode string }

// ParseDescriptor reads a component.yaml. All its faults come back as one error, each with the file's name and its line.
func ParseDescriptor(file string, data []byte) (*component.Descriptor, error) {
	doc, err := strictyaml.Parse(file, data)
	if err != nil {
		return nil, err
	}
	sch, err := descriptorSchema()
	if err != nil {
		return nil, err
	}
	if faults := sch.Check(doc); len(faults) > 0 {
		return nil, join(faults)
	}
	var r raw
	full := &strictyaml.Document{File: file, Value: sch.Defaults(doc.Value)}
	if err := full.Decode(&r); err != nil {
		return nil, ErrDescriptor.Wrap(err, "the descriptor cannot be read").At(file, 0, 0)
	}
	b := &builder{doc: doc, file: file}
	d := b.build(&r)
	if len(b.faults) > 0 {
		return nil, join(b.faults)
	}
	return d, nil
}

// descriptors remembers what was parsed: packages are scanned at every change of anything, and descriptors seldom are what changed.
var descriptors descriptorCache

// descriptorCache has the last good content of each file. It is safe for concurrent use.
type descriptorCache struct {
	mu     sync.Mutex
	byFile map[string]parsed
}

type parsed struct {
	data string
	d    *component.Descriptor
}

// parse is ParseDescriptor; the descriptor is the caller's own, what it refers to is shared.
func (c *descriptorCache) parse(file string, data []byte) (*component.Descriptor, error) {
	c.mu.Lock()
	have := c.byFile[file]
	c.mu.Unlock()
	if have.d == nil || have.data != string(data) {
		d, err := ParseDescriptor(file, data)
		if err != nil {
			return nil, err
		}
		have = parsed{string(data), d}
		c.mu.Lock()
		if c.byFile == nil {
			c.byFile = map[string]parsed{}
		}
		c.byFile[file] = have
		c.mu.Unlock()
	}
	own := *have.d
	return &own, nil
}

// join makes one error of several, the first first.
func join(faults []*cause.Error) error {
	errs := make([]error, len(faults))
	for i, f := range faults {
		errs[i] = f
	}
	return errors.Join(errs...)
}

// builder checks what a schema can't say, and keeps every fault it meets.
type builder struct {
	doc    *strictyaml.Document
	file   string
	faults []*cause.Error
}

func (b *builder) fault(path []string, format string, args ...any) {
	p := b.doc.At(path...)
	b.faults = append(b.faults, ErrDescriptor.New(format, args...).At(b.file, p.Line, p.Column))
}

func (b *builder) build(r *raw) *component.Descriptor {
	d := &component.Descriptor{
		Name: r.Name, Version: b.version(r.Version, "version"), Summary: r.Summary, Executable: r.Executable,
		Config: b.config(r), StartLevel: r.StartLevel, Privileges: r.Privileges, Required: r.Required, File: b.file,
		Restart: component.Restart{Budget: r.Restart.Budget, Per: b.duration(r.Restart.Per, "restart", "per")},
		Resources: component.Resources{
			Memory: b.bytes(r.Resources.Memory), CPU: int64(r.Resources.CPU*1000 + 0.5), Files: r.Resources.Files,
			Processes: r.Resources.Procs,
		},
	}
	if r.Runtime.Java != "" {
		var err error
		if d.Runtime.Java, err = semver.NewConstraint(r.Runtime.Java); err != nil {
			b.fault([]string{"runtime", "java"}, "%q is no range of versions: %s", r.Runtime.Java, err)
		}
	}
	if r.Watchdog != "" {
		d.Watchdog = b.duration(r.Watchdog, "watchdog")
	}
	if r.Health.Grace != "" {
		d.HealthGrace = b.duration(r.Health.Grace, "health", "grace")
	}
	if r.StartTimeout != "" {
		d.StartTimeout = b.duration(r.StartTimeout, "startTimeout")
	}
	d.Modified = b.modified(r)
	b.services(r, d)
	b.gates(r, d)
	b.parts(r, d)
	return d
}

func (b *builder) services(r *raw, d *component.Descriptor) {
	for i, p := range r.Provides {
		at := strconv.Itoa(i)
		d.Provides = append(d.Provides, component.Provide{
			Service: p.Service, Version: b.version(p.Version, "provides", at, "version"), Contract: p.Contract,
			Properties: p.Properties, Dynamic: p.Dynamic, Count: b.count(p, at), Ranking: p.Ranking, Exported: p.Exported,
			Line: b.doc.At("provides", at).Line,
		})
	}
	b.unique("requires", "name", len(r.Requires), func(i int) string { return r.Requires[i].Name })
	for i, q := range r.Requires {
		at := strconv.Itoa(i)
		req := component.Require{
			Name: q.Name, Service: q.Service, Contract: q.Contract, Line: b.doc.At("requires", at).Line, Cardinality: cardinalities[q.Cardinality],
			Static: q.Policy == "static", Reluctant: q.Option == "reluctant", Filter: b.filter(q.Filter, "requires", at, "filter"),
		}
		if q.Minimum > 0 {
			if req.Cardinality.Max != component.Many {
				b.fault([]string{"requires", at, "minimum"}, "minimum is for the cardinalities 0..n and 1..n, not for %s", q.Cardinality)
			}
			req.Cardinality.Min = max(req.Cardinality.Min, q.Minimum)
		}
		if q.Grace != "" {
			if _, _, health := component.HealthCondition(q.Service); !health {
				b.fault([]string{"requires", at, "grace"}, "grace is for references to a health: health:<component>=ok")
			}
			req.Grace = b.duration(q.Grace, "requires", at, "grace")
		}
		if q.Version != "" {
			v, err := component.ParseRange(q.Version)
			if err != nil {
				b.fault([]string{"requires", at, "version"}, "%s", err)
			}
			req.Versions = v
		}
		d.Requires = append(d.Requires, req)
	}
}

// count is how many registrations an entry of `provides` brings.
func (b *builder) count(p rawProvide, at string) int {
	switch {
	case p.Count != nil && !p.Dynamic:
		b.fault([]string{"provides", at, "count"}, "count is for `dynamic: true`; other services are published once")
	case p.Count != nil:
		return *p.Count
	case p.Dynamic:
		return 0
	}
	return 1
}

func (b *builder) parts(r *raw, d *component.Descriptor) {
	b.unique("deploys", "type", len(r.Deploys), func(i int) string { return r.Deploys[i].Type })
	for _, x := range r.Deploys {
		d.Deploys = append(d.Deploys, component.Deploy(x))
	}
	b.unique("cli", "verb", len(r.CLI), func(i int) string { return r.CLI[i].Verb })
	for _, x := range r.CLI {
		d.CLI = append(d.CLI, component.Verb(x))
	}
	b.unique("ports", "name", len(r.Ports), func(i int) string { return r.Ports[i].Name })
	for _, x := range r.Ports {
		d.Ports = append(d.Ports, component.Port(x))
	}
	for i, x := range r.Privileges {
		if _, err := component.ParsePrivilege(x); err != nil {
			b.fault([]string{"privileges", strconv.Itoa(i)}, "%s", err)
		}
	}
	b.unique("shares", "name", len(r.Shares), func(i int) string { return r.Shares[i].Name })
	for _, x := range r.Shares {
		d.Shares = append(d.Shares, component.Share{Name: x.Name, Write: x.Mode == "rw"})
	}
	for i, x := range r.Uses {
		who, share, _ := strings.Cut(x, "/")
		if who == r.Name {
			b.fault([]string{"uses", strconv.Itoa(i)}, "%s needs no `uses` for a share of its own", r.Name)
		}
		d.Uses = append(d.Uses, component.Use{Component: who, Share: share})
	}
}

// unique reports a second entry of a list with the same key.
func (b *builder) unique(list, key string, n int, get func(int) string) {
	first := map[string]int{}
	for i := range n {
		if j, twice := first[get(i)]; twice {
			b.fault([]string{list, strconv.Itoa(i), key}, "%s %q stands twice under %s; the first is in line %d",
				key, get(i), list, b.doc.At(list, strconv.Itoa(j)).Line)
			continue
		}
		first[get(i)] = i
	}
}

func (b *builder) version(s string, path ...string) *semver.Version {
	v, err := semver.StrictNewVersion(s)
	if err != nil {
		b.fault(path, "%q is no version: %s", s, err)
		return semver.New(0, 0, 0, "", "")
	}
	return v
}

func (b *builder) duration(s string, path ...string) time.Duration {
	if s == "" {
		return component.DefaultRestart.Per
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		b.fault(path, "%q is no time: %s", s, err)
	}
	return d
}

// bytes reads a size of the form that the schema admits.
func (b *builder) bytes(s string) int64 {
	if s == "" {
		return 0
	}
	unit := map[string]int64{"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}[s[len(s)-3:]]
	n, err := strconv.ParseInt(s[:len(s)-3], 10, 64)
	if err != nil || unit == 0 {
		b.fault([]string{"resources", "memory"}, "%q is no size", s)
	}
	return n * unit
}

// filter reads a filter in either of its forms. The place is that of the filter's text in the file; the position within it is in the
// message.
func (b *builder) filter(raw json.RawMessage, path ...string) *filter.Filter {
	f, err := component.FilterOf(raw)
	if err != nil {
		b.fault(path, "%s", err)
	}
	return f
}

// config gives the schema of the configuration as an object schema, compiled once to be sure of it.
func (b *builder) config(r *raw) json.RawMessage {
	if len(r.Config) == 0 {
		return json.RawMessage(`{"type":"object","properties":{}}`)
	}
	m, ok := b.doc.Value.(map[string]any)["config"].(map[string]any)
	if !ok {
		b.fault([]string{"config"}, "the configuration's schema is no object")
		return nil
	}
	m = maps.Clone(m)
	if t, ok := m["type"]; ok && t != "object" {
		b.fault([]string{"config", "type"}, "a component's configuration is an object, not %v", t)
		return nil
	}
	if props, ok := m["properties"].(map[string]any); ok && props[component.ReferencesKey] != nil {
		b.fault([]string{"config", "properties", component.ReferencesKey},
			"the key %q is the kernel's: it changes what `requires` asks for", component.ReferencesKey)
		return nil
	}
	m["type"] = "object"
	out, err := json.Marshal(m)
	if err == nil {
		_, err = schema.Compile(fmt.Sprintf("%s.config", r.Name), out)
	}
	if err != nil {
		p := b.doc.At("config")
		b.faults = append(b.faults, ErrDescriptor.Wrap(err, "the configuration's schema is wrong").At(b.file, p.Line, p.Column))
	}
	return out
}
