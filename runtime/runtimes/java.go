// Package runtimes finds the language runtimes that components need on this machine. It must not know components: it is asked for a
// runtime of a version, and says what it found.
package runtimes

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/Masterminds/semver/v3"
	"golang.org/x/sys/unix"

	"carbonado.dev/carbonado/runtime/config/strictyaml"
	"carbonado.dev/sdk/cause"
)

// Errors of this room.
var (
	ErrMissing = cause.Define("CBN-SUP-070", "A component needs a language runtime that is not there.",
		"Install it, or name it: `java: /path/of/bin/java` in repository/conf/runtimes.yaml, or CARBONADO_JAVA at the server's start.")
	ErrConfig = cause.Define("CBN-CFG-070", "repository/conf/runtimes.yaml can't be read.", "Correct the line that is named.")
)

// JavaEnv names the Java to take first; it is also how a component learns which one was found.
const JavaEnv = "CARBONADO_JAVA"

// configFile, below the installation's folder, may name runtimes.
const configFile = "repository/conf/runtimes.yaml"

// askMost is how long `java -version` may take. A loaded machine needs a second.
const askMost = 20 * time.Second

// Java is a Java on this machine.
type Java struct {
	// Path is the executable, symbolic links resolved.
	Path    string
	Version *semver.Version
}

// Finder looks for runtimes and remembers what it saw of each file. Safe for concurrent use.
type Finder struct {
	// Home is the installation's folder.
	Home string
	// Getenv is the environment; nil is the process's.
	Getenv func(string) string

	mu    sync.Mutex // guards known
	known map[identity]answer
}

// identity is a file with one content.
type identity struct {
	dev, ino    uint64
	size, mtime int64
}

type answer struct {
	version *semver.Version
	err     error
}

// Java finds the first Java that suits: CARBONADO_JAVA, then the configuration's, JAVA_HOME, PATH. The error says what was found instead.
func (f *Finder) Java(ctx context.Context, who string, want *semver.Constraints) (*Java, error) {
	places, err := f.places()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, p := range places {
		path, err := filepath.EvalSymlinks(p.path)
		if err != nil {
			if p.named {
				found = append(found, fmt.Sprintf("%s names %s, which is not there", p.by, p.path))
			}
			continue
		}
		version, err := f.version(ctx, path)
		switch {
		case err != nil:
			found = append(found, fmt.Sprintf("%s (%s), which does not say its version: %s", p.path, p.by, err))
		case want.Check(version):
			return &Java{Path: path, Version: version}, nil
		default:
			found = append(found, fmt.Sprintf("%s (Java %s, %s)", p.path, version, p.by))
		}
	}
	if len(found) == 0 {
		return nil, ErrMissing.New("%s needs Java %s; none was found by CARBONADO_JAVA, runtimes.yaml, JAVA_HOME or PATH", who, want)
	}
	return nil, ErrMissing.New("%s needs Java %s; found %s", who, want, strings.Join(found, ", "))
}

type place struct {
	path, by string
	named    bool // somebody named it: that it is missing is worth a word
}

func (f *Finder) places() ([]place, error) {
	getenv := f.Getenv
	if getenv == nil {
		getenv = os.Getenv
	}
	var out []place
	if p := getenv(JavaEnv); p != "" {
		out = append(out, place{p, JavaEnv, true})
	}
	configured, err := f.configured()
	if err != nil {
		return nil, err
	}
	if configured != "" {
		out = append(out, place{configured, "runtimes.yaml", true})
	}
	if h := getenv("JAVA_HOME"); h != "" {
		out = append(out, place{filepath.Join(h, "bin", "java"), "JAVA_HOME", true})
	}
	for _, dir := range filepath.SplitList(getenv("PATH")) {
		if filepath.IsAbs(dir) {
			out = append(out, place{filepath.Join(dir, "java"), "PATH", false})
		}
	}
	return out, nil
}

func (f *Finder) configured() (string, error) {
	file := filepath.Join(f.Home, configFile)
	data, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", ErrConfig.Wrap(err, "%s", file)
	}
	doc, err := strictyaml.Parse(configFile, data)
	if err != nil {
		return "", err
	}
	values, _ := doc.Value.(map[string]any)
	for key, v := range values {
		path, ok := v.(string)
		if key != "java" || !ok || !filepath.IsAbs(path) {
			pos := doc.At(key)
			return "", ErrConfig.New("%q: the one key is java, an absolute path", key).At(configFile, pos.Line, pos.Column)
		}
		return path, nil
	}
	return "", nil
}

// version asks a Java for its version, once per content of the file.
func (f *Finder) version(ctx context.Context, path string) (*semver.Version, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, err
	}
	id := identity{st.Dev, st.Ino, st.Size, st.Mtim.Nano()}
	f.mu.Lock()
	a, ok := f.known[id]
	f.mu.Unlock()
	if ok {
		return a.version, a.err
	}
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	a.version, a.err = ask(ctx, path)
	if ctx.Err() != nil {
		return nil, ctx.Err() // it was not asked to the end
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.known == nil {
		f.known = map[identity]answer{}
	}
	f.known[id] = a
	return a.version, a.err
}

var (
	property = regexp.MustCompile(`(?m)^\s*java\.version = (\S+)`)
	numbers  = regexp.MustCompile(`^(?:1\.)?(\d+)(?:\.(\d+))?(?:\.(\d+))?(?:_(\d+))?`)
)

func ask(ctx context.Context, path string) (*semver.Version, error) {
	cmd := exec.CommandContext(ctx, path, "-XshowSettings:properties", "-version")
	cmd.Env = []string{"LANG=C.UTF-8"}
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	if m := property.FindSubmatch(out); m != nil {
		return parse(string(m[1]))
	}
	if err == nil {
		err = errors.New("it says nothing of java.version")
	}
	return nil, err
}

// parse reads a version as Java writes it: 17.0.15, 21, 22-ea, and 1.8.0_392 which is 8.
func parse(text string) (*semver.Version, error) {
	old := strings.HasPrefix(text, "1.")
	m := numbers.FindStringSubmatch(text)
	if m == nil {
		return nil, fmt.Errorf("%q is no version of Java", text)
	}
	minor, patch := m[2], m[3]
	if old && m[4] != "" {
		minor, patch = "0", m[4]
	}
	for _, p := range []*string{&minor, &patch} {
		if *p == "" {
			*p = "0"
		}
	}
	return semver.NewVersion(m[1] + "." + minor + "." + patch)
}
