package component

import (
	"fmt"
	"slices"
	"strings"

	"carbonado.dev/sdk/cause"
	commonv1 "carbonado.dev/sdk/proto/carbonado/common/v1"
)

// Cause says why something is not as asked for. It is data: it is stored in histories and printed as JSON (SEAMS.md
// section 7). An error becomes one by CauseOf.
type Cause struct {
	// Code is the stable code of the error catalogue, for example "CBN-PLAN-002".
	Code string `json:"code" yaml:"code"`
	// Text is one sentence that names the culprit.
	Text string `json:"text" yaml:"text"`
	// Chain leads from this cause down to the leaf: Chain[0] is the direct reason. Entries have no chain of their own.
	Chain []Cause `json:"chain" yaml:"chain"`
	// Fix is what the reader can do about it; empty if nothing.
	Fix string `json:"fix" yaml:"fix"`
	// File, Line and Column say where the culprit stands, if it stands in a file. Zero is unknown.
	File   string `json:"file,omitempty" yaml:"file,omitempty"`
	Line   int    `json:"line,omitempty" yaml:"line,omitempty"`
	Column int    `json:"column,omitempty" yaml:"column,omitempty"`
}

// CauseOf makes a Cause of any error. It is nil for a nil error.
func CauseOf(err error) *Cause {
	if err == nil {
		return nil
	}
	c := fromProto(cause.Proto(err))
	return &c
}

// FromProto makes a Cause of the message that travels. It is nil for nil.
func FromProto(m *commonv1.Cause) *Cause {
	if m == nil {
		return nil
	}
	c := fromProto(m)
	return &c
}

func fromProto(m *commonv1.Cause) Cause {
	c := Cause{
		Code: m.GetCode(), Text: m.GetText(), Fix: m.GetFix(),
		File: m.GetFile(), Line: int(m.GetLine()), Column: int(m.GetColumn()),
		Chain: []Cause{},
	}
	for _, r := range m.GetChain() {
		c.Chain = append(c.Chain, fromProto(r))
	}
	return c
}

// Proto makes the message that travels. It is nil for nil.
func (c *Cause) Proto() *commonv1.Cause {
	if c == nil {
		return nil
	}
	m := &commonv1.Cause{
		Code: c.Code, Text: c.Text, Fix: c.Fix, File: c.File, Line: int32(c.Line), Column: int32(c.Column),
	}
	for i := range c.Chain {
		m.Chain = append(m.Chain, c.Chain[i].Proto())
	}
	return m
}

// Because puts reason, and what it is due to, under c, and returns the result. Neither argument changes.
func (c Cause) Because(reason Cause) Cause {
	direct := reason
	direct.Chain = []Cause{}
	chain := make([]Cause, 0, len(c.Chain)+1+len(reason.Chain))
	chain = append(chain, c.Chain...)
	chain = append(chain, direct)
	c.Chain = append(chain, reason.Chain...)
	return c
}

// Leaf is the one thing missing: the last entry of the chain, or the cause itself.
func (c Cause) Leaf() Cause {
	if len(c.Chain) == 0 {
		return c
	}
	return c.Chain[len(c.Chain)-1]
}

// Place is "file:line" or "file", or empty.
func (c Cause) Place() string {
	if c.File == "" {
		return ""
	}
	if c.Line == 0 {
		return c.File
	}
	return fmt.Sprintf("%s:%d", c.File, c.Line)
}

// String prints the cause and its chain on one line, joined by arrows.
func (c Cause) String() string {
	var b strings.Builder
	for i, x := range append([]Cause{c}, c.Chain...) {
		if i > 0 {
			b.WriteString(" <- ")
		}
		b.WriteString(x.Code)
		b.WriteByte(' ')
		if p := x.Place(); p != "" {
			b.WriteString(p)
			b.WriteString(": ")
		}
		b.WriteString(x.Text)
	}
	return b.String()
}

// For gives c with the placeholder NAME of its general advice replaced by the component that it is about, so that the fix is a command
// that can be typed. Entries of the chain are about others and keep theirs. Nil stays nil; c is not changed.
func (c *Cause) For(name string) *Cause {
	if c == nil || !strings.Contains(c.Fix, "NAME") {
		return c
	}
	out := *c
	out.Fix = strings.ReplaceAll(c.Fix, "NAME", name)
	return &out
}

// Same tells whether two causes say the same. Nil is only the same as nil.
func (c *Cause) Same(other *Cause) bool {
	if c == nil || other == nil {
		return c == other
	}
	return c.says(other) && c.Fix == other.Fix && slices.EqualFunc(c.Chain, other.Chain, func(a, b Cause) bool { return a.says(&b) })
}

// says compares what String prints, without the chain.
func (c *Cause) says(other *Cause) bool {
	return c.Code == other.Code && c.Text == other.Text && c.File == other.File && c.Line == other.Line
}
