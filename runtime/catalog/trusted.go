package catalog

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"

	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/carbonado/runtime/trust"
)

// Origin says where an installed package came from. It lies beside the package's files and comes and goes with them.
type Origin struct {
	// Dropin is the dropped file, relative to repository/; empty for what an operator installed or laid there by hand.
	Dropin string `json:"dropin,omitempty"`
	// Over is the dropped file, relative to repository/, whose package of the same version was here before an operator installed this one.
	Over string `json:"over,omitempty"`
	// Archive is the SHA-256 of that file, hexadecimal.
	Archive string `json:"archive,omitempty"`
	// Superseded: that file is gone or brought something else since. The package is no longer chosen; it goes when nothing of it runs.
	Superseded bool `json:"superseded,omitempty"`
	// Gone: it is superseded and not to be fallen back on either.
	Gone bool `json:"gone,omitempty"`
}

func (o Origin) marshal() []byte {
	if o == (Origin{}) {
		return nil
	}
	b, err := json.Marshal(o)
	if err != nil {
		panic(err) // strings and bools
	}
	return append(b, '\n')
}

// Supersede has an installed package no longer chosen; with gone not even by a pin. Its files stay until Uninstall.
func (c *Catalog) Supersede(p *Package, gone bool) error {
	unlock, err := c.lock()
	if err != nil {
		return err
	}
	defer unlock()
	root, err := os.OpenRoot(p.Dir)
	if err != nil {
		return ErrFiles.Wrap(err, "the folder of %s %s cannot be read", p.Name, p.Version)
	}
	defer root.Close()
	o := p.Origin
	o.Superseded, o.Gone = true, gone
	if err := durable.Write(root, originFile, o.marshal(), 0o644); err != nil {
		return ErrInstall.Wrap(err, "%s %s cannot be replaced", p.Name, p.Version)
	}
	return nil
}

// policy reads the rules for packages.
func (c *Catalog) policy() (*trust.Policy, error) { return trust.Load(c.home) }

// trusted tells whether an installed package may still run: dropped ones need a signature that the rules accept, and no version may be
// barred. Where the rules can't be read, what was dropped does not run; what was laid there by hand does.
func (c *Catalog) trusted(p *Package, root *os.Root) error {
	if err := p.readOrigin(root); err != nil {
		return err
	}
	policy, err := c.policy()
	if err != nil {
		if p.Origin.Dropin != "" {
			return err
		}
		return nil
	}
	if err := policy.CheckVersion(p.Name, p.Descriptor.Version); err != nil {
		return err
	}
	signature, err := root.ReadFile(signatureFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return ErrFiles.Wrap(err, "%s cannot be read", c.shown(p, signatureFile))
	}
	judge := policy.Judge
	if p.Origin.Dropin != "" {
		judge = policy.Dropped
	}
	p.Signature, err = judge(writeLock(p.Files), signature)
	return err
}

func (p *Package) readOrigin(root *os.Root) error {
	data, err := root.ReadFile(originFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = json.Unmarshal(data, &p.Origin)
	}
	if err != nil {
		return ErrFiles.Wrap(err, "the record of where %s %s came from cannot be read", p.Name, p.Version)
	}
	return nil
}

// keepSignature keeps the signature that lies in a source folder, if it lies beside the same record.
func (in *installation) keepSignature() {
	lock, err := in.src.ReadFile(lockFile)
	if err != nil || string(lock) != string(writeLock(in.files)) {
		return
	}
	if signature, err := in.src.ReadFile(signatureFile); err == nil {
		in.signature = signature
	}
}
