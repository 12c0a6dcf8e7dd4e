package config

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"carbonado.dev/carbonado/runtime/config/strictyaml"
	"carbonado.dev/sdk/cause"
)

// The kinds of error of placeholders.
var (
	ErrPlaceholder = cause.Define("CBN-CFG-020", "A placeholder cannot be resolved.",
		"Placeholders are ${secret:alias}, ${env:NAME}, ${file:PATH}, ${carbon.home} and names given with -D; write $${ for a plain ${.")
	ErrSecrets = cause.Define("CBN-CFG-021", "The file of secrets cannot be used.",
		"repository/resources/security/secrets.yaml holds `alias: value`, and only its owner may read it (chmod 600).")
)

// SecretsFile is where secrets lie in an installation; messages name it so.
const SecretsFile = "repository/resources/security/secrets.yaml"

// maxValueFile bounds a file that ${file:PATH} reads into a value.
const maxValueFile = 64 << 10

// expander resolves placeholders. It is made for one Load and not safe for concurrent use.
type expander struct {
	home    string
	env     func(string) (string, bool)
	props   map[string]string
	secrets map[string]string
	loaded  bool
	files   []string // that ${file:PATH} named
}

// expand resolves every placeholder in s. The second result tells whether there was one.
func (x *expander) expand(s string) (string, bool, error) {
	if !strings.Contains(s, "${") {
		return s, false, nil
	}
	var b strings.Builder
	found := false
	for rest := s; ; {
		i := strings.Index(rest, "${")
		if i < 0 {
			b.WriteString(rest)
			return b.String(), found, nil
		}
		if i > 0 && rest[i-1] == '$' {
			b.WriteString(rest[:i-1])
			b.WriteString("${")
			rest = rest[i+2:]
			continue
		}
		b.WriteString(rest[:i])
		name, after, closed := strings.Cut(rest[i+2:], "}")
		if !closed {
			return "", false, ErrPlaceholder.New("%q has no closing }", rest[i:])
		}
		v, err := x.lookup(name)
		if err != nil {
			return "", false, err
		}
		b.WriteString(v)
		found, rest = true, after
	}
}

func (x *expander) lookup(name string) (string, error) {
	if kind, arg, ok := strings.Cut(name, ":"); ok {
		switch kind {
		case "secret":
			return x.secret(arg)
		case "env":
			if v, ok := x.env(arg); ok {
				return v, nil
			}
			return "", ErrPlaceholder.New("${%s}: the environment of the server has no %s", name, arg)
		case "file":
			return x.file(arg)
		}
		return "", ErrPlaceholder.New("${%s}: there is no kind of placeholder %q", name, kind)
	}
	if v, ok := x.props[name]; ok {
		return v, nil
	}
	if name == "carbon.home" {
		return x.home, nil
	}
	return "", ErrPlaceholder.New("${%s} names nothing", name)
}

// secret looks an alias up in the file of secrets, which is read once.
func (x *expander) secret(alias string) (string, error) {
	if !x.loaded {
		secrets, err := readSecrets(filepath.Join(x.home, SecretsFile))
		if err != nil {
			return "", err
		}
		x.secrets, x.loaded = secrets, true
	}
	v, ok := x.secrets[alias]
	if !ok {
		return "", ErrPlaceholder.New("${secret:%s}: %s has no such alias", alias, SecretsFile).
			Fix("Add a line `%s: …` to %s.", alias, SecretsFile)
	}
	return v, nil
}

func readSecrets(path string) (map[string]string, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, ErrSecrets.Wrap(err, "the file cannot be read").At(SecretsFile, 0, 0)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, ErrSecrets.Wrap(err, "the file cannot be read").At(SecretsFile, 0, 0)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, ErrSecrets.New("others than its owner may read the file (mode %04o)", info.Mode().Perm()).At(SecretsFile, 0, 0)
	}
	data, err := io.ReadAll(io.LimitReader(f, strictyaml.MaxBytes+1))
	if err != nil {
		return nil, ErrSecrets.Wrap(err, "the file cannot be read").At(SecretsFile, 0, 0)
	}
	doc, err := strictyaml.Parse(SecretsFile, data)
	if err != nil {
		return nil, err
	}
	secrets := map[string]string{}
	m, _ := doc.Value.(map[string]any)
	for alias, v := range m {
		s, ok := v.(string)
		if !ok {
			p := doc.At(alias)
			return nil, ErrSecrets.New("the value of %s is no text", alias).At(SecretsFile, p.Line, p.Column).Fix("Put the value in quotes.")
		}
		secrets[alias] = s
	}
	return secrets, nil
}

// file reads a small file as a value, without the line break at its end. A relative path is below the installation.
func (x *expander) file(path string) (string, error) {
	full := path
	if !filepath.IsAbs(path) {
		full = filepath.Join(x.home, path)
	}
	x.files = append(x.files, full)
	f, err := os.Open(full)
	if err != nil {
		return "", ErrPlaceholder.Wrap(err, "${file:%s} cannot be read", path)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxValueFile+1))
	if err != nil {
		return "", ErrPlaceholder.Wrap(err, "${file:%s} cannot be read", path)
	}
	if len(data) > maxValueFile {
		return "", ErrPlaceholder.New("${file:%s} has more than %d bytes", path, maxValueFile)
	}
	return strings.TrimSuffix(strings.TrimSuffix(string(data), "\n"), "\r"), nil
}
