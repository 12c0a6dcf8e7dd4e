package profile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"carbonado.dev/carbonado/runtime/config/strictyaml"
	"carbonado.dev/carbonado/runtime/durable"
	"go.yaml.in/yaml/v3"
)

// RulesFile is where the lasting rules lie in an installation; messages name it so.
const RulesFile = "repository/data/kernel/rules.yaml"

// Rule is one lasting rule of the operator: a component stays disabled until it is enabled again.
type Rule struct {
	Component string
	// By is who made it, Since when.
	By    string
	Since time.Time
	File  string
	Line  int
}

// Rules keeps the operator's lasting rules on disk. It is safe for concurrent use within the one process that writes them.
type Rules struct {
	path string
	mu   sync.Mutex // one change at a time
}

// RulesAt gives the rules of the installation in home. The file need not exist.
func RulesAt(home string) *Rules { return &Rules{path: filepath.Join(home, RulesFile)} }

type ruleEntry struct {
	By    string    `json:"by" yaml:"by"`
	Since time.Time `json:"since" yaml:"since"`
}

// List reads the rules, by component. No file is no rules.
func (r *Rules) List() ([]Rule, error) {
	data, err := os.ReadFile(r.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ErrRules.Wrap(err, "the rules cannot be read").At(RulesFile, 0, 0)
	}
	doc, err := strictyaml.Parse(RulesFile, data)
	if err != nil {
		return nil, ErrRules.Wrap(err, "the rules cannot be read").At(RulesFile, 0, 0)
	}
	var file struct {
		Disabled map[string]ruleEntry `json:"disabled"`
	}
	if err := doc.Decode(&file); err != nil {
		return nil, ErrRules.Wrap(err, "the rules cannot be understood").At(RulesFile, 0, 0)
	}
	var out []Rule
	for _, name := range sortedKeys(file.Disabled) {
		e := file.Disabled[name]
		out = append(out, Rule{name, e.By, e.Since, RulesFile, doc.KeyAt("disabled", name).Line})
	}
	return out, nil
}

// Disable makes a component stay disabled. It is on disk when it returns. Disabling twice keeps the first rule.
func (r *Rules) Disable(name, by string, now time.Time) error {
	return r.change(func(rules []Rule) []Rule {
		if slices.ContainsFunc(rules, func(x Rule) bool { return x.Component == name }) {
			return rules
		}
		return append(rules, Rule{Component: name, By: by, Since: now.UTC().Truncate(time.Second)})
	})
}

// Enable removes the rule of a component. It tells whether there was one.
func (r *Rules) Enable(name string) (was bool, err error) {
	err = r.change(func(rules []Rule) []Rule {
		left := slices.DeleteFunc(slices.Clone(rules), func(x Rule) bool { return x.Component == name })
		was = len(left) < len(rules)
		return left
	})
	return was, err
}

func (r *Rules) change(change func([]Rule) []Rule) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	have, err := r.List()
	if err != nil {
		return err
	}
	want := change(have)
	if len(want) == len(have) {
		return nil
	}
	entries := map[string]ruleEntry{}
	for _, x := range want {
		entries[x.Component] = ruleEntry{x.By, x.Since}
	}
	var b bytes.Buffer
	fmt.Fprintln(&b, "# Written by the kernel: carbonado component disable NAME, carbonado component enable NAME.")
	if err := yaml.NewEncoder(&b).Encode(map[string]any{"disabled": entries}); err != nil {
		return ErrRules.Wrap(err, "the rules cannot be written").At(RulesFile, 0, 0)
	}
	if err := r.write(b.Bytes()); err != nil {
		return ErrRules.Wrap(err, "the rules cannot be written").At(RulesFile, 0, 0)
	}
	return nil
}

func (r *Rules) write(content []byte) error {
	dir, name := filepath.Split(r.path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return err
	}
	defer root.Close()
	return durable.Write(root, name, content, 0o644)
}
