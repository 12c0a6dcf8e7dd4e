package runtimes

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"
)

// fake makes a program that answers as a Java of a version; every call adds a line to its log.
func fake(t *testing.T, version string) (path, log string) {
	t.Helper()
	dir := t.TempDir()
	path, log = filepath.Join(dir, "bin", "java"), filepath.Join(dir, "log")
	if err := os.Mkdir(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("#!/bin/sh\necho asked >> %s\nprintf 'Property settings:\\n    java.home = /x\\n    java.version = %s\\n' >&2\n", log, version)
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(err)
	}
	return path, log
}

func want(t *testing.T, text string) *semver.Constraints {
	t.Helper()
	c, err := semver.NewConstraint(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestVersions(t *testing.T) {
	for text, want := range map[string]string{"17.0.15": "17.0.15", "21": "21.0.0", "22-ea": "22.0.0", "1.8.0_392": "8.0.392", "11.0.2": "11.0.2", "25.0.1+8-LTS": "25.0.1", "1.7": "7.0.0"} {
		if v, err := parse(text); err != nil || v.String() != want {
			t.Errorf("%s is %v, %v; want %s", text, v, err, want)
		}
	}
	if _, err := parse("x"); err == nil {
		t.Error("x is a version")
	}
}

func TestTheFirstThatSuitsIsTaken(t *testing.T) {
	java8, _ := fake(t, "1.8.0_392")
	java11, _ := fake(t, "11.0.2")
	java17, log17 := fake(t, "17.0.15")
	java21, _ := fake(t, "21")
	home := t.TempDir()
	env := map[string]string{}
	f := &Finder{Home: home, Getenv: func(k string) string { return env[k] }}
	take := func(path string) {
		t.Helper()
		j, err := f.Java(t.Context(), "Parrot", want(t, ">=17"))
		if path == "" {
			if !errors.Is(err, ErrMissing) {
				t.Fatalf("%v, %v", j, err)
			}
			return
		}
		if err != nil || j.Path != path {
			t.Fatalf("%+v, %v; want %s", j, err, path)
		}
	}
	take("")
	env["PATH"] = "relative:" + filepath.Dir(java11) + ":" + filepath.Dir(java17)
	take(java17)
	env["JAVA_HOME"] = filepath.Dir(filepath.Dir(java21))
	take(java21)
	if err := os.MkdirAll(filepath.Join(home, "repository", "conf"), 0o755); err != nil {
		t.Fatal(err)
	}
	conf := filepath.Join(home, configFile)
	if err := os.WriteFile(conf, []byte("java: "+java17+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	take(java17)
	env[JavaEnv] = java21
	take(java21)
	env[JavaEnv] = java8 // too old: the next place is looked at
	take(java17)

	// A file that has not changed is asked once.
	if b, _ := os.ReadFile(log17); strings.Count(string(b), "asked") != 1 {
		t.Errorf("asked: %q", b)
	}
	if err := os.WriteFile(java17, []byte("#!/bin/sh\necho '    java.version = 11.0.1'\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	delete(env, "JAVA_HOME")
	env["PATH"] = filepath.Dir(java11)
	_, err := f.Java(t.Context(), "Parrot", want(t, ">=17"))
	for _, text := range []string{"Parrot needs Java >=17", java8 + " (Java 8.0.392, CARBONADO_JAVA)", java17 + " (Java 11.0.1, runtimes.yaml)", java11 + " (Java 11.0.2, PATH)"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not say %q", err, text)
		}
	}
	if err := os.WriteFile(conf, []byte("ruby: /x\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Java(t.Context(), "Parrot", want(t, ">=17")); !errors.Is(err, ErrConfig) || !strings.Contains(err.Error(), "runtimes.yaml:1") {
		t.Errorf("a wrong key: %v", err)
	}
}

func TestWhatIsNoJava(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"silent": "#!/bin/sh\n", "fails": "#!/bin/sh\nexit 3\n"} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
		f := &Finder{Home: dir, Getenv: func(k string) string { return map[string]string{JavaEnv: path}[k] }}
		if _, err := f.Java(t.Context(), "Parrot", want(t, ">=17")); !errors.Is(err, ErrMissing) || !strings.Contains(err.Error(), "does not say its version") {
			t.Errorf("%s: %v", name, err)
		}
	}
	f := &Finder{Home: dir, Getenv: func(k string) string { return map[string]string{JavaEnv: "/nowhere/java"}[k] }}
	if _, err := f.Java(t.Context(), "Parrot", want(t, ">=17")); err == nil || !strings.Contains(err.Error(), "CARBONADO_JAVA names /nowhere/java, which is not there") {
		t.Errorf("%v", err)
	}
}
