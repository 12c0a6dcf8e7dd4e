package component

import (
	"fmt"
	"slices"
	"strings"
)

// Health is what a unit says, or what is known, about its ability to do its work. It is a machine of its own: a unit may be
// ACTIVE and CRITICAL.
type Health uint8

const (
	// HealthUnknown: no process, or it has said nothing yet.
	HealthUnknown Health = iota + 1
	// HealthOK: it works.
	HealthOK
	// HealthWarn: it works, and a person should look.
	HealthWarn
	// HealthTemporarilyUnavailable: it does not work now and expects to again, for example while a provider restarts.
	HealthTemporarilyUnavailable
	// HealthCritical: it does not work and will not by itself.
	HealthCritical
)

var healthNames = map[Health]string{
	HealthUnknown: "UNKNOWN", HealthOK: "OK", HealthWarn: "WARN",
	HealthTemporarilyUnavailable: "TEMPORARILY_UNAVAILABLE", HealthCritical: "CRITICAL",
}

// healthTransitions is the whole machine (SEAMS.md section 3). Unknown is entered when the process ends. Critical is
// entered from TemporarilyUnavailable only: after the grace period, or at once where the component itself says so.
var healthTransitions = map[Health][]Health{
	HealthUnknown:                {HealthOK, HealthWarn, HealthTemporarilyUnavailable},
	HealthOK:                     {HealthWarn, HealthTemporarilyUnavailable, HealthUnknown},
	HealthWarn:                   {HealthOK, HealthTemporarilyUnavailable, HealthUnknown},
	HealthTemporarilyUnavailable: {HealthOK, HealthWarn, HealthCritical, HealthUnknown},
	HealthCritical:               {HealthOK, HealthWarn, HealthTemporarilyUnavailable, HealthUnknown},
}

// May tells whether the table has the move from h to next.
func (h Health) May(next Health) bool { return slices.Contains(healthTransitions[h], next) }

// Path lists the moves that lead from h to next: none if they are equal, one where the table has it, two where a component
// that was well reports Critical, which passes TemporarilyUnavailable with no grace. It is nil where there is no way.
func (h Health) Path(next Health) []Health {
	switch {
	case h.May(next):
		return []Health{next}
	case next == HealthCritical && h.May(HealthTemporarilyUnavailable):
		return []Health{HealthTemporarilyUnavailable, HealthCritical}
	}
	return nil
}

func (h Health) String() string {
	if n, ok := healthNames[h]; ok {
		return n
	}
	return fmt.Sprintf("HEALTH(%d)", uint8(h))
}

// MarshalText writes the name as the CLI and the admin API print it.
func (h Health) MarshalText() ([]byte, error) {
	n, ok := healthNames[h]
	if !ok {
		return nil, fmt.Errorf("no health has the number %d", uint8(h))
	}
	return []byte(n), nil
}

// UnmarshalText reads a name as MarshalText writes it.
func (h *Health) UnmarshalText(text []byte) error {
	for k, n := range healthNames {
		if n == string(text) {
			*h = k
			return nil
		}
	}
	return fmt.Errorf("no health is called %q", text)
}

// HealthService is the name under which a component's health is asked for in `requires`: "health:<component>=ok", or "=warn", which is
// content with a component that works although a person should look.
const HealthService = "health:"

// HealthCondition reads such a name. ok is false for the name of a contract.
func HealthCondition(service string) (component string, least Health, ok bool) {
	rest, ok := strings.CutPrefix(service, HealthService)
	if !ok {
		return "", 0, false
	}
	component, word, ok := strings.Cut(rest, "=")
	switch {
	case ok && word == "ok":
		return component, HealthOK, true
	case ok && word == "warn":
		return component, HealthWarn, true
	}
	return "", 0, false
}
