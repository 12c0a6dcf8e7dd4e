package trust_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/Masterminds/semver/v3"

	"carbonado.dev/carbonado/runtime/trust"
	"carbonado.dev/sdk/cause"
)

func key(t *testing.T, name, password string) (file string, k *trust.Key) {
	t.Helper()
	file = filepath.Join(t.TempDir(), name)
	if _, err := trust.MakeKey(file, password); err != nil {
		t.Fatal(err)
	}
	k, err := trust.ReadKey(file, password)
	if err != nil {
		t.Fatal(err)
	}
	return file, k
}

func load(t *testing.T, home string) *trust.Policy {
	t.Helper()
	p, err := trust.Load(home)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func write(t *testing.T, file, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestDropped(t *testing.T) {
	home := t.TempDir()
	file, k := key(t, "acme", "")
	_, other := key(t, "other", "")
	content := []byte("a package")
	signed, foreign := k.Sign(content, "c"), other.Sign(content, "c")
	wrong := k.Sign([]byte("another package"), "c")
	check := func(what string, signature []byte, want *cause.Kind) {
		t.Helper()
		v, err := load(t, home).Dropped(content, signature)
		if want == nil && err != nil || want != nil && !errors.Is(err, want) {
			t.Errorf("%s: %v (%s)", what, err, v)
		}
	}
	check("unsigned", nil, trust.ErrUnsigned)
	check("before it is trusted", signed, trust.ErrUnknownSigner)
	check("no signature", []byte("hello"), trust.ErrSignature)
	before := trust.Fingerprint(home)
	if s, err := trust.Trust(home, file+".pub"); err != nil || s.Name != "acme" || s.ID != k.ID() {
		t.Fatalf("%+v %v", s, err)
	}
	if _, err := trust.Trust(home, file+".pub"); err != nil || len(load(t, home).Signers) != 1 {
		t.Errorf("trusted twice: %v", err)
	}
	if before == trust.Fingerprint(home) {
		t.Error("the fingerprint is as it was")
	}
	check("trusted", signed, nil)
	check("of other content", wrong, trust.ErrSignature)
	check("of another", foreign, trust.ErrUnknownSigner)
	check("unsigned", nil, trust.ErrUnsigned)
	check("changed comment", []byte(strings.Replace(string(signed), "trusted comment: c", "trusted comment: d", 1)), trust.ErrSignature)
	v, err := load(t, home).Judge(content, signed)
	if err != nil || v.Signer == nil || v.String() != "signed by acme ("+k.ID()+")" {
		t.Errorf("%s %v", v, err)
	}

	write(t, filepath.Join(home, trust.PolicyFile), "dropins: {unsigned: accept, unknownSigner: accept}\n")
	check("unsigned, allowed", nil, nil)
	check("unknown, allowed", foreign, nil)
	check("of other content, whatever is allowed", wrong, trust.ErrSignature)
	write(t, filepath.Join(home, trust.PolicyFile), "")

	if _, err := trust.Distrust(home, "nobody"); !errors.Is(err, trust.ErrNoSigner) {
		t.Error(err)
	}
	for _, who := range []string{"acme", strings.ToLower(k.ID()), file + ".pub"} {
		if _, err := trust.Trust(home, file+".pub"); err != nil {
			t.Fatal(err)
		}
		if s, err := trust.Distrust(home, who); err != nil || s.Name != "acme" {
			t.Errorf("%s: %+v %v", who, s, err)
		}
		check("no longer trusted", signed, trust.ErrUnknownSigner)
	}
}

// TestTwoKeysOfOneName: the second gets another name, and none is lost.
func TestTwoKeysOfOneName(t *testing.T) {
	home := t.TempDir()
	a, _ := key(t, "acme", "")
	b, kb := key(t, "acme", "")
	for _, f := range []string{a, b} {
		if _, err := trust.Trust(home, f+".pub"); err != nil {
			t.Fatal(err)
		}
	}
	p := load(t, home)
	if len(p.Signers) != 2 || p.Signers[0].Name != "acme-"+kb.ID() || p.Signers[1].Name != "acme" {
		t.Errorf("%+v", p.Signers)
	}
}

func TestPolicyFile(t *testing.T) {
	for text, want := range map[string]string{
		"minimum: {Hello: {version: 1.2}}\n":                    "version",
		"minimum:\n  Hello: {version: 1.2.x}\n":                 "packages.yaml:2:",
		"dropins: {unsigned: maybe}\n":                          "packages.yaml:1:",
		"dropin: {}\n":                                          "dropin",
		"minimum: {A: {version: 1.0.0}, A: {version: 2.0.0}}\n": "twice",
	} {
		home := t.TempDir()
		write(t, filepath.Join(home, trust.PolicyFile), text)
		if _, err := trust.Load(home); !errors.Is(err, trust.ErrPolicy) || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", text, err)
		}
	}
	home := t.TempDir()
	write(t, filepath.Join(home, trust.PolicyFile), "minimum:\n  Hello:\n    version: 1.2.0\n    reason: it let anyone in\n")
	p := load(t, home)
	for v, barred := range map[string]bool{"1.1.9": true, "1.2.0-rc.1": true, "1.2.0": false, "2.0.0": false} {
		err := p.CheckVersion("Hello", semver.MustParse(v))
		if errors.Is(err, trust.ErrBarred) != barred || barred && !strings.Contains(err.Error(), "it let anyone in") {
			t.Errorf("%s: %v", v, err)
		}
	}
	if err := p.CheckVersion("Other", semver.MustParse("0.0.1")); err != nil {
		t.Error(err)
	}
	// A signer that can't be read is nobody's: nothing is trusted by mistake.
	write(t, filepath.Join(home, trust.SignersFolder, "x.pub"), "hello")
	if _, err := trust.Load(home); !errors.Is(err, trust.ErrPolicy) {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	file, plain := key(t, "k", "")
	if _, err := trust.MakeKey(file, ""); !errors.Is(err, trust.ErrKey) {
		t.Errorf("a key was overwritten: %v", err)
	}
	for _, f := range []string{file} {
		data, err := os.ReadFile(f)
		if err != nil || !trust.IsSecretKey(data) {
			t.Errorf("%s is not seen as a secret key: %v", f, err)
		}
		public, err := os.ReadFile(f + ".pub")
		if err != nil || trust.IsSecretKey(public) {
			t.Errorf("%s.pub: %v", f, err)
		}
	}
	if err := os.Chmod(file, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := trust.ReadKey(file, ""); !errors.Is(err, trust.ErrKey) || !strings.Contains(err.Error(), "others") {
		t.Error(err)
	}
	if _, err := trust.ReadPublic(file); !errors.Is(err, trust.ErrKey) {
		t.Error("a secret key was read as a public one")
	}
	s, err := trust.ReadPublic(file + ".pub")
	if err != nil || s.ID != plain.ID() {
		t.Errorf("%+v %v", s, err)
	}
	if v, err := trust.Only(s).Dropped([]byte("x"), plain.Sign([]byte("x"), "")); err != nil || v.Signer == nil {
		t.Error(v, err)
	}
}
