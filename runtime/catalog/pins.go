package catalog

import (
	"encoding/json"
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"

	"carbonado.dev/carbonado/runtime/durable"
	"carbonado.dev/sdk/cause"
	"github.com/Masterminds/semver/v3"
)

// PinsFile is where pins lie in an installation; messages name it so.
const PinsFile = "repository/data/kernel/versions.json"

// ErrPins is the kind of pins that can't be read or written.
var ErrPins = cause.Define("CBN-PKG-026", "The chosen versions of packages cannot be read or written.", "Check repository/data/kernel/versions.json; without the file the highest version of each runs.")

// Pin keeps a component at a version although a higher one is installed. It holds until a version above Over is. One that was made
// because Over could not take over holds no longer than Over has the digest that failed, or, where it was damaged, than it is.
type Pin struct {
	Version string `json:"version"`
	Over    string `json:"over"`
	// Failed is the digest of the package Over that was tried and rolled back; empty if an operator chose Version.
	Failed string `json:"failed,omitempty"`
	// Damaged: Over was not in order.
	Damaged bool `json:"damaged,omitempty"`
}

// Holds tells whether the pin keeps the component from its best package.
func (p Pin) Holds(best *Package) bool {
	switch {
	case newer(best.Version, p.Over):
		return false
	case p.Damaged:
		return best.Cause != nil
	case p.Failed != "":
		return best.Version != p.Over || best.Digest == p.Failed
	}
	return true
}

// Pins are by component.
type Pins map[string]Pin

// ReadPins reads the pins of the installation in home. No file is no pins.
func ReadPins(home string) (Pins, error) {
	data, err := os.ReadFile(filepath.Join(home, PinsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return Pins{}, nil
	}
	p := Pins{}
	if err == nil {
		err = json.Unmarshal(data, &p)
	}
	if err != nil {
		return nil, ErrPins.Wrap(err, "the pins cannot be read").At(PinsFile, 0, 0)
	}
	return p, nil
}

// WritePins replaces the pins. They are on disk when it returns.
func WritePins(home string, p Pins) error {
	data, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return ErrPins.Wrap(err, "the pins cannot be written")
	}
	dir, name := filepath.Split(filepath.Join(home, PinsFile))
	if err = os.MkdirAll(dir, 0o755); err != nil {
		return ErrPins.Wrap(err, "the pins cannot be written").At(PinsFile, 0, 0)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ErrPins.Wrap(err, "the pins cannot be written").At(PinsFile, 0, 0)
	}
	defer root.Close()
	if err := durable.Write(root, name, append(data, '\n'), 0o644); err != nil {
		return ErrPins.Wrap(err, "the pins cannot be written").At(PinsFile, 0, 0)
	}
	return nil
}

// ChoosePinned is Choose, pins respected: one whose version is there and whose Over is the highest there is.
func ChoosePinned(packages []*Package, pins Pins) []*Package {
	out := Choose(packages)
	for i, best := range out {
		pin, ok := pins[best.Name]
		if !ok || !pin.Holds(best) {
			continue
		}
		for _, p := range packages {
			if p.Name == best.Name && p.Version == pin.Version && !p.Origin.Gone {
				out[i] = p
			}
		}
	}
	return out
}

// Apply gives the pins under which each named component has that version, as far as it is installed; others are as before. missing
// lists those whose version is not there ("Name version").
func (p Pins) Apply(packages []*Package, versions map[string]string) (pins Pins, missing []string) {
	pins = maps.Clone(p)
	there := map[string]bool{}
	for _, x := range packages {
		there[x.Name+" "+x.Version] = true
	}
	for _, best := range Choose(packages) {
		want, ok := versions[best.Name]
		switch {
		case !ok:
		case want == best.Version:
			delete(pins, best.Name)
		case there[best.Name+" "+want]:
			pins[best.Name] = Pin{Version: want, Over: best.Version}
		default:
			missing = append(missing, best.Name+" "+want)
		}
	}
	return pins, missing
}

// newer tells whether version a is above b; one that can't be read is not.
func newer(a, b string) bool {
	x, err := semver.NewVersion(a)
	if err != nil {
		return false
	}
	y, err := semver.NewVersion(b)
	return err != nil || x.GreaterThan(y)
}
