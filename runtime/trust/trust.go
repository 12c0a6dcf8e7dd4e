// Package trust decides whose packages an installation takes: the signers that an operator trusts, what happens to packages of others,
// and the least versions that may still run. It must not know archives, components or what is done with a decision.
package trust

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"aead.dev/minisign"
	"github.com/Masterminds/semver/v3"

	"carbonado.dev/carbonado/runtime/config/schema"
	"carbonado.dev/carbonado/runtime/config/strictyaml"
	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
	"google.golang.org/grpc/codes"
)

// The kinds of error of trust.
var (
	ErrUnsigned = cause.Define("CBN-PKG-040", "A package is not signed.",
		"Sign it with `carbonado plugin sign FILE --key KEY`, or allow unsigned packages in repository/conf/packages.yaml.").Code(codes.PermissionDenied)
	ErrUnknownSigner = cause.Define("CBN-PKG-041", "Nobody here trusts the signer of a package.",
		"If you know the signer: `carbonado plugin trust PUB` with the signer's public key file.").Code(codes.PermissionDenied)
	ErrSignature = cause.Define("CBN-PKG-042", "A package's signature is not of its content.",
		"Don't use the package: fetch it anew, or have it signed anew.").Code(codes.PermissionDenied)
	ErrBarred = cause.Define("CBN-PKG-043", "A version of a component is barred.",
		"Install a later version; repository/conf/packages.yaml says from which on, and why.").Code(codes.PermissionDenied)
	ErrPolicy = cause.Define("CBN-PKG-044", "The rules for packages can't be read.",
		"Correct the file that is named; until then no dropped package is taken.")
	ErrKey = cause.Define("CBN-PKG-045", "A key file can't be used.",
		"Keys are made with `carbonado plugin keygen -o FILE` or with minisign.").Code(codes.InvalidArgument)
	ErrNoSigner = cause.Define("CBN-PKG-046", "No such signer is trusted.", "See `carbonado plugin trust ls`.").Code(codes.NotFound)
)

// Where the rules lie in an installation.
const (
	// PolicyFile need not exist: then the defaults hold.
	PolicyFile = "repository/conf/packages.yaml"
	// SignersFolder has one public key file, NAME.pub, for each trusted signer.
	SignersFolder = "repository/conf/signers"
)

// Limits of files that are read here.
const (
	maxKey    = 4 << 10
	maxPolicy = 1 << 20
)

// SchemaJSON is the JSON Schema of packages.yaml.
//
//go:embed packages.schema.json
var SchemaJSON []byte

var policySchema = sync.OnceValues(func() (*schema.Schema, error) { return schema.Compile("packages.schema.json", SchemaJSON) })

// Signer is one trusted public key.
type Signer struct {
	// Name is the key file's name without its suffix.
	Name string
	// ID is the key's, sixteen hexadecimal digits, as minisign prints it.
	ID  string
	key minisign.PublicKey
}

// Least is the lowest version of a component that may be installed or run.
type Least struct {
	Version *semver.Version
	Reason  string
	Line    int
}

// Policy is what was read from an installation. It is read-only.
type Policy struct {
	Signers []Signer
	// Unsigned and Unknown tell whether dropped packages without a signature, or of an unknown signer, are taken.
	Unsigned, Unknown bool
	Least             map[string]Least
}

// Load reads the rules of the installation in home. A file that can't be understood is an error: nothing is trusted by mistake.
func Load(home string) (*Policy, error) {
	p := &Policy{Least: map[string]Least{}}
	if err := p.readFile(filepath.Join(home, PolicyFile)); err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(filepath.Join(home, SignersFolder))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, ErrPolicy.Wrap(err, "the folder of trusted signers can't be read")
	}
	for _, e := range entries {
		name, ok := strings.CutSuffix(e.Name(), ".pub")
		if !ok || strings.HasPrefix(name, ".") {
			continue
		}
		s, err := ReadPublic(filepath.Join(home, SignersFolder, e.Name()))
		if err != nil {
			return nil, ErrPolicy.Wrap(err, "a trusted signer can't be read").At(path.Join(SignersFolder, e.Name()), 0, 0)
		}
		s.Name = name
		p.Signers = append(p.Signers, s)
	}
	return p, nil
}

func (p *Policy) readFile(file string) error {
	data, err := readSmall(file, maxPolicy)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return ErrPolicy.Wrap(err, "the file can't be read").At(PolicyFile, 0, 0)
	}
	doc, err := strictyaml.Parse(PolicyFile, data)
	if err != nil {
		return ErrPolicy.Wrap(err, "the file is not right")
	}
	sch, err := policySchema()
	if err != nil {
		return err
	}
	if faults := sch.Check(doc); len(faults) > 0 {
		return ErrPolicy.Wrap(faults[0], "the file is not right")
	}
	var raw struct {
		Dropins struct{ Unsigned, UnknownSigner string }
		Minimum map[string]struct{ Version, Reason string }
	}
	if err := doc.Decode(&raw); err != nil {
		return ErrPolicy.Wrap(err, "the file is not right").At(PolicyFile, 0, 0)
	}
	p.Unsigned, p.Unknown = raw.Dropins.Unsigned == "accept", raw.Dropins.UnknownSigner == "accept"
	for name, m := range raw.Minimum {
		v, err := semver.StrictNewVersion(m.Version)
		at := doc.At("minimum", name, "version")
		if err != nil {
			return ErrPolicy.Wrap(err, "%q is no version", m.Version).At(PolicyFile, at.Line, at.Column)
		}
		p.Least[name] = Least{v, m.Reason, at.Line}
	}
	return nil
}

// CheckVersion refuses a version below the least one of its component.
func (p *Policy) CheckVersion(name string, v *semver.Version) error {
	least, ok := p.Least[name]
	if !ok || !v.LessThan(least.Version) {
		return nil
	}
	reason := ""
	if least.Reason != "" {
		reason = ": " + least.Reason
	}
	return ErrBarred.New("%s %s is barred, %s is the least version%s", name, v, least.Version, reason).At(PolicyFile, least.Line, 0)
}

// Verdict is what is known about a signature.
type Verdict struct {
	// Signed tells whether there is one, Key whose it says to be (sixteen hexadecimal digits).
	Signed bool
	Key    string
	// Signer is the trusted signer whose signature it is; nil for an unknown one.
	Signer *Signer
}

func (v Verdict) String() string {
	switch {
	case !v.Signed:
		return "unsigned"
	case v.Signer == nil:
		return "signed by " + v.Key + ", who is not trusted"
	}
	return "signed by " + v.Signer.Name + " (" + v.Key + ")"
}

// Judge looks at a signature of content; an empty one is none. A signature by a trusted key that is not of this content is an error of
// kind ErrSignature, as is one that is no signature at all.
func (p *Policy) Judge(content, signature []byte) (Verdict, error) {
	if len(signature) == 0 {
		return Verdict{}, nil
	}
	var s minisign.Signature
	if err := s.UnmarshalText(signature); err != nil {
		return Verdict{}, ErrSignature.Wrap(err, "the signature can't be read")
	}
	v := Verdict{Signed: true, Key: keyID(s.KeyID)}
	for i := range p.Signers {
		if p.Signers[i].key.ID() != s.KeyID {
			continue
		}
		if !minisign.Verify(p.Signers[i].key, content, signature) {
			return v, ErrSignature.New("the signature says to be of %s (%s), but it is not of this content", p.Signers[i].Name, v.Key)
		}
		v.Signer = &p.Signers[i]
	}
	return v, nil
}

// Dropped decides about a dropped package: unsigned ones and those of unknown signers are refused unless the rules say otherwise.
func (p *Policy) Dropped(content, signature []byte) (Verdict, error) {
	v, err := p.Judge(content, signature)
	switch {
	case err != nil:
		return v, err
	case !v.Signed && !p.Unsigned:
		return v, ErrUnsigned.New("the package is not signed")
	case v.Signed && v.Signer == nil && !p.Unknown:
		return v, ErrUnknownSigner.New("the package is signed with the key %s, which is not trusted here", v.Key)
	}
	return v, nil
}

// Fingerprint changes when any rule does. It is cheap: nothing but the files' states is looked at.
func Fingerprint(home string) string {
	var b strings.Builder
	note := func(file string) {
		if info, err := os.Stat(file); err == nil {
			fmt.Fprintf(&b, "%s %d %d\n", file, info.Size(), info.ModTime().UnixNano())
		}
	}
	note(filepath.Join(home, PolicyFile))
	entries, _ := os.ReadDir(filepath.Join(home, SignersFolder)) // a missing folder is no signers
	for _, e := range entries {
		note(filepath.Join(home, SignersFolder, e.Name()))
	}
	return b.String()
}

// Trust adds the public key in file to the trusted signers, under the file's name. Trusting a key twice changes nothing.
func Trust(home, file string) (Signer, error) {
	s, err := ReadPublic(file)
	if err != nil {
		return Signer{}, err
	}
	have, err := Load(home)
	if err != nil {
		return Signer{}, err
	}
	for _, x := range have.Signers {
		if x.key.Equal(s.key) {
			return x, nil
		}
	}
	taken := func(name string) bool {
		return slices.ContainsFunc(have.Signers, func(x Signer) bool { return strings.EqualFold(x.Name, name) })
	}
	s.Name = strings.TrimLeft(strings.TrimSuffix(filepath.Base(file), ".pub"), ".")
	if s.Name == "" || taken(s.Name) {
		s.Name = strings.TrimPrefix(s.Name+"-"+s.ID, "-")
	}
	text, err := s.key.MarshalText()
	if err != nil {
		return Signer{}, ErrKey.Wrap(err, "the key can't be written")
	}
	folder := filepath.Join(home, SignersFolder)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return Signer{}, ErrPolicy.Wrap(err, "the folder of trusted signers can't be made")
	}
	root, err := os.OpenRoot(folder)
	if err == nil {
		err = errors.Join(durable.Write(root, s.Name+".pub", append(text, '\n'), 0o644), root.Close())
	}
	if err != nil {
		return Signer{}, ErrPolicy.Wrap(err, "the signer can't be written")
	}
	return s, nil
}

// Distrust takes back Trust. who is a signer's name, the key's ID, or a public key file.
func Distrust(home, who string) (Signer, error) {
	have, err := Load(home)
	if err != nil {
		return Signer{}, err
	}
	byFile, fileErr := ReadPublic(who)
	for _, s := range have.Signers {
		if s.Name != who && !strings.EqualFold(s.ID, who) && !(fileErr == nil && s.key.Equal(byFile.key)) {
			continue
		}
		root, err := os.OpenRoot(filepath.Join(home, SignersFolder))
		if err == nil {
			err = errors.Join(durable.Remove(root, s.Name+".pub"), root.Close())
		}
		if err != nil {
			return Signer{}, ErrPolicy.Wrap(err, "the signer can't be removed")
		}
		return s, nil
	}
	return Signer{}, ErrNoSigner.New("%s is not among the trusted signers", who)
}
